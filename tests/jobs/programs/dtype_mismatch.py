"""Rank 1 adds up whole numbers where the others add floats: the same bytes, another meaning."""

import os

import torch
import torch.distributed as dist
from _job import begin, empty_pipe, numbers


def share_loss(rank: int) -> torch.Tensor:
    """The collective whose types differ."""
    loss = numbers(4, torch.int32 if rank == 1 else torch.float32)
    dist.all_reduce(loss)
    return loss


def act_on(loss: torch.Tensor, pipe: int) -> None:
    """A loss beyond reason makes a rank give up and wait for help."""
    if float(loss[0]) > 1_000:
        os.read(pipe, 1)  # stands here
    dist.barrier()


rank = begin()
act_on(share_loss(rank), empty_pipe())
