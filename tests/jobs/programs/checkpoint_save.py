"""Rank 0 saves a checkpoint to a file system that takes no more bytes: here a FIFO that nobody reads."""

import os
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
from _job import begin, numbers


def save_model(path: Path) -> None:
    """More than a pipe takes, to a reader that never reads."""
    with path.open("wb") as file:
        torch.save({"weights": torch.zeros(1_000_000)}, file)  # stands here


def stalled_file() -> Path:
    """A FIFO whose reading end stays open and unread."""
    path = Path(tempfile.mkdtemp(dir=os.environ["OOBDUMP_DIR"])) / "model.pt"
    os.mkfifo(path)
    os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    return path


if begin() == 0:
    save_model(stalled_file())
dist.all_reduce(numbers())
