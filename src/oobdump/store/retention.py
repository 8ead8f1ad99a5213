"""What may be forgotten: a pure plan and a small apply.

In: what is kept of each request (age, bytes, whether it is in progress) and the bounds. Out:
the ids to remove, oldest first. The rules only this module keeps: whole requests only, never
one in progress, never the newest; and removing needs no free byte, since a rename inside one
directory and unlinks do not.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass

from oobdump.errors import DamagedDump
from oobdump.store import reader, roster
from oobdump.store.layout import Layout, made_id

__all__ = ["Bounds", "Kept", "Tidy", "apply", "forget_children", "plan", "survey"]

EVERY_S = 60.0
"""Between two looks of one acceptor at what may be forgotten."""

_UNPUBLISHED_GRACE_S = 600.0
"""A request directory without a ``request.json`` is being accepted, or its acceptor died."""

_SETTLING_S = 30.0
"""Added to a request's own deadlines before it counts as over: clocks differ between nodes."""

_STAMPED = re.compile(r"[0-9]{8}T[0-9]{6}")
"""How an id begins that was made from a time; a client may give another."""


@dataclass(frozen=True)
class Bounds:
    """What is kept: at most so many requests and bytes (0: no bound), none older than ``seconds``."""

    count: int = 0
    seconds: float = float("inf")
    bytes: int = 0


@dataclass(frozen=True)
class Kept:
    """One request as retention sees it; ``at`` is when it was accepted, in seconds since 1970."""

    id: str
    at: float
    bytes: int
    in_progress: bool


def plan(kept: Iterable[Kept], bounds: Bounds, now: float) -> list[str]:
    """The requests to forget, oldest first."""
    newest_first = sorted(kept, key=lambda item: (item.at, item.id), reverse=True)
    doomed: list[str] = []
    count = total = 0
    for item in newest_first:
        over = bool(
            (bounds.count and count >= bounds.count)
            or now - item.at > bounds.seconds
            or (bounds.bytes and total + item.bytes > bounds.bytes)
        )
        if over and count and not item.in_progress:
            doomed.append(item.id)
        else:
            count, total = count + 1, total + item.bytes
    return doomed[::-1]


def survey(layout: Layout, now: float) -> list[Kept]:
    """All requests of the job, with what a plan needs to know of them."""
    entries, _ = roster.read(layout)
    gone = {entry.worker for entry in entries if entry.alive() is False}
    return [_kept(layout, name, gone, now) for name in reader.request_ids(layout) if _is_request(layout, name)]


def apply(layout: Layout, doomed: Iterable[str]) -> list[str]:
    """Removes whole requests; returns those that are gone. One that cannot be removed is left as it was."""
    _empty_trash(layout)
    return [request_id for request_id in doomed if _remove(layout, request_id)]


def run(layout: Layout, bounds: Bounds) -> list[str]:
    """Surveys, plans and applies; also forgets workers that ended before the oldest dump kept."""
    now = time.time()
    removed = apply(layout, plan(survey(layout, now), bounds, now))
    _forget_workers(layout, now, bounds)
    return removed


def forget_children(layout: Layout, workers: Iterable[str]) -> list[str]:
    """Forgets those of these workers that were somebody's children, have gone, and were never asked anything.

    A program may fork one every second for a week; only who was asked is missed.
    """
    found = (roster.find(layout, worker) for worker in workers)
    gone = [entry for entry in found if entry is not None and _is_gone_child(entry)]
    if not gone:
        return []
    asked = _asked_since(layout, min(entry.started_at for entry in gone))
    forgotten = [entry.worker for entry in gone if entry.worker not in asked]
    for worker in forgotten:
        roster.remove(layout, worker)
    return forgotten


def _is_gone_child(entry: roster.Entry) -> bool:
    return entry.identity.role == "child" and entry.alive() is False


def _asked_since(layout: Layout, seconds: float) -> set[str]:
    """The workers that requests from then on name; an id that a client gave says nothing of its time."""
    since = made_id(int((seconds - _SETTLING_S) * 1e9), "", 0).partition("-")[0]
    asked: set[str] = set()
    for request_id in reader.request_ids(layout):
        if request_id >= since or not _STAMPED.match(request_id):
            try:
                accepted = reader.open_request(layout, request_id)
            except DamagedDump:
                continue
            asked.update(accepted.asked if accepted is not None else ())
    return asked


class Tidy:
    """Whoever accepts requests sees to it now and then that not everything is kept for ever."""

    def __init__(self, layout: Layout, bounds: Bounds) -> None:
        self._layout, self._bounds = layout, bounds
        self._last = float("-inf")

    def due(self) -> bool:
        """Whether it is time again; true once for each time."""
        now = time.monotonic()
        if now - self._last < EVERY_S:
            return False
        self._last = now
        return True

    def run(self) -> None:
        """Forgets what may be forgotten; takes as long as there are files."""
        run(self._layout, self._bounds)


def _is_request(layout: Layout, name: str) -> bool:
    """Whether it is a directory: a file or link beside the requests is somebody else's."""
    try:
        return stat.S_ISDIR(os.lstat(layout.request_dir(name)).st_mode)
    except OSError:
        return False


def _kept(layout: Layout, request_id: str, gone: set[str], now: float) -> Kept:
    directory = layout.request_dir(request_id)
    size = _bytes_below(directory)
    try:
        accepted = reader.open_request(layout, request_id)
    except DamagedDump:
        accepted = None  # perhaps only for us, and only now
    if accepted is None:
        at = _mtime(directory)
        return Kept(request_id, at, size, in_progress=now - at < _UNPUBLISHED_GRACE_S)
    waiting = any(
        worker not in gone and not reader.has_manifest(layout, request_id, worker) for worker in accepted.asked
    )
    seconds = max(accepted.request.timeout_s * len(accepted.request.calls), accepted.request.expires_in_s)
    over = now > accepted.accepted_at + seconds + _SETTLING_S
    return Kept(request_id, accepted.accepted_at, size, in_progress=waiting and not over)


def _bytes_below(directory: str) -> int:
    total = 0
    for path, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(f"{path}/{name}").st_size
            except OSError:
                continue
    return total


def _mtime(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def _remove(layout: Layout, request_id: str) -> bool:
    """Out of sight first, by one rename, so that no reader meets half a request."""
    trash = f"{layout.dumps}/.trash-{request_id}"
    try:
        os.rename(layout.request_dir(request_id), trash)
    except OSError:
        return False
    shutil.rmtree(trash, ignore_errors=True)
    return True


def _empty_trash(layout: Layout) -> None:
    """What an earlier remover left when it was killed."""
    try:
        names = os.listdir(layout.dumps)
    except OSError:
        return
    for name in names:
        if name.startswith(".trash-"):
            shutil.rmtree(f"{layout.dumps}/{name}", ignore_errors=True)


def _forget_workers(layout: Layout, now: float, bounds: Bounds) -> None:
    for entry in roster.read(layout)[0]:
        if entry.ended is not None and now - float(entry.ended.get("at_s", now)) > bounds.seconds:
            roster.remove(layout, entry.worker)
