"""Rank 1 ends with an exception before the others need it."""

import torch.distributed as dist
from _job import begin


def wait_for_ranks() -> None:
    """Until rank 1 has said that it is done."""
    dist.distributed_c10d._get_default_store().wait(["done/1"])


if begin() == 1:
    raise ValueError("the configuration has no learning rate")
wait_for_ranks()
