"""Flight recorder files of many ranks, read by a few child processes.

In: files with their ranks. Out: a ``RankTrace`` or a ``TraceProblem`` for each, in the same
order. The rules only this module keeps: no file of anybody's is unpickled in this process (what
a child answers is, with a list of classes it may name); a file that ends a child is named; and
after a few such files no more are tried.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import select
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NoReturn

from oobdump import bare_python
from oobdump.job.calls import Pool
from oobdump.job.collectives import TraceProblem
from oobdump.job.stacks import Frame
from oobdump.job.trace import Call, GroupConfig, GroupStatus, Lane, Op, OpenCall, RankTrace
from oobdump.offline.child import LENGTH_BYTES

__all__ = ["RecorderFile", "children", "read_recorders"]

RecorderFile = tuple[int, str]
"""A rank and the path of its recorder."""

Read = RankTrace | TraceProblem

CHUNK = 32
"""Files in one task: enough that sharing between ranks is seen, few enough to try again one by one."""

CPU_S = 5
"""What one file may take; the largest honest ones take half a second."""

FILES_A_CPU_S = 4
"""So many files more in a task allow it a second more: usual ones take a hundredth."""

WITHIN_S = 60.0
"""And how long it may take on a busy machine or a slow file system."""

END_WITHIN_S = 1.0
"""A process that was killed ends at once, unless its file system hangs."""

MAX_CHILDREN = 2
"""Twice as fast for 36 MB more; a node that is asked why it hangs has other work."""

MAX_LOST = 4
"""Files that may end a child: each costs up to ``WITHIN_S``."""

_CLASSES = {
    (each.__module__, each.__qualname__): each
    for each in (Call, Frame, GroupConfig, GroupStatus, Lane, OpenCall, Op, RankTrace, TraceProblem)
}


def read_recorders(files: Sequence[RecorderFile], *, pool: Pool | None = None) -> list[Read]:
    """Every file's trace, or why it has none."""
    chunks = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
    count = children(len(files))
    if not chunks:
        return []
    with ThreadPoolExecutor(count) as threads:
        readers = [_Reader() for _ in range(count)]
        shares = [threads.submit(_share, readers[place], chunks[place::count]) for place in range(count)]
        by_share = [share.result() for share in shares]
    found = [by_share[number % count][number // count] for number in range(len(chunks))]
    return list(_adopted([each for chunk in found for each in chunk], Pool() if pool is None else pool))


def children(files: int) -> int:
    """How many processes read so many files."""
    return min((files + CHUNK - 1) // CHUNK, MAX_CHILDREN, os.cpu_count() or 1)


def _share(reader: _Reader, chunks: Sequence[Sequence[RecorderFile]]) -> list[list[Read]]:
    try:
        return [reader.read(chunk) for chunk in chunks]
    finally:
        reader.stop()


def _adopted(found: Sequence[Read], pool: Pool) -> Iterator[Read]:
    """The traces with equal lanes as one object: each child had a pool of its own."""
    known: dict[int, tuple[Call, ...]] = {}
    for each in found:
        if isinstance(each, TraceProblem):
            yield each
            continue
        for lane in each.lanes:
            if id(lane.calls) not in known:
                known[id(lane.calls)] = pool.adopt(lane.calls)
        yield replace(each, lanes=tuple(replace(lane, calls=known[id(lane.calls)]) for lane in each.lanes))


class _Lost(Exception):
    """The child ended or did not answer; says why."""


class _Child:
    """One process that reads."""

    def __init__(self) -> None:
        tasks, answers = os.pipe(), os.pipe()
        self.tasks, self.answers = tasks[1], answers[0]
        try:
            self.process = subprocess.Popen(  # noqa: S603 - our own Python and a constant
                bare_python.command("oobdump.offline.child"),
                stdin=tasks[0],
                stdout=answers[1],
                stderr=subprocess.DEVNULL,
                env=bare_python.environment(),
            )
        finally:
            os.close(tasks[0])
            os.close(answers[1])

    def ask(self, files: Sequence[RecorderFile]) -> list[Read]:
        """What the files say. Raises ``_Lost``."""
        task = json.dumps({"files": files, "cpu_s": CPU_S + len(files) // FILES_A_CPU_S}) + "\n"
        deadline = time.monotonic() + WITHIN_S
        self._give(task.encode(), deadline)
        size = int.from_bytes(self._take(LENGTH_BYTES, deadline), "little")
        return _loaded(self._take(size, deadline), len(files))

    def stop(self) -> None:
        """Ends it, whatever it does."""
        self.process.kill()
        os.close(self.tasks)
        os.close(self.answers)
        try:
            self.process.wait(timeout=END_WITHIN_S)
        except subprocess.TimeoutExpired:
            pass  # it waits for a file system that hangs, and ends when that does

    def _give(self, data: bytes, deadline: float) -> None:
        """A task is smaller than a pipe but for very long paths, so that this waits for nobody."""
        os.set_blocking(self.tasks, False)
        while data:
            _, ready, _ = select.select([], [self.tasks], [], max(0.0, deadline - time.monotonic()))
            try:
                data = data[os.write(self.tasks, data) if ready else _too_long() :]
            except OSError:
                raise _Lost(self._ended()) from None

    def _take(self, size: int, deadline: float) -> bytes:
        """So many bytes of the answer."""
        data = bytearray()
        while len(data) < size:
            ready, _, _ = select.select([self.answers], [], [], max(0.0, deadline - time.monotonic()))
            piece = os.read(self.answers, min(size - len(data), 2**20)) if ready else _too_long()
            if not piece:
                raise _Lost(self._ended())
            data += piece
        return bytes(data)

    def _ended(self) -> str:
        try:
            code: int | None = self.process.wait(timeout=END_WITHIN_S)
        except subprocess.TimeoutExpired:
            code = None
        how = "" if code is None else f" (by signal {-code})" if code < 0 else f" (with status {code})"
        return (
            f"it ended the process that read it{how}: it is damaged or hostile, or takes more than {CPU_S} CPU seconds"
        )


class _Reader:
    """Reads with one child, and with a new one when that is lost."""

    def __init__(self) -> None:
        self._child: _Child | None = None
        self._lost = 0

    def read(self, files: Sequence[RecorderFile]) -> list[Read]:
        """What the files say. When a task is lost its files are tried one by one, to name the one that did it."""
        if self._lost >= MAX_LOST:
            return [_problem(file, "not read: other files ended the process that reads them") for file in files]
        try:
            self._child = self._child or _Child()
            return self._child.ask(files)
        except _Lost as error:
            self.stop()
            if len(files) > 1:
                return [found for file in files for found in self.read([file])]
            self._lost += 1
            return [_problem(files[0], str(error))]

    def stop(self) -> None:
        """Ends the child if there is one."""
        child, self._child = self._child, None
        if child is not None:
            child.stop()


def _too_long() -> NoReturn:
    raise _Lost(f"reading it took longer than {WITHIN_S:g} s: it is hostile, or its file system hangs")


def _problem(file: RecorderFile, reason: str) -> TraceProblem:
    return TraceProblem(file[0], file[1], reason)


class _Unpickler(pickle.Unpickler):
    """Loads what a child answered, and names no other classes than those."""

    def find_class(self, module: str, name: str) -> Any:
        return _CLASSES.get((module, name)) or _refuse(module, name)


def _refuse(module: str, name: str) -> NoReturn:
    raise pickle.UnpicklingError(f"{module}.{name}")


def _loaded(data: bytes, count: int) -> list[Read]:
    try:
        found = _Unpickler(io.BytesIO(data)).load()
    except Exception as error:  # noqa: BLE001 - a child that was taken over can write anything
        raise _Lost(f"what the reading process said makes no sense ({type(error).__name__})") from None
    if (
        type(found) is not list
        or len(found) != count
        or not all(type(each) in (RankTrace, TraceProblem) for each in found)
    ):
        raise _Lost("what the reading process said makes no sense")
    return found
