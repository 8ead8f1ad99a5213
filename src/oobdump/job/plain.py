"""A merge as plain values, for ``--json`` and for other programs.

In: ``Merged``. Out: one dict of texts, numbers, lists and dicts, with a ``schema_version``.
The rule only this module keeps: a tree is a flat list in pre-order with a ``depth`` each,
because nested objects as deep as a stack break the JSON readers of most languages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from oobdump.job.merge import Merged, Node, Outlier, StackClass
from oobdump.job.ranks import format_ranks
from oobdump.job.stacks import Frame, Member, Stack

__all__ = ["merged_to_plain"]

SCHEMA_VERSION = 1

_Fold = Callable[[frozenset[Member]], str]


def merged_to_plain(merged: Merged, *, request_id: str | None = None) -> dict[str, Any]:
    """The document of ``oobdump stacks --json``."""
    ranks, names = merged.split(merged.members)
    fold = _remembering(merged.fold)
    return {
        "schema_version": SCHEMA_VERSION,
        "request_id": request_id,
        "ranks": format_ranks(ranks),
        "workers": names,
        "threads": [_thread(merged, label, fold) for label in merged.labels],
        "classes": [_class(each, fold) for each in merged.classes],
        "outliers": [_outlier(each, fold) for each in merged.outliers],
        "problems": [
            {"worker": each.worker, "rank": each.rank, "reason": each.reason}
            for each in sorted(merged.problems, key=lambda each: (each.member.order, each.reason))
        ],
    }


def _thread(merged: Merged, label: str, fold: _Fold) -> dict[str, Any]:
    tree = merged.trees[label]
    return {
        "name": label,
        "count": len(tree.members),
        "members": fold(tree.members),
        "threads": tree.threads,
        "ends": fold(tree.ends),
        "tree": [_node(node, fold) for node in tree.nodes],
    }


def _node(node: Node, fold: _Fold) -> dict[str, Any]:
    return {
        "depth": node.depth,
        **_frame(node.frame),
        "count": len(node.members),
        "members": fold(node.members),
        "threads": node.threads,
        "ends": fold(node.ends),
    }


def _class(each: StackClass, fold: _Fold) -> dict[str, Any]:
    return {
        "thread": each.thread,
        "members": fold(each.members),
        "count": len(each.members),
        "frames": _frames(each.frames),
        "times": each.stacks[0][1],
        "other_stacks": [{"times": times, "frames": _frames(stack)} for stack, times in each.stacks[1:]],
    }


def _outlier(outlier: Outlier, fold: _Fold) -> dict[str, Any]:
    return {
        **_class(outlier.stack_class, fold),
        "others": outlier.others,
        "frame": None if outlier.frame is None else _frame(outlier.frame),
    }


def _frames(stack: Stack) -> list[dict[str, Any]]:
    return [_frame(frame) for frame in stack]


def _frame(frame: Frame) -> dict[str, Any]:
    return {"file": frame.file, "line": frame.line, "function": frame.function}


def _remembering(fold: Callable[[Iterable[Member]], str]) -> _Fold:
    """``fold``, once per set object: the nodes of a chain share one, and a set of ten thousand takes a while."""
    known: dict[int, tuple[frozenset[Member], str]] = {}

    def remembered(members: frozenset[Member]) -> str:
        entry = known.get(id(members))
        if entry is None:  # the set is kept beside its text, or its id could come again
            entry = known[id(members)] = (members, fold(members))
        return entry[1]

    return remembered
