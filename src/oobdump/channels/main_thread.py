"""The main thread, woken from a system call, so that it runs the Python handler that is due.

In: nothing. Out: a system call in which the main thread waits returns EINTR, as it would have if the
kernel had given that thread the signal. The rule only this module keeps: for this SIGURG is sent to
the main thread, whose default is to be ignored, and only while nobody else handles it; it calls a C
function that does nothing, and is given back by ``give_back``.
"""

from __future__ import annotations

import _thread
import signal

from oobdump import linux

__all__ = ["MainThread"]

_SPARE = signal.SIGURG
"""Ignored by default, so that one more or one less is nobody's loss; nothing else in Python's library sends it."""

_DEFAULT = 0


class MainThread:
    """One process's main thread. ``here`` is called in it, also after a fork; the rest from any thread."""

    def __init__(self) -> None:
        self._ident = 0
        self._found = b""

    def here(self) -> None:
        """This thread is the main one."""
        self._ident = _thread.get_ident()

    @property
    def is_here(self) -> bool:
        """Whether the caller runs in it."""
        return self._ident == _thread.get_ident()

    def interrupt(self) -> None:
        """Ends the system call that it waits in, if any. Does nothing where SIGURG has another use."""
        if not linux.AVAILABLE or self.is_here:
            return
        try:
            if linux.sigaction_handler(_SPARE) == _DEFAULT:
                self._found = linux.sigaction_get(_SPARE)
                linux.sigaction_set(_SPARE, linux.harmless_action())
            if self._is_ours():
                signal.pthread_kill(self._ident, _SPARE)
        except OSError:
            pass  # the main thread has ended

    def give_back(self) -> None:
        """Puts the spare signal back as it was found."""
        if self._found and self._is_ours():
            linux.sigaction_set(_SPARE, self._found)
        self._found = b""

    def _is_ours(self) -> bool:
        return linux.sigaction_get(_SPARE)[:8] == linux.harmless_action()[:8]
