"""The last rule, ``unknown``: nothing else applies, and what was seen is said.

In: any picture. Out: always a finding, of low confidence.
"""

from __future__ import annotations

from oobdump.job.blame import Picture
from oobdump.job.rules.finding import Finding
from oobdump.job.wording import op_text, place, ranks_text

__all__ = ["unknown"]

_SHOWN = 5


def unknown(seen: Picture) -> Finding:
    """Which ranks stand still where, and what is missing for more."""
    evidence = [*_recorded(seen), *_still(seen), *_gaps(seen)]
    summary = "no rule explains what was seen"
    if seen.motions and not seen.blame and seen.stuck >= frozenset(seen.motions):
        summary += ": every rank stands still, and none is seen to wait for another"
    steps = ("oobdump stacks    # the merged stacks, whole", "Ask again with more samples: --samples 5 --every 5s")
    return Finding("unknown", (), "low", summary, tuple(evidence), (), steps)


def _recorded(seen: Picture) -> list[str]:
    """What the recorders show that no rule takes for a cause, such as a call that does not end on one rank."""
    found = seen.evidence.collectives.findings[:_SHOWN]
    return [
        f"call {each.seq} ({op_text(each.op)}) of {each.group.label}: {each.kind} on {ranks_text(each.ranks)}"
        for each in found
    ]


def _still(seen: Picture) -> list[str]:
    found = [each for each in seen.evidence.merged.outliers if each.frame is not None][:_SHOWN]
    told = [f"{seen.evidence.merged.fold(each.stack_class.members)} apart: {place(each.frame)}" for each in found]
    if seen.in_wait:
        told.append(f"{ranks_text(seen.in_wait)} stand in calls of torch.distributed")
    return told


def _gaps(seen: Picture) -> list[str]:
    told = []
    if not seen.evidence.recorded:
        told.append("no flight recorder was read: what the collectives did is not known")
    if seen.evidence.samples < 2:  # noqa: PLR2004 - stuck or slow needs two
        told.append("one sample only: stuck and slow look the same")
    silent = [worker for worker in seen.evidence.judged if worker.main is None]
    if silent:
        names = ", ".join(worker.member.worker for worker in silent[:_SHOWN])
        told.append(f"no stack of {len(silent)} workers: {names}")
    return told
