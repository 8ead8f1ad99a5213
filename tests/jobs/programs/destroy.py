"""Rank 0 leaves the process group while a collective of it is under way that rank 1 never enters."""

import os

import torch.distributed as dist
from _job import begin, empty_pipe, numbers


def leave() -> None:
    """Ends the group with work left in it."""
    work = dist.all_reduce(numbers(), async_op=True)
    dist.destroy_process_group()
    del work


def write_summary(pipe: int) -> None:
    """What rank 1 does instead."""
    os.read(pipe, 1)  # stands here


if begin() == 0:
    leave()
write_summary(empty_pipe())
