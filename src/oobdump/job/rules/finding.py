"""What a rule finds, and what a rule is.

In: nothing. Out: ``Finding`` and the ``Rule`` protocol. The rule only this module keeps: a finding
says whom it names, how sure it is, and the facts that it stands on, each as one sentence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from oobdump.job.blame import Picture

__all__ = ["Confidence", "Finding", "Rule"]

Confidence = Literal["high", "medium", "low"]


@dataclass(frozen=True)
class Finding:
    """One rule's finding. ``ranks`` are those to look at, ``workers`` names of those that have no rank.

    ``evidence`` are sentences; ``next_steps`` what to do, in words.
    """

    rule: str
    ranks: tuple[int, ...]
    confidence: Confidence
    summary: str
    evidence: tuple[str, ...] = ()
    workers: tuple[str, ...] = ()
    next_steps: tuple[str, ...] = ()


class Rule(Protocol):
    """Looks at a picture of a job. Pure: the same picture gives the same finding; None where it does not apply."""

    def __call__(self, seen: Picture, /) -> Finding | None:
        """What this rule finds, if it applies."""
