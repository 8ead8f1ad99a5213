"""Reading a file in a process of its own, with bounds on memory, time and what comes back.

In: an open file and what is wanted of it. Out: the child's answer: notes, and bytes. Whatever the
file is (a bomb, a loop, what makes a decoder crash) ends as ``ConfinedError`` that says which bound
was met. The rule only this module keeps: what the child found is never an object here, only a
document.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import IO, Any

from oobdump import bare_python
from oobdump.errors import CodecError
from oobdump.reading.arrays import SIDE_SUFFIX
from oobdump.reading.source import Source

__all__ = ["MAX_ANSWER_BYTES", "Answer", "ConfinedError", "Order", "ask", "streamed"]

MEMORY_BYTES = 256 * 2**20
"""Address space beside what grows with the file: the interpreter maps 50 MiB, half a million values need 100."""

MEMORY_PER_BYTE = 8
"""A small integer is one byte in a msgpack document and eight in a list; what is decoded is also encoded."""

SIDE_MEMORY_PER_BYTE = 3
"""A side part is mapped, and copied at most twice on its way into another format."""

CPU_S = 10
"""A document of 16 MiB takes one to three seconds; a bomb takes all there is."""

WALL_S = 60.0
"""For a slow file system, and a machine with more to do."""

MAX_ANSWER_BYTES = 64 * 2**20
"""Of an outline, which its bounds keep below a few; more means that it was no outline."""

_MAX_HEADER_BYTES = 2**20
_READ_BYTES = 2**16


class ConfinedError(CodecError):
    """The file could not be read within the bounds; the message says which."""


@dataclass(frozen=True)
class Order:
    """What the child is to do: ``outline`` (a tree to be laid out) or ``convert`` (a document in format ``to``)."""

    task: str
    format: str
    trust: bool = False
    generous: bool = False
    to: str = ""
    side: bool = False
    """Whether bulk data may go to a side part: then it comes first, and ``facts["side"]`` is its size."""


@dataclass(frozen=True)
class Answer:
    """What the child said: words on what was found and lost, and its document."""

    notes: tuple[str, ...] = ()
    data: bytes = b""
    facts: dict[str, Any] = field(default_factory=dict)


def ask(source: Source, order: Order, directory: int | None = None) -> Answer:
    """The answer as a whole, of at most ``MAX_ANSWER_BYTES``. Raises ``ConfinedError``."""
    with streamed(source, order, directory) as (answer, chunks):
        pieces, size = [], 0
        for chunk in chunks:
            pieces.append(chunk)
            size += len(chunk)
            if size > MAX_ANSWER_BYTES:
                raise ConfinedError(f"{source.path}: its outline has more than {MAX_ANSWER_BYTES:,} bytes: not shown")
    return Answer(answer.notes, b"".join(pieces), answer.facts)


@contextmanager
def streamed(source: Source, order: Order, directory: int | None = None) -> Iterator[tuple[Answer, Iterator[bytes]]]:
    """The answer's header, and its document in pieces."""
    memory = MEMORY_BYTES + MEMORY_PER_BYTE * source.size + SIDE_MEMORY_PER_BYTE * _side_size(source, directory)
    limits = {"memory": memory, "cpu": CPU_S, "file": source.descriptor, "directory": directory}
    words = json.dumps({**asdict(order), **limits, "name": os.path.basename(source.path)})
    child = subprocess.Popen(  # noqa: S603 - this interpreter, and words of ours
        bare_python.command("oobdump.reading.child", words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=[each for each in (source.descriptor, directory) if each is not None],
        env=bare_python.environment(),
    )
    assert child.stdout is not None  # noqa: S101 - a pipe was asked for
    try:
        reader = _Reader(child.stdout, time.monotonic() + WALL_S)
        header = reader.line()
        if header is None:
            raise ConfinedError(f"{source.path}: {_end_of(child, reader)}")
        if "error" in header:
            raise ConfinedError(f"{source.path}: {header['error']}")
        yield Answer(tuple(map(str, header["notes"])), facts=dict(header["facts"])), reader.rest(source.path)
        if not reader.timed_out and (code := child.wait(WALL_S)) != 0:
            raise ConfinedError(f"{source.path}: {_why(code)}")
    finally:
        child.kill()
        child.stdout.close()
        child.wait()


def _side_size(source: Source, directory: int | None) -> int:
    """How large the side part beside the file is; 0 if there is none."""
    try:
        name = f"{os.path.basename(source.path)}{SIDE_SUFFIX}"
        return 0 if directory is None else os.stat(name, dir_fd=directory, follow_symlinks=False).st_size
    except OSError:
        return 0


class _Reader:
    """What comes through the child's pipe, until a deadline."""

    def __init__(self, pipe: IO[bytes], deadline: float) -> None:
        self._descriptor = pipe.fileno()
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)
        self._deadline = deadline
        self._held = b""
        self.timed_out = False

    def _more(self) -> bytes:
        left = self._deadline - time.monotonic()
        if left <= 0 or not self._poll.poll(left * 1000):
            self.timed_out = True
            return b""
        return os.read(self._descriptor, _READ_BYTES)

    def line(self) -> dict[str, Any] | None:
        """The header; None if the child ended, or was too slow, before it was whole."""
        while b"\n" not in self._held:
            piece = self._more()
            if not piece or len(self._held) > _MAX_HEADER_BYTES:
                return None
            self._held += piece
        line, _, self._held = self._held.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def rest(self, path: str) -> Iterator[bytes]:
        """All that follows."""
        piece = self._held
        while piece or (piece := self._more()):
            yield piece
            piece = b""
        if self.timed_out:
            raise ConfinedError(f"{path}: reading it took more than {WALL_S:g} s")


def _end_of(child: subprocess.Popen[bytes], reader: _Reader) -> str:
    """How a child ended that said nothing."""
    if reader.timed_out:
        return f"reading it took more than {WALL_S:g} s"
    return _why(child.wait(WALL_S))


def _why(code: int) -> str:
    if -code in (signal.SIGXCPU, signal.SIGKILL):
        return f"reading it took more than {CPU_S} s of processor time, or the system's memory: it is a bomb, or huge"
    if -code == signal.SIGSEGV:
        return "its reader crashed: it is nested too deep, or made to do harm"
    return f"its reader ended with {code} and no answer: not enough memory, most likely; it is a bomb, or huge"
