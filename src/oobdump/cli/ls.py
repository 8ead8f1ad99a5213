"""``oobdump ls``: the dumps of a job, newest first.

In: a job's directory. Out: a table, or one object: id, when, handlers, how many answered, the
worst status, size. Reads nothing of the parts.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from oobdump.cli import finding, output, units
from oobdump.cli.exit_codes import ExitCode
from oobdump.cli.failure import CommandError
from oobdump.cli.outcomes import answered
from oobdump.cli.output import Cell
from oobdump.cli.place import Place, json_option, place_options
from oobdump.client import Client
from oobdump.identity import iso
from oobdump.response import worst
from oobdump.store import retention
from oobdump.store.layout import Layout
from oobdump.store.retention import Kept

__all__ = ["ls"]

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class _Line:
    """One request as it is listed."""

    id: str
    at: float
    handlers: tuple[str, ...] = ()
    asked: int = 0
    answered: int = 0
    status: str | None = None
    in_progress: bool = False
    bytes: int = 0
    problem: str = ""


@click.command()
@json_option
@place_options
def ls(place: Place, *, as_json: bool) -> int:
    """List the dumps of a job, newest first: when, what was asked, how many answered, how large."""
    layout = place.layout()
    now = time.time()
    kept = {each.id: each for each in retention.survey(layout, now)}
    lines = [_line(Client(layout), each, kept) for each in finding.listed(layout)]
    if not lines:
        raise CommandError(f"job {layout.job} has no dumps: `oobdump request stacks` asks for some", ExitCode.NO_DUMPS)
    if as_json:
        output.emit(_document(layout, lines))
    else:
        _print(lines, now)
    return ExitCode.FINE


def _line(client: Client, found: finding.Found, kept: Mapping[str, Kept]) -> _Line:
    size = kept[found.id].bytes if found.id in kept else 0
    busy = kept[found.id].in_progress if found.id in kept else False
    if found.accepted is None:
        return _Line(found.id, found.at, in_progress=busy, bytes=size, problem=found.problem)
    outcomes = client.outcomes(found.accepted)
    return _Line(
        found.id,
        found.at,
        handlers=tuple(call.name for call in found.accepted.request.calls),
        asked=len(outcomes),
        answered=sum(map(answered, outcomes)),
        status=worst(outcome.status for outcome in outcomes),
        in_progress=busy,
        bytes=size,
    )


def _document(layout: Layout, lines: list[_Line]) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "job": layout.job,
        "requests": [
            {
                "request_id": line.id,
                "accepted_at": iso(line.at),
                "handlers": list(line.handlers),
                "asked": line.asked,
                "answered": line.answered,
                "status": line.status,
                "in_progress": line.in_progress,
                "bytes": line.bytes,
                "dump_dir": layout.request_dir(line.id),
                "problem": line.problem,
            }
            for line in lines
        ],
    }


def _print(lines: list[_Line], now: float) -> None:
    output.table(
        ("id", "age", "handlers", "answered", "status", "size"), [_row(line, now) for line in lines], right=("size",)
    )
    for line in lines:
        if line.problem:
            output.note(f"{line.id}: {line.problem}")


def _row(line: _Line, now: float) -> tuple[Cell | str, ...]:
    status = "damaged" if line.problem else "in progress" if line.in_progress else line.status or "-"
    return (
        line.id,
        units.age(now - line.at),
        ", ".join(line.handlers) or "-",
        f"{line.answered}/{line.asked}" if not line.problem else "-",
        Cell(status, output.STATUS_STYLES.get(status, "")),
        units.size(line.bytes),
    )
