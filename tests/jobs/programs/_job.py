"""What every job here does first: arm itself, join the others, and prove that a collective works.

In: the environment of ``torchrun``. Out: this rank. No function here is on the stack when a job hangs.
"""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from _program import arm, ready

__all__ = ["arm", "begin", "empty_pipe", "numbers", "ready"]

_kept: list[int] = []


def begin() -> int:
    """Arms this rank, joins the others, runs one good collective and announces the rank."""
    arm()
    dist.init_process_group("gloo")
    dist.all_reduce(numbers())
    ready()
    return int(dist.get_rank())


def numbers(count: int = 4, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """A tensor."""
    return torch.ones(count, dtype=dtype)


def empty_pipe() -> int:
    """The reading end of a pipe that nobody writes to and nobody closes."""
    reading, writing = os.pipe()
    _kept.append(writing)
    return reading
