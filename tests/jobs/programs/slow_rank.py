"""Rank 1 takes most of a second for what the others do at once: the job goes on, at its pace."""

import time

import torch.distributed as dist
from _job import begin, numbers


def compute(rank: int) -> None:
    """On rank 1 a slow device."""
    if rank == 1:
        time.sleep(0.7)  # stands here


def train(rank: int) -> None:
    """Steps, for ever."""
    while True:
        compute(rank)
        dist.all_reduce(numbers())


train(begin())
