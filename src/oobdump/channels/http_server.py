"""The HTTP channel: threads that accept, each of which serves what it accepted.

In: a listener, routes, alarms. Out: answered requests, until ``stop``. The rules only this
module keeps: two threads wait before any goes to work, for one that works may never come back,
and all who wait hear of each connection, for one may be lost on its way to it; connections are
bounded, and one that is idle makes room for one that asks; at rest every thread is blocked in
the kernel. Stopping wakes all, waits a little for those that run a handler, and closes the
socket only when nobody can be about to use it.
"""

from __future__ import annotations

import _thread
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from oobdump.channels.http_connection import Connection, close_in_child
from oobdump.channels.http_deadlines import Alarms, Deadlines
from oobdump.channels.http_listen import Address, Listener, listen
from oobdump.channels.http_routes import Plan
from oobdump.channels.http_wire import HttpRequest
from oobdump.threads import Latch, start_thread

__all__ = ["MAX_CONNECTIONS", "HttpServer"]

MAX_CONNECTIONS = 64
"""Each is a thread while it lasts, and a stuck handler's stays; a sidecar and a person use two."""

WAITING_THREADS = 2
"""For a connection, at any time: one for the next, and the spare."""

RESTING_THREADS = 3
"""One more than must wait, so that clients that come one after the other start no thread."""

STOP_S = 1.0
"""What ``stop`` waits for handlers that run; a stuck one is left behind, as nothing can end it."""

LOST_S = 1.0
"""A thread that was woken and neither took the connection nor waits again was caught in something on its way."""

_NEVER = float("inf")

OUT_OF_DESCRIPTORS_S = 0.1
"""Between two tries to accept while the program has no descriptor left."""


class _Seat:
    """A place for a thread that waits; ``woken_at`` is when it came back from waiting (monotonic clock).

    A thread in the kernel is not lost, however long it is there. One that is caught while it comes back, before
    it can say so, looks like one that waits: that can be one of them only, for the collector does not run twice.
    """

    __slots__ = ("lock", "woken_at")

    def __init__(self) -> None:
        self.lock = _thread.allocate_lock()
        self.woken_at = _NEVER


class HttpServer:
    """A server at one address. ``stop`` may be called at any time, from any thread, more than once."""

    def __init__(self, address: Address, plan: Callable[[HttpRequest], Plan], alarms: Alarms) -> None:
        """Listens, so that who connects from here on is answered once ``start`` is called."""
        self._plan = plan
        self._deadlines = Deadlines(alarms)
        self._listener: Listener = listen(address)
        self._listener.refill()
        self._members: dict[object, None] = {}
        self._seats = [_Seat() for _ in range(RESTING_THREADS)]
        self._connections: dict[Connection, None] = {}
        self._stopping = False
        self._stopped = Latch()

    @property
    def address(self) -> Address:
        """Where it listens; with the port that the kernel chose."""
        return self._listener.address

    def describe(self) -> dict[str, Any]:
        """As the roster shows it."""
        return {"address": str(self.address)}

    @property
    def _waiting(self) -> int:
        """Threads that wait for a connection: each has taken a seat."""
        return sum(seat.lock.locked() and not self._is_lost(seat) for seat in self._seats)

    def start(self) -> int:
        """Starts accepting; returns the number of threads that could be started."""
        return sum(self._add() for _ in range(RESTING_THREADS))

    def stop(self, wait_s: float = STOP_S) -> None:
        """Answers what is under way, refuses the rest, and gives the address back."""
        if not self._stopped.trip():
            return
        self._stopping = True
        deadline = time.monotonic() + wait_s
        self._listener.remove()
        self._listener.wake(self._waiting)
        under_way = list(self._connections)
        for connection in under_way:
            connection.leaving = True
        for connection in under_way:
            if connection.idle:
                connection.cut()
        while self._members and time.monotonic() < deadline:
            time.sleep(0.001)
        for connection in list(self._connections):
            connection.cut()
        if not self._waiting:
            self._listener.close()

    def forget(self) -> None:
        """In a forked child: lets go of the parent's sockets, and touches nothing else of the parent's."""
        self._stopped.trip()
        self._listener.give_reserve()
        self._stopping = True
        for sock in (self._listener.socket, *(connection.socket for connection in self._connections)):
            if sock.fileno() >= 0:
                close_in_child(sock)
        self._listener.close()

    def _add(self) -> bool:
        """One more thread that accepts; it counts from here on, so that ``stop`` waits for it."""
        me = object()
        self._members[me] = None
        started = start_thread("oobdump http", partial(self._loop, me))
        if not started:
            self._members.pop(me, None)
        return started

    def _loop(self, me: object) -> None:
        try:
            while (seat := self._take_seat()) is not None:
                connection = self._next(seat)
                seat.woken_at = _NEVER
                seat.lock.release()
                if connection is None:
                    break
                self._replace_lost()
                if self._waiting < WAITING_THREADS:
                    self._add()
                self._serve(connection)
                self._listener.refill()
        finally:
            self._members.pop(me, None)

    def _next(self, seat: _Seat) -> Connection | None:
        """The next connection that this thread gets; None when the server stops."""
        while not self._stopping:  # looked at with the seat taken: ``stop`` closes nothing that a seat may be using
            seat.woken_at = _NEVER
            self._listener.wait()
            seat.woken_at = time.monotonic()
            if self._stopping:
                break
            connection = Connection(self._plan, self._deadlines)
            try:
                if self._listener.accept(connection.socket):
                    return connection
            except OSError:
                time.sleep(OUT_OF_DESCRIPTORS_S)
            connection.abandon()
        return None

    def _serve(self, connection: Connection) -> None:
        if len(self._connections) >= MAX_CONNECTIONS and not self._make_room():
            connection.refuse(f"{MAX_CONNECTIONS} connections are being answered: ask again")
            return
        self._connections[connection] = None
        try:
            connection.leaving = self._stopping
            connection.serve()
        finally:
            self._connections.pop(connection, None)

    def _take_seat(self) -> _Seat | None:
        """A free seat; None if enough threads wait already: taking one is atomic, so that not all leave at once."""
        return next((seat for seat in self._seats if seat.lock.acquire(False)), None)

    def _is_lost(self, seat: _Seat) -> bool:
        """Whether its thread was woken, and was not seen again."""
        return time.monotonic() - seat.woken_at > LOST_S

    def _replace_lost(self) -> None:
        """A seat whose thread is lost stays with it; another stands in its place."""
        if any(self._is_lost(seat) for seat in self._seats):
            self._seats = [_Seat() if self._is_lost(seat) else seat for seat in self._seats]

    def _make_room(self) -> bool:
        """Ends the oldest of the connections that wait for their client; False if all are being answered."""
        for connection in list(self._connections):
            if connection.idle:
                connection.idle = False
                connection.cut()
                self._connections.pop(connection, None)
                return True
        return False
