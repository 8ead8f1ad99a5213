"""A worker's tie to its sentinel: there is one, or one is started; when it dies, again.

In: rings ("I am your sentinel") and a pidfd that the bell polls. Out: at most one sentinel
launched by all workers together, and ``alive``. The rules only this module keeps: nothing here
wakes up while the sentinel lives; a worker that launches holds the launch seat meanwhile, so that
the others wait; one that cannot be launched is given up, and said.
"""

from __future__ import annotations

import _thread
import os
import select
import time
from collections.abc import Callable, Mapping

from oobdump import linux
from oobdump.channels.bell import Bell
from oobdump.config import Settings
from oobdump.crew import Crew
from oobdump.election.launch import launch, why_not
from oobdump.election.lock import AVAILABLE, LAUNCH, SEAT, SeatLock, lock_path
from oobdump.election.orders import Orders
from oobdump.errors import OobdumpError
from oobdump.identity import Identity, Machine

__all__ = ["Tie"]

SEATED_WITHIN_S = 10.0
"""A Python that starts on a loaded machine takes a second or three; then somebody else may try."""

MAX_LAUNCHES = 5
"""In a row without a sentinel that takes its seat: then the cause will not go away by itself."""

_NOT_HERE = {"off": "by setting", "inherited": "the sentinel of the process that it was forked from sees it too"}

_ONCE = select.EPOLLIN | select.EPOLLONESHOT if AVAILABLE else 0


class Tie:
    """Made and opened once per worker, never in a forked child. ``look_soon`` may be called from any thread."""

    def __init__(self, mode: str, orders: Orders | None, bell: Bell, crew: Crew) -> None:
        """``orders`` is None where this worker has no runtime directory, and so no lock to meet at."""
        self._orders, self._bell, self._crew = orders, bell, crew
        self._lock: SeatLock | None = None
        self._epoll: select.epoll | None = None
        self._pidfd = -1
        self._looking = _thread.allocate_lock()
        self._again = False
        self._launches = 0
        self.off = _why_off(mode, orders)
        self.on_change: Callable[[], None] = lambda: None
        self.on_problem: Callable[[str], None] = lambda _text: None

    @classmethod
    def of(cls, settings: Settings, identity: Identity, bell: Bell, crew: Crew, *, inherited: bool) -> Tie:
        """A worker's; a forked child's starts nothing."""
        orders = None
        if bell.path is not None:
            runtime = os.path.dirname(bell.path)
            orders = Orders.of(settings, identity.job, runtime, worker_pid=identity.pid)
        return cls("inherited" if inherited else settings.sentinel, orders, bell, crew)

    @property
    def alive(self) -> bool:
        """Whether there is a sentinel, as far as this worker has heard."""
        return self._pidfd >= 0

    def open(self) -> None:
        """Takes the descriptors; before the bell starts."""
        if self.off or self._orders is None:
            return
        try:
            path = lock_path(self._orders.runtime, self._orders.layout.job_dir, Machine.here())
            self._lock, self._epoll = SeatLock(path), select.epoll()
        except OSError as error:
            self.off = f"no lock for a sentinel: {error}"
            self.on_problem(self.off)
            return
        self._bell.watch(self._epoll.fileno(), self._died)

    def look_soon(self) -> None:
        """Looks who is the sentinel, and starts one if nobody is."""
        if self._epoll is not None:
            self._again = True
            self._crew.give(self._look)

    def close(self) -> None:
        """Lets go; a sentinel that lives goes on."""
        self._bell.cancel(self.look_soon)
        with self._looking:
            self._let_go()
            self.forget()

    def forget(self) -> None:
        """Closes the descriptors: all that a forked child may do, whose epoll is the parent's too."""
        epoll, lock, self._epoll, self._lock = self._epoll, self._lock, None, None
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        if epoll is not None:
            epoll.close()
        if lock is not None:
            lock.close()

    def describe(self) -> Mapping[str, object]:
        """What the roster says."""
        return {"off": self.off} if self.off else {"lock": self._lock.path if self._lock is not None else None}

    def _died(self) -> None:
        """On a listening thread: the pidfd says that the sentinel is gone. Of two listeners one gets the event."""
        epoll = self._epoll
        if epoll is not None and epoll.poll(0):
            self.look_soon()

    def _look(self) -> None:
        """One look at a time; who comes meanwhile is looked for once more."""
        while self._again and self._looking.acquire(False):
            try:
                self._again = False
                self._once()
            finally:
                self._looking.release()

    def _once(self) -> None:
        lock = self._lock
        if lock is None:
            return
        if self.alive and not linux.has_ended(self._pidfd):
            return
        was = self.alive
        self._let_go()
        lock.renew()
        if self._follow(lock):
            self._launches, self.off = 0, ""
            lock.give_up(LAUNCH)
            self._bell.cancel(self.look_soon)
            self._bell.think_again()
        elif self._launches < MAX_LAUNCHES:
            self._bell.at(time.monotonic() + SEATED_WITHIN_S, self.look_soon)
            self._launch(lock)
        else:
            self._give_up(lock)
        if self.alive != was:
            self.on_change()

    def _follow(self, lock: SeatLock) -> bool:
        """Watches whoever has the seat; False if nobody has."""
        pid = lock.holder(SEAT)
        if not pid or self._epoll is None:
            return False
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            return False
        if lock.holder(SEAT) != pid:  # it went, and its pid may be another's by now
            os.close(descriptor)
            return False
        self._epoll.register(descriptor, _ONCE)
        self._pidfd = descriptor
        return True

    def _let_go(self) -> None:
        if self._pidfd >= 0 and self._epoll is not None:
            self._epoll.unregister(self._pidfd)  # closing is not enough: a forked child may have it open too
            os.close(self._pidfd)
            self._pidfd = -1

    def _launch(self, lock: SeatLock) -> None:
        """Starts one, unless another worker is doing so."""
        if self._orders is None or not lock.take(LAUNCH):
            return
        self._launches += 1
        try:
            launch(self._orders)
        except (OSError, OobdumpError) as error:
            lock.give_up(LAUNCH)
            self._problem(f"no sentinel: {error}")

    def _give_up(self, lock: SeatLock) -> None:
        lock.give_up(LAUNCH)
        self._problem(f"no sentinel: {MAX_LAUNCHES} were started, and none took its seat ({lock.path})")

    def _problem(self, text: str) -> None:
        self._launches = MAX_LAUNCHES
        self._bell.cancel(self.look_soon)
        self.off = text
        self.on_problem(text)


def _why_off(mode: str, orders: Orders | None) -> str:
    if mode in _NOT_HERE:
        return _NOT_HERE[mode]
    if not AVAILABLE:
        return "this system has no pidfd"
    if orders is None:
        return "no runtime directory, so no lock to meet at"
    return why_not()
