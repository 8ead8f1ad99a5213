"""Rank 1 looks for something in a loop that never ends."""

import torch.distributed as dist
from _job import begin, numbers


def find_free_slot(slots: list[int]) -> int:
    """Never finds one."""
    position = 0
    while True:
        if slots[position] == 0:
            return position
        position = (position + 1) % len(slots)


if begin() == 1:
    find_free_slot([1] * 64)
dist.all_reduce(numbers())
