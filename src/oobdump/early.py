"""The first thing that a process of ours does: see to it that no request signal ends it.

In: the environment. Out: request signals whose default would end this process are ignored, and
``found`` knows what they were. The rule only this module keeps: it needs nothing that has to be
loaded first. ``_signal`` is built into the interpreter; ``signal``, ``re`` or ``typing`` take
milliseconds each, and a signal that comes meanwhile kills.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # the C module below `signal`: see above
import os

TYPE_CHECKING = False  # as in `typing`, which would have to be loaded for it
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DEFAULT", "NOT_OURS", "VARIABLE", "found", "guard", "in_main_interpreter", "numbers", "undo"]

VARIABLE = "OOBDUMP_SIGNALS"

DEFAULT = "SIGUSR1"
"""What is taken where nothing is said."""

NOT_OURS = frozenset(
    ("SIGKILL", "SIGSTOP", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS", "SIGCHLD")
)
"""No request signal: it cannot be taken, is a fault of a thread itself, or is how children are waited for."""

found: dict[int, object] = {}
"""What ``guard`` replaced, by signal number."""


def numbers(text: str | None) -> list[int]:
    """The signals of an ``OOBDUMP_SIGNALS``; what makes no sense is left out, and refused later with advice."""
    entries = (DEFAULT if text is None else text).split(";")
    known = (_number(entry.partition("=")[0]) for entry in entries)
    return [number for number in known if number]


def _number(name: str) -> int:
    """A signal by name (``SIGUSR1``, ``usr1``, ``SIGRTMIN+3``); 0 if there is none, or it is none of ours."""
    base, plus, offset = name.strip().upper().removeprefix("SIG").partition("+")
    number = getattr(_signal, f"SIG{base}", 0)
    if not isinstance(number, int) or (plus and not offset.isdecimal()):
        return 0
    number += int(offset or 0)
    return 0 if number in [getattr(_signal, name, 0) for name in NOT_OURS] else number


def guard(environ: Mapping[str, str] = os.environ) -> None:
    """From here on, and across ``exec``, a request signal does not end this process: it is ignored."""
    for number in numbers(environ.get(VARIABLE)):
        try:
            if _signal.getsignal(number) == _signal.SIG_DFL:
                found[number] = _signal.signal(number, _signal.SIG_IGN)
        except (OSError, ValueError):
            continue  # no signal of this machine, or not for this thread to say


def undo() -> None:
    """Gives back what ``guard`` found, for a program that wants its signals as they were."""
    for number, before in found.items():
        _signal.signal(number, before)
    found.clear()


def in_main_interpreter() -> bool:
    """Whether this is the main thread of the main interpreter: nobody else may say what a signal does."""
    try:
        _signal.set_wakeup_fd(_signal.set_wakeup_fd(-1))
    except ValueError:
        return False
    return True
