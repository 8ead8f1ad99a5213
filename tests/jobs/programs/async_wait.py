"""Ranks wait for the work of an asynchronous collective that rank 0 never starts."""

import threading

import torch.distributed as dist
from _job import begin, numbers


def wait_for_gradients(work: dist.Work) -> None:
    """Waits in C++, without a frame of torch."""
    work.wait()


def wait_for_batch(ready: threading.Event) -> None:
    """An event that nobody sets."""
    ready.wait()  # stands here


if begin() == 0:
    wait_for_batch(threading.Event())
wait_for_gradients(dist.all_reduce(numbers(), async_op=True))
