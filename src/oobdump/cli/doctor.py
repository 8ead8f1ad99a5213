"""``oobdump doctor``: what would make a dump fail on this machine or in a worker, each finding with its mend.

In: a place, and workers by pid, name or job. Out: findings, or one object. The rules only this module
keeps: it works without any worker and on a machine that shares nothing with the job but its directory;
a place that must not be used is a finding, not an end; and a note alone is no finding for the exit code.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import click

from oobdump.cli import content, output
from oobdump.cli.exit_codes import ExitCode
from oobdump.cli.failure import CommandError
from oobdump.cli.output import Cell
from oobdump.cli.place import Place, json_option, place_options
from oobdump.client import Client, Outcome, find_job, jobs
from oobdump.config import settings
from oobdump.doctor import CHECKS, Done, Finding, Subject, examine
from oobdump.doctor.worker import NOT_ARMED
from oobdump.errors import OobdumpError, StoreError
from oobdump.identity import Identity, Machine
from oobdump.process_status import status
from oobdump.request import HandlerCall, Request
from oobdump.store.layout import Layout
from oobdump.store.roster import Entry
from oobdump.targets import Candidate, select

__all__ = ["doctor"]

SCHEMA_VERSION = 1
TIMEOUT_S = 5.0
"""Of each of the doctor's own two questions: a worker answers them in milliseconds."""

_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}
_ASKED = ("ping", "process")


@click.command()
@click.option("--pid", "pids", multiple=True, type=click.IntRange(min=1), metavar="PID", help="This worker.")
@click.option("--worker", "words", multiple=True, metavar="WHO", help="These workers (a name, ranks, a host, a role).")
@click.option(
    "--check",
    "checks",
    multiple=True,
    type=click.Choice([check.name for check in CHECKS]),
    metavar="NAME",
    help="Only this check (may be given several times).",
)
@json_option
@place_options
def doctor(
    place: Place, *, pids: tuple[int, ...], words: tuple[str, ...], checks: tuple[str, ...], as_json: bool
) -> int:
    """Find out what would make a dump fail here, or in a worker, and what mends it.

    Without options: this machine and, if a job is there, its workers that run. With --pid or --worker only
    these workers are looked at beside the machine. The workers are asked once, as with `oobdump request`.
    """
    layout, entries = _workers(place, pids, words)
    machine = Subject(settings(), {**os.environ}, layout)
    found = [*_unknown(place, pids, entries)]
    done = [*examine(machine, [*_subjects(machine, entries)], checks)]
    findings = [*found, *(finding for each in done for finding in each.findings)]
    if as_json:
        output.emit(_document(layout, done, findings))
    else:
        _print(layout, entries, done, findings)
    return ExitCode.FINDING if any(finding.severity != "note" for finding in findings) else ExitCode.FINE


def _workers(place: Place, pids: Sequence[int], words: Sequence[str]) -> tuple[Layout, list[Entry]]:
    """The job that is meant, and the workers to look at; a job that nobody was in has none."""
    if pids:
        layouts = [place.layout()] if place.job is not None else _all_jobs(place.root)
        found = [(layout, entry) for layout in layouts for entry in _entries(layout) if _is_one(entry, pids)]
        layout = found[0][0] if found else _layout(place, needed=False)
        return layout, [entry for where, entry in found if where == layout]
    layout = _layout(place, needed=bool(words))
    running = [entry for entry in _entries(layout) if entry.alive() is not False]
    if not words:
        return layout, running
    chosen = select(tuple(words), [_candidate(entry) for entry in running])
    return layout, [entry for entry in running if entry.worker in chosen]


def _is_one(entry: Entry, pids: Sequence[int]) -> bool:
    return entry.identity.pid in pids and entry.identity.machine == Machine.here() and entry.alive() is True


def _candidate(entry: Entry) -> Candidate:
    identity = entry.identity
    return Candidate(entry.worker, identity.host, identity.rank, identity.role)


def _layout(place: Place, *, needed: bool) -> Layout:
    """The job; without one to be found, the one that a program started here would have."""
    try:
        return find_job(place.root, place.job)
    except (StoreError, OSError) as error:
        if needed:
            raise CommandError(str(error), ExitCode.USAGE) from None
        return Layout(place.root, place.job or Identity.here().job)


def _all_jobs(root: str) -> list[Layout]:
    try:
        return [*jobs(root)]
    except OSError:
        return []  # the check of the root says so


def _entries(layout: Layout) -> list[Entry]:
    try:
        return Client(layout).workers()[0]
    except OSError:
        return []  # the check of the job says so


def _unknown(place: Place, pids: Sequence[int], entries: Sequence[Entry]) -> Iterator[Finding]:
    """Processes that were named and are in no roster."""
    known = {entry.identity.pid for entry in entries}
    for pid in pids:
        if pid not in known:
            state = status(pid).get("State")
            seen = f"process {pid} is in no roster under {place.root}" if state else f"there is no process {pid}"
            yield NOT_ARMED.found(seen, pid=pid, state=state)


def _subjects(machine: Subject, entries: Sequence[Entry]) -> Iterator[Subject]:
    """Each worker with what became of the request at it."""
    outcomes, why = _ask(machine.layout, [entry for entry in entries if entry.alive() is not False])
    for entry in entries:
        outcome = outcomes.get(entry.worker)
        answers = {} if outcome is None else dict(_answers(outcome))
        yield replace(machine, entry=entry, outcome=outcome, answers=answers, not_asked=why)


def _ask(layout: Layout, entries: Sequence[Entry]) -> tuple[dict[str, Outcome], str]:
    """One request to all of them; why nobody could be asked, if so."""
    if not entries:
        return {}, ""
    calls = tuple(HandlerCall(name) for name in _ASKED)
    request = Request(calls, targets=tuple(entry.worker for entry in entries), timeout_s=TIMEOUT_S)
    client = Client(layout)
    try:
        outcomes = client.wait(client.ask(request))
    except (OobdumpError, OSError) as error:
        return {}, f"{type(error).__name__}: {error}"
    return {outcome.worker: outcome for outcome in outcomes}, ""


def _answers(outcome: Outcome) -> Iterator[tuple[str, Any]]:
    for part in outcome.parts:
        if outcome.dump is not None and part.status == "ok":
            found = content.read(outcome.dump, part)
            if found.kind == "value":
                yield part.handler, found.plain


def _document(layout: Layout, done: Sequence[Done], findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "host": Machine.here().host,
        "root": layout.root,
        "job": layout.job,
        "findings": [_finding(finding) for finding in findings],
        "checks": [
            {
                "name": each.check.name,
                "about": each.check.about,
                "worker": each.worker,
                "what": each.check.what,
                "codes": [finding.code for finding in each.findings],
                "seconds": round(each.seconds, 3),
            }
            for each in done
        ],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code,
        "severity": finding.severity,
        "worker": finding.worker,
        "seen": finding.seen,
        "means": finding.means,
        "next_step": finding.next_step,
        "evidence": dict(finding.evidence),
    }


def _print(layout: Layout, entries: Sequence[Entry], done: Sequence[Done], findings: Sequence[Finding]) -> None:
    order = list(_STYLES)
    rows = [
        (Cell(finding.severity, _STYLES[finding.severity]), finding.code, finding.worker or "-")
        for finding in sorted(findings, key=lambda finding: order.index(finding.severity))
    ]
    if rows:
        output.table(("severity", "code", "worker"), rows)
    for finding in sorted(findings, key=lambda finding: order.index(finding.severity)):
        output.say("")
        output.sentence(f"{finding.code}: {finding.seen}")
        output.sentence(f"  means: {finding.means}")
        output.sentence(f"  next: {finding.next_step}")
    counts = ", ".join(f"{name}: {sum(each.severity == name for each in findings)}" for name in order)
    output.say("") if rows else None
    what = f"this machine, {layout.root} and {len(entries)} worker{'' if len(entries) == 1 else 's'}"
    output.sentence(f"{len(done)} check{'' if len(done) == 1 else 's'} of {what} ({counts})")
