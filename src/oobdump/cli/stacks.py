"""``oobdump stacks``: the stacks of all ranks as one tree, so that the odd rank stands out.

In: the newest request that asked for ``stacks``, the one that was named, or with ``--ask`` a new
one. Out: the page of ``report.text``, or the object of ``job.plain``. The rule only this module
keeps: the page says first how many of those that were asked it shows, and who is missing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import click

from oobdump import codecs
from oobdump.cli import asking, content, finding, output, units
from oobdump.cli import outcomes as results
from oobdump.cli.colours import style
from oobdump.cli.exit_codes import ExitCode
from oobdump.cli.failure import CommandError
from oobdump.cli.place import Place, json_option, place_options
from oobdump.client import Client, Outcome
from oobdump.errors import CodecError, DamagedDump
from oobdump.job.merge import Merged, build, every_thread, not_ours
from oobdump.job.plain import merged_to_plain
from oobdump.job.stack_bytes import StackBytes
from oobdump.job.stacks import Problem, WorkerStacks, label_of, parse_stacks
from oobdump.report.text import render
from oobdump.request import AcceptedRequest, HandlerCall, Request
from oobdump.response import Status
from oobdump.store import reader
from oobdump.store.reader import Dump
from oobdump.store.writer import PartRecord

__all__ = ["stacks"]

HANDLER = "stacks"


@click.command()
@click.argument("request_id", metavar="[ID|latest]", default=finding.LATEST)
@click.option("--thread", metavar="NAME", help="Only threads of this name (numbers in names do not count).")
@click.option("--ours", is_flag=True, help="Show oobdump's own threads too.")
@click.option("--ask", "ask_now", is_flag=True, help="Ask now, even if there are stacks already.")
@click.option("--trust", is_flag=True, help="Decode pickles too; only if you trust whoever could write them.")
@json_option
@place_options
def stacks(
    place: Place, *, request_id: str, thread: str | None, ours: bool, ask_now: bool, trust: bool, as_json: bool
) -> int:
    """Show the stacks of all ranks, merged: those that were asked for last, or of one request.

    If nobody has asked for stacks yet, or with --ask, all ranks are asked now.
    """
    if ask_now and request_id != finding.LATEST:
        raise click.UsageError("--ask makes a new request: leave the id out", click.get_current_context())
    client = Client(place.layout())
    accepted, outcomes = _answers(client, request_id, ask_now=ask_now)
    found = build(_read(outcomes, trust=trust), keep=every_thread if ours else not_ours)
    merged = found if thread is None else _only(found, thread)
    if as_json:
        output.emit(merged_to_plain(merged, request_id=accepted.id))
    else:
        ago = units.age(time.time() - accepted.accepted_at)
        output.sentence(f"request {accepted.id}, {ago} ago: {results.coverage(outcomes)}")
        output.say(*render(merged, width=output.page_width(), style=style()))
    return _exit_code(outcomes)


def _answers(client: Client, request_id: str, *, ask_now: bool) -> tuple[AcceptedRequest, list[Outcome]]:
    if not ask_now:
        try:
            accepted = finding.find(client.layout, request_id, _asks_for_stacks)
        except CommandError:
            if request_id != finding.LATEST or not _anybody_runs(client):
                raise
            output.note("nobody has asked for stacks yet: asking now")
        else:
            if not _asks_for_stacks(accepted):
                raise CommandError(
                    f"request {accepted.id} did not ask for stacks; `oobdump ls` shows which did", ExitCode.NO_DUMPS
                )
            return accepted, client.outcomes(accepted)
    return asking.ask(client, Request((HandlerCall(HANDLER),)))


def _asks_for_stacks(accepted: AcceptedRequest) -> bool:
    return any(call.name == HANDLER for call in accepted.request.calls)


def _anybody_runs(client: Client) -> bool:
    return any(entry.alive() is not False for entry in client.workers()[0])


def _read(outcomes: Sequence[Outcome], *, trust: bool) -> Iterator[WorkerStacks | Problem]:
    """What each worker said, or why it says nothing."""
    quick = StackBytes(codecs.get("json").decode)
    for outcome in outcomes:
        rank = outcome.rank if outcome.role == "rank" else None  # a child carries its rank's number
        dump = outcome.dump
        record = next((record for record in outcome.parts if record.handler == HANDLER), None)
        if record is None or dump is None:
            yield Problem(outcome.worker, rank, outcome.why or "its dump has no stacks")
        elif record.status != "ok":
            said = "" if record.error is None else f": {record.error.message}"
            yield Problem(outcome.worker, rank, f"{record.status}{said}")
        elif record.media_type == "application/json":
            yield _quickly(quick, outcome.worker, rank, dump, record)
        else:
            held = content.read(dump, record, trust=trust)
            if held.kind == "value":
                yield parse_stacks(outcome.worker, rank, held.value)
            else:
                yield Problem(outcome.worker, rank, held.note or "its stacks are no value")


def _quickly(
    quick: StackBytes, worker: str, rank: int | None, dump: Dump, record: PartRecord
) -> WorkerStacks | Problem:
    """A JSON part, of which equal stacks are decoded once over all workers."""
    try:
        return quick.parse(worker, rank, reader.part_bytes(dump, record))
    except (DamagedDump, CodecError) as error:
        return Problem(worker, rank, f"{error}; it is {dump.directory}/{record.path}")


def _only(merged: Merged, thread: str) -> Merged:
    """The trees of one thread's label. Raises ``CommandError`` if nobody has such a thread."""
    wanted = {thread, label_of(thread, main=False)}
    trees = {label: tree for label, tree in merged.trees.items() if label in wanted}
    if not trees and merged.trees:
        raise CommandError(f"no thread is called {thread!a}: there are {', '.join(merged.labels)}", ExitCode.USAGE)
    return Merged(trees, merged.problems)


def _exit_code(outcomes: Sequence[Outcome]) -> ExitCode:
    """By who answered for stacks: what became of other handlers of the request is not asked here."""
    judged = [replace(outcome, status=_status(outcome)) for outcome in outcomes]
    return results.exit_code(judged)


def _status(outcome: Outcome) -> Status:
    return next((record.status for record in outcome.parts if record.handler == HANDLER), outcome.status)
