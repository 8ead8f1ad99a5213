"""A file that somebody names, opened so that nothing it is can hurt.

In: a path. Out: ``Source``: an open descriptor of a regular file, its size and the format that it
seems to have. Raises ``SourceError`` with what the path is instead. The rule only this module
keeps: no FIFO or device is waited for, and no link is followed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

from oobdump.errors import StoreError
from oobdump.store.atomic import CAREFUL

__all__ = ["FORMATS", "Source", "SourceError", "directory_of", "format_of", "opened", "what_is"]

HEAD_BYTES = 4096
"""What a format is told by, where the name does not tell."""

FORMATS = ("json", "msgpack", "pickle", "text", "npy", "zip", "binary")


_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISLNK, "a link"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class SourceError(StoreError):
    """The path cannot be read as a file; the message says what it is and what to do."""


@dataclass(frozen=True)
class Source:
    """A regular file, open for reading."""

    path: str
    descriptor: int
    size: int
    format: str


def what_is(path: str) -> str:
    """What a path is: ``a file``, ``a link to /dev/zero``; raises ``SourceError`` if there is nothing."""
    try:
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            return f"a link to {os.readlink(path)}"
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or error}; `oobdump ls` lists the dumps") from None
    except ValueError as error:  # a NUL in the path
        raise SourceError(f"{path}: {error}") from None
    return next((name for test, name in _KINDS if test(found.st_mode)), "a file")


@contextmanager
def opened(path: str, media_type: str = "") -> Iterator[Source]:
    """The file at ``path``. Raises ``SourceError``."""
    kind = what_is(path)
    if kind != "a file":
        raise SourceError(f"{path} is {kind}: not read, as it may never end, or lead elsewhere; name a regular file")
    try:
        descriptor = os.open(path, CAREFUL)
    except PermissionError:
        raise
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or error}") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise SourceError(f"{path} was changed while it was opened: it is no regular file any more")
        yield Source(path, descriptor, found.st_size, format_of(path, os.pread(descriptor, HEAD_BYTES, 0), media_type))
    finally:
        os.close(descriptor)


@contextmanager
def directory_of(path: str) -> Iterator[int | None]:
    """The directory that a file is in, open for looking up side parts; None where it cannot be opened."""
    try:
        descriptor = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        descriptor = None
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


# -- the format --------------------------------------------------------------------------------------------------------

_MEDIA_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "application/json": "json",
        "application/msgpack": "msgpack",
        "application/vnd.msgpack": "msgpack",
        "application/x-msgpack": "msgpack",
        "application/vnd.oobdump.pickle": "pickle",
    }
)
_SUFFIXES: Mapping[str, str] = MappingProxyType(
    {
        "json": "json",
        "npy": "npy",
        **dict.fromkeys(("msgpack", "mpk"), "msgpack"),
        **dict.fromkeys(("pkl", "pickle"), "pickle"),
        **dict.fromkeys(("npz", "zip"), "zip"),
        **dict.fromkeys(("txt", "log", "md", "html", "csv", "svg", "py", "yaml", "yml", "toml", "xml"), "text"),
    }
)
_MAGIC: tuple[tuple[bytes, str], ...] = ((b"\x93NUMPY", "npy"), (b"PK\x03\x04", "zip"))
_PICKLE_PROTOCOLS = range(2, 6)


def format_of(name: str, head: bytes, media_type: str = "") -> str:
    """The format of a file: by what its bytes must be, then as its manifest and its name say, then by a guess."""
    certain = next((kind for magic, kind in _MAGIC if head.startswith(magic)), None)
    media = media_type.partition(";")[0].strip().lower()
    if certain is None and media in _MEDIA_TYPES:
        return _MEDIA_TYPES[media]
    if certain is None and media.startswith("text/"):
        return "text"
    suffix = os.path.basename(name).rpartition(".")[2].lower()
    return certain or _SUFFIXES.get(suffix) or _guess(head)


def _guess(head: bytes) -> str:
    if len(head) > 1 and head[:1] == b"\x80" and head[1] in _PICKLE_PROTOCOLS:
        return "pickle"
    if head.lstrip()[:1] in (b"{", b"["):
        return "json"
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        torn = error.start > len(head) - 4 and len(head) == HEAD_BYTES
        text = head[: error.start].decode("utf-8") if torn else "\0"
    if "\0" not in text:
        return "text"
    return "msgpack" if head and (0x80 <= head[0] <= 0x9F or 0xDC <= head[0] <= 0xDF) else "binary"  # noqa: PLR2004
