"""Children that may be lost: each does one thing that can hang, and is watched from here.

In: a task and a deadline. Out: a ``Child``; its end is seen through a pidfd. The rules only this
module keeps: a child keeps no descriptor of the sentinel's but the ones it is given, so that none
keeps the seat; it dies by itself soon after its deadline, should the sentinel be gone; one that
does not even die when killed (D state) is left behind.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection
from dataclasses import dataclass

__all__ = ["Child", "start"]

_MAX_DESCRIPTORS = 2**20
_ALARM_LATER_S = 5
"""After its deadline a child ends itself; the sentinel that lives is faster."""


@dataclass(frozen=True)
class Child:
    """One child. ``deadline`` is on the monotonic clock; infinity for one without."""

    pid: int
    pidfd: int
    deadline: float

    def kill(self) -> None:
        """SIGKILL to it and all that it started."""
        for target in (-self.pid, self.pid):
            try:
                os.kill(target, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue

    def reap(self) -> int | None:
        """Its exit status, once; None if it has not ended."""
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return -1
        return os.waitstatus_to_exitcode(status) if pid else None

    def close(self) -> None:
        """Lets go of the descriptor."""
        os.close(self.pidfd)


def start(task: Callable[[], object], keep: Collection[int], seconds: float | None, now: float) -> Child:
    """Forks: the sentinel has one thread, so nothing can be held by another. Raises ``OSError``."""
    pid = os.fork()
    if pid == 0:
        _be_child(task, keep, seconds)
    try:
        os.setpgid(pid, pid)  # here as well: whoever kills the group next must meet it
    except OSError:
        pass
    deadline = float("inf") if seconds is None else now + seconds
    return Child(pid, os.pidfd_open(pid), deadline)


def _be_child(task: Callable[[], object], keep: Collection[int], seconds: float | None) -> None:
    status = 1
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _close_all_but({0, 1, 2, *keep})
        if seconds is not None:
            signal.alarm(int(seconds) + _ALARM_LATER_S)
        status = int(bool(task()))
    except BaseException:  # noqa: BLE001, S110 - nobody reads its stderr: its status says it
        pass
    finally:
        os._exit(status)


def _close_all_but(keep: Collection[int]) -> None:
    low = 0
    for descriptor in [*sorted(keep), _MAX_DESCRIPTORS]:
        if low < descriptor:  # CPython 3.11 closes everything for `closerange(0, 0)`
            os.closerange(low, descriptor)
        low = descriptor + 1
