"""What became of a request, for people, for programs and as an exit code.

In: ``Outcome`` values, one for each worker that was asked. Out: the object of ``--json``, a
table with one line a worker, remarks on what went wrong, a code. The rule only this module
keeps: whoever did not answer is named, with the cause as far as it is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from oobdump.cli import output, units
from oobdump.cli.exit_codes import ExitCode
from oobdump.cli.output import Cell
from oobdump.client import Outcome
from oobdump.job.ranks import format_ranks
from oobdump.request import AcceptedRequest
from oobdump.store.layout import Layout
from oobdump.store.writer import PartRecord

__all__ = [
    "answered",
    "coverage",
    "document",
    "exit_code",
    "http_document",
    "outcome_document",
    "print_table",
    "rank_text",
    "who",
]

SCHEMA_VERSION = 1


def answered(outcome: Outcome) -> bool:
    """Whether anybody answered for that worker (what we refuse or miss ourselves is no answer)."""
    return outcome.status != "no_answer" and (outcome.answered_by != "client" or outcome.dump is not None)


def exit_code(outcomes: Sequence[Outcome]) -> ExitCode:
    """What these outcomes come to."""
    count = sum(map(answered, outcomes))
    if not count:
        return ExitCode.NOBODY_ANSWERED
    if count < len(outcomes):
        return ExitCode.PARTIAL
    return ExitCode.FINE if all(map(_fine, outcomes)) else ExitCode.FINDING


def _fine(outcome: Outcome) -> bool:
    """Whether the worker itself answered, and well: one that had to be looked at from outside is a finding."""
    return outcome.status == "ok" and outcome.answered_by == "worker"


def document(layout: Layout, accepted: AcceptedRequest, outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """The object that ``request --json`` prints."""
    return {
        "schema_version": SCHEMA_VERSION,
        "request_id": accepted.id,
        "job": layout.job,
        "dump_dir": layout.request_dir(accepted.id),
        "outcomes": [outcome_document(outcome) for outcome in outcomes],
    }


def http_document(layout: Layout, outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """The object that ``request --via http --json`` prints: each worker's dump has a request id of its own."""
    documents = []
    for outcome in outcomes:
        dump = outcome.dump
        own = {
            "request_id": None if dump is None else dump.request_id,
            "dump_dir": None if dump is None else layout.request_dir(dump.request_id),
        }
        documents.append(outcome_document(outcome) | own)
    return {"schema_version": SCHEMA_VERSION, "job": layout.job, "outcomes": documents}


def outcome_document(outcome: Outcome) -> dict[str, Any]:
    """One worker's outcome as plain values; ``path`` of a part is that of its file."""
    directory = outcome.dump.directory if outcome.dump is not None else ""
    return {
        "worker": outcome.worker or None,
        "rank": outcome.rank,
        "host": outcome.host,
        "pid": outcome.pid,
        "role": outcome.role,
        "status": outcome.status,
        "answered_by": outcome.answered_by,
        "state": outcome.state,
        "seconds": outcome.seconds,
        "why": outcome.why,
        "outside": None if outcome.outside is None else outcome.outside.directory,
        "parts": [_part(record, directory) for record in outcome.parts],
    }


def _part(record: PartRecord, directory: str) -> dict[str, Any]:
    return {
        "handler": record.handler,
        "status": record.status,
        "code": record.code,
        "media_type": record.media_type,
        "path": None if record.path is None else f"{directory}/{record.path}",
        "size": record.size,
        "error": None if record.error is None else asdict(record.error),
    }


def coverage(outcomes: Sequence[Outcome]) -> str:
    """``4 of 4 ranks answered``, or ``3 of 4 ranks answered; no answer: [2]``."""
    noun = "workers" if any(outcome.role != "rank" for outcome in outcomes) else "ranks"
    noun = noun if len(outcomes) != 1 else noun.removesuffix("s")
    missing = [outcome for outcome in outcomes if not answered(outcome)]
    text = f"{len(outcomes) - len(missing)} of {len(outcomes)} {noun} answered"
    return f"{text}; no answer: [{who(missing)}]" if missing else text


def who(outcomes: Iterable[Outcome]) -> str:
    """Ranks, folded, then the names of workers that have none."""
    ranks: list[int] = []
    names: list[str] = []
    for outcome in outcomes:
        if outcome.rank is not None and outcome.role == "rank":
            ranks.append(outcome.rank)
        else:
            names.append(outcome.worker or f"pid {outcome.pid}")
    return ",".join(filter(None, (format_ranks(ranks), *names)))


def print_table(outcomes: Sequence[Outcome]) -> None:
    """One line a worker, then one for each way in which something went wrong."""
    columns = ("rank", "host", "pid", "status", "state", "seconds", "parts")
    output.table(columns, [_row(outcome) for outcome in outcomes], right=("pid", "seconds"))
    for remark in _remarks(outcomes):
        output.sentence(remark)


def _row(outcome: Outcome) -> tuple[Cell | str, ...]:
    by = "" if outcome.answered_by in ("worker", None) else f" ({outcome.answered_by})"
    return (
        rank_text(outcome.rank, outcome.role),
        outcome.host,
        str(outcome.pid),
        Cell(outcome.status + by, output.STATUS_STYLES.get(outcome.status, "")),
        outcome.state or "-",
        "-" if outcome.seconds is None else f"{outcome.seconds:.3f}",
        ", ".join(_part_text(record) for record in outcome.parts) or "-",
    )


def rank_text(rank: int | None, role: str) -> str:
    """``3``; of what is no rank, its role as well."""
    return " ".join(filter(None, ("" if rank is None else str(rank), "" if role == "rank" else role))) or "-"


def _part_text(record: PartRecord) -> str:
    wrong = "" if record.status == "ok" else f" {record.status}"
    return f"{record.handler}{wrong} {units.size(record.size)}"


def _remarks(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """What went wrong, each cause once with all whom it befell."""
    causes: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        for cause in dict.fromkeys(_causes(outcome)):
            causes.setdefault(cause, []).append(outcome)
    for cause, members in causes.items():
        ranks = all(outcome.role == "rank" for outcome in members)
        noun = "" if not ranks else "rank " if len(members) == 1 else "ranks "
        yield f"{noun}{who(members)}: {cause}"


def _causes(outcome: Outcome) -> Iterator[str]:
    if outcome.why:
        seen = outcome.status != "no_answer" and outcome.dump is not None
        yield f"{outcome.state if seen else outcome.status}: {outcome.why}"
    for record in outcome.parts:
        if record.status != "ok":
            said = "" if record.error is None else f": {record.error.type}: {record.error.message}"
            yield f"{record.handler}: {record.status} {record.code}{said}"
