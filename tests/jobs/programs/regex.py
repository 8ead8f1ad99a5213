"""Rank 1 matches a pattern that backtracks for ever, which holds the GIL."""

import re

import torch.distributed as dist
from _job import begin, numbers


def clean_text(text: str) -> None:
    """Exponential in the length of the text."""
    re.fullmatch(r"(a+)+b", text)  # stands here


if begin() == 1:
    clean_text("a" * 200)
dist.all_reduce(numbers())
