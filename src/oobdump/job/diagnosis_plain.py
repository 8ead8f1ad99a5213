"""A diagnosis as plain values: the document of ``oobdump diagnose --json``.

In: ``Diagnosis``. Out: one dict, schema version 1. The rule only this module keeps: keys stay what they
are; sets of ranks are folded texts but for the verdict's, which is a list of numbers.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from oobdump._version import __version__
from oobdump.identity import iso
from oobdump.job.collectives import Collectives, Group, GroupKey, Variant, Wait
from oobdump.job.collectives import Finding as Difference
from oobdump.job.diagnosis import Apart, Coverage, Diagnosis
from oobdump.job.evidence import Worker
from oobdump.job.plain import merged_to_plain
from oobdump.job.progress import Motion
from oobdump.job.ranks import format_ranks
from oobdump.job.rules import PAGE, Finding
from oobdump.job.stacks import Frame, Stack
from oobdump.job.trace import Op

__all__ = ["SCHEMA_VERSION", "diagnosis_to_plain"]

SCHEMA_VERSION = 1


def diagnosis_to_plain(diagnosis: Diagnosis) -> dict[str, Any]:
    """The document."""
    collectives = diagnosis.evidence.collectives
    return {
        "schema_version": SCHEMA_VERSION,
        "verdict": _verdict(diagnosis.verdict),
        "coverage": _coverage(diagnosis.coverage),
        "outliers": [_apart(each) for each in diagnosis.outliers],
        "stack_classes": merged_to_plain(diagnosis.evidence.merged)["classes"],
        "collectives": [_group(each, collectives) for each in collectives.groups],
        "waits": [_wait(each) for each in collectives.waits],
        "progress": _progress(diagnosis),
        "provenance": _provenance(diagnosis),
    }


def _verdict(finding: Finding) -> dict[str, Any]:
    return {
        "rule": finding.rule,
        "ranks": list(finding.ranks),
        "confidence": finding.confidence,
        "summary": finding.summary,
        "evidence": list(finding.evidence),
    }


def _coverage(coverage: Coverage) -> dict[str, Any]:
    return {
        "expected_ranks": coverage.expected or None,
        "workers": coverage.workers,
        "answered": len(coverage.answered),
        "answered_from_outside": len(coverage.outside),
        "recorders_read": coverage.recorders,
        "absent_ranks": format_ranks(coverage.absent),
        "unanswered": [_silent(each) for each in (*coverage.outside, *coverage.silent)],
    }


def _silent(worker: Worker) -> dict[str, Any]:
    return {
        "worker": worker.member.worker,
        "rank": worker.rank,
        "host": worker.host,
        "pid": worker.pid,
        "state": worker.state,
        "why": worker.why,
        "stack_from_outside": worker.main is not None,
    }


def _apart(each: Apart) -> dict[str, Any]:
    ranks = [worker.rank for worker in each.workers if worker.rank is not None]
    return {
        "ranks": ranks,
        "workers": [worker.member.worker for worker in each.workers],
        "hosts": sorted({worker.host for worker in each.workers}),
        "states": sorted({worker.state for worker in each.workers}),
        "named_by_verdict": each.named,
        "thread": each.thread,
        "frame": _frame(each.frame),
        "user_frame": _frame(each.user),
        "frames": _frames(each.stack or ()),
        "motion": None if each.motion is None else _motion(each.motion),
        "process": _process(each.workers[0]) if each.workers else None,
    }


def _process(worker: Worker) -> dict[str, Any] | None:
    facts = next((look.facts for look in reversed(worker.looks) if look.facts is not None), None)
    if facts is None:
        return None
    memory = None if facts.cgroup_memory is None else list(facts.cgroup_memory)
    return {**asdict(facts), "cgroup_memory": memory, "pid": worker.pid, "host": worker.host}


def _motion(motion: Motion) -> dict[str, Any]:
    return {
        "pace": motion.pace,
        "seconds": round(motion.span_s, 3),
        "cpu_s": None if motion.cpu_s is None else round(motion.cpu_s, 3),
        "completed_calls": motion.completed,
        "lines_moved": motion.lines_moved,
    }


def _progress(diagnosis: Diagnosis) -> dict[str, Any]:
    paces: dict[str, list[int]] = {}
    for rank, each in diagnosis.seen.motions.items():
        paces.setdefault(each.pace, []).append(rank)
    named = {rank: diagnosis.seen.motions.get(rank) for rank in diagnosis.verdict.ranks}
    return {
        "samples": diagnosis.evidence.samples,
        "every_s": diagnosis.evidence.every_s,
        "ranks_by_pace": {pace: format_ranks(ranks) for pace, ranks in sorted(paces.items())},
        "named": {str(rank): _motion(each) for rank, each in named.items() if each is not None},
    }


def _provenance(diagnosis: Diagnosis) -> dict[str, Any]:
    made = diagnosis.provenance
    return {
        "oobdump": __version__,
        "source": made.source,
        "job": made.job or None,
        "directory": made.directory or None,
        "requests": list(made.requests),
        "taken_at": None if made.taken_at is None else iso(made.taken_at),
        "seconds": None if made.seconds is None else round(made.seconds, 3),
        "rule_page": f"{PAGE}#{diagnosis.verdict.rule}",
        "other_findings": [_verdict(each) for each in diagnosis.others],
        "next_steps": list(diagnosis.verdict.next_steps),
        "problems": [
            *({"worker": each.where, "reason": each.reason} for each in diagnosis.evidence.collectives.problems),
            *(
                {"worker": each.worker, "reason": each.reason}
                for each in sorted(
                    diagnosis.evidence.merged.problems, key=lambda each: (each.member.order, each.reason)
                )
            ),
        ],
        "notes": list(made.notes),
    }


def _group(group: Group, collectives: Collectives) -> dict[str, Any]:
    differences = [each for each in collectives.findings if each.group == group.key]
    return {
        **_key(group.key),
        "backend": group.backend,
        "members": format_ranks(group.members),
        "members_from": group.members_from,
        "heard": format_ranks(group.heard),
        "unheard": format_ranks(group.unheard),
        "first_call": group.first,
        "furthest_call": group.front,
        "positions": [
            {"entered": each.entered, "completed": each.completed, "ranks": format_ranks(each.ranks)}
            for each in group.positions
        ],
        "never_entered": format_ranks(group.never_entered),
        "wrapped": format_ranks(group.wrapped),
        "is_wavefront": group.key in collectives.wavefront,
        "findings": [_difference(each) for each in differences],
    }


def _key(key: GroupKey) -> dict[str, Any]:
    return {"group": key.name, "description": key.desc}


def _difference(each: Difference) -> dict[str, Any]:
    return {
        "kind": each.kind,
        "call": each.seq,
        "operation": _op(each.op),
        "ranks": format_ranks(each.ranks),
        "others": format_ranks(each.others),
        "unheard": format_ranks(each.unheard),
        "variants": [_variant(variant) for variant in each.variants],
        "frames": _frames(each.frames),
        "detail": each.detail,
    }


def _variant(variant: Variant) -> dict[str, Any]:
    return {"operation": _op(variant.op), "ranks": format_ranks(variant.ranks), "frames": _frames(variant.frames)}


def _wait(wait: Wait) -> dict[str, Any]:
    return {
        **_key(wait.group),
        "call": wait.seq,
        "operation": _op(wait.op),
        "p2p": wait.p2p,
        "waiting": format_ranks(wait.waiting),
        "on": format_ranks(wait.on),
        "unheard": format_ranks(wait.unheard),
        "since_ns": wait.since_ns,
        "frames": _frames(wait.frames),
    }


def _op(op: Op) -> dict[str, Any]:
    return {
        "backend": op.backend,
        "name": op.name,
        "input_sizes": [list(each) for each in op.input_sizes],
        "input_dtypes": list(op.input_dtypes),
        "output_sizes": [list(each) for each in op.output_sizes],
        "output_dtypes": list(op.output_dtypes),
        "source": op.source,
        "target": op.target,
    }


def _frames(stack: Stack) -> list[dict[str, Any] | None]:
    return [_frame(frame) for frame in stack]


def _frame(frame: Frame | None) -> dict[str, Any] | None:
    return None if frame is None else {"file": frame.file, "line": frame.line, "function": frame.function}
