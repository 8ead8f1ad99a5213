"""The page for a terminal: which rank stands apart, who has no stacks, and the merged trees.

In: ``Merged``, a width in cells, and a style. Out: lines of text without line ends. The rule
only this module keeps: no line is wider than asked (from ``MIN_WIDTH`` up), and nothing that
came from a file reaches a line unless ``harmless`` has seen it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from oobdump.job.merge import Merged, Outlier
from oobdump.job.ranks import format_ranks
from oobdump.job.stacks import Frame, Member, is_library, top_user_frame
from oobdump.report.harmless import ELLIPSIS, cells, clip, clip_left, harmless, wrap
from oobdump.report.tree import Row, rows_of

__all__ = ["MIN_WIDTH", "PLAIN", "WIDTH", "Kind", "Plain", "Style", "render", "short_file"]

WIDTH = 80

MIN_WIDTH = 72
"""Below it a frame and its ranks do not fit on one line; narrower terminals break it themselves."""

Kind = Literal["summary", "problem", "heading", "guide", "frame", "library", "outlier", "count", "members", "note"]
"""What a piece of a line is: ``frame`` is of the user's code, ``library`` of anybody else's."""

_MEMBERS_CELLS = 24
"""Of a folded set as much as tells ranks apart: beyond, the frames need the room more."""

_TAIL_SHARE = 0.5
"""What members and mark together may take of a line: the frame has the other half."""

_FILE_CELLS = 14
"""What is left of a path at least when a function's name needs its room."""

_GUIDE_SHARE = 0.3
"""What indentation may take of a line (eight forks of 80 cells): beyond, its left end is cut."""

_NAMES = 3
"""Workers named in one sentence; the rest is counted."""

_SENTENCES = 10
"""Reasons and outliers shown of each kind: the tree and ``--json`` have them all."""

_NAME_CELLS = 8
"""What a frame keeps behind the deepest indentation, however wide the counts are."""

_INDENT = "  "
_GAP = "  "

_INSIDE_PACKAGE = re.compile(r".*/(?:(?:site|dist)-packages|lib(?:32|64)?/python\d[\d.]*t?)/(.+)", re.DOTALL)


class Style(Protocol):
    """How the pieces of a line are marked: with colours of a terminal, or not at all."""

    def mark(self, kind: Kind, text: str) -> str:
        """``text`` with what shows its kind around it; it must not change what is read."""


class Plain:
    """No marks: for files, pipes and ``NO_COLOR``."""

    def mark(self, kind: Kind, text: str) -> str:  # noqa: ARG002 - what a Style is given
        """``text`` itself."""
        return text


PLAIN = Plain()


def render(merged: Merged, *, width: int = WIDTH, style: Style = PLAIN) -> Iterator[str]:
    """The whole page."""
    width = max(width, MIN_WIDTH)
    for kind, sentence in (*_verdict(merged), *_problems(merged)):
        yield from (style.mark(kind, line) for line in wrap(sentence, width))
    for label in merged.labels:
        outliers = (each.stack_class for each in merged.outliers)
        odd = frozenset(member for each in outliers if each.thread == label for member in each.members)
        yield ""
        yield style.mark("heading", clip(_heading(merged, label), width))
        yield from _lay_out([_line(merged, row) for row in rows_of(merged.trees[label], odd)], width, style)


def short_file(file: str) -> str:
    """The path inside the installed package or the standard library; else its last part."""
    inside = _INSIDE_PACKAGE.fullmatch(file)
    return inside[1] if inside else file[file.rstrip("/").rfind("/") + 1 :]


# -- sentences -------------------------------------------------------------------------------------------------------


def _verdict(merged: Merged) -> Iterator[tuple[Kind, str]]:
    if not merged.labels:
        yield "summary", "no stacks: nobody that was asked gave any"
    elif not merged.outliers:
        yield "summary", _together(merged)
    for outlier in merged.outliers[:_SENTENCES]:
        yield "summary", _apart(merged, outlier)
    if len(merged.outliers) > _SENTENCES:
        yield "summary", f"and {len(merged.outliers) - _SENTENCES} more, marked in the trees"


def _apart(merged: Merged, outlier: Outlier) -> str:
    each = outlier.stack_class
    verb = "stands" if len(each.members) == 1 else "stand"
    others = "1 other" if outlier.others == 1 else f"{outlier.others} others"
    return f"{_who(merged, each.members)} {verb} apart from {others}: {harmless(each.thread)} {_place(outlier.frame)}"


def _together(merged: Merged) -> str:
    label = merged.labels[0]
    classes = [each for each in merged.classes if each.thread == label]
    members = merged.trees[label].members
    noun = "worker" if merged.split(members)[1] else "rank"
    who = f"{harmless(label)} of {len(members)} {noun}{'s' if len(members) > 1 else ''}"
    if len(classes) > 1:
        return f"no {noun} stands apart: {who} in {len(classes)} classes of stacks"
    return f"no {noun} stands apart: {who} {_place(top_user_frame(classes[0].frames))}"


def _problems(merged: Merged) -> Iterator[tuple[Kind, str]]:
    """One sentence a reason, those of most workers first."""
    by_reason: dict[str, set[Member]] = {}
    for problem in merged.problems:
        by_reason.setdefault(problem.reason, set()).add(problem.member)
    ordered = sorted(by_reason.items(), key=lambda each: (-len(each[1]), min(member.order for member in each[1])))
    for reason, members in ordered[:_SENTENCES]:
        yield "problem", f"{_who(merged, members)}: no stacks: {harmless(reason)}"
    if rest := {member for _, members in ordered[_SENTENCES:] for member in members}:
        yield "problem", f"{_who(merged, rest)}: no stacks, for {len(ordered) - _SENTENCES} other reasons"


def _heading(merged: Merged, label: str) -> str:
    tree = merged.trees[label]
    ranks, names = merged.split(tree.members)
    noun = "workers" if merged.split(merged.members)[1] else "ranks"
    shown = f" [{format_ranks(ranks)}]" if not names else ""
    threads = f" · {tree.threads} threads" if tree.threads != len(tree.members) else ""
    return f"{harmless(label)} · {len(tree.members)} of {len(merged.members)} {noun}{threads}{shown}"


def _who(merged: Merged, members: Collection[Member]) -> str:
    """``rank 1``, ``ranks 1,5``, ``worker proc.host.12``, or ranks and workers."""
    ranks, names = merged.split(members)
    said = []
    if ranks:
        said.append(f"rank{'s' if len(ranks) > 1 else ''} {format_ranks(ranks)}")
    if names:
        more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        said.append(f"worker{'s' if len(names) > 1 else ''} {', '.join(map(harmless, names[:_NAMES]))}{more}")
    return " and ".join(said)


def _place(frame: Frame | None) -> str:
    if frame is None:
        return "without a Python frame"
    where = f" ({harmless(short_file(frame.file))}:{frame.line})" if frame.file else ""
    return f"in {harmless(frame.function)}{where}"


# -- columns ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Line:
    """One row as texts, before the widths of its columns are known."""

    row: Row
    file: str
    name: str
    count: str
    members: str
    mark: str

    @property
    def kind(self) -> Kind:
        """How its frame is marked."""
        if self.row.odd:
            return "outlier"
        if self.row.frame is None:
            return "note"
        return "library" if is_library(self.row.frame) else "frame"

    @property
    def left_cells(self) -> int:
        """What guide and frame take when nothing is cut."""
        return cells(self.row.guide) + cells(_frame_text(self.file, self.name))

    @property
    def tail_cells(self) -> int:
        """What members and mark take when nothing is cut."""
        return cells(self.members) + (cells(_GAP + self.mark) if self.mark else 0)

    def left(self, room: int, width: int) -> tuple[str, str]:
        """Guide and frame in at most ``room`` cells: of a path the inner end is kept, then the function."""
        guide = clip_left(self.row.guide, int(width * _GUIDE_SHARE))
        room -= cells(guide)
        spare = max(room - cells(self.name) - 1, _FILE_CELLS)
        return guide, clip(_frame_text(_clip_path(self.file, spare), self.name), room)

    def tail(self, room: int) -> tuple[str, str]:
        """Members and mark in at most ``room`` cells; the mark is never cut."""
        mark = _GAP + self.mark if self.mark else ""
        return _clip_set(self.members, room - cells(mark)), mark


def _line(merged: Merged, row: Row) -> _Line:
    frame = row.frame
    file = f"{harmless(short_file(frame.file))}:{frame.line}" if frame is not None and frame.file else ""
    name = row.note if frame is None else harmless(frame.function)
    count = f"{row.threads} on {len(row.members)}" if row.threads != len(row.members) else str(len(row.members))
    members = _clip_set(f"[{harmless(merged.fold(row.members))}]", _MEMBERS_CELLS) if row.starts else ""
    mark = "" if not row.odd_begins else "◀ odd one out" if len(row.members) == 1 else "◀ odd ones out"
    return _Line(row, file, name, count, members, mark)


def _lay_out(lines: Sequence[_Line], width: int, style: Style) -> Iterator[str]:
    """The lines with their columns: frames to the left, counts, then members and mark."""
    counts = max(cells(line.count) for line in lines)
    room = width - len(_INDENT + _GAP + _GAP) - counts
    most = min(int(width * _TAIL_SHARE), room - int(width * _GUIDE_SHARE) - _NAME_CELLS)
    tails = min(max(line.tail_cells for line in lines), most)
    room = min(room - tails, max(line.left_cells for line in lines))
    for line in lines:
        guide, frame = line.left(room, width)
        members, mark = line.tail(tails)
        gap = " " * (room - cells(guide) - cells(frame) + counts - cells(line.count)) + _GAP
        pieces: list[tuple[Kind, str]] = [("guide", guide), (line.kind, frame), ("count", gap + line.count)]
        pieces += [("members", _GAP + members if members else ""), ("outlier", mark)]
        yield _INDENT + "".join(style.mark(kind, text) for kind, text in pieces if text)


def _frame_text(file: str, name: str) -> str:
    return f"{file} {name}" if file else name


def _clip_path(path: str, room: int) -> str:
    """The inner end of a path, cut before a part of it where that is enough."""
    start = 0
    while cells(path) - start > room - 1 and (slash := path.find("/", start + 1)) > 0:
        start = slash
    return path if cells(path) <= room else clip_left(ELLIPSIS[: bool(start)] + path[start:], room)


def _clip_set(text: str, room: int) -> str:
    """A folded set in brackets, cut after a comma if it is too long."""
    if cells(text) <= room:
        return text
    head = clip(text, room - len(",]"))[:-1]
    comma = head.rfind(",")
    return (head[:comma] if comma > 0 else head) + f",{ELLIPSIS}]"
