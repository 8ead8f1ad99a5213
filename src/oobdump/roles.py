"""Who answers for a rank when several processes carry its number.

In: an identity, what this process runs, and which bells of processes above it can be rung. Out: the
identity with its role. The rule only this module keeps: of all processes that carry a rank, the first
armed one on the way down from the launcher is the rank. A process below it is its child; a launcher
has no rank even where one is set for it, and a helper of ``multiprocessing`` does no rank's work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from oobdump.identity import VARIABLES, Identity, Role, ancestors, name_of
from oobdump.python_line import PythonLine, known_as

__all__ = ["after_fork", "own", "role_below"]

_Rings = Callable[[str], bool]
_RankedBy = Callable[[str], str | None]


def own(identity: Identity, line: PythonLine) -> Identity:
    """The identity of a process that runs ``line``: a launcher's has no rank."""
    if known_as(line) != "launcher":
        return identity
    sources = {name: source for name, source in identity.sources.items() if name not in ("rank", "local_rank")}
    return replace(identity, rank=None, local_rank=None, role="other", sources=sources)


def role_below(
    identity: Identity, line: PythonLine, environ: Mapping[str, str], rings: _Rings, ranked_by: _RankedBy
) -> Role:
    """The role of a process that was started (not forked) with this identity.

    ``rings`` says of a worker's name whether such a worker runs; ``ranked_by`` which variable gave it its
    rank. Under ``srun`` a launcher that nobody knows has the node's number for a rank: what it starts has
    the same number now and then, from another variable, and is no child of it.
    """
    known = known_as(line)
    if known is not None:
        return "other"
    names = (name_of(identity.rank, identity.host, pid) for pid in ancestors(identity.pid))
    above = (name for name in names if rings(name))
    if _doubtful(identity, environ):
        above = (name for name in above if ranked_by(name) in (None, identity.sources["rank"]))
    if next(above, None) is not None:
        return "child"
    return "other" if identity.rank is None else "rank"


def after_fork(identity: Identity, line: PythonLine, parent: Identity) -> Identity:
    """The identity of a forked child: its parent's child, unless it was given a rank of its own since."""
    identity = own(identity, line)
    return identity if identity.rank != parent.rank else replace(identity, role="child")


def _doubtful(identity: Identity, environ: Mapping[str, str]) -> bool:
    """Whether two variables agree on the rank, so that they may speak of different things."""
    if identity.rank is None:
        return False
    agreeing = (name for name in VARIABLES["rank"] if environ.get(name, "") == str(identity.rank))
    return sum(1 for _ in agreeing) > 1
