"""Rank 2 receives from rank 1, which is stuck; rank 0 waits for all. Gloo records no receive."""

import os

import torch.distributed as dist
from _job import begin, empty_pipe, numbers


def prepare_batch(pipe: int) -> None:
    """Never has one."""
    os.read(pipe, 1)  # stands here


def next_stage() -> None:
    """What comes from rank 1."""
    dist.recv(numbers(), src=1)


rank = begin()
if rank == 1:
    prepare_batch(empty_pipe())
if rank == 2:
    next_stage()
dist.all_reduce(numbers())
