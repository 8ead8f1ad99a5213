"""Rank 1 waits for a task of its thread pool that cannot end."""

import os
from concurrent.futures import ThreadPoolExecutor

import torch.distributed as dist
from _job import begin, empty_pipe, numbers


def prefetch(pipe: int) -> None:
    """The task."""
    os.read(pipe, 1)


def next_batch() -> None:
    """Waits for the task."""
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as pool:
        pool.submit(prefetch, empty_pipe()).result()  # stands here


if begin() == 1:
    next_batch()
dist.all_reduce(numbers())
