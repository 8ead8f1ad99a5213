"""Rank 3 waits for a key that nobody sets, and the others for rank 3."""

import torch.distributed as dist
from _job import begin, numbers


def wait_for_permission() -> None:
    """A key of the store."""
    dist.distributed_c10d._get_default_store().wait(["go"])  # stands here


if begin() == 3:
    wait_for_permission()
dist.all_reduce(numbers())
