"""Rank 1 expects more numbers than rank 0 sends: it goes on with what was in its tensor before.

Gloo ends a job (SIGABRT) that gets more bytes than it expects; fewer pass, and the job hangs later.
"""

import os

import torch
import torch.distributed as dist
from _job import begin, empty_pipe, numbers


def share_lengths(rank: int) -> torch.Tensor:
    """How many batches each of the others has: rank 1 is of another version, and expects four lengths."""
    lengths = numbers(4 if rank == 1 else 2) * (7 if rank == 1 else 1)
    dist.broadcast(lengths, src=0)
    return lengths


def train(lengths: torch.Tensor, pipe: int) -> None:
    """A rank whose last length is not one waits to be told what next."""
    if int(lengths[-1]) != 1:
        os.read(pipe, 1)  # stands here
    dist.barrier()


rank = begin()
train(share_lengths(rank), empty_pipe())
