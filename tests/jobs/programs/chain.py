"""Rank 3 is stuck; rank 2 waits for it in a small group, and ranks 0 and 1 for both in the large one."""

import os

import torch.distributed as dist
from _job import begin, empty_pipe, numbers


def compile_kernel(pipe: int) -> None:
    """Waits for a compiler that does not answer."""
    os.read(pipe, 1)  # stands here


rank = begin()
groups = [dist.new_group([0, 1]), dist.new_group([2, 3])]
mine = groups[rank // 2]
for step in range(2):
    if rank == 3 and step == 1:
        compile_kernel(empty_pipe())
    dist.all_reduce(numbers(), group=mine)
dist.all_reduce(numbers())
