"""Rank 0 waits in C and keeps the GIL."""

import ctypes

import torch.distributed as dist
from _job import begin, numbers
from _program import held_mutex


def call_extension(mutex: ctypes.Array[ctypes.c_char]) -> None:
    """Locks a mutex that this thread holds, through a library that does not release the GIL."""
    ctypes.PyDLL(None).pthread_mutex_lock(mutex)  # stands here


rank = begin()
if rank == 0:
    call_extension(held_mutex())
dist.all_reduce(numbers())
