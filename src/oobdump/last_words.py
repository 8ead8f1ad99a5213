"""What a worker leaves for after its death: a file for its last words, and its cgroup's count of OOM kills.

In: where its bell is. Out: a file beside it that ``faulthandler`` writes into when the process dies of a
fault, and what the roster says of both. The rules only this module keeps: ``faulthandler`` is turned on
only where nobody has turned it on and nobody else handles the faults; who finds it taken leaves it, and
says so.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from typing import Any

from oobdump import linux
from oobdump.handlers.cgroup import oom_baseline

__all__ = ["SUFFIX", "LastWords"]

SUFFIX = ".last_words"

_FAULTS = (signal.SIGSEGV, signal.SIGFPE, signal.SIGABRT, signal.SIGBUS, signal.SIGILL)
"""What ``faulthandler.enable`` takes."""


class LastWords:
    """One worker's. ``open`` and ``close`` once each, in any thread."""

    def __init__(self, bell_path: str | None) -> None:
        self._path = None if bell_path is None else bell_path.removesuffix(".fifo") + SUFFIX
        self._descriptor = -1
        self._off = ""
        self._memory: dict[str, Any] = {}

    def open(self) -> None:
        """Points ``faulthandler`` into our file, if it is nobody's."""
        self._memory = oom_baseline()
        self._off = self._taken()
        if self._off or self._path is None:
            return
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self._path, flags, 0o600)
            faulthandler.enable(self._descriptor)
        except (OSError, RuntimeError, ValueError) as error:
            self._off = f"not to be had: {error}"
            self._let_go()

    def close(self) -> None:
        """As ``open`` found it. Who turned ``faulthandler`` on again meanwhile has to do so once more."""
        if self._descriptor >= 0:
            faulthandler.disable()
            self._let_go()

    def in_forked_child(self) -> None:
        """Lets go of the parent's file, which stays; the child's own is pointed at next, or nothing."""
        if self._descriptor >= 0:
            faulthandler.disable()
            os.close(self._descriptor)
            self._descriptor = -1

    def describe(self) -> dict[str, Any]:
        """What the roster says."""
        words = {"path": self._path} if self._descriptor >= 0 else {"off": self._off or "no directory for its file"}
        return {"last_words": words, "memory": self._memory}

    def _let_go(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        if self._path is not None:
            try:
                os.unlink(self._path)
            except OSError:
                pass

    def _taken(self) -> str:
        """Who has the faults already, or nothing."""
        if faulthandler.is_enabled():
            return f"somebody turned faulthandler on before us; standard error is {_stderr()}"
        if not linux.AVAILABLE:
            return f"not on {sys.platform}"
        handled = [each.name for each in _FAULTS if linux.sigaction_handler(each)]
        return f"the program handles {', '.join(handled)} itself" if handled else ""


def _stderr() -> str:
    try:
        return os.readlink("/proc/self/fd/2")
    except OSError:
        return "unknown"
