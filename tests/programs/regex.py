"""A pattern that takes for ever keeps the GIL: ``match_for_ever``. The matcher looks for signals now and then."""

from __future__ import annotations

import re

from _program import arm, ready

TEXT = "a" * 64
"""Each letter doubles the time."""


def match_for_ever() -> None:
    """The classic: nested repetition, and no match at the end."""
    ready()
    re.match(r"(a+)+$", TEXT + "b")


if __name__ == "__main__":
    arm()
    match_for_ever()
