"""Threads of ours: raw ones, by name, with every blockable signal blocked.

In: a name and a function. Out: a running thread and its entry in ``thread_names``.
The rule this module keeps: our threads are made by ``_thread``, not ``threading``, because
starting or naming a ``threading.Thread`` takes a lock that a hung user thread may hold
(``threading.enumerate`` takes it too). So they are invisible to ``threading.enumerate()``.
"""

from __future__ import annotations

import _thread
import signal
from collections.abc import Callable

__all__ = ["Latch", "start_thread", "thread_names"]

thread_names: dict[int, str] = {}
"""Name by thread ident, of our own threads that are running in this process."""

_SYNCHRONOUS = frozenset({"SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS"})
"""Faults of the thread itself: blocked, they would kill without the handler's last words."""

BLOCKABLE = frozenset(s for s in signal.valid_signals() if getattr(s, "name", "") not in _SYNCHRONOUS)


class Latch:
    """Trips exactly once, for exactly one of the threads that try; needs no other lock."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = _thread.allocate_lock()

    def trip(self) -> bool:
        """True for the first caller, False for every other."""
        return self._lock.acquire(False)


def start_thread(name: str, target: Callable[[], object]) -> bool:
    """Runs ``target`` in a new thread; False if the system has no thread left to give.

    The thread ends in silence whatever ``target`` raises: there is nobody to tell on this path.
    """

    def body() -> None:
        ident = _thread.get_ident()
        thread_names[ident] = name
        try:
            target()
        except BaseException:  # noqa: BLE001, S110 - see the docstring
            pass
        finally:
            thread_names.pop(ident, None)

    before = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKABLE)
    try:
        _thread.start_new_thread(body, ())
    except RuntimeError:
        return False
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return True


def forget_after_fork() -> None:
    """In a forked child: the parent's threads are not here."""
    thread_names.clear()
