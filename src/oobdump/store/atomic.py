"""Whole or absent: private directories and files that appear by one rename or link.

In: paths and bytes. Out: files of mode 0600 in directories of mode 0700; ``OSError`` as the
kernel gave it, ``ForeignDirectory`` where somebody else was first. The rule only this module
keeps: nothing is ever written under its final name, and a temporary name starts with a dot.
"""

from __future__ import annotations

import itertools
import os
import stat
import time
import zlib
from collections.abc import Iterable, Iterator

from oobdump.errors import ForeignDirectory
from oobdump.response import Bytes

__all__ = [
    "CAREFUL",
    "make_tree",
    "private_dir",
    "publish",
    "read_bounded",
    "read_head",
    "read_pieces",
    "replace",
    "replace_summed",
    "shared_root",
]

_counter = itertools.count(time.time_ns() // 1000)
"""For temporary names. It starts with the time: in a container each process has the pid of the one before it."""

_TEMPORARY = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
CAREFUL = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""For what somebody else may have put there: neither a FIFO nor a link leads anywhere."""
_PRIVATE = 0o700
_SUMMED_BYTES = 2**20
"""What is read back at a time: it fits into a cache."""


def private_dir(path: str) -> None:
    """Makes ``path`` with mode 0700, or checks that it is a directory of ours and closes it to others.

    Raises ``ForeignDirectory`` if it is a link, no directory, or somebody else's.
    """
    try:
        os.mkdir(path, _PRIVATE)
    except FileExistsError:
        pass
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise ForeignDirectory(f"{path} is not a directory: move it away, or set another directory with OOBDUMP_DIR")
    if found.st_uid != os.geteuid():
        raise ForeignDirectory(
            f"{path} belongs to uid {found.st_uid}, not to us (uid {os.geteuid()}): somebody else made it first, "
            "so it is not used; set another directory with OOBDUMP_DIR"
        )
    if stat.S_IMODE(found.st_mode) != _PRIVATE:
        os.chmod(path, 0o700)


def shared_root(path: str) -> None:
    """Makes the root, or checks that nobody can put another directory in the place of ours.

    It may belong to us or to root; if others can write in it, it must be sticky as /tmp is.
    """
    _make_with_parents(path)
    found = os.stat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise ForeignDirectory(f"{path} is not a directory: set another one with OOBDUMP_DIR")
    if os.path.islink(path) and os.lstat(path).st_uid not in (0, os.geteuid()):
        raise ForeignDirectory(f"{path} is a link that somebody else made: set another directory with OOBDUMP_DIR")
    if found.st_uid not in (0, os.geteuid()):
        raise ForeignDirectory(
            f"{path} belongs to uid {found.st_uid}, not to us (uid {os.geteuid()}) or to root, so it is not used: "
            "set another directory with OOBDUMP_DIR"
        )
    if found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
        raise ForeignDirectory(
            f"{path} is writable by others: `chmod go-w {path}`, or set another directory with OOBDUMP_DIR"
        )


def _make_with_parents(path: str) -> None:
    """As ``os.makedirs``, but private all the way: that one leaves the parents to the umask."""
    parent = os.path.dirname(path)
    if parent and not os.path.lexists(parent):
        _make_with_parents(parent)
    try:
        os.mkdir(path, _PRIVATE)
    except FileExistsError:
        pass


def make_tree(root: str, *below: str) -> None:
    """Makes the root and the private directories below it, from the top down."""
    shared_root(root)
    for path in below:
        private_dir(path)


def replace(path: str, chunks: Iterable[Bytes], *, durable: bool = False) -> int:
    """Writes a whole file under ``path``, over what stands there. Returns its size in bytes."""
    temporary, size = _write_temporary(path, chunks, durable=durable)
    _rename(temporary, path, durable=durable)
    return size


def replace_summed(path: str, chunks: Iterable[Bytes], *, durable: bool = False) -> tuple[int, int]:
    """The same; returns the size and the CRC-32 of what was written.

    A ``memoryview`` is foreign memory, which may be freed meanwhile: only the kernel touches it, and
    the sum is that of the file.
    """
    crc = [0]
    temporary, size = _write_temporary(path, chunks, durable=durable, crc=crc)
    _rename(temporary, path, durable=durable)
    return size, crc[0]


def _rename(temporary: str, path: str, *, durable: bool) -> None:
    try:
        os.rename(temporary, path)
    except OSError:
        _forget(temporary)
        raise
    _settle(path, durable=durable)


def publish(path: str, data: Bytes, *, durable: bool = False) -> bool:
    """Writes a whole file under ``path`` unless one is there; False if somebody was first."""
    temporary, _ = _write_temporary(path, (data,), durable=durable)
    try:
        os.link(temporary, path, follow_symlinks=False)
    except FileExistsError:
        return False
    finally:
        _forget(temporary)
    _settle(path, durable=durable)
    return True


def read_bounded(path: str, limit: int) -> bytes:
    """A regular file's content. Never blocks on a FIFO or device, never follows a link.

    Raises ``OSError``; ``ValueError`` if it is no regular file or larger than ``limit`` bytes.
    """
    descriptor = os.open(path, CAREFUL)
    try:
        return read_descriptor(descriptor, limit)
    finally:
        os.close(descriptor)


def read_head(path: str, size: int, *, follow: bool = False) -> bytes:
    """How a regular file begins; nothing of any other, and of one that cannot be read. ``follow``: links, too."""
    try:
        descriptor = os.open(path, CAREFUL & ~os.O_NOFOLLOW if follow else CAREFUL)
    except OSError:
        return b""
    try:
        return os.read(descriptor, size) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def read_pieces(path: str, limit: int) -> Iterator[bytes]:
    """The same in pieces, so that nobody holds the whole."""
    descriptor = os.open(path, CAREFUL)
    try:
        yield from _pieces(descriptor, limit)
    finally:
        os.close(descriptor)


def read_descriptor(descriptor: int, limit: int) -> bytes:
    """What ``read_bounded`` reads, from an open descriptor."""
    return b"".join(_pieces(descriptor, limit))


def _pieces(descriptor: int, limit: int) -> Iterator[bytes]:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("not a regular file")
    if found.st_size > limit:
        raise ValueError(f"{found.st_size} bytes, more than the {limit} that are read")
    left = limit + 1
    while left > 0 and (piece := os.read(descriptor, min(left, 2**20))):
        yield piece
        left -= len(piece)
    if left <= 0:
        raise ValueError(f"more than the {limit} bytes that are read")


def _write_temporary(
    path: str, chunks: Iterable[Bytes], *, durable: bool, crc: list[int] | None = None
) -> tuple[str, int]:
    directory, name = os.path.split(path)
    temporary = f"{directory}/.{name}.{os.getpid()}.{next(_counter)}.tmp"
    descriptor = os.open(temporary, _TEMPORARY, 0o600)
    try:
        try:
            os.fchmod(descriptor, 0o600)
            size = 0
            for chunk in chunks:
                written = _write_all(descriptor, chunk)
                if crc is not None:
                    crc[0] = _sum_of(descriptor, chunk, size, written, crc[0])
                size += written
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        _forget(temporary)
        raise
    return temporary, size


def _write_all(descriptor: int, data: Bytes) -> int:
    view = memoryview(data).cast("B")
    written = 0
    while written < len(view):
        written += os.write(descriptor, view[written:])
    return written


def _sum_of(descriptor: int, chunk: Bytes, at: int, size: int, crc: int) -> int:
    if type(chunk) is not memoryview:
        return zlib.crc32(chunk, crc)
    end = at + size
    while at < end:
        piece = os.pread(descriptor, min(end - at, _SUMMED_BYTES), at)
        if not piece:
            raise OSError("the file is shorter than what was written to it")
        crc = zlib.crc32(piece, crc)
        at += len(piece)
    return crc


def _forget(temporary: str) -> None:
    try:
        os.unlink(temporary)
    except OSError:
        pass  # a full or read-only disk may refuse: the name says that it is nobody's


def _settle(path: str, *, durable: bool) -> None:
    if durable:
        descriptor = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
