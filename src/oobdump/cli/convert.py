"""``oobdump convert``: a part in another format, and what that lost.

In: a file in JSON, msgpack or pickle, and the format wanted. Out: a file (or stdout, where that is
no terminal) with the same value; on stderr what could not be carried over. The rules only this
module keeps: the reading and writing of values happens in a process with bounds, a file that is
there already is not replaced unasked, and every loss is said and is exit code 1.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import click

from oobdump import codecs
from oobdump.cli import output, units
from oobdump.cli.exit_codes import ExitCode
from oobdump.cli.failure import CommandError
from oobdump.errors import CodecError
from oobdump.reading import confined, source
from oobdump.reading.arrays import SIDE_SUFFIX
from oobdump.reading.confined import Answer, Order
from oobdump.reading.source import Source, SourceError
from oobdump.reading.torch_file import TORCH
from oobdump.store import atomic

__all__ = ["convert"]

SCHEMA_VERSION = 1


@click.command()
@click.argument("path", metavar="PATH")
@click.option("--to", "to", type=click.Choice([*codecs.CODECS, TORCH]), required=True, help="The format wanted.")
@click.option(
    "--from",
    "from_",
    type=click.Choice(list(codecs.CODECS)),
    help="The format it has.  [default: told by its name and bytes]",
)
@click.option("-o", "--output", "target", metavar="FILE", help="Where to write.  [default: stdout]")
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@click.option("--trust", is_flag=True, help="Decode a pickle; only if you trust whoever could write it.")
@click.option("--json", "as_json", is_flag=True, help="With -o: print one JSON object with a schema_version.")
def convert(
    path: str, *, to: str, from_: str | None, target: str | None, force: bool, trust: bool, as_json: bool
) -> int:
    """Write a part in another format: the same value, or said what is not the same.

    What oobdump wrote in one format has the same value in each other one. Of a file of somebody else the
    plain values are carried over. With -o, large arrays of a JSON document go to FILE.bin beside it.
    torch is a file for torch.load(weights_only=True): arrays as tensors, written without torch.
    """
    if as_json and target is None:
        raise click.UsageError(
            "--json is about the file that -o names: stdout has the document", click.get_current_context()
        )
    for there in () if target is None or force else (target, f"{target}{SIDE_SUFFIX}"):
        if os.path.lexists(there):
            raise CommandError(f"{there} is there already: give another name, or --force", ExitCode.USAGE)
    if target is None and sys.stdout.isatty():
        raise CommandError("the document does not go to a terminal: give -o FILE, or `oobdump show`", ExitCode.USAGE)
    try:
        with source.opened(path) as found:
            order = Order("convert", from_ or found.format, trust=trust, to=to, side=target is not None)
            answer, size = _converted(found, order, target)
    except (SourceError, CodecError) as error:
        raise CommandError(str(error), ExitCode.NO_DUMPS) from None
    return _tell(path, target, answer, size, to=to, as_json=as_json)


def _converted(found: Source, order: Order, target: str | None) -> tuple[Answer, int]:
    """Writes the document as it comes. Raises ``ConfinedError``: then a file is not there."""
    with source.directory_of(found.path) as directory, confined.streamed(found, order, directory) as (answer, chunks):
        if target is None:
            return answer, sum(sys.stdout.buffer.write(chunk) for chunk in chunks)
        path, feed = os.path.abspath(target), _Feed(chunks)
        if answer.facts["side"]:
            atomic.replace(f"{path}{SIDE_SUFFIX}", feed.first(answer.facts["side"]))
        return answer, atomic.replace(path, feed.rest())


class _Feed:
    """A stream that is two files, one after the other."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._held = b""

    def first(self, size: int) -> Iterator[bytes]:
        """So many bytes."""
        while size > 0 and (piece := next(self._chunks, b"")):
            yield piece[:size]
            self._held = piece[size:]
            size -= len(piece)

    def rest(self) -> Iterator[bytes]:
        """All that follows."""
        yield self._held
        yield from self._chunks


def _tell(path: str, target: str | None, answer: Answer, size: int, *, to: str, as_json: bool) -> ExitCode:
    losses = [*answer.notes, *_losses(answer.facts, to)]
    if as_json:
        document: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "path": path, "output": target, "format": to}
        output.emit({**document, "size": size, **answer.facts, "notes": losses})
    else:
        for loss in losses:
            output.note(loss)
        if target is not None:
            side = f"; its bulk data is in {target}{SIDE_SUFFIX}" if answer.facts["side"] else ""
            output.note(f"wrote {target}: {to}, {units.size(size)}{side}")
    lossy = answer.facts["new_placeholders"] or answer.facts["new_cuts"] or answer.notes
    return ExitCode.FINDING if lossy else ExitCode.FINE


def _losses(facts: dict[str, Any], to: str) -> Iterator[str]:
    """What the new document does not have, and what the old one did not have either."""
    if count := facts["new_placeholders"]:
        yield f"{count:,} values have no form in {to}: a placeholder stands for each"
    if count := facts["new_cuts"]:
        yield f"{count:,} places were cut: too deep, too many items, or a cycle that {to} cannot hold"
    held = facts["placeholders"] - facts["new_placeholders"], facts["cuts"] - facts["new_cuts"]
    if any(held):
        yield f"{held[0]:,} placeholders and {held[1]:,} cuts were in it before: they are carried over"
