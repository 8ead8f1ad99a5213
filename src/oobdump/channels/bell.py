"""The bell: what wakes a worker, and the threads that do nothing but listen to it.

In: bytes in a FIFO, other descriptors to poll, alarms. Out: calls that only hand over. Two
threads poll the same descriptors, then read without blocking: if one is caught in a garbage
collection that runs a user's ``__del__``, the other one hears. Polling first matters for who
looks from outside: while the GIL is stuck a byte stays unread in the FIFO. A byte of 128 or
more says "look at the requests that name me"; a smaller one is a signal's number, written by
Python's own C handler through the wake-up descriptor. Idle, nothing here wakes up.
"""

from __future__ import annotations

import _thread
import os
import select
import stat
import time
from collections.abc import Callable
from functools import partial

from oobdump.threads import start_thread

__all__ = ["LOOK", "SEATED", "Bell", "is_heard", "ring"]

LOOK = 0x80
"""Look at the requests that name me."""

_TICK = 0x81
"""An alarm was set: think again about how long to sleep."""

SEATED = 0x82
"""The sentinel of this job directory has taken its seat: follow it."""

_LISTENERS = 2
_BUSY_TICK_S = 0.1
"""How often deadlines are looked at while a request is under way, and only then."""

_READ_BYTES = 65536

_Read = Callable[[bytes], None]


def is_heard(path: str) -> bool:
    """Whether somebody listens to the bell at that path; it is not rung."""
    try:
        descriptor = _open_to_ring(path)
    except OSError:
        return False
    try:
        return stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)


def ring(path: str, byte: int = LOOK) -> bool:
    """Rings another process's bell; False if there is nobody, or no FIFO of ours at that path."""
    try:
        descriptor = _open_to_ring(path)
    except OSError:
        return False
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISFIFO(found.st_mode) or found.st_uid not in (0, os.geteuid()):
            return False
        os.write(descriptor, bytes((byte,)))
    except BlockingIOError:
        return True  # the FIFO is full of rings that wait to be heard
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _open_to_ring(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)


class Bell:
    """One process's bell. ``path`` is None where no FIFO could be made: then only this process can ring it.

    ``on_byte`` and what ``listen`` registers are called on a listening thread, and must only hand over;
    alarms likewise.
    """

    def __init__(self, path: str | None, on_byte: Callable[[int], None]) -> None:
        self.path = path
        self._on_byte = on_byte
        self._reading, self._writing = _open_fifo(path) if path else _pipe()
        self._sources: list[tuple[int, Callable[[], None]]] = []
        self.listen(self._reading, self._bytes)
        self._alarms: dict[Callable[[], None], float] = {}
        self._busy: Callable[[], bool] = lambda: False
        self._tick: Callable[[float], None] = lambda _now: None
        self._stopping = False
        self._ended = [_thread.allocate_lock() for _ in range(_LISTENERS)]

    @property
    def descriptor(self) -> int:
        """What a wake-up descriptor can be set to; non-blocking."""
        return self._writing

    def listen(self, descriptor: int, read: _Read) -> None:
        """Also polls ``descriptor``, and hands over what can be read there; only before ``start``."""
        self._sources.append((descriptor, partial(_drain, descriptor, read)))

    def watch(self, descriptor: int, look: Callable[[], None]) -> None:
        """Also polls ``descriptor``, which is not read: ``look`` sees to it that it does not stay ready."""
        self._sources.append((descriptor, look))

    def start(self, busy: Callable[[], bool], tick: Callable[[float], None]) -> int:
        """Starts listening; returns the number of threads that could be started."""
        self._busy, self._tick = busy, tick
        return sum(self._start_one(ended) for ended in self._ended)

    def _start_one(self, ended: _thread.LockType) -> bool:
        ended.acquire()  # before the thread runs, so that a `stop` at once waits for it; the thread gives it back
        if start_thread("oobdump bell", partial(self._loop, ended)):
            return True
        ended.release()
        return False

    def at(self, when: float, alarm: Callable[[], None]) -> None:
        """Calls ``alarm`` at that time of the monotonic clock, once; the earlier of two times counts."""
        known = self._alarms.get(alarm)
        if known is None or when < known:
            self._alarms[alarm] = when
            self.write(_TICK)

    def cancel(self, alarm: Callable[[], None]) -> None:
        """Forgets an alarm that is not wanted any more."""
        self._alarms.pop(alarm, None)

    def think_again(self) -> None:
        """Has the listeners sleep as long as the alarms that are left allow: a cancelled one would wake them."""
        self.write(_TICK)

    def write(self, byte: int) -> None:
        """Rings from inside this process. Never blocks: a full FIFO has woken the listeners already."""
        try:
            os.write(self._writing, bytes((byte,)))
        except OSError:
            pass

    def stop(self, timeout_s: float = 1.0) -> None:
        """Ends the listeners, closes the descriptors it made and removes the FIFO."""
        self._stopping = True
        self.write(_TICK)
        ended = [lock.acquire(True, timeout_s) for lock in self._ended]
        self.forget(close=all(ended))
        self.remove()

    def remove(self) -> None:
        """Takes the FIFO's name away: nobody outside can ring any more."""
        if self.path:
            _unlink(self.path)

    def forget(self, *, close: bool = True) -> None:
        """Lets go of the descriptors without touching the FIFO: all that a forked child may do."""
        if close:
            for descriptor in {self._reading, self._writing}:
                os.close(descriptor)

    def _loop(self, ended: _thread.LockType) -> None:
        try:
            poll = select.poll()
            for descriptor, _ in self._sources:
                poll.register(descriptor, select.POLLIN)
            while not self._stopping:
                try:
                    self._listen_once(poll)
                except Exception:  # noqa: BLE001 - out of memory, say: a listener that ends hears nothing any more
                    time.sleep(_BUSY_TICK_S)
            self.write(_TICK)  # the other listener may still sleep
        finally:
            ended.release()

    def _listen_once(self, poll: select.poll) -> None:
        poll.poll(self._sleep_ms())
        if self._stopping:
            return
        for _, attend in self._sources:
            attend()
        self._due(time.monotonic())

    def _sleep_ms(self) -> float | None:
        wait = _BUSY_TICK_S if self._busy() else None
        for when in list(self._alarms.values()):
            left = max(0.0, when - time.monotonic())
            wait = left if wait is None else min(wait, left)
        return None if wait is None else wait * 1000 + 1

    def _due(self, now: float) -> None:
        for alarm, when in list(self._alarms.items()):
            if when <= now and self._alarms.pop(alarm, None) is not None:
                alarm()
        if self._busy():
            self._tick(now)

    def _bytes(self, data: bytes) -> None:
        for byte in set(data):
            if byte != _TICK:
                self._on_byte(byte)


def _drain(descriptor: int, read: _Read) -> None:
    try:
        data = os.read(descriptor, _READ_BYTES)
    except OSError:
        return  # the other listener had it, or it is gone
    if data:
        read(data)


def _open_fifo(path: str) -> tuple[int, int]:
    _unlink(path)  # a dead worker with our pid left it: the directory is ours alone
    os.mkfifo(path, 0o600)
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    return descriptor, descriptor


def _pipe() -> tuple[int, int]:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    return reading, writing


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
