"""The lock that elects: one file per job directory, host and pid namespace, beside the bells.

In: the runtime directory and the job directory. Out: who holds a seat, as the kernel tells it.
The rule only this module keeps: the holder's pid comes from the lock itself, never from what a
file says, so that there is no stale pid. The locks are POSIX record locks (fcntl(2)): children
do not inherit them, and they end with the process whatever ends it. They also end when a
process closes *any* descriptor of the file: so each process has one. The sentinel that leaves
removes the file, so whoever locks it looks afterwards whether it is still the one there.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import zlib

from oobdump.identity import Machine

__all__ = ["AVAILABLE", "LAUNCH", "SEAT", "SeatLock", "lock_path"]

AVAILABLE = sys.platform == "linux" and sys.maxsize > 2**32 and hasattr(os, "pidfd_open")
"""Elsewhere there is no pidfd to watch a sentinel by, or another ``struct flock``."""

SEAT, LAUNCH = 0, 1
"""Bytes of the file: whoever holds the first is the sentinel, whoever holds the second is starting one."""

_FLOCK = "hhqqi"
"""``struct flock`` of 64-bit Linux: type, whence, start, length, pid."""

_OPEN = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


def lock_path(runtime: str, job_dir: str, machine: Machine) -> str:
    """The lock's file. Containers may share a runtime directory, and two roots may hold jobs of one name."""
    namespace = "".join(letter for letter in machine.pid_namespace if letter.isdigit()) or "0"
    return f"{runtime}/sentinel.{machine.host}.{namespace}.{zlib.crc32(os.fsencode(job_dir)):08x}.lock"


class SeatLock:
    """One process's hold on the file. Raises ``OSError`` where it cannot be opened."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = os.open(path, _OPEN, 0o600)

    def renew(self) -> None:
        """Opens the file that stands there now, if it is another one: this process's seats were in the old one."""
        while not self.stands():
            self.close()
            self._descriptor = os.open(self.path, _OPEN, 0o600)

    def holder(self, seat: int) -> int | None:
        """The pid of the process that holds a seat; None if nobody does, or it is this process."""
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, seat, 1, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(self._descriptor, fcntl.F_GETLK, asked))
        return None if kind == fcntl.F_UNLCK else int(pid)

    def take(self, seat: int) -> bool:
        """Takes a seat if it is free, for this process."""
        while True:
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, seat, os.SEEK_SET)
            except (BlockingIOError, PermissionError):
                return False
            if self.stands():
                return True
            self.renew()

    def give_up(self, seat: int) -> None:
        """Frees a seat of this process; nothing happens if it has none."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, seat, os.SEEK_SET)

    def stands(self) -> bool:
        """Whether the file is still the one at its path: who comes later looks there."""
        try:
            found, mine = os.stat(self.path, follow_symlinks=False), os.fstat(self._descriptor)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino)

    def remove(self) -> None:
        """Takes the file away; only whoever has the seat may, and only to leave it."""
        if self.stands():
            os.unlink(self.path)

    def close(self) -> None:
        """Frees all seats of this process. In a forked child that takes nothing from its parent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
