"""A rank that meets the others, reduces a few times and leaves: the program of ``starts.py`` under torchrun.

In: the launcher's environment. Out: exit status 0, if every sum was right.
"""

from __future__ import annotations

import torch
import torch.distributed

ROUNDS = 20


def main() -> None:
    """Meet, reduce, check, leave."""
    torch.distributed.init_process_group("gloo")
    size = torch.distributed.get_world_size()
    for number in range(ROUNDS):
        value = torch.full((1000,), float(number))
        torch.distributed.all_reduce(value)
        if not bool((value == number * size).all()):
            raise SystemExit(f"round {number}: {value[0].item()}")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
