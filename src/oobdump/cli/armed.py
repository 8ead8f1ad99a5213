"""Whether a process may be sent a signal without harm, as seen from outside.

In: a pid, a roster entry, a signal. Out: the reason why not, or nothing. The rule only this
module keeps: a signal is sent only where both the worker's roster entry and the kernel say that
it is expected. One that is not expected ends the process.
"""

from __future__ import annotations

from collections.abc import Mapping

from oobdump.config import signal_number
from oobdump.process_status import takes
from oobdump.store.roster import Entry, armed_signals

__all__ = ["refusal"]


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
    if not takes(entry.identity.pid, number):
        return (
            f"worker {entry.worker} neither catches {name} nor blocks it in all its threads, so that would end it: "
            f"something in it gave the signal back; {instead}"
        )
    return ""


def _why_off(entry: Entry) -> str:
    about = entry.channels.get("signal")
    why = about.get("off") if isinstance(about, Mapping) else None
    return f" ({why})" if isinstance(why, str) else ""
