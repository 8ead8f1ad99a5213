"""What one worker's ``stacks`` part says, as frozen values.

In: a worker's name, its rank and the decoded value of the part, which others may have
damaged. Out: ``WorkerStacks``, or a ``Problem`` that keeps the worker's name and rank. The
rule only this module keeps: no value raises, and no worker is lost for its value.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, NoReturn

from oobdump.identity import parse_name

__all__ = [
    "MAIN_LABEL",
    "MAX_LINE",
    "OMITTED",
    "CheckedStack",
    "Frame",
    "Member",
    "Problem",
    "Stack",
    "ThreadStack",
    "WorkerStacks",
    "checked",
    "is_library",
    "label_of",
    "parse_stacks",
    "shared_frame",
    "top_user_frame",
]

SCHEMA_VERSION = 1

MAIN_LABEL = "MainThread"

_MAX_LABEL_CHARS = 100
"""Longer thread names are cut: they come from files, and a label stands in a heading."""

MAX_LINE = 2**31 - 1
"""CPython keeps line numbers in a C int, Linux its pids too."""

_NUMBER = f"a whole number from 0 to {MAX_LINE}"

_FRAME_CACHE = 2**16
"""Distinct frames kept for sharing: a job of ten thousand ranks has a few hundred."""

_LABEL_CACHE = 2**12
"""Distinct thread names kept with their labels."""

_LIBRARY = re.compile(r"/(?:site|dist)-packages/|/lib(?:32|64)?/python\d[\d.]*t?/|<frozen ")


class Frame(NamedTuple):
    """One frame. A tuple and no dataclass, because it is hashed by the million and C does that."""

    file: str
    line: int
    function: str


class Member(NamedTuple):
    """One worker as an element of a set; its name alone is unique, since two may claim one rank."""

    rank: int | None
    worker: str

    @property
    def order(self) -> tuple[bool, int, str]:
        """Sort key: by rank, then those without one by name."""
        return self.rank is None, self.rank or 0, self.worker


Stack = tuple[Frame, ...]
"""Frames of one thread, outermost first."""


class CheckedStack(tuple[Frame, ...]):
    """A stack that went through ``checked``: what others hand in as frames can be no such object."""

    __slots__ = ()


OMITTED = Frame("", 0, "(frames omitted)")
"""Stands where the handler left frames out; without their number, so that equal remainders stay equal."""


@dataclass(frozen=True)
class ThreadStack:
    """One thread: the label it is grouped by, its own name, and where it stands."""

    label: str
    name: str | None
    main: bool
    ours: bool
    frames: Stack


@dataclass(frozen=True)
class WorkerStacks:
    """All threads of one worker; ``host`` is empty where the worker's name does not tell it."""

    worker: str
    rank: int | None
    host: str
    pid: int
    threads: tuple[ThreadStack, ...]

    @property
    def member(self) -> Member:
        """This worker as it stands in the sets of a merge."""
        return Member(self.rank, self.worker)


@dataclass(frozen=True)
class Problem:
    """Why a worker that was asked has no stacks here."""

    worker: str
    rank: int | None
    reason: str

    @property
    def member(self) -> Member:
        """This worker as it stands in the sets of a merge."""
        return Member(self.rank, self.worker)


class _Malformed(Exception):
    """Where a value is not what the schema says; becomes a ``Problem``, never leaves this module."""


def parse_stacks(worker: str, rank: int | None, value: object) -> WorkerStacks | Problem:
    """What ``value`` (the ``stacks`` part of ``worker``) says, or why it says nothing."""
    try:
        threads, pid = _document(value)
    except _Malformed as malformed:
        return Problem(worker, rank, str(malformed))
    identity = parse_name(worker)
    return WorkerStacks(worker, rank, identity[1] if identity else "", pid, threads)


def checked(items: object) -> CheckedStack | None:
    """The frames of one thread, as decoded; None if they are damaged."""
    if type(items) is not list:
        return None
    try:
        return CheckedStack(_stack(items, ""))
    except _Malformed:
        return None


@lru_cache(maxsize=_LABEL_CACHE)
def label_of(name: str | None, *, main: bool) -> str:
    """The label a thread is grouped by: digits folded, so that pools and ranks fall together."""
    if main:
        return MAIN_LABEL
    if name is None:
        return "(unnamed)"
    folded = re.sub(r"\d+", "N", name[:_MAX_LABEL_CHARS])
    return folded if folded != MAIN_LABEL else f"{MAIN_LABEL} (not the main thread)"


def top_user_frame(stack: Stack) -> Frame | None:
    """The innermost frame outside the standard library and installed packages; else the innermost."""
    for frame in reversed(stack):
        if not is_library(frame):
            return frame
    return stack[-1] if stack else None


def is_library(frame: Frame) -> bool:
    """Whether the frame's file is of the standard library or of an installed package, by its path."""
    return frame == OMITTED or _LIBRARY.search(frame.file) is not None


def _document(value: object) -> tuple[tuple[ThreadStack, ...], int]:
    if type(value) is not dict:
        _refuse("the part", "an object", value)
    version = value.get("schema_version")
    if type(version) is not int:
        _refuse("schema_version", str(SCHEMA_VERSION), version)
    if version != SCHEMA_VERSION:
        raise _Malformed(f"schema_version is not {SCHEMA_VERSION}: a newer oobdump may read it, or the part is damaged")
    threads = value.get("threads")
    if type(threads) is not list or not threads:
        _refuse("threads", "a list of at least one thread", threads)
    pid = _count(value.get("pid"), "pid")
    return tuple(_thread(item, f"threads[{index}]") for index, item in enumerate(threads)), pid


def _thread(item: object, where: str) -> ThreadStack:
    if type(item) is not dict:
        _refuse(where, "an object", item)
    name, frames = item.get("name"), item.get("frames")
    if name is not None and type(name) is not str:
        _refuse(f"{where}.name", "a text or null", name)
    if type(frames) is not list and type(frames) is not CheckedStack:
        _refuse(f"{where}.frames", "a list", frames)
    main, ours = _flag(item.get("main"), f"{where}.main"), _flag(item.get("ours"), f"{where}.ours")
    stack: Stack = frames if type(frames) is CheckedStack else _stack(frames, where)
    if _count(item.get("omitted_frames", 0), f"{where}.omitted_frames"):
        after = _count(item.get("omitted_after", 0), f"{where}.omitted_after")
        stack = (*stack[:after], OMITTED, *stack[after:])
    return ThreadStack(label_of(name, main=main), name, main, ours, stack)


def _stack(items: Sequence[object], where: str) -> Stack:
    """The frames, checked. A tight loop: it sees every frame of the job."""
    frames: list[Frame] = []
    for item in items:
        if type(item) is not dict:
            _refuse(f"{where}.frames[{len(frames)}]", "an object", item)
        file, line, function = item.get("file"), item.get("line"), item.get("function")
        if type(file) is not str or type(function) is not str:
            which, found = ("file", file) if type(file) is not str else ("function", function)
            _refuse(f"{where}.frames[{len(frames)}].{which}", "a text", found)
        if type(line) is not int or not 0 <= line <= MAX_LINE:
            _refuse(f"{where}.frames[{len(frames)}].line", _NUMBER, line)
        frames.append(shared_frame(file, line, function))
    return tuple(frames)


@lru_cache(maxsize=_FRAME_CACHE)
def shared_frame(file: str, line: int, function: str) -> Frame:
    """Equal frames as one object: ranks repeat each other, and identity is the cheapest comparison."""
    return Frame(file, line, function)


def _flag(value: object, where: str) -> bool:
    if type(value) is not bool:
        _refuse(where, "true or false", value)
    return value


def _count(value: object, where: str) -> int:
    if type(value) is not int or not 0 <= value <= MAX_LINE:
        _refuse(where, _NUMBER, value)
    return value


def _refuse(where: str, wanted: str, found: object) -> NoReturn:
    """Names the type of what was found and never its value, which may be long or hostile."""
    kind = "absent" if found is None else f"of type {type(found).__name__}"
    raise _Malformed(f"{where} is {kind} instead of {wanted}: the part is damaged or not oobdump's")
