"""Rank 1 enqueues two collectives of the same group in the other order, then waits for both."""

import torch.distributed as dist
from _job import begin, numbers


def sum_gradients() -> dist.Work:
    """One of the two."""
    return dist.all_reduce(numbers(), async_op=True)


def gather_sizes() -> dist.Work:
    """The other."""
    parts = [numbers() for _ in range(dist.get_world_size())]
    return dist.all_gather(parts, numbers(), async_op=True)


def overlap(rank: int) -> None:
    """Both at once."""
    calls = (gather_sizes, sum_gradients) if rank == 1 else (sum_gradients, gather_sizes)
    for work in [call() for call in calls]:
        work.wait()  # stands here


overlap(begin())
