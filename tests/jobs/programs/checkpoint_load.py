"""Rank 3 loads a checkpoint whose bytes stop coming."""

import os
import tempfile
from pathlib import Path

import torch.distributed as dist
from _job import begin


def load_checkpoint(path: Path) -> bytes:
    """All of a file, by plain reads: no library of torch is on the stack."""
    with path.open("rb", buffering=0) as file:
        return file.read()  # stands here


def stalled_file() -> Path:
    """A FIFO whose writing end stays open, with nothing in it."""
    path = Path(tempfile.mkdtemp(dir=os.environ["OOBDUMP_DIR"])) / "model.pt"
    os.mkfifo(path)
    os.open(path, os.O_RDWR | os.O_NONBLOCK)
    return path


if begin() == 3:
    load_checkpoint(stalled_file())
dist.barrier()
