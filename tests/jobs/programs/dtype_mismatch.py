"""Rank 1 adds up numbers of another type."""

import torch
import torch.distributed as dist
from _job import begin, numbers


def sum_batch(rank: int) -> None:
    """The collective whose types differ."""
    dist.all_reduce(numbers(4, torch.float64 if rank == 1 else torch.float32))


sum_batch(begin())
