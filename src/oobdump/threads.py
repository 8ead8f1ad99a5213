"""Threads of ours: raw ones, by name, with every blockable signal blocked.

In: a name and a function. Out: a running thread and its entry in ``thread_names``.
The rule this module keeps: our threads are made by ``_thread``, not ``threading``, because
starting or naming a ``threading.Thread`` takes a lock that a hung user thread may hold
(``threading.enumerate`` takes it too). So they are invisible to ``threading.enumerate()``.
"""

from __future__ import annotations

import _thread
import gc
import signal
import sys
from collections.abc import Callable
from types import FrameType

from oobdump.linux import name_thread

__all__ = ["Latch", "current_frames", "start_thread", "thread_names"]

thread_names: dict[int, str] = {}
"""Name by thread ident, of our own threads that are running in this process."""

_SYNCHRONOUS = frozenset({"SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS"})
"""Faults of the thread itself: blocked, they would kill without the handler's last words."""

BLOCKABLE = frozenset(s for s in signal.valid_signals() if getattr(s, "name", "") not in _SYNCHRONOUS)


_COLLECTS_WHILE_LOCKED = sys.version_info[:2] == (3, 11)
"""3.10 has its frame objects already; from 3.12 on the collector waits for a safe point."""

_LOOK_S = 1.0
"""A look takes microseconds; a thread that was lost in one must not keep the others from looking."""

_looking = _thread.allocate_lock()


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
        name_thread(name)  # whoever looks from outside sees no table of ours
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
    """In a forked child: the parent's threads are not here, nor is one that was looking."""
    global _looking  # noqa: PLW0603 - it may have been held by a thread that is not here
    _looking = _thread.allocate_lock()
    thread_names.clear()


def current_frames() -> dict[int, FrameType]:
    """Where every thread stands, by thread ident. Use this, never ``sys._current_frames()`` itself.

    CPython 3.11 makes frame objects while it holds its list of threads locked. Should the collector run
    there, and a ``__del__`` wait, then the next thread that starts blocks on that list with the GIL held,
    and the process stops for good. So the collector is off for that one call, of microseconds.
    """
    if not _COLLECTS_WHILE_LOCKED:
        return sys._current_frames()  # noqa: SLF001 - the only way to see another thread
    taken = _looking.acquire(True, _LOOK_S)  # or two of us would give the collector back at different times
    collects = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames()  # noqa: SLF001 - see above
    finally:
        if collects:
            gc.enable()
        if taken:
            _looking.release()
