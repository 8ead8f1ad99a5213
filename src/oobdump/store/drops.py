"""Files of the inbox on their way in and out.

In: names and bytes. Out: a file dropped whole, taken away, or moved to ``rejected/`` with its
reason. The rule only this module keeps: a file is moved or removed only if it is still the
one that was looked at, so that another one that took its name is not lost.
"""

from __future__ import annotations

import json
import os
import time

from oobdump.identity import iso
from oobdump.store import atomic
from oobdump.store.layout import Layout, request_id

__all__ = ["Version", "drop", "reject", "rejection", "take_away"]

_MAX_NAME_BYTES = 170
"""A name of 255 bytes can be dropped, but not with a reason's suffix and a temporary file's; beyond this it is cut."""

Version = tuple[int, int, int]
"""Inode, modification time and change time in nanoseconds: another one is another file, or a changed one."""


def drop(layout: Layout, name: str, data: bytes) -> str:
    """Puts a whole file into the inbox; returns the id that all acceptors will give it."""
    path = f"{layout.inbox}/{name}"
    atomic.replace(f"{path}.tmp", (data,))
    found = os.stat(f"{path}.tmp")
    os.rename(f"{path}.tmp", path)
    return request_id(name, found.st_ino, found.st_mtime_ns)


def take_away(layout: Layout, name: str, version: Version, request: str) -> None:
    """Removes the file that was accepted as ``request``, but not another one that took its name meanwhile.

    It is moved into the request's own directory first and looked at there, where nobody can change what the
    name means. A file that was touched meanwhile goes back and becomes another request: answered twice is
    better than never.
    """
    path, aside = f"{layout.inbox}/{name}", f"{layout.request_dir(request)}/.taken.{os.getpid()}"
    try:
        if not _same(path, version):
            return
        os.rename(path, aside)
        if not _same(aside, version):
            _put_back(aside, path)
        os.unlink(aside)
    except FileNotFoundError:
        pass


def reject(layout: Layout, name: str, version: Version, reason: str, by: str) -> bool:
    """Moves a file to ``rejected/`` beside its reason; False if it is another one by now, or gone."""
    path = f"{layout.inbox}/{name}"
    if not _still(path, version):
        return False
    target = f"{layout.rejected}/{os.fsdecode(os.fsencode(name)[:_MAX_NAME_BYTES])}"
    if os.path.lexists(target):
        target = f"{target}.{time.time_ns()}"
    document = {"schema_version": 1, "file": name, "reason": reason, "rejected_at": iso(time.time()), "by": by}
    atomic.private_dir(layout.rejected)
    atomic.replace(f"{target}.error.json", (json.dumps(document, indent=1).encode() + b"\n",))
    if not _still(path, version):
        return False
    try:
        os.rename(path, target)
    except FileNotFoundError:
        return False
    if _same(target, version):
        return True
    _put_back(target, path)
    os.unlink(target)
    os.unlink(f"{target}.error.json")
    return False


def rejection(layout: Layout, name: str) -> str:
    """Why a file of that name was rejected; "" if it was not."""
    try:
        return str(json.loads(atomic.read_bounded(f"{layout.rejected}/{name}.error.json", 2**20))["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _same(path: str, version: Version) -> bool:
    """Whether that is the file, as it was written: moving one changes its change time.

    The inode alone does not tell: it is reused at once, and a file may be written again in place.
    """
    found = os.lstat(path)
    return (found.st_ino, found.st_mtime_ns) == version[:2]


def _put_back(aside: str, path: str) -> None:
    """Gives a file its name again, unless the name has been given to a still newer one: that one counts."""
    try:
        os.link(aside, path, follow_symlinks=False)
    except FileExistsError:
        pass


def _still(path: str, version: Version) -> bool:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return False
    return (found.st_ino, found.st_mtime_ns, found.st_ctime_ns) == version
