"""A healthy, busy worker that checks its own results: the victim of ``do_no_harm.py``.

In: ``threads``, ``training`` or ``loader`` on the command line; settings, ``READY_FIFO`` and
``RELEASE_FIFO`` from the environment. Out, once it is released: one JSON object on stdout: what was
wrong (nothing), how many rounds were right, and the longest pause between two steps of the main thread.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "programs"))

import busy_threads  # type: ignore[import-not-found] # found through the line above

import oobdump

STEPS = 40
"""Of training in one round: whose weights must be those of the first round, bit by bit."""

ITEMS = 400
CHILDREN = 4

Round = Callable[[], bool]


class Pauses:
    """The longest time between two steps."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._last = time.perf_counter()

    def step(self) -> None:
        """Another step is done."""
        now = time.perf_counter()
        self.longest, self._last = max(self.longest, now - self._last), now


def adding(pauses: Pauses) -> Round:
    """Sums by generators, in the main thread."""

    def go() -> bool:
        pauses.step()
        return bool(busy_threads.by_generators())

    return go


def training(pauses: Pauses) -> Round:
    """A small network trained from the same seed: torch's threads, autograd and optimizer."""
    import torch  # noqa: PLC0415 - one load of three

    def weights() -> bytes:
        torch.manual_seed(7)
        layers = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
        optimizer = torch.optim.SGD(layers.parameters(), lr=0.01, momentum=0.9)
        for _ in range(STEPS):
            pauses.step()
            optimizer.zero_grad()
            layers(torch.randn(32, 64)).square().mean().backward()
            optimizer.step()
        return b"".join(
            bytes(parameter.detach().contiguous().view(-1).tolist().__repr__(), "ascii")
            for parameter in layers.parameters()
        )

    torch.set_num_threads(1)  # with more the order of additions is anybody's
    first = weights()
    return lambda: weights() == first


def loading(pauses: Pauses) -> Round:
    """A DataLoader with four children, each armed too."""
    import torch  # noqa: PLC0415

    class Numbers(torch.utils.data.Dataset[Any]):  # type: ignore[misc] # torch is Any here
        def __len__(self) -> int:
            return ITEMS

        def __getitem__(self, index: int) -> Any:
            return torch.tensor([index, sum(range(index))])

    loader = torch.utils.data.DataLoader(Numbers(), batch_size=16, num_workers=CHILDREN, persistent_workers=True)
    expected = [sum(range(ITEMS)), sum(sum(range(index)) for index in range(ITEMS))]

    def go() -> bool:
        total = torch.zeros(2, dtype=torch.int64)
        for batch in loader:
            pauses.step()
            total += batch.sum(0)
        return bool(total.tolist() == expected)

    return go


LOADS: dict[str, Callable[[Pauses], Round]] = {"threads": adding, "training": training, "loader": loading}


def main(load: str) -> int:
    """Arm, announce, work until released."""
    oobdump.start()
    pauses = Pauses()
    go = LOADS[load](pauses)
    right = go()  # a DataLoader starts its children here
    threading.Thread(target=busy_threads.stop_when_released, daemon=True).start()
    churners = list(busy_threads.CHECKS.items())[: None if load == "threads" else 2]
    threads = [threading.Thread(target=busy_threads.churn, args=item, name=item[0]) for item in churners]
    for thread in threads:
        thread.start()
    busy_threads.ready()
    pauses.step()
    pauses.longest, rounds = 0.0, 0
    while right and not busy_threads.stopping:
        right, rounds = go(), rounds + 1
    busy_threads.stopping.append("done")
    for thread in threads:
        thread.join()
    wrong = [*busy_threads.wrong, *([] if right else [load])]
    print(json.dumps({"wrong": wrong, "rounds": rounds, "longest_pause_s": pauses.longest}), flush=True)
    os._exit(bool(wrong))  # torch's teardown is not what is tried here


if __name__ == "__main__":
    main(sys.argv[1])
