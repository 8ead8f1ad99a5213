"""Who is meant: the target language over the workers of a roster; pure.

In: words (``all``, ``any``, ``0-7``, hosts, worker names, roles) and who is there. Out: the
names of the workers that are asked, in order. A word that matches nobody is an error: a
request that silently asks fewer than was meant would hide the rank that matters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from oobdump.errors import RequestError
from oobdump.identity import Role

__all__ = ["Candidate", "select"]

_RANKS = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
_SHOWN = 8
_SHOWN_CHARS = 80
_ROLES: tuple[Role, ...] = ("rank", "child", "other")


@dataclass(frozen=True)
class Candidate:
    """A worker that can be asked; of one that is ``gone`` its end."""

    worker: str
    host: str
    rank: int | None
    role: Role
    gone: bool = False


def select(words: Sequence[str], candidates: Iterable[Candidate]) -> tuple[str, ...]:
    """The workers that ``words`` name, each once, ordered by rank and name. Raises ``RequestError``."""
    there = sorted(candidates, key=lambda c: (c.role != "rank", c.rank is None, c.rank or 0, c.worker))
    if not there:
        raise RequestError("no worker of this job is running: is it the right job and directory? see `oobdump ps`")
    chosen: set[str] = set()
    for word in words:
        found = _matching(word, there)
        if not found:
            raise RequestError(f"target {word[:_SHOWN_CHARS]!a} matches no running worker; running: {_who(there)}")
        chosen.update(candidate.worker for candidate in found)
    return tuple(candidate.worker for candidate in there if candidate.worker in chosen)


def _matching(word: str, there: Sequence[Candidate]) -> Sequence[Candidate]:
    if word == "all":
        return [c for c in there if c.role == "rank"] or there
    if word == "any":
        return sorted(there, key=lambda c: c.gone)[:1]
    kind, colon, value = word.partition(":")
    if colon and kind in _PREFIXES:
        return [c for c in there if _PREFIXES[kind](c, value)]
    for prefix in ("role", "rank", "worker", "host"):
        if found := [c for c in there if _PREFIXES[prefix](c, word)]:
            return found
    return []


def _has_rank(candidate: Candidate, text: str) -> bool:
    match = _RANKS.fullmatch(text)
    if match is None or candidate.rank is None or candidate.role != "rank":
        return False
    first = int(match[1])
    return first <= candidate.rank <= (first if match[2] is None else int(match[2]))


_PREFIXES: dict[str, Callable[[Candidate, str], bool]] = {
    "role": lambda candidate, text: candidate.role == text and text in _ROLES,
    "rank": _has_rank,
    "worker": lambda candidate, text: candidate.worker == text,
    "host": lambda candidate, text: candidate.host == text,
}


def _who(there: Sequence[Candidate]) -> str:
    shown = ", ".join(candidate.worker for candidate in there[:_SHOWN])
    return shown if len(there) <= _SHOWN else f"{shown} and {len(there) - _SHOWN} more"
