"""Rung 1, second half: what ``/proc`` tells only while the process's memory can be locked.

In: a pid. Out: on stdout one JSON object a line, ``{"name", "value"}`` or ``{"name", "error"}``, the
safest reading first. Run as a program of its own: a thread in D state may hold the lock, and whoever
reads then hangs too, killed or not. The rule this module keeps: each reading is written out before
the next begins, so that one that hangs costs only itself and those after it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from oobdump import bare_python
from oobdump.handlers.plain import read_file, text
from oobdump.handlers.redaction import redact_arguments, redact_value

__all__ = ["NAMES", "command", "main"]

_MAX_DESCRIPTORS = 2000
_MAX_VARIABLES = 5000
_MAX_LIBRARIES = 2000
_MAX_ARGUMENTS = 200
_READ_BYTES = 2**20


def command(pid: int) -> list[str]:
    """How to run this."""
    return bare_python.command(__name__, str(pid))


def main(pid_as_text: str) -> None:
    """Takes the readings, one line each."""
    pid = int(pid_as_text)
    for name, read in _READINGS.items():
        try:
            entry = {"name": name, "value": read(pid)}
        except (OSError, ValueError, IndexError) as error:
            entry = {"name": name, "error": text(f"{type(error).__name__}: {error}")}
        os.write(1, json.dumps(entry).encode("ascii") + b"\n")


def _descriptors(pid: int) -> dict[str, Any]:
    directory = f"/proc/{pid}/fd"
    names = sorted(os.listdir(directory), key=int)
    return {"open": len(names), "targets": {name: _target(f"{directory}/{name}") for name in names[:_MAX_DESCRIPTORS]}}


def _target(path: str) -> str:
    try:
        return text(os.readlink(path))
    except OSError as error:
        return f"({error.strerror})"


def _limits(pid: int) -> dict[str, dict[str, str]]:
    rows = read_file(f"/proc/{pid}/limits").splitlines()[1:]
    return {row[:26].strip(): {"soft": row[26:47].strip(), "hard": row[47:68].strip()} for row in rows}


def _children(pid: int) -> list[int]:
    tids = os.listdir(f"/proc/{pid}/task")
    return sorted(int(word) for tid in tids for word in read_file(f"/proc/{pid}/task/{tid}/children").split())


def _cgroup(pid: int) -> list[str]:
    return [text(line) for line in read_file(f"/proc/{pid}/cgroup").splitlines()]


def _oom(pid: int) -> dict[str, int]:
    return {name: int(read_file(f"/proc/{pid}/{name}")) for name in ("oom_score", "oom_score_adj")}


def _arguments(pid: int) -> list[str]:
    words = _whole(f"/proc/{pid}/cmdline").decode("utf-8", "backslashreplace").split("\0")[:-1]
    return redact_arguments(text(word) for word in words[:_MAX_ARGUMENTS])


def _environment(pid: int) -> dict[str, str]:
    words = _whole(f"/proc/{pid}/environ").decode("utf-8", "backslashreplace").split("\0")
    pairs = (word.partition("=") for word in words[:_MAX_VARIABLES] if "=" in word)
    return {text(name): redact_value(name, text(value)) for name, _, value in pairs}


def _memory_map(pid: int) -> dict[str, Any]:
    rows = _whole(f"/proc/{pid}/maps").decode("utf-8", "backslashreplace").splitlines()
    code = {fields[5] for fields in (row.split(None, 5) for row in rows) if len(fields) > 5 and "x" in fields[1]}  # noqa: PLR2004 - maps has six
    return {"mappings": len(rows), "libraries": sorted(map(text, code))[:_MAX_LIBRARIES]}


def _whole(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return b"".join(iter(lambda: file.read(_READ_BYTES), b""))


_READINGS: dict[str, Callable[[int], Any]] = {
    "limits": _limits,
    "cgroup": _cgroup,
    "oom": _oom,
    "children": _children,
    "cwd": lambda pid: text(os.readlink(f"/proc/{pid}/cwd")),
    "descriptors": _descriptors,
    "exe": lambda pid: text(os.readlink(f"/proc/{pid}/exe")),
    "arguments": _arguments,
    "environment": _environment,
    "memory_map": _memory_map,
}
"""The readings in their order: the last four need the lock of the process's memory."""

NAMES = tuple(_READINGS)
