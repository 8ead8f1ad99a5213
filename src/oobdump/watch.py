"""How a dropped file is noticed: file events where the file system delivers them, else looks.

In: the inbox's path. Out: a descriptor for the bell to poll, and how often to look without
being told. Every event means only "look": names and kinds are not read, so neither a queue
overflow nor a lost event matters once somebody looks. The kernel is asked directly
(inotify(7)), not through a library: docs/decisions/0003 says why.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from oobdump import linux

__all__ = ["Watch", "delivers_events", "file_system_of"]

_LOCAL = frozenset(
    {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "jfs", "reiserfs", "nilfs2", "vfat", "exfat"}
    | {"tmpfs", "ramfs", "overlay", "overlayfs", "aufs"}
)
"""File systems of one machine: all that writes there goes through this kernel. Anything else (NFS, SMB,
Lustre, GPFS, FUSE, 9p, virtiofs, …) may be written by another node, of which inotify hears nothing."""

_MOUNT_POINT = 4
"""Position of the mount point in a line of mountinfo."""

_EVENTS = linux.IN_CLOSE_WRITE | linux.IN_MOVED_TO | linux.IN_CREATE | linux.IN_DELETE_SELF | linux.IN_MOVE_SELF


@dataclass
class Watch:
    """Watches one inbox. ``mode`` is what was asked for: auto, events, poll or off."""

    mode: str
    poll_s: float
    descriptor: int = -1
    events: bool = False
    polls: bool = False
    why: str = ""
    _number: int = -1

    def open(self) -> None:
        """Takes an inotify instance if one is wanted and there is one left; never fails."""
        if self.mode in ("auto", "events") and linux.AVAILABLE:
            try:
                self.descriptor = linux.inotify()
            except OSError as error:
                self.why = f"no file events: {error.strerror}; looking every {self.poll_s:g} s instead"
        self.polls = self.mode == "poll" or (self.mode != "off" and self.descriptor < 0)

    def renew(self, inbox: str, *others: str) -> None:
        """Watches the inbox that stands there now: it may be another directory than last time. ``others`` likewise."""
        if self.descriptor < 0:
            return
        try:
            for directory in others:
                linux.add_watch(self.descriptor, directory, _EVENTS | linux.IN_ONLYDIR)
            number = linux.add_watch(self.descriptor, inbox, _EVENTS | linux.IN_ONLYDIR)
        except OSError as error:
            self.events = False
            self.polls, self._number = True, -1
            self.why = f"no file events: {error.strerror}; looking every {self.poll_s:g} s instead"
            return
        if number != self._number:  # another directory than last time, or the first
            self.events, self._number = True, number
            self._judge(inbox)

    def _judge(self, inbox: str) -> None:
        """Whether the inbox's file system tells everything."""
        kind = file_system_of(os.path.realpath(inbox))  # people link their scratch directory
        self.polls = self.mode == "auto" and not delivers_events(kind)
        self.why = ""
        if self.polls:
            where = kind or "this file system"
            self.why = f"{where} tells nothing of other nodes' files; looking every {self.poll_s:g} s as well"

    def close(self) -> None:
        """Gives the inotify instance back."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def describe(self) -> dict[str, object]:
        """What the roster says of this channel."""
        found: dict[str, object] = {"events": self.events, "poll_s": self.poll_s if self.polls else None}
        return {**found, "why": self.why} if self.why else found


def delivers_events(file_system: str) -> bool:
    """Whether inotify hears of every write there."""
    return file_system in _LOCAL


def file_system_of(path: str, mounts: str | None = None) -> str:
    """The type of the mount that ``path`` is on, from ``/proc/self/mountinfo`` (proc(5)); "" if unknown.

    The file system itself is not touched: a hung one would not answer.
    """
    if mounts is None:
        try:
            with open("/proc/self/mountinfo", "rb") as file:
                mounts = file.read().decode("utf-8", "surrogateescape")
        except OSError:
            return ""
    best, found = -1, ""
    for line in mounts.split("\n"):  # not splitlines: a mount point may hold any other separator
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        if len(fields) <= _MOUNT_POINT or not right:
            continue
        point = _unescape(fields[_MOUNT_POINT])
        below = path == point or path.startswith(point.rstrip("/") + "/")
        if below and len(point) >= best:  # a later mount on the same point hides the earlier one
            best, found = len(point), right.split()[0]
    return found


def _unescape(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
