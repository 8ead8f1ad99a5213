"""The HTTP channel: threads that accept, each of which serves what it accepted.

In: a listener, routes, alarms. Out: answered requests, until ``stop``. The rules only this
module keeps: two threads wait in ``accept`` before any goes to work, for one that works may
never come back; connections are bounded, and one that is idle makes room for one that asks;
at rest every thread is blocked in the kernel. Stopping wakes all, waits a little for those
that run a handler, and closes the socket only when nobody can be about to use it.
"""

from __future__ import annotations

import _socket
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
"""In ``accept``, at any time: one for the next connection, and the spare."""

RESTING_THREADS = 3
"""One more than must wait, so that clients that come one after the other start no thread."""

STOP_S = 1.0
"""What ``stop`` waits for handlers that run; a stuck one is left behind, as nothing can end it."""

OUT_OF_DESCRIPTORS_S = 0.1
"""Between two tries to accept while the program has no descriptor left."""


class HttpServer:
    """A server at one address. ``stop`` may be called at any time, from any thread, more than once."""

    def __init__(self, address: Address, plan: Callable[[HttpRequest], Plan], alarms: Alarms) -> None:
        """Listens, so that who connects from here on is answered once ``start`` is called."""
        self._plan = plan
        self._deadlines = Deadlines(alarms)
        self._listener: Listener = listen(address)
        self._members: dict[object, None] = {}
        self._seats = [_thread.allocate_lock() for _ in range(RESTING_THREADS)]
        self._connections: dict[Connection, _socket.socket] = {}
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
        """Threads in ``accept``, or just before or behind it: each has taken a seat."""
        return sum(seat.locked() for seat in self._seats)

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
            self._listener.socket.close()

    def forget(self) -> None:
        """In a forked child: lets go of the parent's sockets, and touches nothing else of the parent's."""
        self._stopped.trip()
        self._stopping = True
        for sock in (self._listener.socket, *self._connections.values()):
            if sock.fileno() >= 0:
                close_in_child(sock)

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
            while (seat := next((free for free in self._seats if free.acquire(False)), None)) is not None:
                sock = self._accept(seat)
                if self._stopping:
                    break
                if self._waiting < WAITING_THREADS:
                    self._add()
                if sock is not None:
                    self._serve(sock)
        finally:
            self._members.pop(me, None)

    def _accept(self, seat: _thread.LockType) -> _socket.socket | None:
        """The next connection; None if there is none after all. Gives the seat back."""
        try:
            if not self._stopping:  # looked at with the seat taken: ``stop`` closes nothing that a seat may be using
                self._listener.wait()
            return None if self._stopping else self._listener.accept()
        except OSError:
            if not self._stopping:
                time.sleep(OUT_OF_DESCRIPTORS_S)
            return None
        finally:
            seat.release()

    def _serve(self, sock: _socket.socket) -> None:
        connection = Connection(sock, self._plan, self._deadlines)
        if len(self._connections) >= MAX_CONNECTIONS and not self._make_room():
            connection.refuse(f"{MAX_CONNECTIONS} connections are being answered: ask again")
            return
        self._connections[connection] = sock
        try:
            connection.leaving = self._stopping
            connection.serve()
        finally:
            self._connections.pop(connection, None)

    def _make_room(self) -> bool:
        """Ends the oldest of the connections that wait for their client; False if all are being answered."""
        for connection in list(self._connections):
            if connection.idle:
                connection.idle = False
                connection.cut()
                self._connections.pop(connection, None)
                return True
        return False
