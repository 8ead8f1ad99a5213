"""Where a thread is, and which processes belong to a program, as ``/proc`` tells it.

In: pids. Out: a ``Look`` at one thread, whether a thread has settled in a wait, and the
processes that carry a token. Nothing here needs the help of the process looked at.

Rule kept here: a thread counts as hanging only if it stands still, that is, if several
looks find the same state, the same system call with the same arguments, and not one
context switch in between.
"""

from __future__ import annotations

import os
import platform
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path

LOOKS = 4
LOOK_EVERY_S = 0.01
"""A thread that waits for the GIL wakes up every 5 ms: 10 ms show its context switches."""

RUNS_WITHIN_S = 2.0
"""How long a busy thread may go without processor time on a loaded machine; the kernel counts ticks of 10 ms."""

_NUMBERS = {
    "x86_64": {"lock": (202,), "read": (0,), "write": (1,), "poll": (7, 232, 281)},
    "aarch64": {"lock": (98,), "read": (63,), "write": (64,), "poll": (22, 73)},
}
SYSTEM_CALLS = _NUMBERS.get(platform.machine(), {})
"""System call numbers by kind of wait; on a machine that is not listed only the state is checked."""


@dataclass(frozen=True)
class Look:
    """One look at one thread: state letter, system call with arguments, context switches, processor ticks."""

    state: str
    system_call: str
    switches: str
    ticks: int

    def waits_as(self, wait: str) -> bool:
        """Whether this is the wait of that name."""
        if wait == "uninterruptible":
            return self.state == "D"
        if self.state != "S":
            return False
        numbers = SYSTEM_CALLS.get(wait, ())
        number = self.system_call.partition(" ")[0]
        return not numbers or not number.isdigit() or int(number) in numbers


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def look(pid: int, tid: int) -> Look:
    """One look at a thread; a thread that is gone has the state ``""``."""
    task = Path(f"/proc/{pid}/task/{tid}")
    fields = _read(task / "stat").rpartition(")")[2].split()
    switches = " ".join(re.findall(r"ctxt_switches:\s*(\d+)", _read(task / "status")))
    if not fields:
        return Look("", "", "", 0)
    return Look(fields[0], _read(task / "syscall").strip(), switches, int(fields[11]) + int(fields[12]))


def threads(pid: int) -> list[int]:
    """The thread ids of a process; empty if it is gone."""
    try:
        return sorted(int(name) for name in os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return []


def settled(pid: int, wait: str, tid: int | None = None) -> bool:
    """Whether a thread (the main one if not given) stands still in this kind of wait.

    ``wait`` is ``lock``, ``read``, ``write``, ``poll``, ``uninterruptible``, ``any`` (some
    wait), or ``running`` (it uses processor time instead).
    """
    tid = pid if tid is None else tid
    if wait == "running":
        return _uses_processor(pid, tid)
    first = look(pid, tid)
    for _ in range(LOOKS):
        time.sleep(LOOK_EVERY_S)
        if look(pid, tid) != first:
            return False
    return first.waits_as(wait)


def _uses_processor(pid: int, tid: int) -> bool:
    first, deadline = look(pid, tid).ticks, time.monotonic() + RUNS_WITHIN_S
    while time.monotonic() < deadline:
        if look(pid, tid).ticks > first:
            return True
        time.sleep(LOOK_EVERY_S)
    return False


def _carries(pid: int, name: str, token: str) -> bool:
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return f"{name}={token}".encode() in environ.split(b"\0")


def carrying(name: str, token: str) -> list[int]:
    """The living processes that have this token in their environment; zombies have none."""
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and _carries(int(entry), name, token)]


def kill_carrier(pid: int, name: str, token: str) -> None:
    """SIGKILL one process that carries the token, through a descriptor: never a pid's next owner."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if _carries(pid, name, token):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)
