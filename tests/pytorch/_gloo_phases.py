"""A real Gloo job of four ranks that dumps its recorder in known conditions; run under torchrun.

In: a directory. Out: in it, for each phase, ``<phase>/gloo_trace_<rank>`` (PyTorch's pickle) and
``<phase>-json/gloo_trace_<rank>`` (its JSON); ``groups/`` has the members of each group. Ranks meet in
a TCPStore between phases, so that the recorder holds the phase's collectives only; a call that hangs
is an asynchronous one.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import _dump_fr_trace, _dump_fr_trace_json

WITHIN_S = 90.0


class Phases:
    """One rank of the job."""

    def __init__(self, directory: Path) -> None:
        dist.init_process_group("gloo", timeout=timedelta(minutes=10))
        self.rank = dist.get_rank()
        self.directory = directory
        self.store = dist.distributed_c10d._get_default_store()
        self.rows = [dist.new_group([0, 1], group_desc="row"), dist.new_group([2, 3], group_desc="row")]
        self.columns = [dist.new_group([0, 2], group_desc="column"), dist.new_group([1, 3], group_desc="column")]
        self.numbers = torch.ones(4)
        self.works: list[dist.Work] = []

    def meet(self, name: str) -> None:
        """Wait until all four are here, without a collective."""
        self.store.set(f"{name}/{self.rank}", "here")
        self.store.wait([f"{name}/{rank}" for rank in range(4)], timedelta(seconds=WITHIN_S))

    def call(self, group: dist.ProcessGroup | None = None, numbers: torch.Tensor | None = None) -> None:
        """An ``all_reduce`` that is entered and not waited for."""
        work = dist.all_reduce(self.numbers if numbers is None else numbers, group=group, async_op=True)
        assert work is not None
        self.works.append(work)

    def phase(self, name: str, act: Callable[[], None], *, settled: Callable[[], bool] = lambda: True) -> None:
        """Act, wait for what is to be seen, dump."""
        self.meet(f"{name} begins")
        act()
        self.meet(f"{name} entered")
        deadline = time.monotonic() + WITHIN_S
        while not settled():
            assert time.monotonic() < deadline, name
            time.sleep(0.01)
        self.write(name, _dump_fr_trace())
        self.write(f"{name}-json", _dump_fr_trace_json())
        self.meet(f"{name} dumped")

    def write(self, name: str, content: bytes) -> None:
        """This rank's file of a directory."""
        (self.directory / name).mkdir(exist_ok=True)
        (self.directory / name / f"gloo_trace_{self.rank}").write_bytes(content)

    def all_done(self) -> bool:
        """Whether every call of this rank has ended."""
        return all(work.is_completed() for work in self.works) and b'"retired":false' not in _dump_fr_trace_json()

    def run(self) -> None:
        """The phases; each one's hang ends with the next one's calls."""
        row, column = self.rows[self.rank // 2], self.columns[self.rank % 2]
        first, second = (row, column) if self.rank in (0, 3) else (column, row)

        known = {
            dist.distributed_c10d._world.pg_names[each]: dist.get_process_group_ranks(each) for each in (row, column)
        }
        self.write("groups", json.dumps(known).encode())
        self.phase("healthy", self.call, settled=self.all_done)
        self.phase("missing", lambda: self.call() if self.rank != 2 else None)
        if self.rank == 2:
            self.call()
        self.phase("circle", lambda: self.call(first))
        self.call(second)
        odd = torch.ones(4, dtype=torch.int32 if self.rank == 1 else torch.float32)
        self.phase("dtype", lambda: self.call(numbers=odd), settled=self.all_done)


def main() -> None:
    """Run, and leave without taking groups down: the last dump is all that counts."""
    Phases(Path(sys.argv[1])).run()
    os._exit(0)


if __name__ == "__main__":
    main()
