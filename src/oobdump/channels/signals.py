"""The signal: for people and schedulers who have nothing else than ``kill``.

In: request signals. Out: the signal's default request, handed over; other people's handlers
are still called. Of the ways to take a signal (docs/decisions has the figures) this one
answers in every state: the signal is blocked in all Python threads and the bell polls a
``signalfd``. A handler and the wake-up descriptor stay as a net for threads that C code made
before ``start()``: those cannot be masked from here. The rule only this module keeps: a
signal that somebody has is theirs: one from before is left alone, one taken over later is
handed over, and reaches the main thread as it would without us.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import FrameType
from typing import Any, Literal

from oobdump import linux
from oobdump.channels import claims
from oobdump.channels.bell import Bell
from oobdump.channels.main_thread import MainThread

__all__ = ["Signals"]

_SIGINFO_BYTES = 128
"""``struct signalfd_siginfo``; its first four bytes are the signal's number (signalfd(2))."""

_ECHO_S = 0.05
"""Forwarding a signal makes C write its number to the bell once more; that byte is not a new request."""

_STEP_ASIDE_S = 0.2
"""For the main thread to take a signal that a C function took over; then the bell's thread raises it."""

_LEFT_S = 0.05
"""Until the main thread is back where it was, so that a C function which looks at it does not see us there."""

Owner = Literal["ours", "nobody", "other"]


class _Handler:
    """What ``getsignal`` shows of us. When its last reference goes, somebody has put another handler in its place."""

    __slots__ = ("_replaced", "_run", "owner")

    def __init__(
        self, owner: Signals, run: Callable[[int, FrameType | None], None], replaced: Callable[[], None]
    ) -> None:
        self.owner = owner
        self._run = run
        self._replaced = replaced

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        self._run(signum, frame)

    def __del__(self) -> None:
        try:
            self._replaced()
        except Exception:  # noqa: BLE001, S110 - whoever replaced it must not fail for us, nor the interpreter's end
            pass


@dataclass(eq=False)
class _Line:
    """One request signal: what was there before us, and what is under way.

    ``aside``: it was taken over, and this channel keeps out of its way. ``owed``: arrivals that the new
    owner has not been given yet.
    """

    signum: int
    ask: Callable[[], None]
    previous: Any
    action: bytes
    was_blocked: bool
    echo_until: float = 0.0
    forwarded: deque[bool] = field(default_factory=deque)
    aside: bool = False
    owed: deque[bool] = field(default_factory=deque)
    overdue: Callable[[], None] = lambda: None


class Signals:
    """The signal channel. ``arm`` and ``disarm`` belong to the main thread; the rest is the bell's."""

    def __init__(self, bell: Bell, asks: Mapping[int, Callable[[], None]], *, share: bool = False) -> None:
        """``share``: takes a signal that has a handler, and calls that handler too."""
        self._bell = bell
        self._asks = dict(asks)
        self._share = share
        self._lines: dict[int, _Line] = {}
        self._descriptor = -1
        self._python_handler_address = 0
        self._main = MainThread()
        self.problems: list[str] = []
        self.left: list[str] = []
        self.on_left: Callable[[str], None] = lambda _why: None
        self.wakeup = False

    @property
    def armed(self) -> list[int]:
        """The signals that are answered."""
        return sorted(signum for signum, line in self._lines.items() if not line.aside)

    def arm(self) -> None:
        """Takes the signals. Where that cannot be, ``problems`` says why, and nothing is half done."""
        try:
            self._take_wakeup()
        except ValueError as error:
            advice = "call oobdump.start() in the main thread, or drop request files"
            self.problems.append(f"signals are off: {error}; {advice}")
            return
        self._main.here()
        for signum, ask in self._asks.items():
            why = claims.why_not(signum, signal_name(signum), share=self._share, environ=os.environ)
            if why:
                self.left.append(why)
            else:
                self._take(signum, ask)
        if not self._lines:
            self._drop_wakeup()
        self._open()

    def let_go(self) -> None:
        """In a forked child, before the parent's descriptors are closed: their numbers are other files' soon."""
        current = signal.set_wakeup_fd(-1)
        if current not in (self._bell.descriptor, -1):
            signal.set_wakeup_fd(current)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def rearm_after_fork(self, bell: Bell, asks: Mapping[int, Callable[[], None]]) -> None:
        """In a forked child that has let go: the same signals, another bell."""
        self._bell = bell
        for signum, line in self._lines.items():
            line.ask = asks[signum]
            line.forwarded.clear()
            line.owed.clear()
        self._main.here()
        if self.wakeup:
            self._take_wakeup()
        signal.pthread_sigmask(signal.SIG_BLOCK, self.armed)
        self._open()

    def disarm_after_fork(self) -> None:
        """In a forked child that has let go and does not answer: as ``disarm``, but what would end it is ignored."""
        lines, self._lines = self._lines, {}
        for line in lines.values():
            self._give_back(line)
            if signal.getsignal(line.signum) is signal.SIG_DFL and not line.aside:
                signal.signal(line.signum, signal.SIG_IGN)
        self._unblock(lines)

    def disarm(self) -> None:
        """Gives back what ``arm`` found: handlers (C ones too), wake-up descriptor, mask. Then close the bell."""
        self._drop_wakeup()
        lines, self._lines = self._lines, {}
        for line in lines.values():
            self._give_back(line)
        if self._descriptor >= 0:
            self._read_pending()
            os.close(self._descriptor)
            self._descriptor = -1
        self._unblock(lines)
        self._main.give_back()

    def release(self, signum: int, why: str) -> None:
        """Gives one signal up for good, as if it had never been taken; only in the main thread."""
        line = self._lines.get(signum)
        if line is None or line.aside or self._owner(line) == "other":
            return
        if not self._main.is_here:
            self.on_left(f"{why}; but it cannot be given back from a thread: import that in the main thread")
            return
        line.aside = True
        if claims.ignored_for_us(line.previous):
            line.previous, line.action = signal.SIG_DFL, b""
        self._give_back(line)
        self._keep_out(line, why)

    def _unblock(self, lines: Mapping[int, _Line]) -> None:
        unblocked = [signum for signum, line in lines.items() if not (line.was_blocked or line.aside)]
        signal.pthread_sigmask(signal.SIG_UNBLOCK, unblocked)

    def ignore(self) -> None:
        """At exit: from here to the end of the process a request signal must kill nobody."""
        for line in self._lines.values():
            if self._owner(line) == "ours":
                signal.signal(line.signum, signal.SIG_IGN)

    def describe(self) -> dict[str, object]:
        """What the roster says of this channel."""
        if not self.armed:
            return {"off": "; ".join([*self.problems, *self.left]) or "by setting"}
        return {
            "armed": [signal_name(signum) for signum in self.armed],
            "through": "signalfd" if self._descriptor >= 0 else "wake-up descriptor" if self.wakeup else "handler",
        }

    def heard(self, signum: int) -> None:
        """A signal's number came through the FIFO: some C thread took it, or our Python handler wrote it."""
        line = self._lines.get(signum)
        if line is None:
            return  # the wake-up descriptor gets every signal that Python handles
        if time.monotonic() < line.echo_until:
            line.echo_until = 0.0
        elif self._owner(line) != "other":
            line.ask()
        elif not line.aside:  # a C thread took it: their handler waits for the main thread, which may sleep
            self._main.interrupt()

    def _take_wakeup(self) -> None:
        current = signal.set_wakeup_fd(self._bell.descriptor, warn_on_full_buffer=False)
        self.wakeup = current == -1
        if not self.wakeup:
            signal.set_wakeup_fd(current)

    def _drop_wakeup(self) -> None:
        if self.wakeup:
            self.wakeup = False
            current = signal.set_wakeup_fd(-1)
            if current not in (self._bell.descriptor, -1):
                signal.set_wakeup_fd(current)

    def _take(self, signum: int, ask: Callable[[], None]) -> None:
        action = linux.sigaction_get(signum) if linux.AVAILABLE else b""
        blocked = signum in signal.pthread_sigmask(signal.SIG_BLOCK, [])
        if linux.AVAILABLE:
            signal.pthread_sigmask(signal.SIG_BLOCK, [signum])
        # no other reference to the handler is kept: see _Handler
        previous = signal.signal(signum, _Handler(self, self._on_python_signal, partial(self._replaced, signum)))
        signal.siginterrupt(signum, False)
        self._lines[signum] = line = _Line(signum, ask, previous, action, blocked)
        line.overdue = partial(self._overdue, line)
        if linux.AVAILABLE:
            self._python_handler_address = linux.sigaction_handler(signum)

    def _open(self) -> None:
        if linux.AVAILABLE and self.armed:
            self._descriptor = linux.signalfd(self.armed)
            self._bell.listen(self._descriptor, self._on_signalfd)

    def _on_signalfd(self, data: bytes) -> None:
        for offset in range(0, len(data), _SIGINFO_BYTES):
            line = self._lines.get(int.from_bytes(data[offset : offset + 4], sys.byteorder))
            if line is not None:
                self._on_line(line)

    def _on_line(self, line: _Line) -> None:
        owner = self._owner(line)
        if owner != "other":
            line.ask()
        if owner == "other" and signal.getsignal(line.signum).__class__ is _Handler:
            self._forward_to_c(line)
        elif owner == "other" or (owner == "ours" and self._has_previous(line)):
            self._forward(line)

    def _forward(self, line: _Line) -> None:
        """Raises the signal once more, where it is not blocked: C and Python handlers run as they would have."""
        if self._owner(line) == "ours":
            line.forwarded.append(True)
        line.echo_until = time.monotonic() + _ECHO_S
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [line.signum])
        try:
            signal.raise_signal(line.signum)
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, [line.signum])
        self._main.interrupt()  # a Python handler is due there now, but a thread in a system call does not look

    def _forward_to_c(self, line: _Line) -> None:
        """A C function took it over (``faulthandler.register``): it belongs into the main thread.

        Python still has our handler, so the main thread runs that, steps aside, and gets the signal anew.
        """
        line.owed.append(True)
        line.echo_until = time.monotonic() + _ECHO_S
        self._bell.at(time.monotonic() + _STEP_ASIDE_S, line.overdue)
        _thread.interrupt_main(line.signum)  # type: ignore[arg-type]  # a real-time signal is in no enum
        self._main.interrupt()

    def _overdue(self, line: _Line) -> None:
        """On the bell's thread: gives the new owner what it is owed, by the kernel if the main thread takes it now."""
        while line.owed:
            line.owed.popleft()
            if line.aside:
                os.kill(os.getpid(), line.signum)
            else:
                self._forward(line)

    def _replaced(self, signum: int) -> None:
        """Our handler is gone from Python's table: whoever replaced it has the signal from here on."""
        line = self._lines.get(signum)
        if line is not None and not line.aside and self._main.is_here and self._owner(line) == "other":
            self._step_aside(line)

    def _step_aside(self, line: _Line) -> None:
        """In the main thread: from here on the kernel gives the signal to its new owner, as if we were not there."""
        name, who = signal_name(line.signum), claims.owner_name(line.signum)
        line.aside = True
        self._keep_out(line, f"{name} was taken over by {who}: it is theirs, and asks for nothing any more")

    def _keep_out(self, line: _Line, why: str) -> None:
        if self._descriptor >= 0:
            linux.signalfd(self.armed, self._descriptor)
        if not line.was_blocked:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [line.signum])
        self.left.append(why)
        self.on_left(why)

    def _on_python_signal(self, signum: int, frame: FrameType | None) -> None:
        """In the main thread: passes the signal on to whoever had it before us; asks only if nobody else could."""
        line = self._lines.get(signum)
        if line is None:
            return
        if line.owed and self._owner(line) == "other":
            self._step_aside(line)
            self._bell.at(time.monotonic() + _LEFT_S, line.overdue)
            return
        if line.forwarded:
            line.forwarded.popleft()
        elif not self._wakeup_is_ours():
            self._bell.write(signum)
        if callable(line.previous):
            line.previous(signum, frame)
        elif self._c_handler(line) and linux.AVAILABLE:
            self._call_c_handler(line)

    def _wakeup_is_ours(self) -> bool:
        current = signal.set_wakeup_fd(self._bell.descriptor, warn_on_full_buffer=False)
        if current == self._bell.descriptor:
            return True
        signal.set_wakeup_fd(current)
        return False

    def _has_previous(self, line: _Line) -> bool:
        return callable(line.previous) or self._c_handler(line)

    def _c_handler(self, line: _Line) -> bool:
        """Whether C code (``faulthandler.register``, a library) had the signal before us."""
        address = int.from_bytes(line.action[:8], sys.byteorder)
        return address not in (0, 1, self._python_handler_address)

    def _call_c_handler(self, line: _Line) -> None:
        """Lends the signal to the C handler that was there before us, for one call in this thread."""
        ours = linux.sigaction_get(line.signum)
        linux.sigaction_set(line.signum, line.action)
        before = signal.pthread_sigmask(signal.SIG_UNBLOCK, [line.signum])
        try:
            signal.raise_signal(line.signum)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            linux.sigaction_set(line.signum, ours)

    def _owner(self, line: _Line) -> Owner:
        """Whose the signal is now: a handler installed after ours means somebody took it over."""
        handler = signal.getsignal(line.signum)
        address = linux.sigaction_handler(line.signum) if linux.AVAILABLE else self._python_handler_address
        if isinstance(handler, _Handler) and handler.owner is self and address == self._python_handler_address:
            return "ours"
        return "nobody" if handler in (signal.SIG_DFL, signal.SIG_IGN) and address in (0, 1) else "other"

    def _give_back(self, line: _Line) -> None:
        if self._owner(line) != "ours":
            return  # whoever took it over keeps it
        signal.signal(line.signum, signal.SIG_DFL if line.previous is None else line.previous)
        if line.action:
            linux.sigaction_set(line.signum, line.action)

    def _read_pending(self) -> None:
        """What is pending now was meant for us: unblocked, it would meet the default action, which kills."""
        try:
            while os.read(self._descriptor, _SIGINFO_BYTES * 64):
                pass
        except OSError:
            pass


def signal_name(signum: int) -> str:
    """``SIGUSR1``; real-time signals as ``SIGRTMIN+3``."""
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"SIGRTMIN+{signum - signal.SIGRTMIN}"
