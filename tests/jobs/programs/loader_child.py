"""A DataLoader process of rank 2 hangs in its dataset; the rank waits for its batch."""

import os

import torch
import torch.distributed as dist
from _job import begin, empty_pipe, numbers
from torch.utils.data import DataLoader, Dataset


class Shards(Dataset):
    """Four samples; on rank 2 the second cannot be read."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.pipe = empty_pipe()

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> torch.Tensor:
        if self.rank == 2 and index == 1:
            os.read(self.pipe, 1)
        return torch.ones(2)


def train(rank: int) -> None:
    """A step for each batch."""
    for _batch in DataLoader(Shards(rank), num_workers=1):  # stands here
        dist.all_reduce(numbers())


train(begin())
