"""Jobs of any size that go wrong in one known way, as flight recorders would tell it. Synthetic: no GPU was near them.

In: a name of ``SCENARIOS``, a number of ranks and of steps. Out: each rank's ``Recorder`` and what
is to be found. The layout is that of a usual job: a group of all ranks, tensor-parallel groups of
neighbours, data-parallel groups across them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from support.recorders import Recorder, Team

__all__ = ["SCENARIOS", "Job", "Scenario", "job"]

TENSOR_PARALLEL = 4
"""Neighbours in one group, at most."""


@dataclass(frozen=True)
class Scenario:
    """What is to be found: ``kind`` in ``group`` at ``seq``, naming ``ranks``; an empty ``kind`` is nothing wrong."""

    kind: str
    group: str
    seq: int
    ranks: frozenset[int]


@dataclass
class Job:
    """A job: its groups and one recorder a rank."""

    world: Team
    tensor: tuple[Team, ...]
    data: tuple[Team, ...]
    recorders: list[Recorder]

    def step(self, *, skip: Callable[[int, Team], bool] = lambda _rank, _team: False, state: str = "completed") -> None:
        """One training step of every rank, but for what ``skip`` leaves out."""
        for recorder in self.recorders:
            for team, name in self.of(recorder.rank):
                if not skip(recorder.rank, team):
                    recorder.collective(team, name, state=state)

    def of(self, rank: int) -> list[tuple[Team, str]]:
        """The calls of one step on one rank, in order."""
        tensor = next(team for team in self.tensor if rank in team.ranks)
        data = next(team for team in self.data if rank in team.ranks)
        return [(tensor, "all_reduce"), (data, "all_reduce"), (self.world, "all_reduce")]


def job(ranks: int, capacity: int = 2_000) -> Job:
    """A job of so many ranks that has not begun."""
    width = min(TENSOR_PARALLEL, ranks // 2)
    world = Team("0", "default_pg", tuple(range(ranks)))
    tensor = tuple(
        Team(str(1 + first // width), "tp", tuple(range(first, first + width))) for first in range(0, ranks, width)
    )
    data = tuple(Team(str(1 + len(tensor) + place), "dp", tuple(range(place, ranks, width))) for place in range(width))
    recorders = []
    for rank in range(ranks):
        own = [world, tensor[rank // width], data[rank % width]]
        recorders.append(Recorder(rank, own, capacity=capacity))
    return Job(world, tensor, data, recorders)


def _healthy(made: Job, steps: int) -> Scenario:
    for _ in range(steps):
        made.step()
    return Scenario("", "", 0, frozenset())


def _missing(made: Job, steps: int) -> Scenario:
    """One rank never comes to the last call of all ranks, in which the others wait."""
    _healthy(made, steps)
    odd = len(made.recorders) // 2 + 1
    for recorder in made.recorders:
        for team, name in made.of(recorder.rank)[:-1]:
            recorder.collective(team, name)
        if recorder.rank != odd:
            recorder.collective(made.world, state="started")
    return Scenario("missing-ranks", made.world.desc, steps + 1, frozenset({odd}))


def _missing_in_subgroup(made: Job, steps: int) -> Scenario:
    """One rank is missing in its tensor-parallel group; all the others hang behind it in the end."""
    _healthy(made, steps)
    odd = len(made.recorders) - 1
    tensor = made.tensor[-1]
    for recorder in made.recorders:
        if recorder.rank == odd:
            continue
        if recorder.rank in tensor.ranks:
            recorder.collective(tensor, state="started")
            continue
        own, _ = made.of(recorder.rank)[0]
        recorder.collective(own)
        partners = next(team for team in made.data if recorder.rank in team.ranks)
        recorder.collective(partners, state="started")
    return Scenario("missing-ranks", tensor.desc, steps + 1, frozenset({odd}))


def _other_type(made: Job, steps: int) -> Scenario:
    _healthy(made, steps)
    odd = len(made.recorders) // 3
    for recorder in made.recorders:
        recorder.collective(made.world, "broadcast" if recorder.rank == odd else "all_reduce", state="started")
    return Scenario("type-mismatch", made.world.desc, steps + 1, frozenset({odd}))


def _other_size(made: Job, steps: int) -> Scenario:
    _healthy(made, steps)
    odd = len(made.recorders) - 2
    for recorder in made.recorders:
        recorder.collective(made.world, sizes=[[2048 if recorder.rank == odd else 1024]], state="started")
    return Scenario("size-mismatch", made.world.desc, steps + 1, frozenset({odd}))


def _other_dtype(made: Job, steps: int) -> Scenario:
    _healthy(made, steps)
    odd = 1
    for recorder in made.recorders:
        recorder.collective(made.world, dtype="Half" if recorder.rank == odd else "Float", state="started")
    return Scenario("dtype-mismatch", made.world.desc, steps + 1, frozenset({odd}))


def _other_order(made: Job, steps: int) -> Scenario:
    """Two calls of one group swapped on one rank."""
    _healthy(made, steps)
    odd = len(made.recorders) - 1
    for recorder in made.recorders:
        names = ["broadcast", "all_reduce"] if recorder.rank == odd else ["all_reduce", "broadcast"]
        for name in names:
            recorder.collective(made.world, name, state="scheduled")
    return Scenario("order-mismatch", made.world.desc, steps + 1, frozenset({odd}))


def _one_behind(made: Job, steps: int) -> Scenario:
    """All have entered; on one rank the call has not ended."""
    _healthy(made, steps)
    odd = len(made.recorders) // 2
    for recorder in made.recorders:
        recorder.collective(made.world, state="started" if recorder.rank == odd else "completed")
    return Scenario("not-completed", made.world.desc, steps + 1, frozenset({odd}))


SCENARIOS: Mapping[str, Callable[[Job, int], Scenario]] = {
    "healthy": _healthy,
    "missing": _missing,
    "missing-in-subgroup": _missing_in_subgroup,
    "other-type": _other_type,
    "other-size": _other_size,
    "other-dtype": _other_dtype,
    "other-order": _other_order,
    "one-behind": _one_behind,
}
