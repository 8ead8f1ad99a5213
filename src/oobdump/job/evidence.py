"""What is known of a job when a verdict is asked for, as frozen values.

In: nothing. Out: ``Evidence``: every worker that belongs to the job, answered or not, with one
``Look`` for each sample, and what the recorders of all ranks say together. The rule only this
module keeps: a worker that said nothing is here all the same, with the state it was found in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from oobdump.job.collectives import Collectives
from oobdump.job.merge import Merged
from oobdump.job.stacks import Member, Stack, WorkerStacks

__all__ = ["DEAD", "Evidence", "Facts", "Look", "Worker"]

DEAD = frozenset({"crashed", "killed", "exited", "gone"})
"""States of a worker whose process is no more."""

MUTE = frozenset({"gil-held", "stopped", "traced", "uninterruptible", "unreachable", "no-answer"})
"""States of a worker that is there, as far as is known, and does not answer for itself."""


@dataclass(frozen=True)
class Facts:
    """What the kernel knows of a worker's process in one sample; None is: not known."""

    cpu_s: float | None = None
    main_state: str | None = None
    rss_bytes: int | None = None
    threads: int | None = None
    descriptors: int | None = None
    descriptors_limit: int | None = None
    load: float | None = None
    cgroup_memory: tuple[int, int] | None = None
    """Used and allowed, in bytes."""


@dataclass(frozen=True)
class Look:
    """One worker in one sample. ``at`` is seconds since 1970 by its own clock.

    ``completed`` is how many calls each process group has ended by then; ``store_waits`` names the calls of
    the key-value store in which a thread of the worker was waiting.
    """

    at: float | None = None
    stacks: WorkerStacks | None = None
    facts: Facts | None = None
    completed: Mapping[str, int] = field(default_factory=dict)
    store_waits: tuple[str, ...] = ()

    @cached_property
    def main(self) -> Stack | None:
        """The main thread's stack, outermost frame first; None if there is none."""
        threads = () if self.stacks is None else self.stacks.threads
        return next((thread.frames for thread in threads if thread.main), None)


@dataclass(frozen=True)
class Worker:
    """One worker, whatever is known of it.

    ``state`` is ``responsive``, or one of the names for workers that did not answer; ``why`` says it in words.
    ``outside``: its stacks were read by somebody else.
    """

    member: Member
    host: str
    pid: int
    role: str
    state: str
    why: str = ""
    looks: tuple[Look, ...] = ()
    outside: bool = False
    attempt: int | None = None

    @property
    def rank(self) -> int | None:
        """Its rank, if it is a rank of the job."""
        return self.member.rank

    @property
    def dead(self) -> bool:
        """Whether its process is no more."""
        return self.state in DEAD

    @property
    def answered(self) -> bool:
        """Whether it answered for itself."""
        return self.state in ("responsive", "busy")

    @cached_property
    def seen(self) -> tuple[Look, ...]:
        """The looks that found a main thread."""
        return tuple(look for look in self.looks if look.main is not None)

    @property
    def main(self) -> Stack | None:
        """Where the main thread stood when it was last seen."""
        return self.seen[-1].main if self.seen else None


@dataclass(frozen=True)
class Evidence:
    """All of it. ``world`` is how many ranks the job has as far as anybody said, 0 if nobody did."""

    workers: tuple[Worker, ...]
    collectives: Collectives
    merged: Merged
    world: int = 0
    samples: int = 1
    every_s: float = 0.0
    recorded: bool = False
    """Whether any rank's flight recorder could be read."""

    @cached_property
    def ranks(self) -> Mapping[int, Worker]:
        """The workers that are ranks, by rank; of several incarnations the one that is there."""
        found: dict[int, Worker] = {}
        for worker in self.workers:
            if worker.rank is not None and worker.role == "rank":
                known = found.get(worker.rank)
                if known is None or _newer(worker, known):
                    found[worker.rank] = worker
        return found

    @cached_property
    def judged(self) -> tuple[Worker, ...]:
        """Whom a verdict is about: the ranks; in a job without ranks, every worker."""
        return tuple(self.ranks[rank] for rank in sorted(self.ranks)) or self.workers

    @cached_property
    def absent(self) -> tuple[int, ...]:
        """Ranks that the job has and of which there is no worker at all."""
        return tuple(rank for rank in range(self.world) if rank not in self.ranks)

    @cached_property
    def hosts(self) -> frozenset[str]:
        """The hosts of those a verdict is about."""
        return frozenset(worker.host for worker in self.judged)

    def children(self, rank: int) -> tuple[Worker, ...]:
        """The armed processes below a rank, such as its DataLoader workers."""
        return tuple(worker for worker in self.workers if worker.role == "child" and _rank_of(worker) == rank)


def _newer(worker: Worker, known: Worker) -> bool:
    return (not worker.dead, worker.attempt or 0) > (not known.dead, known.attempt or 0)


def _rank_of(worker: Worker) -> int | None:
    text = worker.member.worker.partition(".")[0].removeprefix("rank")
    return int(text) if text.isdigit() else None
