"""Requests that ask workers of this machine: noticed, relayed, and watched until each has an outcome.

In: the inbox and the dumps. Out: reports of who is asked, who claimed, who is settled; bells rung.
The rule only this module keeps: a request counts as seen only once it was read whole, so that one
that is being published is looked at again.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from oobdump.config import DEFAULT_SIGNALS
from oobdump.election.orders import Orders
from oobdump.errors import DamagedDump, RequestError
from oobdump.inbox import Inbox, publish
from oobdump.request import AcceptedRequest, HandlerCall, Request
from oobdump.sentinel.duties import Key
from oobdump.sentinel.roll import Listing, Roll
from oobdump.store import reader, retention
from oobdump.store.layout import CLAIM, made_id
from oobdump.wire import accepted_to_bytes

__all__ = ["Requests"]

Say = Callable[[dict[str, Any]], None]

PUBLISHED_WITHIN_S = 5.0
"""A request's directory is made just before its `request.json`; one that stays without is its acceptor's grave."""

MAX_PASSED_CHARS = 2**15
"""A request with a large body is read again by whoever answers."""


@dataclass
class _Open:
    """One worker that is waited for."""

    accepted: AcceptedRequest
    claimed: bool = False


class Requests:
    """What is asked here."""

    def __init__(self, orders: Orders, acceptor: str, roll: Roll) -> None:
        self._orders, self._layout, self._roll = orders, orders.layout, roll
        self._acceptor = acceptor
        self._inbox = Inbox(self._layout, acceptor)
        self._inbox_listing, self._dumps_listing = Listing(self._layout.inbox), Listing(self._layout.dumps)
        self._seen: set[str] = set()
        self._unpublished: dict[str, float] = {}
        self._open: dict[Key, _Open] = {}
        self._count = itertools.count(1)
        bounds = retention.Bounds(orders.keep, orders.keep_s or float("inf"), orders.keep_bytes)
        self._tidy = retention.Tidy(self._layout, bounds)
        self.again_s: float | None = None

    @property
    def in_flight(self) -> bool:
        """Whether somebody is waited for."""
        return bool(self._open or self._unpublished)

    def look(self, say: Say) -> None:
        """Accepts what was dropped, and finds what was accepted. Raises ``OSError``, ``StoreError``."""
        self.again_s = None
        if self._inbox_listing.names():
            look = self._inbox.look()
            self.again_s = 0.0 if look.more else look.again_s
            if look.accepted and self._tidy.due():
                self._tidy.run()
        listed = self._dumps_listing.names()
        self._seen &= set(listed)
        for request_id in listed:
            if request_id not in self._seen:
                self._meet(request_id, say)

    def look_in_flight(self, say: Say) -> None:
        """Looks at those who are waited for, and at requests that are being published."""
        for request_id in [*self._unpublished]:
            self._meet(request_id, say)
        for key, waited in [*self._open.items()]:
            if self._has_outcome(key):
                self.settled(key)
                say({"t": "settled", "id": key[0], "worker": key[1]})
            elif not waited.claimed and self._is_claimed(key):
                waited.claimed = True
                say({"t": "claimed", "id": key[0], "worker": key[1], "seconds": _seconds(waited.accepted)})

    def settled(self, key: Key) -> None:
        """Nobody waits for it any more."""
        self._open.pop(key, None)

    def ask_for_signal(self, worker: str, signal_name: str, say: Say) -> None:
        """Makes the request that a signal asks for, which the worker does not take. Raises ``OSError``."""
        now, entry = time.time(), self._roll.here(worker)
        about: Any = {} if entry is None else entry.channels.get("signal") or {}
        request_id = made_id(time.time_ns(), self._acceptor, next(self._count))
        source: dict[str, str | int] = {"channel": "signal", "signal": signal_name}
        request = _signal_request(dict(about.get("asks") or {}).get(signal_name))
        accepted = AcceptedRequest(request_id, request, (worker,), now, self._acceptor, source)
        publish(self._layout, accepted)
        self._seen.add(request_id)
        self._open[request_id, worker] = _Open(accepted)
        reason = f"{signal_name} is pending, and no thread of the worker takes it"
        say({**_asked(accepted, worker), "at_once": reason})

    def _meet(self, request_id: str, say: Say) -> None:
        try:
            accepted = reader.open_request(self._layout, request_id)
        except DamagedDump:
            self._known(request_id)
            return
        if accepted is None:
            since = self._unpublished.setdefault(request_id, time.monotonic())
            if time.monotonic() - since > PUBLISHED_WITHIN_S:
                self._known(request_id)
            return
        self._known(request_id)
        if time.time() <= accepted.expires_at:
            for worker in accepted.asked:
                self._take_on(accepted, worker, say)

    def _known(self, request_id: str) -> None:
        self._seen.add(request_id)
        self._unpublished.pop(request_id, None)

    def _take_on(self, accepted: AcceptedRequest, worker: str, say: Say) -> None:
        """One worker that a request names: if it is of this machine, ring it and wait for it."""
        key, entry = (accepted.id, worker), self._roll.here(worker)
        if entry is None or self._has_outcome(key):
            return
        say(self._roll.document(entry))
        claimed = self._is_claimed(key)
        if not claimed and accepted.source.get("channel") == "request_file":
            self._roll.ring(entry)
        self._open[key] = _Open(accepted)
        say(_asked(accepted, worker))

    def _has_outcome(self, key: Key) -> bool:
        return reader.has_manifest(self._layout, *key) or reader.has_outside(self._layout, *key)

    def _is_claimed(self, key: Key) -> bool:
        return os.path.exists(f"{self._layout.dump(*key)}/{CLAIM}")


def _asked(accepted: AcceptedRequest, worker: str) -> dict[str, Any]:
    """What the sentinel is told; the request too, so that whoever answers need not read it from a hung root."""
    text = accepted_to_bytes(accepted).decode("ascii")
    age_s = max(0.0, time.time() - accepted.accepted_at)
    small = text if len(text) <= MAX_PASSED_CHARS else ""
    return {"t": "asked", "id": accepted.id, "worker": worker, "age": age_s, "request": small}


def _seconds(accepted: AcceptedRequest) -> float:
    """How long a worker that claimed may take: every handler its time."""
    return accepted.request.timeout_s * len(accepted.request.calls)


def _signal_request(asks: Any) -> Request:
    """What the worker says that its signal asks for; else what any worker's does."""
    try:
        return Request(tuple(HandlerCall(str(name)) for name in asks))
    except (TypeError, RequestError):
        return Request(tuple(HandlerCall(name) for name in DEFAULT_SIGNALS["SIGUSR1"]))
