"""``oobdump sentinel``: start one by hand, as a sidecar for example, or show who it is.

In: a job, which need not have begun yet. Out: the name of the sentinel of this machine, or the
sentinel itself with ``--foreground``. The rule only this module keeps: a sentinel that is started by
hand meets the workers at their own lock, wherever their runtime directory is.
"""

from __future__ import annotations

import os
import time
from typing import Any

import click

from oobdump.channels.runtime import job_directory
from oobdump.cli import output
from oobdump.cli.exit_codes import ExitCode
from oobdump.cli.failure import CommandError
from oobdump.cli.output import Cell
from oobdump.cli.place import Place, json_option, place_options
from oobdump.config import Settings, settings
from oobdump.election.launch import command, launch
from oobdump.election.orders import LINGER_S, Orders
from oobdump.identity import Machine, iso
from oobdump.store import roster, sentinels
from oobdump.store.layout import Layout

__all__ = ["sentinel"]

SCHEMA_VERSION = 1

SEATED_WITHIN_S = 15.0
"""A Python that starts on a loaded machine takes a second or three."""

_LOOK_EVERY_S = 0.05

_ALIVE = {True: Cell("yes", "green"), False: Cell("gone", "red"), None: Cell("?", "yellow")}


@click.command()
@click.option("--status", is_flag=True, help="Start nothing: list the job's sentinels.")
@click.option("--foreground", is_flag=True, help="Be the sentinel, in this process, until it is not needed any more.")
@click.option(
    "--wait",
    "first_s",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="S",
    help="Leave if no worker comes within S seconds.  [default: wait for as long as it takes]",
)
@click.option(
    "--linger",
    "linger_s",
    type=click.FloatRange(min=0),
    default=LINGER_S,
    show_default=True,
    metavar="S",
    help="Seconds to stay after the last worker.",
)
@json_option
@place_options
def sentinel(place: Place, *, status: bool, foreground: bool, first_s: float, linger_s: float, as_json: bool) -> int:
    """Start the sentinel of a job on this machine, or show who it is.

    Workers start one by themselves; by hand it is for those that may not (OOBDUMP_SENTINEL=off), or for a
    sidecar. There is one for each job directory, machine and pid namespace: if there is one already,
    nothing is started.
    """
    chosen = settings()
    layout = Layout(place.root, place.job) if place.job and not status else place.layout()
    if status:
        return _show(layout, as_json=as_json)
    name = sentinels.live(layout, Machine.here())
    began = name is None
    if name is None:
        orders = _orders(chosen, layout, first_s, linger_s)
        if foreground:
            words = command(orders)
            os.execv(words[0], words)  # noqa: S606 - our own interpreter, with a list of words
        launch(orders)
        name = _seated(layout)
    if as_json:
        output.emit({"schema_version": SCHEMA_VERSION, "sentinel": name, "started": began})
    else:
        output.sentence(f"{name} {'was started' if began else 'runs already'}")
    return ExitCode.FINE


def _orders(chosen: Settings, layout: Layout, first_s: float, linger_s: float) -> Orders:
    runtime = _runtime_of_workers(layout) or job_directory(chosen.runtime_dir, layout.job)
    return Orders(
        root=layout.root,
        job=layout.job,
        runtime=runtime,
        fallbacks=Orders.of(chosen, layout.job, runtime).fallbacks,
        grace_s=chosen.grace_s,
        watch=chosen.watch,
        poll_s=chosen.poll_s,
        first_s=first_s,
        linger_s=linger_s,
    )


def _runtime_of_workers(layout: Layout) -> str:
    """The directory in which this machine's workers have their bells: theirs may be another than this shell's."""
    for entry in roster.read(layout)[0]:
        path = dict(entry.channels.get("bell") or {}).get("path")
        if isinstance(path, str) and entry.alive():
            return os.path.dirname(path)
    return ""


def _seated(layout: Layout) -> str:
    deadline = time.monotonic() + SEATED_WITHIN_S
    while (name := sentinels.live(layout, Machine.here())) is None:
        if time.monotonic() > deadline:
            raise CommandError(
                f"the sentinel that was started has not said within {SEATED_WITHIN_S:g} s that it runs: "
                "`oobdump sentinel --foreground` shows why",
                ExitCode.OWN_FAILURE,
            )
        time.sleep(_LOOK_EVERY_S)
    return name


def _show(layout: Layout, *, as_json: bool) -> int:
    seats = list(sentinels.read(layout))
    if as_json:
        output.emit({"schema_version": SCHEMA_VERSION, "sentinels": [_document(seat) for seat in seats]})
    else:
        rows = [(seat.name, seat.machine.host, str(seat.pid), _ALIVE[seat.alive()], iso(seat.since)) for seat in seats]
        output.table(("sentinel", "host", "pid", "alive", "since"), rows, right=("pid",))
    if not any(seat.alive() is not False for seat in seats):
        output.note(f"job {layout.job} has no sentinel")
        return ExitCode.FINDING
    return ExitCode.FINE


def _document(seat: sentinels.Seat) -> dict[str, Any]:
    return {
        "sentinel": seat.name,
        "host": seat.machine.host,
        "pid": seat.pid,
        "alive": seat.alive(),
        "since": iso(seat.since),
        "lock": seat.lock,
    }
