"""How campaigns and benchmarks say what they found: a small table, or one object with ``--json``.

In: rows (one mapping of plain values each, the same keys in every row), findings and notes in
words. Out: text on stdout, and the exit code: 0 for none, 1 for findings.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["parser", "show", "table"]

SCHEMA_VERSION = 1

WHOLE_FROM = 100
"""Nobody reads three digits and then a fraction."""

Row = Mapping[str, Any]


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A command line with ``--json``; its description is the script's first line."""
    made = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    made.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return made


def show(name: str, rows: Sequence[Row], findings: Sequence[str], notes: Sequence[str] = (), *, as_json: bool) -> int:
    """Print everything; 1 if there are findings, else 0."""
    if as_json:
        document = {
            "schema_version": SCHEMA_VERSION,
            "name": name,
            "python": platform.python_version(),
            "rows": [dict(row) for row in rows],
            "findings": list(findings),
            "notes": list(notes),
        }
        print(json.dumps(document, indent=1))
    else:
        print(f"{name}, run by Python {platform.python_version()}")
        for line in table(rows):
            print(line)
        for kind, texts in (("note", notes), ("FINDING", findings)):
            for text in texts:
                print(f"{kind}: {text}")
    return 1 if findings else 0


def table(rows: Sequence[Row]) -> Iterator[str]:
    """The rows as lines: a column per key, numbers to the right."""
    if not rows:
        return
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numbers = [
        not any(isinstance(value, str) for value in column)
        for column in zip(*(row.values() for row in rows), strict=True)
    ]
    for line in cells:
        shown = zip(line, widths, numbers, strict=True)
        yield "  ".join(text.rjust(width) if right else text.ljust(width) for text, width, right in shown).rstrip()


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= WHOLE_FROM else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
