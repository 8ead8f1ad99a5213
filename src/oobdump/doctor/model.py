"""What a check is given, what it says, and how checks are listed; pure.

In: nothing. Out: ``Subject``, ``Kind``, ``Finding``, ``Check``. The rule only this module keeps: a
finding is made from its kind, so that its code, its severity and what mends it are the same wherever
they are shown, and the page of them is made from the same table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from oobdump.client import Outcome
from oobdump.config import Settings
from oobdump.store.layout import Layout
from oobdump.store.roster import Entry

__all__ = ["About", "Check", "Finding", "Kind", "Probe", "Severity", "Subject"]

Severity = Literal["error", "warning", "note"]
"""A dump fails; a dump is poorer, or fails in some states; nothing to mend, but good to know."""

About = Literal["machine", "worker"]


@dataclass(frozen=True)
class Subject:
    """What is looked at: this machine and a place for dumps and, for checks of a worker, one worker.

    ``settings`` and ``environ`` are what a worker that starts here and now would get. ``outcome`` is what
    became of the doctor's own request at this worker, None where it could not be asked.
    """

    settings: Settings
    environ: Mapping[str, str]
    layout: Layout
    entry: Entry | None = None
    outcome: Outcome | None = None
    answers: Mapping[str, Any] = field(default_factory=dict)
    not_asked: str = ""

    @property
    def worker(self) -> Entry:
        """The worker that a check of workers is about."""
        if self.entry is None:
            raise LookupError("this check is about a worker, and was given none")
        return self.entry


@dataclass(frozen=True)
class Finding:
    """One thing that was found: what was seen, and what to do."""

    code: str
    severity: Severity
    seen: str
    means: str
    next_step: str
    worker: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """A kind of finding: a stable code, what it means for a dump, and the next step."""

    code: str
    severity: Severity
    means: str
    next_step: str

    def found(self, seen: str, *, worker: str | None = None, next_step: str = "", **evidence: Any) -> Finding:
        """A finding of this kind; a next step that is known more exactly replaces the general one."""
        return Finding(self.code, self.severity, seen, self.means, next_step or self.next_step, worker, evidence)


class Probe(Protocol):
    """A check's work: looks, tries, and gives what it found; nothing when all is well. May raise ``OSError``."""

    def __call__(self, subject: Subject, /) -> Iterable[Finding]:
        """What was found."""
        ...


@dataclass(frozen=True)
class Check:
    """One check: its name, what it looks at, the kinds of findings that it can have, and its work."""

    name: str
    about: About
    what: str
    kinds: tuple[Kind, ...]
    run: Probe
    deadline_s: float = 15.0
