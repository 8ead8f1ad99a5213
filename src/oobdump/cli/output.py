"""What reaches the terminal, and how: results on stdout, everything else on stderr.

In: texts, tables and documents. Out: lines. The rules only this module keeps: colours only on a
terminal that wants them (``NO_COLOR``), nothing from a file reaches a terminal unless it was
made harmless, and a table fits the terminal; in a pipe it is as wide as it needs, for ``grep``.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import IO, NamedTuple

from oobdump.report.harmless import harmless, wrap

__all__ = [
    "STATUS_STYLES",
    "Cell",
    "close",
    "colours",
    "emit",
    "note",
    "page_width",
    "prepare",
    "say",
    "sentence",
    "table",
]

STATUS_STYLES = {"ok": "green", "error": "red", "timeout": "yellow", "refused": "yellow", "no_answer": "bold red"}

PAGE_CELLS = 80
"""The width of a page that goes to a file or a pipe."""

_UNBOUNDED_CELLS = 100_000
"""Wider than any table: rich wants a number."""


class Cell(NamedTuple):
    """A text of a table, and how it is marked on a terminal (a style of rich)."""

    text: str
    style: str = ""


def prepare() -> None:
    """A stream that is closed from the start takes everything; a character that its encoding lacks is escaped."""
    sys.stdout, sys.stderr = sys.stdout or io.StringIO(), sys.stderr or io.StringIO()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(*lines: str) -> None:
    """Lines of the result. Whatever came from a file must be harmless already."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def emit(document: object) -> None:
    """A document, for a program: ASCII, so that it survives any locale."""
    sys.stdout.write(json.dumps(document, ensure_ascii=True, allow_nan=False, indent=2) + "\n")


def note(text: str) -> None:
    """A remark that is no result: if nobody can hear it, the command goes on."""
    try:
        sys.stderr.write(f"oobdump: {_line(text)}\n")
        sys.stderr.flush()
    except OSError:
        pass


def close() -> OSError | None:
    """Writes what is buffered. What could not be written is returned, and not tried again at exit."""
    if sys.stdout.closed:
        return None
    try:
        sys.stdout.flush()
    except OSError as error:
        abandon()
        return error
    return None


def abandon() -> None:
    """Forgets what stdout holds back: its reader has gone."""
    try:
        sys.stdout.close()
    except OSError:
        pass  # it is closed all the same, and the interpreter does not flush it again


def colours(stream: IO[str]) -> bool:
    """Whether a stream is a terminal that wants colours."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def terminal_width(stream: IO[str]) -> int | None:
    """The columns of a stream: as ``COLUMNS`` says, else the terminal's, else None."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):  # no terminal, no descriptor
        return None


def page_width() -> int:
    """How wide a page of lines may be."""
    return terminal_width(sys.stdout) or PAGE_CELLS


def table(columns: Sequence[str], rows: Iterable[Sequence[Cell | str]], *, right: Sequence[str] = ()) -> None:
    """Prints a table; the columns in ``right`` are numbers, and ``id`` is never broken: it is there to be copied."""
    from rich.console import Console  # noqa: PLC0415 - 80 ms that `--help` need not wait for
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        drawn.add_column(name, justify="right" if name in right else "left", overflow="fold", no_wrap=name == "id")
    for row in rows:
        cells = (cell if isinstance(cell, Cell) else Cell(cell) for cell in row)
        drawn.add_row(*(Text(harmless(cell.text), cell.style) for cell in cells))
    buffer = io.StringIO()
    coloured = colours(sys.stdout)
    console = Console(
        file=buffer,
        width=terminal_width(sys.stdout) or _UNBOUNDED_CELLS,
        force_terminal=coloured,
        no_color=not coloured,
        color_system="standard" if coloured else None,
        legacy_windows=False,
    )
    console.print(drawn)
    say(*(line.rstrip() for line in buffer.getvalue().splitlines()))


def sentence(text: str) -> None:
    """Prints a sentence, made harmless, and broken to fit a terminal."""
    say(*wrap(_line(text), terminal_width(sys.stdout) or _UNBOUNDED_CELLS))


def _line(text: str) -> str:
    """A text on one line: messages of other programs have several."""
    return harmless(" ".join(text.split()))
