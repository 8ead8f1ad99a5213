"""What changed between samples: stuck, slow, or at work.

In: the looks at one worker, in order. Out: a ``Motion``. The rule only this module keeps: stillness
needs two looks; of a worker that was seen once nothing is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from oobdump.job.evidence import Look, Worker
from oobdump.job.stacks import Stack

__all__ = ["BUSY_SHARE", "Motion", "Pace", "motion"]

Pace = Literal["advances", "moves", "computes", "still", "once", "unseen"]
"""``advances``: its recorder completed calls; ``moves``: it was in other functions; ``computes``: the same
functions, and its processor at work; ``still``: none of that; ``once``: one look only."""

BUSY_SHARE = 0.15
"""Of one processor. A rank that waits uses a twentieth to answer; one that computes gets this on a crowded machine."""


@dataclass(frozen=True)
class Motion:
    """How one worker moved. ``span_s`` is from its first look to its last, ``cpu_s`` what it used meanwhile."""

    pace: Pace
    span_s: float = 0.0
    cpu_s: float | None = None
    completed: int = 0
    """Calls of process groups that it ended meanwhile."""
    lines_moved: bool = False
    """Whether a line of the main thread's stack changed, be it in the same functions."""

    @property
    def cpu_share(self) -> float | None:
        """Of one processor."""
        return self.cpu_s / self.span_s if self.cpu_s is not None and self.span_s > 0 else None

    @property
    def fixed(self) -> bool:
        """Whether it is not seen to have moved. A wait may burn a processor: NCCL's does."""
        return self.pace in ("still", "once", "unseen") or (self.pace == "computes" and not self.lines_moved)


def motion(worker: Worker) -> Motion:
    """How the worker moved from its first look to its last."""
    looks = [look for look in worker.looks if look.main is not None or look.facts is not None]
    if len(looks) < 2:  # noqa: PLR2004 - see the module's rule
        return Motion("once" if looks else "unseen")
    span = _span(looks)
    cpu = _cpu(looks)
    completed = _completed(looks)
    stacks = [look.main for look in looks if look.main is not None]
    lines = len(set(stacks)) > 1
    runs = all(look.facts is not None and look.facts.main_state == "R" for look in looks)
    busy = runs or (cpu is not None and span > 0 and cpu / span >= BUSY_SHARE)
    pace = _pace(stacks, busy=busy, completed=completed)
    return Motion(pace, span, cpu, completed, lines)


def _pace(stacks: Sequence[Stack], *, busy: bool, completed: int) -> Pace:
    if completed:
        return "advances"
    if len({tuple((frame.file, frame.function) for frame in stack) for stack in stacks}) > 1:
        return "moves"
    return "computes" if busy else "still"


def _span(looks: Sequence[Look]) -> float:
    times = [look.at for look in looks if look.at is not None]
    return max(times) - min(times) if times else 0.0


def _cpu(looks: Sequence[Look]) -> float | None:
    used = [look.facts.cpu_s for look in looks if look.facts is not None and look.facts.cpu_s is not None]
    return max(0.0, used[-1] - used[0]) if len(used) > 1 else None


def _completed(looks: Sequence[Look]) -> int:
    """How many calls were ended, over all groups. A counter that is absent in one look says nothing."""
    known = [look.completed for look in looks if look.completed]
    if len(known) < 2:  # noqa: PLR2004 - see the module's rule
        return 0
    first, last = known[0], known[-1]
    return sum(max(0, last[group] - first.get(group, last[group])) for group in last)
