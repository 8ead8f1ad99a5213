"""Rung 1: what the kernel says of a process without its help, from files that never wait for it.

In: a pid. Out: one ``Look``: the process, and each thread with its state, processor time, switches and
what it waits in. The rule only this module keeps: it reads ``stat``, ``status``, ``wchan``, ``syscall``,
``comm`` and the kernel's ``stack`` and nothing else, for those take no lock of the process's memory,
which a thread in D state may hold. A file that is refused is named, and the others are read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from oobdump.handlers.plain import read_file, text

__all__ = ["Look", "ThreadLook", "look", "plain", "status_fields"]

MAX_THREADS = 4096
"""Five files each at 10 µs: 0.2 s. A process with more is told by its first ones."""

MAX_KERNEL_STACKS = 16
"""Of threads in D state: where one waits the others often wait too."""

_STATE, _PPID, _USER, _SYSTEM, _START, _EXIT_CODE = 0, 1, 11, 12, 19, 49
"""Fields of ``stat``, counted from the state on (proc(5))."""

_SWITCHES = ("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches")


@dataclass(frozen=True)
class ThreadLook:
    """One thread at one moment. ``wchan`` and ``system_call`` are empty where they may not be read."""

    tid: int
    name: str
    state: str
    ticks: int
    switches: int
    wchan: str = ""
    system_call: str = ""
    kernel_stack: str = ""


@dataclass(frozen=True)
class Look:
    """A process at one moment. ``tracer`` is the pid that traces it, 0 for none; ``refused`` says why by file."""

    pid: int
    ppid: int
    name: str
    state: str
    start_ticks: int
    exit_code: int
    tracer: int
    status: Mapping[str, str]
    threads: tuple[ThreadLook, ...]
    omitted_threads: int = 0
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def dead(self) -> bool:
        """Whether nothing runs in it any more, though nobody has waited for it."""
        return self.state in ("Z", "X")


def look(pid: int, start_ticks: int | None = None) -> Look | None:
    """One look; None if that incarnation is gone. Raises ``OSError`` if this process cannot look at all."""
    try:
        name, fields = _stat(f"/proc/{pid}/stat")
        status = status_fields(f"/proc/{pid}/status")
        tids = sorted((int(tid) for tid in os.listdir(f"/proc/{pid}/task")), key=lambda tid: (tid != pid, tid))
    except (FileNotFoundError, ProcessLookupError):
        return None
    if start_ticks and int(fields[_START]) != start_ticks:
        return None
    refused: dict[str, str] = {}
    stacks_left = [MAX_KERNEL_STACKS]
    threads = (_thread(pid, tid, refused, stacks_left) for tid in tids[:MAX_THREADS])
    return Look(
        pid=pid,
        ppid=int(fields[_PPID]),
        name=name,
        state=fields[_STATE],
        start_ticks=int(fields[_START]),
        exit_code=int(fields[_EXIT_CODE]) if len(fields) > _EXIT_CODE else 0,
        tracer=int(status.get("TracerPid", "0")),
        status=status,
        threads=tuple(filter(None, threads)),
        omitted_threads=max(0, len(tids) - MAX_THREADS),
        refused=refused,
    )


def plain(found: Look) -> dict[str, Any]:
    """A look as it stands in a part."""
    return {
        "pid": found.pid,
        "ppid": found.ppid,
        "name": found.name,
        "state": found.state,
        "tracer": found.tracer,
        "status": dict(found.status),
        "omitted_threads": found.omitted_threads,
        "refused": dict(found.refused),
        "threads": [_plain_thread(thread) for thread in found.threads],
    }


def status_fields(path: str) -> dict[str, str]:
    """A ``status`` file by its fields."""
    lines = (line.partition(":") for line in read_file(path).splitlines())
    return {name: text(value.strip()) for name, _, value in lines if name not in ("Mems_allowed", "Cpus_allowed")}


def _thread(pid: int, tid: int, refused: dict[str, str], stacks_left: list[int]) -> ThreadLook | None:
    task = f"/proc/{pid}/task/{tid}"
    try:
        name, fields = _stat(f"{task}/stat")
        status = status_fields(f"{task}/status")
    except (OSError, IndexError, ValueError):
        return None  # it ended meanwhile
    stack = ""
    if fields[_STATE] == "D" and stacks_left[0] > 0:
        stacks_left[0] -= 1
        stack = _try(f"{task}/stack", refused)
    return ThreadLook(
        tid=tid,
        name=name,
        state=fields[_STATE],
        ticks=int(fields[_USER]) + int(fields[_SYSTEM]),
        switches=sum(int(status.get(each, "0")) for each in _SWITCHES),
        wchan="" if (wchan := _try(f"{task}/wchan", refused).strip()) == "0" else wchan,
        system_call=_try(f"{task}/syscall", refused).strip(),
        kernel_stack=stack,
    )


def _stat(path: str) -> tuple[str, list[str]]:
    """Name, and the fields from the state on; the name may hold any character, ``)`` too."""
    name, _, rest = read_file(path).rpartition(")")
    return text(name.partition("(")[2]), rest.split()


def _try(path: str, refused: dict[str, str]) -> str:
    name = path.rpartition("/")[2]
    if name in refused:
        return ""
    try:
        return read_file(path)
    except (FileNotFoundError, ProcessLookupError):
        return ""
    except OSError as error:
        refused[name] = f"{type(error).__name__}: {error.strerror}"
        return ""


def _plain_thread(thread: ThreadLook) -> dict[str, Any]:
    return {
        "native_id": thread.tid,
        "name": thread.name,
        "state": thread.state,
        "ticks": thread.ticks,
        "switches": thread.switches,
        "wchan": thread.wchan,
        "system_call": thread.system_call,
        **({"kernel_stack": thread.kernel_stack.splitlines()} if thread.kernel_stack else {}),
    }
