"""A DataLoader's child hangs in the dataset (``read_one_sample``), its parent in ``fetch_a_batch``.

Two lines ``ready``: the child's and the parent's.
"""

from __future__ import annotations

import torch.utils.data
from _program import arm, held_lock, ready


class StuckDataset(torch.utils.data.Dataset[int]):
    """Ten samples, the first of which never comes."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> int:
        return read_one_sample(index)


def read_one_sample(index: int) -> int:
    """In the child: wait for ever."""
    lock = held_lock()
    ready()
    lock.acquire()
    return index


def fetch_a_batch() -> None:
    """In the parent: wait for the first batch."""
    batches = iter(torch.utils.data.DataLoader(StuckDataset(), num_workers=1, multiprocessing_context="fork"))
    ready()
    next(batches)


if __name__ == "__main__":
    arm()
    fetch_a_batch()
