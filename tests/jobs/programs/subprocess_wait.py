"""Rank 0 waits for a program that it started and that does not end."""

import subprocess
import sys

import torch.distributed as dist
from _job import begin, numbers


def upload_logs() -> None:
    """Runs a program to its end."""
    subprocess.run([sys.executable, "-S", "-c", "import time; time.sleep(1e6)"], check=True)  # stands here


if begin() == 0:
    upload_logs()
dist.all_reduce(numbers())
