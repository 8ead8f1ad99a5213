"""Arrays and tensors in a document, each told on one line: dtype, shape, and what its numbers are.

In: a tag's kind and body; the bins of a msgpack document; the directory that a JSON document's
side part is in. Out: a line to be printed, or None for a kind that is no array. Only this module
follows a reference to a side part: of the document's name and ``.bin``, in the same directory, a
regular file; what is not there, or not as long as the reference says, is said.
"""

from __future__ import annotations

import binascii
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from oobdump.codecs.marked import Tag
from oobdump.codecs.model import BODY, MARK
from oobdump.codecs.raw import Raw
from oobdump.reading import summary
from oobdump.reading.elements import element
from oobdump.reading.outline import shown
from oobdump.store.atomic import CAREFUL

__all__ = ["SIDE_SUFFIX", "Look", "open_side"]

SIDE_SUFFIX = ".bin"
"""A JSON document's bulk data is in a file of its name and this."""

_READ_BYTES = 32 * 2**20
"""Read of one array's data: more than ``summary.MAX_ELEMENTS`` of eight bytes."""

_TOLD = 300
_MAX_SHAPE = 64

Tree = Any


@dataclass(frozen=True)
class _Data:
    """An array's bytes, or only their beginning and how many there are; ``why`` says why there are none."""

    head: bytes | memoryview = b""
    size: int = 0
    why: str = ""


class Look:
    """What is told of the arrays of one document; ``notes`` says what could not be read."""

    def __init__(self, directory: int | None = None, name: str = "", bins: Sequence[Any] = ()) -> None:
        self._directory = directory
        self._name = name
        self._bins = bins
        self.notes: list[str] = []

    def tree(self, kind: str, body: Any) -> Tree | None:
        """What is shown of a tag; None if it is no array."""
        tell = _KINDS.get(kind)
        try:
            return None if tell is None else tell(self, kind, body)
        except (LookupError, TypeError, ValueError, OverflowError, AttributeError):
            return None  # not as its writer would write it: shown as any other tag

    def _array(self, kind: str, body: Mapping[str, Any]) -> Tree:
        shape = _shape(body.get("shape", []))
        head = f"{kind} {_dtype_text(body['dtype'])} {shape}{_extras(body)}"
        if "parts" in body:
            return head, {str(name): Tag("tensor", part) for name, part in body["parts"].items()}
        if "items" in body or "text" in body:  # of objects; numpy's own texts
            return head, body["items"] if "items" in body else body["text"]
        if "data" not in body:
            return shown(f"{head}: no data here{_reason(body)}")
        return shown(f"{head}: {self._told(body, shape)}")

    def _told(self, body: Mapping[str, Any], shape: Sequence[int]) -> str:
        """What the data says."""
        data = self._data(body["data"])
        if data.why:
            self.notes.append(data.why)
            return "its data is missing"
        if body["dtype"] == "S":
            return repr(bytes(data.head[:_TOLD]))
        told = summary.summarise(body["dtype"], shape, data.head, size=data.size)
        if told is not None:
            return told.line
        known = element(body["dtype"]) is not None
        return (
            f"{data.size:,} bytes, {'not as many as its shape says' if known else 'of a dtype that is not known here'}"
        )

    def _data(self, data: Any) -> _Data:
        """The bytes: inline, in a bin of the same document, or in the side part."""
        if isinstance(data, (bytes, bytearray, memoryview)):
            return _Data(memoryview(data), len(data))
        if type(data) is Raw:
            return _Data(data.data, len(data.data))
        kind, body = data[MARK], data[BODY]
        if kind == "bytes" and isinstance(body, str):
            raw = binascii.a2b_base64(body)
            return _Data(raw, len(raw))
        if kind != "bulk":
            raise ValueError("no data")
        if type(body) is int:
            found = self._bins[body]
            return _Data(memoryview(found), len(found))
        return self._from_side(body["offset"], body["size"])

    def _from_side(self, offset: int, size: int) -> _Data:
        if type(offset) is not int or type(size) is not int or offset < 0 or size < 0:
            raise ValueError("no place in a side part")
        descriptor = None if self._directory is None else open_side(self._directory, self._name)
        if descriptor is None:
            return _Data(why=f"its side part, {self._name}{SIDE_SUFFIX}, is not there as a plain file")
        try:
            if os.fstat(descriptor).st_size < offset + size:
                return _Data(
                    why=f"its side part, {self._name}{SIDE_SUFFIX}, has no {offset + size:,} bytes: it is torn"
                )
            return _Data(os.pread(descriptor, min(size, _READ_BYTES), offset), size)
        finally:
            os.close(descriptor)

    def _plain(self, kind: str, body: Any) -> Tree:
        """A kind whose body is a word or a few numbers."""
        return shown(f"{kind} {_dtype_text(body) if kind == 'numpy.dtype' else str(body)[:_TOLD]}")


_KINDS: Mapping[str, Callable[[Look, str, Any], Tree]] = MappingProxyType(
    {
        **dict.fromkeys(("ndarray", "npscalar", "tensor"), Look._array),  # noqa: SLF001 - its own table
        **dict.fromkeys(("torch.Size", "torch.dtype", "torch.device", "numpy.dtype"), Look._plain),  # noqa: SLF001
    }
)


def open_side(directory: int, name: str) -> int | None:
    """The side part of a document of that name; None if there is no regular file."""
    try:
        descriptor = os.open(f"{name}{SIDE_SUFFIX}", CAREFUL, dir_fd=directory)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def _shape(value: Any) -> list[int]:
    if type(value) is not list or len(value) > _MAX_SHAPE or not all(type(n) is int and n >= 0 for n in value):
        raise ValueError("no shape")
    return value


def _dtype_text(dtype: Any) -> str:
    if isinstance(dtype, str):
        return dtype[:_TOLD]
    if "base" in dtype:
        return f"{_dtype_text(dtype['base'])}{list(dtype['shape'])}"[:_TOLD]
    fields = zip(dtype["names"], dtype["formats"], strict=True)
    return f"{{{', '.join(f'{name}: {_dtype_text(of)}' for name, of in fields)}}}"[:_TOLD]


def _extras(body: Mapping[str, Any]) -> str:
    """What else its writer said: ``parameter``, ``requires_grad``, ``cuda:0``, ``sparse_coo``, order."""
    flags = [name for name in ("parameter", "requires_grad") if body.get(name) is True]
    words = [str(body[name])[:40] for name in ("layout", "device") if body.get(name)]
    order = ["Fortran order"] * (body.get("order") == "F")
    return "".join(f" {word}" for word in [*words, *flags, *order])


def _reason(body: Mapping[str, Any]) -> str:
    return f" ({str(body['why'])[:_TOLD]})" if body.get("why") else ""
