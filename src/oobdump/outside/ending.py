"""Rung 5: how a process ended, from what is left of it.

In: a worker's roster entry, and its last look if it is a zombie. Out: ``Ending``, and its last words
as bytes. The rule this module keeps: each source stands alone, one that may not be read is silent
evidence of nothing, and of the kernel's log only lines that name the pid after its start count.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

from oobdump.handlers.cgroup import oom_kills
from oobdump.handlers.plain import text
from oobdump.identity import Machine
from oobdump.outside.look import Look, look
from oobdump.outside.state import Ending
from oobdump.store import atomic
from oobdump.store.roster import EXITING, Entry

__all__ = ["core_pattern", "ending_of", "kernel_lines", "last_words", "points_elsewhere", "zombie_status"]

_MAX_WORDS_BYTES = 2**20
_KMSG = "/dev/kmsg"
_KMSG_RECORD_BYTES = 8192
_KMSG_MAX_RECORDS = 20_000
_KMSG_WITHIN_S = 1.0

_OOM = re.compile(r"(?:Out of memory|Memory cgroup out of memory|oom-kill)[^\n]*?\b(?:Killed process |pid=)(\d+)\b")
_FAULT = re.compile(r"\[(\d+)\](?:: segfault at| trap | general protection)")
_FATAL = re.compile(rb"^(?:Fatal Python error|Windows fatal exception)[^\n]*", re.MULTILINE)


def ending_of(entry: Entry | None, pid: int, start_ticks: int | None, zombie: Look | None = None) -> Ending:
    """What is left of a process that is gone, or that nobody has waited for."""
    ended: Mapping[str, Any] = (entry.ended if entry is not None else None) or {}
    status, told_by = _status(ended, zombie)
    log, is_oom = _last_line(pid, start_ticks)
    mark = str(ended.get("how", ""))
    return Ending(
        wait_status=status,
        told_by=told_by,
        exit_mark=mark if mark in (EXITING, "stopped") else "",
        last_words=_fatal(last_words(entry)),
        kernel_log=log,
        oom_line=is_oom,
        oom_kills=_more_oom_kills(entry),
    )


def last_words(entry: Entry | None) -> bytes:
    """What faulthandler wrote into our file; empty if nothing, or if the file is not ours."""
    path = _channel(entry, "last_words").get("path")
    if not isinstance(path, str) or not path.endswith(".last_words"):
        return b""
    try:
        if os.lstat(path).st_uid not in (0, os.geteuid()) and os.geteuid() != 0:
            return b""
        return atomic.read_bounded(path, _MAX_WORDS_BYTES)
    except (OSError, ValueError):
        return b""


def points_elsewhere(entry: Entry | None) -> str:
    """Where the worker's faulthandler writes if not into our file, as far as it was known at its start."""
    return text(str(_channel(entry, "last_words").get("off", "")))


def core_pattern() -> str:
    """Where the kernel puts core files."""
    try:
        with open("/proc/sys/kernel/core_pattern", encoding="utf-8", errors="replace") as file:
            return file.read(4096).strip()
    except OSError:
        return ""


def kernel_lines(records: Iterator[str], pid: int, not_before_us: int) -> Iterator[tuple[str, bool]]:
    """The lines of the kernel's log about a pid's death, and whether each is the OOM killer's."""
    for record in records:
        head, _, message = record.partition(";")
        fields = head.split(",")
        if len(fields) < 3 or not fields[2].isdigit() or int(fields[2]) < not_before_us:  # noqa: PLR2004 - printk(9)
            continue
        line = message.split("\n", 1)[0]
        found = _OOM.search(line) or _FAULT.search(line)
        if found is not None and int(found[1]) == pid:
            yield text(line[:300]), found.re is _OOM


def zombie_status(entry: Entry) -> int | None:
    """How a worker of this machine ended that nobody has waited for yet; None if that cannot be seen."""
    if entry.identity.machine != Machine.here() or (entry.ended or {}).get("wait_status") is not None:
        return None
    try:
        found = look(entry.identity.pid, entry.identity.start_ticks or None)
    except (OSError, ValueError, IndexError):
        return None
    return _status({}, found)[0]


def _status(ended: Mapping[str, Any], zombie: Look | None) -> tuple[int | None, str]:
    """The wait status, and who told it."""
    noted = ended.get("wait_status")
    if type(noted) is int and _is_an_end(noted):
        return noted, text(str(ended.get("wait_status_by", "")))
    if zombie is not None and zombie.dead and (zombie.exit_code or not zombie.refused) and _is_an_end(zombie.exit_code):
        return zombie.exit_code, "the kernel"  # it writes 0 for whom it does not tell
    return None, ""


def _is_an_end(status: int) -> bool:
    return 0 <= status <= 0xFFFF and (os.WIFEXITED(status) or os.WIFSIGNALED(status))  # noqa: PLR2004 - waitpid(2)


def _fatal(words: bytes) -> str:
    found = _FATAL.search(words)
    return "" if found is None else text(found[0].decode("utf-8", "replace"))


def _channel(entry: Entry | None, name: str) -> Mapping[str, Any]:
    about = entry.channels.get(name) if entry is not None else None
    return about if isinstance(about, Mapping) else {}


def _more_oom_kills(entry: Entry | None) -> int:
    """By how many the cgroup's count has grown since the worker started."""
    about = _channel(entry, "memory")
    directory, before = about.get("directory"), about.get("oom_kills")
    if not isinstance(directory, str) or type(before) is not int or not directory.startswith("/sys/fs/cgroup"):
        return 0
    now = oom_kills(directory)
    return max(0, (now or 0) - before)


def _last_line(pid: int, start_ticks: int | None) -> tuple[str, bool]:
    if not _kernel_knows_our_pids():
        return "", False
    started_us = int((start_ticks or 0) / os.sysconf("SC_CLK_TCK") * 1e6)
    try:
        found = list(kernel_lines(_records(), pid, started_us))
    except OSError:
        return "", False
    of_oom = [each for each in found if each[1]]
    return (of_oom or found or [("", False)])[-1]


def _kernel_knows_our_pids() -> bool:
    """Whether this is the first pid namespace, whose pids the kernel's log has."""
    try:
        return os.readlink("/proc/self/ns/pid") == "pid:[4026531836]"  # PROC_PID_INIT_INO, part of the kernel's ABI
    except OSError:
        return False


def _records() -> Iterator[str]:
    """The kernel's log, a record at a time; ends where it ends. Raises ``OSError`` if it may not be read."""
    descriptor = os.open(_KMSG, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    deadline = time.monotonic() + _KMSG_WITHIN_S
    try:
        for _ in range(_KMSG_MAX_RECORDS):
            if time.monotonic() > deadline:
                return
            try:
                yield os.read(descriptor, _KMSG_RECORD_BYTES).decode("utf-8", "replace")
            except OSError as error:
                if error.errno != errno.EPIPE:  # a record was overwritten meanwhile: the next one follows
                    return
    finally:
        os.close(descriptor)
