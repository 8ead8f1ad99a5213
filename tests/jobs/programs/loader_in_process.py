"""Rank 1's dataset waits for a file that never comes; the DataLoader has no processes of its own."""

import os

import torch
import torch.distributed as dist
from _job import begin, empty_pipe, numbers
from torch.utils.data import DataLoader, Dataset


class Shards(Dataset):
    """Four samples; on rank 1 the third cannot be read."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.pipe = empty_pipe()

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.read_sample(index)

    def read_sample(self, index: int) -> torch.Tensor:
        """One sample."""
        if self.rank == 1 and index == 2:
            os.read(self.pipe, 1)  # stands here
        return torch.ones(2)


def train(rank: int) -> None:
    """A step for each batch."""
    for _batch in DataLoader(Shards(rank)):
        dist.all_reduce(numbers())


train(begin())
