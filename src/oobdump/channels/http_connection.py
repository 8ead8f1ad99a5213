"""One connection: requests in, replies out, by one thread that may be lost at any time.

In: a connected socket, plans for requests, deadlines. Out: one reply for each request, in order.
The rules only this module keeps: the thread that has a request runs its plan itself, so that a
reply costs no hand-over; one turn covers a request from its first byte to its reply, and if
that is lost the watch answers 504 and the socket is nobody's; a reply is one system call, and
its body is sent from where it lies.
"""

from __future__ import annotations

import _socket
import _thread
import os
import time
from collections.abc import Callable
from functools import partial

from oobdump.channels.http_deadlines import Deadlines, Turn
from oobdump.channels.http_listen import empty_socket, peer_is_ours, set_timeouts
from oobdump.channels.http_routes import Plan
from oobdump.channels.http_wire import CONTINUE, HttpError, HttpRequest, Reply, RequestReader, reply_head, sendable
from oobdump.threads import start_thread

__all__ = ["Connection", "close_in_child"]

KEEP_ALIVE_S = 5.0
"""Without a request: five times what PyTorch's server waits, and its thread is taken if another needs it."""

RECEIVE_S = 10.0
"""From a request's first byte to its last: what a person takes to type one by hand."""

READ_S = 2.0
"""Of that, what it takes us to read a request that is here: a hundred times what it takes under load."""

SEND_S = 10.0
"""Without a byte taken by the reader."""

SLOWEST_READER_BYTES_PER_S = 1e6
"""A large reply may take its time: its deadline grows by its size over this."""

LINGER_S = 1.0
"""After a request that is refused unread: what the sender still sends is dropped for so long, that it hears why."""

LINGER_BYTES = 2**26

GATE_S = 1.0
"""A cut takes a microsecond; a thread that was lost in one does not keep the socket open."""

RECEIVE_BYTES = 2**14
"""A request in one piece; bodies come in several."""

SMALL_REPLY_BYTES = 2**15
"""Up to this, one copy costs less than a second buffer; it fits into any socket's own buffer, so no deadline."""

LARGE_BUFFER_BYTES = 2**20
"""The kernel's own, for a large reply: fewer turns between writer and reader, 8 % of the time. It may give less."""

_LOST = b"the thread that read this request was caught in something of the program's: ask again"

_FLAGS = getattr(_socket, "MSG_NOSIGNAL", 0)
"""A program may have given SIGPIPE its deadly default."""


class Connection:
    """One client, on ``socket``. ``serve`` runs on one thread, ``cut`` and what a lost turn calls on any."""

    def __init__(self, plan: Callable[[HttpRequest], Plan], deadlines: Deadlines) -> None:
        """Made before its socket is accepted: what can be lost with its thread is watched by then."""
        self.socket = empty_socket()
        self._plan = plan
        self._deadlines = deadlines
        self._reader = RequestReader()
        self._turn: Turn | None = None
        self._taken = self._unread = False
        self._gate = _thread.allocate_lock()
        self.leaving = False
        self.idle = False
        self._begin()

    def serve(self) -> None:
        """Answers until one side has had enough; closes the socket, unless that was taken away."""
        try:
            set_timeouts(self.socket, KEEP_ALIVE_S, SEND_S)
            if peer_is_ours(self.socket):
                while self._one():
                    pass
            else:
                self._refuse(HttpError(403, "this socket is for its owner and for root"))
        except OSError:
            pass  # the client is gone, or the connection was cut
        finally:
            self.abandon()
            if not self._taken:
                self._close()

    def abandon(self) -> None:
        """There is no connection after all."""
        if self._turn is not None:
            self._deadlines.end(self._turn)

    def refuse(self, text: str) -> None:
        """Says that the server cannot take this connection, and closes it. Never blocks."""
        self.abandon()
        try:
            self.socket.recv(RECEIVE_BYTES, _socket.MSG_DONTWAIT)  # a request left unread would reset the connection
        except OSError:
            pass
        self._send_at_once(Reply(503, text.encode("utf-8")))
        self._close()

    def cut(self) -> None:
        """Ends the connection from outside: whoever reads or writes here finds it closed."""
        if not self._gate.acquire(False):
            return  # it is being cut, or is closed: its number may be another's by now
        try:
            self.socket.shutdown(_socket.SHUT_RDWR)
        except OSError:
            pass
        finally:
            self._gate.release()

    def _close(self) -> None:
        self._gate.acquire(True, GATE_S)
        self.socket.close()

    def _one(self) -> bool:
        """One request and its reply; False if the connection is over."""
        try:
            request = self._receive()
        except HttpError as error:
            return self._refuse(error)
        turn = self._turn
        if request is None or turn is None:
            return False
        plan = self._plan(request)
        late = self._late if plan.first_s >= plan.timeout_s else self._again
        self._deadlines.extend(turn, plan.first_s, partial(late, plan, _thread.get_ident()))
        reply = plan.answer()
        self._turn = None
        if not self._deadlines.end(turn):
            self._taken = not self._unread
            return False
        stays = request.keep_alive and not self.leaving
        self._send(reply, request, keep_alive=stays)
        return stays

    def _receive(self) -> HttpRequest | None:
        """The next request, with its turn begun; None if there is none any more. Raises ``HttpError``."""
        reader = self._reader
        if reader.began:
            self._begin()
        while (request := reader.next() if reader.began else None) is None:
            if reader.wants_continue:
                self.socket.sendall(CONTINUE, _FLAGS)
            try:
                data = self._wait()
            except BlockingIOError:
                if not reader.began:
                    return None
                raise HttpError(408, f"the request is not complete, and nothing came for {KEEP_ALIVE_S:g} s") from None
            if not data:
                return None
            self._begin()
            reader.feed(data)
        return request

    def _wait(self) -> bytes:
        """What arrives next; meanwhile the connection may be cut for another's sake."""
        self.idle = True
        try:
            return b"" if self.leaving else self.socket.recv(RECEIVE_BYTES)
        finally:
            self.idle = False

    def _begin(self) -> None:
        if self._turn is None:
            self._began = time.monotonic()
            self._turn = self._deadlines.begin(READ_S, self._lost, self._patience)

    def _patience(self) -> float:
        """A client has until ``RECEIVE_S``; but what is here is read at once, or the thread that should is lost."""
        return max(0.0, self._began + RECEIVE_S - time.monotonic()) if self.idle else 0.0

    def _lost(self) -> None:
        """The request is not read in time: the client's fault, or else it is told to ask again."""
        self._unread = True
        if not self.idle:
            self._send_at_once(Reply(503, _LOST, headers=(("Retry-After", "0"),)))
        self.cut()

    def _refuse(self, error: HttpError) -> bool:
        """Answers what is no request, and lets the sender finish: closing at once would destroy the answer."""
        if self._turn is not None and not self._deadlines.end(self._turn):
            return False
        self._turn = self._deadlines.begin(SEND_S, self.cut)
        request = HttpRequest("GET", "/")
        self._send(Reply(error.code, f"{error}\n".encode("utf-8", "backslashreplace")), request, keep_alive=False)
        self.socket.shutdown(_socket.SHUT_WR)
        set_timeouts(self.socket, LINGER_S, SEND_S)
        dropped = 0
        while dropped < LINGER_BYTES and (data := self.socket.recv(RECEIVE_BYTES)):
            dropped += len(data)
        return False

    def _send(self, reply: Reply, request: HttpRequest, *, keep_alive: bool) -> None:
        reply = sendable(reply)
        body = memoryview(reply.body).cast("B")
        head = reply_head(reply, size=len(body), keep_alive=keep_alive, minor=request.minor)
        if request.method == "HEAD":
            self.socket.sendall(head, _FLAGS)
        elif len(body) <= SMALL_REPLY_BYTES:
            self.socket.sendall(head + body, _FLAGS)
        else:
            self._send_large(head, body)

    def _send_large(self, head: bytes, body: memoryview) -> None:
        self.socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, LARGE_BUFFER_BYTES)
        turn = self._deadlines.begin(SEND_S + len(body) / SLOWEST_READER_BYTES_PER_S, self.cut)
        try:
            sent = self.socket.sendmsg([head, body], [], _FLAGS)
            if sent < len(head):
                self.socket.sendall(head[sent:], _FLAGS)
            self.socket.sendall(body[max(0, sent - len(head)) :], _FLAGS)
        finally:
            self._deadlines.end(turn)

    def _again(self, plan: Plan, thread: int) -> None:
        """The first thread is lost, it seems, and not by the plan's fault: the same for another one, which has won."""
        if not start_thread("oobdump http again", partial(self._second, plan, thread)):
            self._late(plan, thread)

    def _second(self, plan: Plan, first: int) -> None:
        turn = self._deadlines.begin(plan.timeout_s - plan.first_s, partial(self._late, plan, first))
        reply = plan.answer()
        if self._deadlines.end(turn):
            try:
                self._send(reply, HttpRequest("POST", "/"), keep_alive=False)
            except OSError:
                pass  # the client is gone
            finally:
                self._close()

    def _late(self, plan: Plan, thread: int) -> None:
        """The plan's time is up, and this thread has won its turn: the socket is its to answer on and to close."""
        self._send_at_once(plan.late(thread))
        self._close()

    def _send_at_once(self, reply: Reply) -> None:
        """As much of it as the socket takes without waiting; its buffer is empty, so that is all of it."""
        head = reply_head(reply, size=len(reply.body), keep_alive=False)
        try:
            self.socket.send(head + reply.body, _FLAGS | _socket.MSG_DONTWAIT)
        except OSError:
            pass


def close_in_child(sock: _socket.socket) -> None:
    """In a forked child: lets go of a parent's socket without a word to its peer."""
    os.close(sock.detach())
