"""A small training script with data and tensor parallelism, as users write them; ``torchrun`` starts it.

In: ``--data`` with ``rank<R>/step<S>.f32``, each rank's own copy of its shards. Out: one
line per rank and step on stdout. It knows nothing of the demo that runs it: it hangs if a
shard cannot be read, as any such script does. The two lines that mention ``oobdump`` are
all that was added to it.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.nn import functional

import oobdump

TENSOR_PARALLEL = 2
FEATURES = 16
HIDDEN = 64
LEARNING_RATE = 0.05

log = logging.getLogger("train")


class SumOverTensorGroup(torch.autograd.Function):  # type: ignore[misc]  # torch is not checked
    """Adds up what the ranks of a tensor-parallel group computed; each rank's gradient is its own."""

    @staticmethod
    def forward(ctx: Any, partial: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
        """The sum over the group."""
        del ctx
        total = partial.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        """The gradient of each summand of a sum."""
        del ctx
        return gradient, None


class ParallelRegressor(nn.Module):  # type: ignore[misc]
    """Two layers; each rank of a tensor-parallel group holds a part of the hidden units."""

    def __init__(self, group: dist.ProcessGroup) -> None:
        super().__init__()
        self.group = group
        hidden = HIDDEN // dist.get_world_size(group)
        self.into_hidden = nn.Linear(FEATURES, hidden)
        self.out_of_hidden = nn.Linear(hidden, 1, bias=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """One prediction per row."""
        partial = self.out_of_hidden(torch.tanh(self.into_hidden(features)))
        return SumOverTensorGroup.apply(partial, self.group).squeeze(-1)


def load_next_shard(data: Path, step: int) -> torch.Tensor:
    """The next rows of this rank, a target and the features in each."""
    path = data / f"rank{dist.get_rank()}" / f"step{step}.f32"
    with open(path, "rb") as file:
        rows = bytearray(file.read())
    return torch.frombuffer(rows, dtype=torch.float32).reshape(-1, 1 + FEATURES)


def count_global_rows(shard: torch.Tensor) -> float:
    """How many rows all ranks have in this step, by which the loss is normalised."""
    rows = torch.tensor(float(len(shard)))
    dist.all_reduce(rows)
    return float(rows.item())


def average_gradients(model: nn.Module, group: dist.ProcessGroup) -> None:
    """Add the gradients up over the data-parallel group."""
    for parameter in model.parameters():
        dist.all_reduce(parameter.grad, group=group)


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer, shard: torch.Tensor, mesh: DeviceMesh) -> float:
    """One step; this rank's share of the loss."""
    rows = count_global_rows(shard) / TENSOR_PARALLEL
    targets, features = shard[:, 0], shard[:, 1:]
    loss = functional.mse_loss(model(features), targets, reduction="sum") / rows
    optimizer.zero_grad()
    loss.backward()
    average_gradients(model, mesh.get_group("data"))
    optimizer.step()
    return float(loss.item())


def train(data: Path, steps: int) -> None:
    """All steps, on a mesh of data-parallel by tensor-parallel ranks."""
    mesh = init_device_mesh(
        "cpu", (dist.get_world_size() // TENSOR_PARALLEL, TENSOR_PARALLEL), mesh_dim_names=("data", "tensor")
    )
    torch.manual_seed(mesh.get_local_rank("tensor"))
    model = ParallelRegressor(mesh.get_group("tensor"))
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    for step in range(steps):
        shard = load_next_shard(data, step)
        loss = train_step(model, optimizer, shard, mesh)
        log.info("[rank %d] step %d loss %.3f", dist.get_rank(), step, loss)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()

    oobdump.start()

    logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    dist.init_process_group("gloo")
    train(options.data, options.steps)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
