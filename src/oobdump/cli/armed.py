"""Whether a process may be sent a signal without harm, as seen from outside.

In: a pid, a roster entry, a signal. Out: the reason why not, or nothing. The rule only this
module keeps: a signal is sent only where both the worker's roster entry and the kernel say that
it is expected. One that is not expected ends the process.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from oobdump.config import signal_number
from oobdump.store.roster import Entry

__all__ = ["armed_signals", "refusal"]


def armed_signals(entry: Entry) -> dict[str, int]:
    """The signals that the worker says it answers, by name."""
    about = entry.channels.get("signal")
    names = about.get("armed") if isinstance(about, Mapping) else None
    found = {}
    for name in names if isinstance(names, list) else ():
        try:
            found[str(name)] = signal_number(str(name))
        except ValueError:
            continue  # damaged, or a signal that this machine does not have
    return found


def refusal(entry: Entry, name: str) -> str:
    """Why the signal is not sent to this worker; "" if it may be."""
    instead = f"use `oobdump request HANDLER --targets {entry.worker}`"
    if entry.alive() is not True:
        return f"worker {entry.worker} is gone: `oobdump ps --all` shows how it ended"
    if entry.ended is not None:
        return f"worker {entry.worker} is exiting and ignores signals: {instead}"
    number, armed = signal_number(name), armed_signals(entry)
    if number not in armed.values():
        others = f"it answers {', '.join(armed)}" if armed else f"its signal channel is off{_why_off(entry)}"
        return f"worker {entry.worker} does not expect {name}: {others}; {instead}"
    if not _expected(entry.identity.pid, number):
        return (
            f"worker {entry.worker} neither catches {name} nor blocks it in all its threads, so that would end it: "
            f"something in it gave the signal back; {instead}"
        )
    return ""


def _why_off(entry: Entry) -> str:
    about = entry.channels.get("signal")
    why = about.get("off") if isinstance(about, Mapping) else None
    return f" ({why})" if isinstance(why, str) else ""


def _expected(pid: int, number: int) -> bool:
    """Caught, or blocked in every thread: a thread that does not block it would let it in (proc(5))."""
    if _has(f"/proc/{pid}/status", "SigCgt", number):
        return True
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return False
    return bool(threads) and all(_has(f"/proc/{pid}/task/{thread}/status", "SigBlk", number) for thread in threads)


def _has(path: str, field: str, number: int) -> bool:
    """Whether a signal's bit is set in a mask of a ``status`` file."""
    mask = status_field(path, field)
    try:
        return bool(int(mask, 16) >> (number - 1) & 1)
    except ValueError:
        return False


def status_field(path: str, field: str) -> str:
    """One field of a ``status`` file; "" if there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name == field:
                    return value.strip()
    except OSError:
        pass
    return ""
