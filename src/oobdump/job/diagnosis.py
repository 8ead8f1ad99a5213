"""A diagnosis: the verdict and everything that a reader may ask after it, as values.

In: ``Evidence``, and where it came from. Out: ``Diagnosis``; pages and JSON are made of it elsewhere.
The rule only this module keeps: the ranks that the verdict names come first among the outliers,
and every worker is counted once in the coverage.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from oobdump.job.activity import user_frame
from oobdump.job.blame import Picture, picture
from oobdump.job.evidence import Evidence, Worker
from oobdump.job.merge import Outlier
from oobdump.job.progress import Motion
from oobdump.job.rules import Finding, findings
from oobdump.job.stacks import MAIN_LABEL, Frame, Member, Stack

__all__ = ["MAX_APART", "Apart", "Coverage", "Diagnosis", "Provenance", "diagnose"]

MAX_APART = 10
"""Outliers told one by one, as NCCL RAS tells: above that they are no outliers."""


@dataclass(frozen=True)
class Provenance:
    """Where the evidence is from.

    ``source`` is ``asked``, ``dumps`` or the kind of what was read; ``taken_at`` is in seconds since 1970.
    """

    source: str
    job: str = ""
    directory: str = ""
    requests: tuple[str, ...] = ()
    samples: int = 1
    every_s: float = 0.0
    taken_at: float | None = None
    seconds: float | None = None
    command: str = ""
    """The words that the next commands need: which job, which directory."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Coverage:
    """Who was heard. ``expected`` counts the ranks of the job, 0 if nobody said how many there are."""

    expected: int
    workers: int
    answered: tuple[Worker, ...]
    outside: tuple[Worker, ...]
    silent: tuple[Worker, ...]
    absent: tuple[int, ...]
    recorders: int


@dataclass(frozen=True)
class Apart:
    """Workers that stand apart in the same place. ``named``: the verdict names them."""

    members: frozenset[Member]
    workers: tuple[Worker, ...]
    thread: str
    stack: Stack | None
    frame: Frame | None
    user: Frame | None
    named: bool
    motion: Motion | None


@dataclass(frozen=True)
class Diagnosis:
    """All of it. ``others`` are the findings of the rules behind the first that applied."""

    verdict: Finding
    others: tuple[Finding, ...]
    seen: Picture
    provenance: Provenance

    @property
    def evidence(self) -> Evidence:
        """What the verdict is made of."""
        return self.seen.evidence

    @cached_property
    def coverage(self) -> Coverage:
        """Who was heard, and who was not."""
        workers = self.evidence.workers
        return Coverage(
            expected=self.evidence.world,
            workers=len(workers),
            answered=tuple(each for each in workers if each.answered),
            outside=tuple(each for each in workers if not each.answered and each.main is not None),
            silent=tuple(each for each in workers if not each.answered and each.main is None),
            absent=self.evidence.absent,
            recorders=len(self.evidence.collectives.ranks),
        )

    @cached_property
    def outliers(self) -> tuple[Apart, ...]:
        """First those that the verdict names, then those whose stacks stand apart."""
        named = tuple(self._named())
        known = frozenset(member for each in named for member in each.members)
        return (*named, *self._by_stacks(known))

    def _named(self) -> Iterator[Apart]:
        """The verdict's ranks, those in the same place together."""
        names = set(self.verdict.workers)
        ranks = set(self.verdict.ranks)
        chosen = [w for w in self.evidence.judged if w.rank in ranks or w.member.worker in names]
        places: dict[tuple[str, Stack | None], list[Worker]] = {}
        for worker in chosen:
            places.setdefault((worker.state, worker.main), []).append(worker)
        for (_, stack), workers in list(places.items())[:MAX_APART]:
            yield self._apart(workers, MAIN_LABEL, stack, stack[-1] if stack else None, named=True)

    def _by_stacks(self, known: frozenset[Member]) -> Iterator[Apart]:
        by_member = {worker.member: worker for worker in self.evidence.workers}
        found = [each for each in self.evidence.merged.outliers if not each.stack_class.members <= known]
        for outlier in found[:MAX_APART]:
            workers = [by_member[member] for member in outlier.stack_class.members if member in by_member]
            yield self._outlier(outlier, workers)

    def _outlier(self, outlier: Outlier, workers: list[Worker]) -> Apart:
        each = outlier.stack_class
        return self._apart(workers, each.thread, each.frames, outlier.frame, named=False)

    def _apart(
        self, workers: list[Worker], thread: str, stack: Stack | None, frame: Frame | None, *, named: bool
    ) -> Apart:
        ordered = tuple(sorted(workers, key=lambda each: each.member.order))
        motions = (self.seen.motions.get(each.rank) for each in ordered if each.rank is not None)
        return Apart(
            frozenset(each.member for each in ordered),
            ordered,
            thread,
            stack,
            frame,
            user_frame(stack or ()),
            named,
            next((each for each in motions if each is not None), None),
        )


def diagnose(evidence: Evidence, provenance: Provenance) -> Diagnosis:
    """The verdict on this evidence."""
    seen = picture(evidence)
    first, *others = findings(seen)
    return Diagnosis(first, tuple(each for each in others if each.rule != "unknown"), seen, provenance)
