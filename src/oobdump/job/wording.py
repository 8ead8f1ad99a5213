"""Ranks, places and operations as a sentence names them.

In: ranks, frames, groups. Out: short texts. They may hold what a file said: whoever prints them
makes them harmless first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from oobdump.job.activity import user_frame
from oobdump.job.ranks import format_ranks
from oobdump.job.stacks import Frame, Stack
from oobdump.job.trace import Op

__all__ = ["base_name", "group_text", "op_text", "place", "ranks_text", "seconds", "sizes_text", "user_place", "verb"]


def ranks_text(ranks: Collection[int]) -> str:
    """``rank 3``, ``ranks 0-2,7``."""
    return f"rank{'' if len(ranks) == 1 else 's'} {format_ranks(ranks)}"


def verb(ranks: Collection[object], one: str, many: str) -> str:
    """The form that fits the number."""
    return one if len(ranks) == 1 else many


def base_name(file: str) -> str:
    """The last part of a path."""
    return file[file.rstrip("/").rfind("/") + 1 :]


def place(frame: Frame | None) -> str:
    """``load_shard (data.py:72)``."""
    if frame is None:
        return "no Python frame"
    where = f" ({base_name(frame.file)}:{frame.line})" if frame.file else ""
    return f"{frame.function}{where}"


def user_place(stack: Stack | None) -> str:
    """The innermost frame of the user's; where there is none, that is said."""
    if stack is None:
        return "nobody could read its stack"
    frame = user_frame(stack)
    if frame is not None:
        return place(frame)
    if not stack:
        return "a thread without a Python frame"
    return f"no frame of the user's code; innermost: {place(stack[-1])}"


def op_text(op: Op) -> str:
    """``all_reduce``."""
    return op.name


def sizes_text(op: Op) -> str:
    """``all_reduce of float [4]``, shortened where there are many."""
    sizes = " ".join(str(list(each)) for each in op.input_sizes[:3])
    more = " …" if len(op.input_sizes) > 3 else ""  # noqa: PLR2004 - what fits a line
    kinds = ",".join(dict.fromkeys(op.input_dtypes))
    return f"{op.name} of {kinds} {sizes}{more}".replace("  ", " ").strip()


def group_text(names: Iterable[str]) -> str:
    """Groups by name, each once."""
    return ", ".join(dict.fromkeys(names))


def seconds(value: float) -> str:
    """``4.0 s``."""
    return f"{value:.1f} s"
