"""A rank under ``torchrun`` waits in a Gloo ``all_reduce``: ``enter_all_reduce``.

The rank in ``ODD_RANK`` (default 0) never enters it and waits for a lock in
``stay_outside``. Each rank announces itself after a first ``all_reduce`` has worked.
"""

from __future__ import annotations

import os
import threading

import torch
import torch.distributed as dist
from _program import arm, held_lock, ready


def enter_all_reduce(numbers: torch.Tensor) -> None:
    """Enter the collective that one rank stays out of."""
    dist.all_reduce(numbers)


def stay_outside(lock: threading.Lock) -> None:
    """Never enter the collective."""
    lock.acquire()


def main() -> None:
    """One good collective, then one that hangs."""
    arm()
    dist.init_process_group("gloo")
    numbers = torch.ones(4)
    dist.all_reduce(numbers)
    ready()
    if dist.get_rank() == int(os.environ.get("ODD_RANK", "0")):
        stay_outside(held_lock())
    enter_all_reduce(numbers)


if __name__ == "__main__":
    main()
