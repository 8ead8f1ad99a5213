"""Folded rank sets: ``{0, 1, 2, 12}`` is written ``0-2,12``.

In: text that a person typed, or ranks. Out: a frozen set, or the one canonical text of a set.
The rule only this module keeps: a text that names more ranks than a job can have is refused
before it is expanded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from oobdump.errors import RequestError

__all__ = ["MAX_RANKS", "format_ranks", "parse_ranks"]

MAX_RANKS = 2**20
"""Ten times the largest job that is run anywhere; ``0-999999999`` must not fill the memory."""

_MAX_DIGITS = 9
"""As many as a worker's identity accepts for a rank."""


def parse_ranks(text: str) -> frozenset[int]:
    """The ranks that ``text`` names; spaces around a comma are fine, and the empty text names none.

    Raises ``RequestError`` for anything else than numbers and rising ranges.
    """
    ranks: set[int] = set()
    for word in text.split(",") if text.strip() else ():
        first, last = _range(word.strip())
        if last - first >= MAX_RANKS or len(ranks) + last - first >= MAX_RANKS:
            raise RequestError(f"{_shown(text)} names more than {MAX_RANKS} ranks: no job has so many")
        ranks.update(range(first, last + 1))
    return frozenset(ranks)


def format_ranks(ranks: Iterable[int]) -> str:
    """The canonical text: rising, without repetition, neighbours folded into a range."""
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in _runs(sorted(set(ranks))))


def _runs(ranks: list[int]) -> Iterator[tuple[int, int]]:
    """First and last of each run of neighbours in rising ``ranks``."""
    start = 0
    for index in range(1, len(ranks) + 1):
        if index == len(ranks) or ranks[index] != ranks[index - 1] + 1:
            yield ranks[start], ranks[index - 1]
            start = index


def _range(word: str) -> tuple[int, int]:
    first, dash, last = word.partition("-")
    bounds = (_number(first, word), _number(last if dash else first, word))
    if bounds[0] > bounds[1]:
        raise RequestError(f"the range {_shown(word)} falls: write the smaller rank first")
    return bounds


def _number(digits: str, word: str) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS):
        raise RequestError(f"{_shown(word)} is no rank and no range of ranks: write them as in 0-7,12")
    return int(digits)


def _shown(text: str) -> str:
    return ascii(text[:40])
