"""Every rank is in one long step and uses its processor; no collective is under way: nothing is wrong."""

import torch
from _job import begin


def long_step() -> None:
    """A product of matrices after the other."""
    matrix = torch.rand(600, 600)
    while True:
        matrix = torch.nn.functional.normalize(matrix @ matrix)


begin()
long_step()
