"""Rung 3: py-spy reads the stacks out of the process's memory, and pauses nobody.

In: a pid. Out: the document of the ``stacks`` handler, and whose the GIL was in each sample; or in
words why there is none. The rule only this module keeps: the document is the one that the worker
itself would have written, so that who merges need not care who answered; what py-spy does not know
(``daemon``) is null.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oobdump.errors import OobdumpError
from oobdump.handlers.child_process import Run, run
from oobdump.handlers.plain import text
from oobdump.handlers.pyspy import NoPySpy, find_program
from oobdump.identity import now_iso

__all__ = ["NotRead", "Sample", "native", "native_id_of", "sample", "to_stacks"]

TRIES = 4
"""A read of a busy process without pausing it fails now and then (2 of 60): again is all it needs."""

TRY_S = 3.0
"""10 ms is usual, 0.6 s was seen on a loaded machine with torch loaded."""

INNERMOST_FRAMES, OUTERMOST_FRAMES = 900, 100
"""As the ``stacks`` handler cuts a long stack."""

_OURS = ("oobdump/threads.py", "start_thread")
"""Where each thread of ours begins: the end of the file's name, and of which function."""

_OUR_NAME = "oobdump "
"""How the kernel's names of our threads begin."""

_MAX_ERROR_CHARS = 500


class NotRead(OobdumpError):
    """py-spy gave no stacks; ``refused`` is set where the kernel would not let it look."""

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


@dataclass(frozen=True)
class Sample:
    """One reading: py-spy's threads as it gave them."""

    threads: tuple[Mapping[str, Any], ...]

    @property
    def keeper(self) -> Mapping[str, Any] | None:
        """The thread that had the GIL."""
        return next((thread for thread in self.threads if thread.get("owns_gil")), None)

    @property
    def place(self) -> str:
        """Where that thread stood: its innermost frame."""
        frames = (self.keeper or {}).get("frames") or [{}]
        first = frames[0]
        return f"{first.get('name')} ({first.get('short_filename')}:{first.get('line')})" if first else ""


def sample(pid: int, deadline: float) -> Sample:
    """The stacks now, without a pause. Raises ``NotRead``."""
    return _parsed(_dump(["--json", "--nonblocking"], pid, deadline))


def native(pid: int, deadline: float) -> bytes:
    """The stacks with their C frames, as text; the process is paused meanwhile. Raises ``NotRead``."""
    return _dump(["--native"], pid, deadline).output


def to_stacks(found: Sample, pid: int, python: str = "", names: Mapping[int, str] | None = None) -> dict[str, Any]:
    """The document of the ``stacks`` handler; ``names`` are the kernel's names of threads, for those of ours."""
    entries = [_thread(thread, pid, names or {}) for thread in found.threads]
    return {
        "schema_version": 1,
        "pid": pid,
        "taken_at": now_iso(),
        "python": python,
        "threads": sorted(entries, key=lambda entry: (not entry["main"], entry["native_id"] or 0)),
        "read_by": "py-spy",
    }


def _dump(options: Sequence[str], pid: int, deadline: float) -> Run:
    """The first run that works."""
    try:
        program = find_program()
    except NoPySpy as error:
        raise NotRead(str(error)) from None
    for _ in range(TRIES):
        found = _once([program, "dump", *options, "--pid", str(pid)], deadline)
        said = found.output.decode("utf-8", "backslashreplace")
        if found.ended and found.code == 0:
            return found
        if not found.ended or _refused(said) or time.monotonic() > deadline:
            break
    last = next((line for line in reversed(said.splitlines()) if line.strip()), "without a word")
    if _refused(said):
        raise NotRead(f"py-spy may not read it: {_short(said)}", refused=True)
    if not found.ended:
        raise NotRead("py-spy gave no answer in time and was ended")
    raise NotRead(f"py-spy ended with status {found.code}: {_short(said) if 'Error' in said else last}")


def _once(command: Sequence[str], deadline: float) -> Run:
    try:
        return run(command, min(deadline, time.monotonic() + TRY_S))
    except OSError as error:
        raise NotRead(f"py-spy cannot be started: {error}") from None


def _refused(said: str) -> bool:
    return "ermission" in said or "not permitted" in said


def _short(said: str) -> str:
    told = said.partition("Stack backtrace")[0]
    words = " ".join(line.strip() for line in told.splitlines() if line.strip() and "RUST_BACKTRACE" not in line)
    return text(words[:_MAX_ERROR_CHARS])


def _parsed(found: Run) -> Sample:
    output = found.output[found.output.find(b"[") :]  # a warning may stand before it
    try:
        threads = json.loads(output)
    except ValueError as error:
        raise NotRead(f"py-spy's answer is no JSON: {error}") from None
    if not isinstance(threads, list) or not all(isinstance(each, dict) and _has_frames(each) for each in threads):
        raise NotRead("py-spy's answer is not a list of threads with frames: a newer py-spy may have changed it")
    if not threads:
        raise NotRead("py-spy found no Python thread in it")
    return Sample(tuple(threads))


def _has_frames(thread: Mapping[str, Any]) -> bool:
    frames = thread.get("frames")
    return isinstance(frames, list) and all(isinstance(frame, dict) for frame in frames)


def _thread(thread: Mapping[str, Any], pid: int, names: Mapping[int, str]) -> dict[str, Any]:
    frames = [_frame(frame) for frame in reversed(thread["frames"])]
    native_id = native_id_of(thread, pid)
    kernel_name = names.get(native_id, "") if native_id is not None else ""
    ours = _is_ours(frames, kernel_name)
    name = kernel_name if ours else thread.get("thread_name")
    cut = max(0, len(frames) - INNERMOST_FRAMES - OUTERMOST_FRAMES)
    if cut:
        frames = frames[:OUTERMOST_FRAMES] + frames[-INNERMOST_FRAMES:]
    return {
        "name": text(str(name)) if name else None,
        "ident": thread.get("thread_id"),
        "native_id": native_id,
        "daemon": None,
        "main": native_id == pid,
        "ours": ours,
        "frames": frames,
        "omitted_frames": cut,
        **({"omitted_after": OUTERMOST_FRAMES} if cut else {}),
    }


def native_id_of(thread: Mapping[str, Any], pid: int) -> int | None:
    """The kernel's id of a thread: without a pause py-spy knows it from Python 3.11 on, and we the main thread's."""
    found = thread.get("os_thread_id")
    if isinstance(found, int):
        return found
    return pid if thread.get("thread_name") == "MainThread" else None


def _is_ours(frames: Sequence[Mapping[str, Any]], kernel_name: str) -> bool:
    """By its outermost frame; by the kernel's name, which a child of ours inherits, only where it has no frame yet."""
    if not frames:
        return kernel_name.startswith(_OUR_NAME)
    return bool(frames[0]["file"].endswith(_OURS[0]) and frames[0]["function"].startswith(_OURS[1]))


def _frame(frame: Mapping[str, Any]) -> dict[str, Any]:
    line = frame.get("line")
    return {
        "file": text(str(frame.get("filename") or "")),
        "line": line if type(line) is int and line > 0 else 0,
        "function": text(str(frame.get("name") or "")),
    }
