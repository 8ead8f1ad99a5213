"""``oobdump show``: what became of a request, and what is in its parts.

In: a request, and which of its parts. Out: the outcomes and the contents, one object, or with
``--raw`` the bytes of one part. The rule only this module keeps: bytes from a file reach stdout
as they are only where they cannot reach a terminal.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import click

from oobdump.cli import at_path, content, finding, output, units
from oobdump.cli import outcomes as results
from oobdump.cli.exit_codes import ExitCode
from oobdump.cli.failure import CommandError
from oobdump.cli.place import Place, json_option, place_options
from oobdump.cli.pretty import pretty
from oobdump.client import Client, Outcome
from oobdump.job.ranks import parse_ranks
from oobdump.request import AcceptedRequest
from oobdump.store import reader
from oobdump.store.layout import Layout
from oobdump.store.reader import Dump
from oobdump.store.writer import PartRecord

__all__ = ["show"]

_Part = tuple[Outcome, Dump, PartRecord]


@click.command()
@click.argument("request_id", metavar="[ID|latest|PATH]", default=finding.LATEST)
@click.option("--worker", metavar="NAME", help="Only this worker.")
@click.option("--rank", "ranks", metavar="RANKS", help='Only these ranks ("3", "0-7,12").')
@click.option("--handler", metavar="NAME", help="Only this handler's part.")
@click.option("--full", is_flag=True, help="Show long lists and texts whole.")
@click.option("--raw", is_flag=True, help="The bytes of one part, as they are; not to a terminal.")
@click.option("--trust", is_flag=True, help="Decode pickles too; only if you trust whoever could write them.")
@json_option
@place_options
def show(  # noqa: PLR0913 - one argument an option
    place: Place,
    *,
    request_id: str,
    worker: str | None,
    ranks: str | None,
    handler: str | None,
    full: bool,
    raw: bool,
    trust: bool,
    as_json: bool,
) -> int:
    """Show what became of a request and what is in its parts; or what is in a file, whoever wrote it.

    The beginning of an id is enough, where no other begins so. A PATH is a part, any other file, or a
    directory of a dump; it is read in a process with bounds. Tensors are shown as dtype, shape, min, max,
    mean, NaN and first values, without numpy or torch. A pickle is described, and decoded only with --trust.
    """
    layout, request_id = _asked_for(place, request_id)
    if layout is None:
        if raw or worker is not None or ranks is not None or handler is not None:
            raise click.UsageError(
                "--raw, --worker, --rank and --handler choose from a request: a PATH is one thing already",
                click.get_current_context(),
            )
        return at_path.show(request_id, trust=trust, full=full, as_json=as_json)
    client = Client(layout)
    accepted = finding.find(client.layout, request_id)
    everybody = client.outcomes(accepted)
    outcomes = _chosen(everybody, worker, ranks)
    parts = list(_parts(outcomes, handler))
    if handler is not None and handler not in (call.name for call in accepted.request.calls):
        names = ", ".join(call.name for call in accepted.request.calls)
        raise CommandError(f"request {accepted.id} did not ask for {handler!a}: it asked for {names}", ExitCode.USAGE)
    if raw:
        return _write_raw(parts, as_json=as_json)
    if as_json:
        output.emit(_document(client.layout, accepted, outcomes, parts, trust=trust))
    else:
        _print_heading(client.layout, accepted, everybody)
        results.print_table(outcomes)
        _print_parts(parts, trust=trust, full=full)
    return results.exit_code(outcomes)


def _asked_for(place: Place, text: str) -> tuple[Layout | None, str]:
    """The job and the request that are meant; no job where it is a path to something else."""
    if not at_path.is_path(text):
        return place.layout(), text
    return at_path.request_at(text) or (None, text)


def _chosen(outcomes: list[Outcome], worker: str | None, ranks: str | None) -> list[Outcome]:
    wanted = None if ranks is None else parse_ranks(ranks)
    chosen = [
        outcome
        for outcome in outcomes
        if worker in (None, outcome.worker)
        and (wanted is None or (outcome.role == "rank" and outcome.rank in wanted))  # as targets mean it
    ]
    if not chosen:
        raise CommandError(f"that worker was not asked: this request asked [{results.who(outcomes)}]", ExitCode.USAGE)
    return chosen


def _parts(outcomes: Sequence[Outcome], handler: str | None) -> Iterator[_Part]:
    for outcome in outcomes:
        for record in outcome.parts:
            if outcome.dump is not None and handler in (None, record.handler):
                yield outcome, outcome.dump, record


def _write_raw(parts: Sequence[_Part], *, as_json: bool) -> int:
    if as_json:
        raise click.UsageError(
            "--raw and --json cannot both be had: --json has the contents decoded", click.get_current_context()
        )
    files = [(dump, record) for _, dump, record in parts if record.path is not None]
    if len(files) != 1:
        raise CommandError(
            f"--raw gives one part, and {len(files)} match: choose with --rank or --worker, and --handler",
            ExitCode.USAGE if files else ExitCode.NO_DUMPS,
        )
    if sys.stdout.isatty():
        raise CommandError("--raw does not write to a terminal: redirect it to a file or a pipe", ExitCode.USAGE)
    sys.stdout.buffer.write(reader.part_bytes(*files[0]))
    return ExitCode.FINE


def _document(
    layout: Layout, accepted: AcceptedRequest, outcomes: Sequence[Outcome], parts: Sequence[_Part], *, trust: bool
) -> dict[str, Any]:
    """The object of ``request --json``, with ``content`` and ``note`` in each part."""
    document = results.document(layout, accepted, outcomes)
    for outcome, described in zip(outcomes, document["outcomes"], strict=True):
        mine = [(dump, record) for each, dump, record in parts if each is outcome]
        by_place = {id(record): content.read(dump, record, trust=trust) for dump, record in mine}
        described["parts"] = [
            {**part, "content": by_place[id(record)].plain, "note": by_place[id(record)].note}
            for record, part in zip(outcome.parts, described["parts"], strict=True)
            if id(record) in by_place
        ]
    return document


def _print_heading(layout: Layout, accepted: AcceptedRequest, outcomes: Sequence[Outcome]) -> None:
    names = ", ".join(call.name for call in accepted.request.calls)
    ago = units.age(time.time() - accepted.accepted_at)
    output.sentence(f"request {accepted.id}, {ago} ago: {names}: {results.coverage(outcomes)}")
    for foreign in _foreign(layout, accepted):
        output.note(foreign)


def _print_parts(parts: Sequence[_Part], *, trust: bool, full: bool) -> None:
    width = output.page_width()
    for outcome, dump, record in parts:
        output.say("")
        output.sentence(f"{_title(outcome)}: {record.handler} ({record.media_type}, {units.size(record.size)})")
        if record.error is not None:
            output.say(*pretty(asdict(record.error), width))
        if record.path is not None:
            held = content.look(dump, record, trust=trust, bounds=content.FULL if full else None)
            output.say(*content.show(held, width))


def _title(outcome: Outcome) -> str:
    return f"rank {outcome.rank}" if outcome.rank is not None and outcome.role == "rank" else outcome.worker


def _foreign(layout: Layout, accepted: AcceptedRequest) -> Iterator[str]:
    """What lies in the request's directory and is not a dump of somebody who was asked."""
    for dump in reader.dumps(layout, accepted.id):
        if dump.found == "foreign":
            yield f"{dump.directory} is not read: {dump.why}"
