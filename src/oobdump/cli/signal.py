"""``oobdump signal``: send the request signal, and wait for the dump that it asks for.

In: pids. Out: what became of each, as ``request`` prints it. The rule only this module keeps:
the process that is signalled is the incarnation that was checked (a pidfd holds it); one that
does not expect the signal is not sent it, and one that cannot answer is looked at from outside.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import click

from oobdump.cli import outcomes as results
from oobdump.cli import output
from oobdump.cli.armed import refusal
from oobdump.cli.place import Place, json_option, place_options
from oobdump.client import Client, Outcome
from oobdump.config import settings, signal_number
from oobdump.errors import DamagedDump, RequestError
from oobdump.identity import Machine
from oobdump.outside.patience import SENTINEL_S, Patience
from oobdump.outside.strangers import is_python, name_of_stranger
from oobdump.process_status import status
from oobdump.request import AcceptedRequest, HandlerCall, Request
from oobdump.store import reader, roster, sentinels
from oobdump.store.layout import Layout

__all__ = ["signal_"]

TIMEOUT_S = 30.0
"""The request signal asks for stacks and process by default, each with 10 s, and the rest for writing."""

_LOOK_EVERY_S = 0.02

_LOOKED_FOR = (HandlerCall("stacks"), HandlerCall("process"))
"""What a process is looked at for that cannot answer: what the request signal asks for by default."""

UNARMED_JOB = "unarmed"
"""Where the dumps of processes are that belong to no job."""


@dataclass
class _Line:
    """One pid: the worker that it is, what has come of it, and once the signal asked for it, the request.

    ``in_its_place`` is set where the request is ours, because the signal's own had not come.
    """

    outcome: Outcome
    layout: Layout | None = None
    home: Layout | None = None
    before: frozenset[str] = frozenset()
    accepted: AcceptedRequest | None = None
    patience: Patience | None = None
    in_its_place: bool = False
    sent_at: float = 0.0

    @property
    def open(self) -> bool:
        """Whether its dump is still to come."""
        return self.layout is not None and self.outcome.status == "no_answer"


@click.command("signal")
@click.argument("pids", nargs=-1, required=True, type=click.IntRange(min=1), metavar="PID…")
@click.option("--signal", "name", default="SIGUSR1", show_default=True, metavar="SIGNAL", help="The signal to send.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=TIMEOUT_S,
    show_default=True,
    metavar="S",
    help="Seconds to wait.",
)
@json_option
@place_options
def signal_(place: Place, *, pids: tuple[int, ...], name: str, timeout: float, as_json: bool) -> int:
    """Send workers on this machine the request signal, and wait for their dumps.

    What a worker then dumps is its own setting. A process that does not expect the signal would be
    ended by it: it is never sent it. One that is not armed, is gone, or cannot answer is looked at from
    outside, which pauses nobody.
    """
    try:
        signal_number(name)
    except ValueError as error:
        raise RequestError(str(error)) from None
    lines = [_sent(place, pid, name) for pid in dict.fromkeys(pids)]
    _wait(lines, time.monotonic() + timeout, timeout)
    outcomes = [line.outcome for line in lines]
    if as_json:
        output.emit(_document(lines, name))
    else:
        results.print_table(outcomes)
        for line in lines:
            if line.layout is not None and line.accepted is not None:
                output.sentence(f"dump: {line.layout.dump(line.accepted.id, line.outcome.worker)}")
    return results.exit_code(outcomes)


def _sent(place: Place, pid: int, name: str) -> _Line:
    """Checks one process and sends it the signal, or says why not."""
    found = _worker(place, pid)
    if found is None:
        return _stranger(place, pid, name)
    layout, entry = found
    identity = entry.identity
    base = Outcome(entry.worker, identity.rank, identity.host, pid, identity.role, "no_answer")
    before = frozenset(name for store in _stores(layout) for name in reader.request_ids(store))
    why = _send(entry, name)
    if why and entry.alive() is False:
        return _looked_at(layout, entry.worker, entry, why)
    if why:
        return _Line(replace(base, status="refused", answered_by="client", why=why))
    return _Line(base, layout, layout, before, sent_at=time.monotonic())


def _stranger(place: Place, pid: int, name: str) -> _Line:
    """A process that is in no roster: looked at if it is a Python program."""
    why = _unknown(place, pid, name)
    if os.path.exists(f"/proc/{pid}") and is_python(pid) is not False:
        return _looked_at(Layout(place.root, place.job or UNARMED_JOB), name_of_stranger(pid), None, why)
    return _Line(Outcome("", None, Machine.here().host, pid, "other", "refused", "client", why=why))


def _looked_at(layout: Layout, worker: str, entry: roster.Entry | None, why: str) -> _Line:
    """Who was not sent the signal is looked at from outside; ``why`` stays with the outcome."""
    client = Client(layout).writable()
    accepted = client.look_at(worker, entry, Request(_LOOKED_FOR), why)
    outcome = client.outcomes(accepted)[0]
    return _Line(
        replace(outcome, why="; ".join(filter(None, (outcome.why, why)))), client.layout, layout, accepted=accepted
    )


def _worker(place: Place, pid: int) -> tuple[Layout, roster.Entry] | None:
    """The worker of this machine that has this pid; of several incarnations the one that runs."""
    here = Machine.here()
    found = [
        (layout, entry)
        for layout in place.layouts()
        for entry in Client(layout).workers()[0]
        if entry.identity.pid == pid and entry.identity.machine == here
    ]
    return max(found, key=lambda each: (each[1].alive() is True, each[1].registered_ns), default=None)


def _unknown(place: Place, pid: int, name: str) -> str:
    if not os.path.exists(f"/proc/{pid}"):
        return f"there is no process {pid}: `oobdump ps` lists the workers"
    return (
        f"process {pid} is in no roster under {place.root}, and {name} may end it: it has not called oobdump.start(), "
        "or its dumps go elsewhere (--dir)"
    )


def _send(entry: roster.Entry, name: str) -> str:
    """Sends the signal to that incarnation and no other; why not, or nothing."""
    ended = f"worker {entry.worker} has just ended: `oobdump ps --all` shows it"
    try:
        descriptor = os.pidfd_open(entry.identity.pid)
    except ProcessLookupError:
        return refusal(entry, name) or ended
    except (AttributeError, OSError) as error:
        instead = f"use `oobdump request HANDLER --targets {entry.worker}`"
        return f"its pid cannot be held while it is checked, which takes pidfd_open of Linux 5.3 ({error}): {instead}"
    try:
        why = refusal(entry, name)  # now that the descriptor holds the process, its pid cannot become another's
        if not why:
            signal.pidfd_send_signal(descriptor, signal_number(name))
    except ProcessLookupError:
        return ended
    finally:
        os.close(descriptor)
    return why


def _wait(lines: Sequence[_Line], deadline: float, timeout_s: float) -> None:
    """Until every dump is committed, its worker is gone, or the time is up."""
    while any(_settle(line) for line in lines) and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)
    for line in lines:
        if line.open:
            line.outcome = replace(line.outcome, why=_missing(line, timeout_s))


def _settle(line: _Line) -> bool:
    """Looks once; whether there is still something to wait for."""
    if not line.open or line.layout is None:
        return False
    worker = line.outcome.worker
    if line.accepted is None or line.in_its_place:
        home = line.home or line.layout
        found = _new_request(home, line.before, worker)
        if found is not None:
            line.layout, line.accepted = found
            line.in_its_place, line.patience = False, None
    if line.accepted is None:
        made = _unheard(Client(line.layout), line)
        if made is None:
            return True
        line.layout, line.accepted = made
        line.in_its_place = True
    client = Client(line.layout, line.home)
    line.patience = line.patience or client.patience(line.accepted)
    if line.patience.settled(worker):
        line.outcome = client.outcomes(line.accepted)[0]
        return False
    return True


def _stores(layout: Layout) -> tuple[Layout, ...]:
    return (layout, *Client(layout).fallbacks)


def _unheard(client: Client, line: _Line) -> tuple[Layout, AcceptedRequest] | None:
    """A request in place of the one that the signal should have made, once the worker has had its time."""
    worker = line.outcome.worker
    entry = roster.find(client.layout, worker)
    gone = entry is None or entry.alive() is False
    waits_s = 0.0 if gone else settings().grace_s
    if entry is not None and not gone and sentinels.live(client.layout, entry.identity.machine):
        waits_s += SENTINEL_S  # it sees the pending signal, and makes the request itself
    if time.monotonic() - line.sent_at < waits_s:
        return None
    client = client.writable()
    return client.layout, client.publish(Request(_LOOKED_FOR), (worker,), {"channel": "outside"})


def _new_request(home: Layout, before: frozenset[str], worker: str) -> tuple[Layout, AcceptedRequest] | None:
    """The request that the signal made: of this worker alone, and not there before it was sent; and where it is."""
    for layout in _stores(home):
        for request_id in reader.request_ids(layout):
            if request_id not in before:
                try:
                    accepted = reader.open_request(layout, request_id)
                except DamagedDump:
                    continue
                if accepted is not None and accepted.asked == (worker,) and accepted.source.get("channel") == "signal":
                    return layout, accepted
    return None


def _missing(line: _Line, timeout_s: float) -> str:
    state = status(line.outcome.pid).get("State", "")
    if not state:
        return "the process ended after it was sent the signal: `oobdump ps --all` shows how"
    step = "its dump is not committed" if line.accepted is not None else "it has begun no dump"
    why = "it may hang with the GIL held, or have given the signal to others"
    return f"{step} within {timeout_s:g} s (state {state}): {why}"


def _document(lines: Sequence[_Line], name: str) -> dict[str, Any]:
    """The object of ``request --json``; several pids are several requests, so that each outcome has its own as well."""
    outcomes = [{**results.outcome_document(line.outcome), **_request(line)} for line in lines]
    one = _request(lines[0]) if len(lines) == 1 else dict.fromkeys(_request(lines[0]))
    return {"schema_version": results.SCHEMA_VERSION, "signal": name, **one, "outcomes": outcomes}


def _request(line: _Line) -> dict[str, str | None]:
    layout, accepted = line.layout, line.accepted
    return {
        "request_id": None if accepted is None else accepted.id,
        "job": None if layout is None else layout.job,
        "dump_dir": None if layout is None or accepted is None else layout.request_dir(accepted.id),
    }
