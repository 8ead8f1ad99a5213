"""The pieces of a page in colours, where the terminal wants them.

In: nothing but the state of stdout. Out: a ``Style`` for ``report.text``. Colours that a dark
and a light terminal both show, and bold and dim for the rest.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import click

from oobdump.cli import output
from oobdump.report.text import PLAIN, Kind, Style

__all__ = ["Colours", "style"]

_MARKS: Mapping[Kind, Mapping[str, Any]] = MappingProxyType(
    {
        "summary": {"bold": True},
        "problem": {"fg": "yellow"},
        "heading": {"bold": True},
        "guide": {"dim": True},
        "frame": {"fg": "cyan"},
        "library": {"dim": True},
        "outlier": {"fg": "red", "bold": True},
        "members": {"dim": True},
        "note": {"dim": True},
    }
)


class Colours:
    """Escape sequences of a terminal around each piece."""

    def mark(self, kind: Kind, text: str) -> str:
        """``text`` in the colour of its kind."""
        return click.style(text, **_MARKS.get(kind, {}))


def style() -> Style:
    """How a page is marked on stdout."""
    return Colours() if output.colours(sys.stdout) else PLAIN
