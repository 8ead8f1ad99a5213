"""``oobdump ps``: who answers, who has gone, and what each worker could not set up.

In: the rosters of a root. Out: one table a job, or one object. The rule only this module keeps:
``alive`` is what can be seen from this machine: true, false, or null where it cannot be seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from oobdump.cli import output
from oobdump.cli.exit_codes import ExitCode
from oobdump.cli.outcomes import rank_text
from oobdump.cli.output import Cell
from oobdump.cli.place import Place, json_option, place_options
from oobdump.client import Client
from oobdump.store.layout import Layout
from oobdump.store.roster import Entry

__all__ = ["ps"]

SCHEMA_VERSION = 1

_ALIVE = {True: Cell("yes", "green"), False: Cell("gone", "red"), None: Cell("?", "yellow")}

_NO_WAYS_IN = ("bell", "last_words", "memory", "sentinel")
"""What the roster says beside them: what rings a worker, and what tells later how it ended."""

_Job = tuple[Layout, Sequence[Entry]]


@click.command()
@click.option("--all", "show_gone", is_flag=True, help="Also the workers that are gone.")
@json_option
@place_options
def ps(place: Place, *, show_gone: bool, as_json: bool) -> int:
    """List the workers of all jobs under the root, or of one job.

    "alive" is "?" for a worker that cannot be seen from this machine. Under the table is what a worker
    could not set up.
    """
    found: list[_Job] = []
    problems: list[str] = []
    for layout in place.layouts():
        entries, wrong = _workers(layout)
        found.append((layout, entries))
        problems += wrong
    shown = [
        (layout, [entry for entry in entries if show_gone or entry.alive() is not False]) for layout, entries in found
    ]
    hidden = sum(len(entries) for _, entries in found) - sum(len(entries) for _, entries in shown)
    if as_json:
        output.emit(_document(shown, problems))
    else:
        _print(shown, problems)
        _remark(place, found, hidden)
    return ExitCode.FINE


def _workers(layout: Layout) -> tuple[list[Entry], list[str]]:
    """One job's workers; another user's job is a problem and hides no other."""
    try:
        entries, problems = Client(layout).workers()
    except PermissionError as error:
        return [], [f"job {layout.job}: {error}"]
    return sorted(entries, key=_order), [f"job {layout.job}: {problem}" for problem in problems]


def _order(entry: Entry) -> tuple[bool, int, bool, str]:
    identity = entry.identity
    return identity.rank is None, identity.rank or 0, identity.role != "rank", entry.worker


def _document(jobs: Sequence[_Job], problems: Sequence[str]) -> dict[str, Any]:
    workers = [_worker(entry) for _, entries in jobs for entry in entries]
    return {"schema_version": SCHEMA_VERSION, "workers": workers, "problems": list(problems)}


def _worker(entry: Entry) -> dict[str, Any]:
    identity = entry.identity
    return {
        "worker": entry.worker,
        "rank": identity.rank,
        "host": identity.host,
        "pid": identity.pid,
        "job": identity.job,
        "attempt": identity.attempt,
        "role": identity.role,
        "alive": entry.alive(),
        "channels": dict(entry.channels),
        "problems": list(entry.problems),
        "ended": None if entry.ended is None else dict(entry.ended),
    }


def _print(jobs: Sequence[_Job], problems: Sequence[str]) -> None:
    columns = ("rank", "role", "host", "pid", "alive", "attempt", "channels", "problems")
    for layout, entries in jobs:
        if entries:
            output.sentence(f"job {layout.job}")
            output.table(columns, [_row(entry) for entry in entries], right=("pid", "attempt", "problems"))
        for problem, workers in _by_problem(entries).items():
            output.sentence(f"{', '.join(workers)}: {problem}")
    for problem in problems:
        output.note(problem)


def _by_problem(entries: Sequence[Entry]) -> dict[str, list[str]]:
    """Each problem once, with the workers that have it."""
    found: dict[str, list[str]] = {}
    for entry in entries:
        for problem in entry.problems:
            found.setdefault(problem, []).append(entry.worker)
    return found


def _row(entry: Entry) -> tuple[Cell | str, ...]:
    identity = entry.identity
    return (
        rank_text(identity.rank, "rank") if identity.rank is not None else "-",
        identity.role,
        identity.host,
        str(identity.pid),
        _ALIVE[entry.alive()],
        "-" if identity.attempt is None else str(identity.attempt),
        ", ".join(_channels(entry.channels)) or "-",
        Cell(str(len(entry.problems)), "yellow") if entry.problems else "-",
    )


def _channels(channels: Mapping[str, Any]) -> list[str]:
    """The ways in that are open, by what one would use: ``files``, ``SIGUSR1``."""
    texts: list[str] = []
    for name, about in channels.items():
        if name not in _NO_WAYS_IN and isinstance(about, Mapping) and "off" not in about:
            form = _FORMS.get(name)
            texts += [name] if form is None else form(about)
    return texts


def _files(about: Mapping[str, Any]) -> list[str]:
    if about.get("events"):
        return ["files"]
    return [f"files every {about['poll_s']} s"] if about.get("poll_s") else []


def _signals(about: Mapping[str, Any]) -> list[str]:
    armed = about.get("armed")
    return [str(name) for name in armed] if isinstance(armed, list) else []


_FORMS = {"request_file": _files, "signal": _signals}


def _remark(place: Place, found: Sequence[_Job], hidden: int) -> None:
    if not found:
        output.note(f"no job has been under {place.root}: give --dir, or set OOBDUMP_DIR as the workers have it")
    elif hidden:
        output.note(f"{hidden} {'worker is' if hidden == 1 else 'workers are'} gone: --all shows them")
