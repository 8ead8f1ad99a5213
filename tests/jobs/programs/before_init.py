"""Rank 1 hangs before ``init_process_group``, in which the others wait."""

import os

import torch.distributed as dist
from _job import arm, empty_pipe, ready


def read_configuration(pipe: int) -> None:
    """From a service that does not answer."""
    os.read(pipe, 1)  # stands here


arm()
ready()
if os.environ["RANK"] == "1":
    read_configuration(empty_pipe())
dist.init_process_group("gloo")
