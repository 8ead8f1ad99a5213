"""A training loop, with and without an armed worker around it: the program of ``overhead.py``.

In: the number of pairs, the loop (``python`` or ``torch``) and ``idle`` or ``asked``, on the command line;
settings and ``READY_FIFO`` from the environment. Out: one JSON object on stdout: for each clock, a list of
pairs of seconds, without and with. When asked, a block takes about a second and another process drops one
request for the stacks into it; in the block without, it drops the same file where nobody looks.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import oobdump

BLOCK_S = {"idle": 0.1, "asked": 1.0}
"""Twenty switch intervals of the interpreter; or as long as lies between two requests."""

ASKER = """
import os, sys
for number, line in enumerate(sys.stdin):
    place = line.strip()
    with open(f"{place}/.ask.tmp", "w"): pass
    os.rename(f"{place}/.ask.tmp", f"{place}/stacks")
"""

FEATURES = 64
ROWS = 32
RATE = 0.01


def train(steps: int) -> float:
    """Fit a line by gradient descent: loops, calls, lists and floats, as a training script has them."""
    weights = [0.0] * FEATURES
    rows = [[((row * 31 + column * 17) % 97) / 97 for column in range(FEATURES)] for row in range(ROWS)]
    targets = [sum(row) for row in rows]
    loss = 0.0
    for _ in range(steps):
        errors = [predict(weights, row) - target for row, target in zip(rows, targets, strict=True)]
        loss = sum(error * error for error in errors) / ROWS
        for column in range(FEATURES):
            slope = sum(error * row[column] for error, row in zip(errors, rows, strict=True))
            weights[column] -= RATE * slope / ROWS
    return loss


def predict(weights: list[float], row: list[float]) -> float:
    """The scalar product."""
    return sum(weight * value for weight, value in zip(weights, row, strict=True))


def torch_steps() -> Callable[[int], object]:
    """A small network on one thread: forward, loss, backward, step."""
    import torch  # noqa: PLC0415 - the other loop needs none

    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    data, labels = torch.randn(64, 256), torch.randint(10, (64,))

    def steps(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(data), labels).backward()
            optimizer.step()

    return steps


LOOPS: dict[str, Callable[[], Callable[[int], object]]] = {"python": lambda: train, "torch": torch_steps}


class Bench:
    """One loop, sized so that a block takes as long as it should."""

    def __init__(self, loop: str, when: str) -> None:
        self._train = LOOPS[loop]()
        self._asker: Any = None
        if when == "asked":
            self._asker = subprocess.Popen([sys.executable, "-c", ASKER], stdin=subprocess.PIPE, text=True)
        self._train(2)
        began = time.process_time()
        self._train(20)
        self._steps = max(1, int(20 * BLOCK_S[when] / (time.process_time() - began)))
        self._nowhere = f"{os.environ['OOBDUMP_DIR']}.nowhere"
        os.makedirs(self._nowhere, exist_ok=True)

    def armed(self) -> tuple[float, float]:
        """One block beside an armed worker."""
        worker = oobdump.start()
        try:
            return self._timed(worker.layout.inbox)
        finally:
            oobdump.stop()

    def bare(self) -> tuple[float, float]:
        """The same without."""
        return self._timed(self._nowhere)

    def _timed(self, inbox: str) -> tuple[float, float]:
        """Wall clock and processor seconds of one block, the latter over all threads."""
        self._train(2)  # what start() handed to its threads is done by now
        time.sleep(0.01)
        gc.collect()
        if self._asker is not None:
            self._asker.stdin.write(f"{inbox}\n")
            self._asker.stdin.flush()
        wall, processor = time.perf_counter(), time.process_time()
        self._train(self._steps)
        return time.perf_counter() - wall, time.process_time() - processor


def main(pairs: int, loop: str, when: str) -> None:
    """Announce, measure, print."""
    bench = Bench(loop, when)
    ready = os.open(os.environ["READY_FIFO"], os.O_WRONLY | os.O_NONBLOCK)
    os.write(ready, f"ready {os.getpid()} -\n".encode())
    found: dict[str, list[tuple[float, float]]] = {"wall": [], "processor": []}
    for number in range(pairs):
        without, beside = (bench.bare(), bench.armed()) if number % 2 else reversed((bench.armed(), bench.bare()))
        for index, clock in enumerate(found):
            found[clock].append((without[index], beside[index]))
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
