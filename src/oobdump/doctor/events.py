"""Whether the kernel says that a file was dropped: tried for real, in the directory itself.

In: the inbox, or what there is of it. Out: findings. The rule only this module keeps: a file is made
there and the event with its name is waited for; another file's event does not count.
"""

from __future__ import annotations

import errno
import os
import select
import struct
import time
from collections.abc import Iterator

from oobdump import linux
from oobdump.doctor.directories import deepest
from oobdump.doctor.model import Check, Finding, Kind, Subject
from oobdump.store import trial
from oobdump.watch import delivers_events, file_system_of

__all__ = ["CHECKS"]

_WITHIN_S = 2.0
"""An event takes microseconds; this is for a loaded machine."""

_LIMITS = ("/proc/sys/fs/inotify/max_user_{}", "/proc/sys/user/max_inotify_{}")
"""Of this machine, and of this user namespace; the lower one counts."""

_HEAD = struct.Struct("iIII")
"""``struct inotify_event`` without its name (inotify(7))."""

INSTANCES = Kind(
    "inotify-instances",
    "warning",
    "this user's inotify instances are used up: a worker that starts now looks for files once a second instead",
    "raise fs.inotify.max_user_instances, or end what uses them",
)
WATCHES = Kind(
    "inotify-watches",
    "warning",
    "this user's inotify watches are used up: a worker that starts now looks for files once a second instead",
    "raise fs.inotify.max_user_watches",
)
NO_EVENT = Kind(
    "events-not-delivered",
    "warning",
    "a file that is dropped on this machine is not reported: workers find it when they look",
    "set OOBDUMP_WATCH=poll, or use a directory of another file system",
)
REMOTE = Kind(
    "events-of-this-node-only",
    "note",
    "what another node drops is not reported: workers look once in OOBDUMP_POLL_S as well",
    "ask from a node of the job, or lower OOBDUMP_POLL_S",
)


def _events(subject: Subject) -> Iterator[Finding]:
    directory = subject.layout.inbox if os.path.isdir(subject.layout.inbox) else deepest(subject)
    if not linux.AVAILABLE or subject.settings.watch in ("poll", "off"):
        return
    try:
        descriptor = linux.inotify()
    except OSError as error:
        limit = _limit("instances")
        yield INSTANCES.found(f"inotify_init1 fails: {error.strerror}; the limit is {limit}", limit=limit)
        return
    try:
        if directory is not None:
            yield from _delivered(descriptor, directory)
    finally:
        os.close(descriptor)


def _delivered(descriptor: int, directory: str) -> Iterator[Finding]:
    kind = file_system_of(os.path.realpath(directory))
    if not delivers_events(kind):
        yield REMOTE.found(f"{directory} is on {kind or 'an unknown file system'}", path=directory, file_system=kind)
    try:
        linux.add_watch(descriptor, directory, linux.IN_CREATE | linux.IN_ONLYDIR)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        limit = _limit("watches")
        yield WATCHES.found(f"inotify_add_watch fails: {error.strerror}; the limit is {limit}", limit=limit)
        return
    try:
        with trial.hidden_file(directory) as made:
            heard = _heard(descriptor, os.path.basename(os.readlink(f"/proc/self/fd/{made}")))
    except OSError:
        return  # it takes no file: the check of writing says so
    if not heard:
        seen = f"a file made in {directory} ({kind or 'unknown file system'}) gave no event within {_WITHIN_S:g} s"
        yield NO_EVENT.found(seen, path=directory, file_system=kind)


def _heard(descriptor: int, name: str) -> bool:
    poll, deadline = select.poll(), time.monotonic() + _WITHIN_S
    poll.register(descriptor, select.POLLIN)
    while (left := deadline - time.monotonic()) > 0:
        if poll.poll(left * 1000) and name in _names(os.read(descriptor, 2**16)):
            return True
    return False


def _names(data: bytes) -> Iterator[str]:
    while len(data) >= _HEAD.size:
        end = _HEAD.size + _HEAD.unpack_from(data)[3]
        yield os.fsdecode(data[_HEAD.size : end].rstrip(b"\0"))
        data = data[end:]


def _limit(name: str) -> int | None:
    found = [limit for path in _LIMITS if (limit := _number(path.format(name))) is not None]
    return min(found, default=None)


def _number(path: str) -> int | None:
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


CHECKS = (
    Check(
        "events",
        "machine",
        "a file is made in the inbox, and its event waited for",
        (INSTANCES, WATCHES, NO_EVENT, REMOTE),
        _events,
    ),
)
