"""Rank 1 runs two collectives of the same group in the other order, and each waits in its first."""

import torch.distributed as dist
from _job import begin, numbers


def sum_gradients() -> None:
    """One of the two."""
    dist.all_reduce(numbers())


def gather_sizes() -> None:
    """The other."""
    dist.all_gather([numbers(2) for _ in range(dist.get_world_size())], numbers(2))  # stands here


rank = begin()
for collective in (gather_sizes, sum_gradients) if rank == 1 else (sum_gradients, gather_sizes):
    collective()
