"""Rank 1's tensor has the others' bytes and another shape: what it reads is garbage, and it takes another way.

Gloo ends a job (SIGABRT) whose tensors differ in bytes; these pass, and the job hangs later.
"""

import os

import torch
import torch.distributed as dist
from _job import begin, empty_pipe


def share_lengths(rank: int) -> torch.Tensor:
    """How many batches are left: on rank 1 four short numbers, elsewhere two long ones."""
    if rank == 1:
        lengths = torch.ones(4, dtype=torch.int32)
    else:
        lengths = torch.ones(2, dtype=torch.int64)
    dist.all_reduce(lengths)
    return lengths


def train(lengths: torch.Tensor, pipe: int) -> None:
    """As many steps as there are batches; without any it waits to be told what next."""
    if len(lengths) > 2:
        os.read(pipe, 1)  # stands here
    dist.barrier()


rank = begin()
train(share_lengths(rank), empty_pipe())
