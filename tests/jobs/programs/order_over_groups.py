"""Rank 1 enters the groups in the other order: each waits in one group for the other."""

import torch.distributed as dist
from _job import begin, numbers


def reduce_gradients(group: dist.ProcessGroup) -> None:
    """A collective of one group."""
    dist.all_reduce(numbers(), group=group)  # stands here


def step(groups: list[dist.ProcessGroup], rank: int) -> None:
    """One collective in each group, on rank 1 in the other order."""
    for group in groups if rank != 1 else reversed(groups):
        reduce_gradients(group)


rank = begin()
step([dist.new_group([0, 1]), dist.new_group([0, 1])], rank)
