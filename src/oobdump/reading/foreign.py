"""Files that no codec wrote: text, numpy's arrays, archives, and bytes that say nothing.

In: a file's bytes, or its descriptor where only its beginning is wanted. Out: ``Found``, to be
outlined. Only this module knows these formats, and only as far as to tell what is inside: an
archive's entries are listed, arrays summarised, and a pickle in one described.
"""

from __future__ import annotations

import ast
import os
import struct
import zipfile
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from oobdump.errors import CodecError
from oobdump.reading import pickles, summary
from oobdump.reading.documents import Found
from oobdump.reading.outline import shown

__all__ = ["FOREIGN"]

_TEXT_BYTES = 2**20
"""Read of a text: more than anybody pages through; the size of the rest is said."""

_DUMP_BYTES = 256
_DUMP_STEP = 16
_ENTRIES = 1000
_ENTRY_BYTES = 64 * 2**20
_HEADER_BYTES = 2**16


def read_text(descriptor: int, size: int) -> Found:
    """The beginning of a text."""
    data = os.pread(descriptor, _TEXT_BYTES, 0)
    notes = (f"{size - len(data):,} more bytes are not shown",) if size > len(data) else ()
    return Found(data.decode("utf-8", "backslashreplace") + "\n", notes)  # one line, too, is shown as it is


def read_binary(descriptor: int, size: int) -> Found:
    """The first bytes, as hexadecimal digits and as text."""
    head = os.pread(descriptor, _DUMP_BYTES, 0)
    lines = [_dump_line(at, head[at : at + _DUMP_STEP]) for at in range(0, len(head), _DUMP_STEP)]
    more = [f"… {size - len(head):,} more bytes"] * (size > len(head))
    return Found(
        [shown(line) for line in [*lines, *more]], ("no format that oobdump reads: these are its first bytes",)
    )


def _dump_line(at: int, piece: bytes) -> str:
    text = "".join(chr(code) if 32 <= code < 127 else "." for code in piece)  # noqa: PLR2004 - printable ASCII
    return f"{at:08x}  {piece.hex(' '):<{3 * _DUMP_STEP}} {text}"


# -- numpy -------------------------------------------------------------------------------------------------------------


def read_npy(descriptor: int, size: int) -> Found:
    """One array, of ``numpy.save``."""
    head = os.pread(descriptor, _HEADER_BYTES, 0)
    dtype, shape, fortran, begins = _npy_header(head)
    wanted = max(0, size - begins)
    data = os.pread(descriptor, min(wanted, _ENTRY_BYTES), begins)
    return Found(shown(_npy_line(dtype, shape, data, wanted, fortran=fortran)))


def _npy_header(head: bytes) -> tuple[Any, tuple[int, ...], bool, int]:
    """dtype, shape, whether in Fortran order, and where the data begins. Raises ``CodecError``."""
    try:
        wide = head[6] > 1
        length = struct.unpack_from("<I" if wide else "<H", head, 8)[0]
        begins = (12 if wide else 10) + length
        fields = ast.literal_eval(head[begins - length : begins].decode("latin-1").strip())
        shape = tuple(fields["shape"])
        fortran, dtype = bool(fields["fortran_order"]), fields["descr"]
    except Exception as error:  # noqa: BLE001 - the header is anybody's Python literal
        raise CodecError(f"no array of numpy: {type(error).__name__}: {error!s:.100}") from None
    if not all(type(each) is int and each >= 0 for each in shape):
        raise CodecError("no array of numpy: its shape is none")
    return dtype, shape, fortran, begins


def _npy_line(dtype: Any, shape: tuple[int, ...], data: bytes, wanted: int, *, fortran: bool) -> str:
    order = " in Fortran order" if fortran else ""
    head = f"ndarray {str(dtype)[:200]} {list(shape)}{order}"
    told = summary.summarise(dtype, shape, data, size=wanted)
    return f"{head}: {told.line}" if told is not None else f"{head}: {wanted:,} bytes that are not summarised"


# -- archives ----------------------------------------------------------------------------------------------------------


def read_zip(descriptor: int, size: int) -> Found:  # noqa: ARG001
    """What is in an archive; pickles described and arrays summarised (``torch.save``, ``numpy.savez``)."""
    try:
        with os.fdopen(os.dup(descriptor), "rb") as file, zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            told: dict[str, Any] = {entry.filename: _entry(archive, entry) for entry in entries[:_ENTRIES]}
    except Exception as error:  # noqa: BLE001 - zipfile raises what its parts raise
        raise CodecError(f"no archive that can be read: {type(error).__name__}: {error!s:.200}") from None
    notes = (f"{len(entries) - _ENTRIES:,} more entries are not shown",) if len(entries) > _ENTRIES else ()
    return Found(told, ("an archive; of PyTorch's, torch.load(weights_only=True) reads the tensors", *notes))


def _entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Any:
    line = f"{entry.file_size:,} bytes"
    told = next((tell for suffix, tell in _ENTRY_KINDS.items() if entry.filename.endswith(suffix)), None)
    if told is None or entry.file_size > _ENTRY_BYTES:
        return shown(line)
    try:
        with archive.open(entry) as file:
            return told(file.read(_ENTRY_BYTES))  # bounded whatever the entry says of itself
    except Exception as error:  # noqa: BLE001 - one damaged entry hides no other
        return shown(f"{line}, damaged: {type(error).__name__}: {error!s:.100}")


def _entry_npy(data: bytes) -> Any:
    dtype, shape, fortran, begins = _npy_header(data)
    return shown(_npy_line(dtype, shape, data[begins:], len(data) - begins, fortran=fortran))


_ENTRY_KINDS: Mapping[str, Callable[[bytes], Any]] = MappingProxyType(
    {
        ".pkl": lambda data: pickles.describe(data).plain,
        ".npy": _entry_npy,
        "/byteorder": lambda data: data[:20].decode("utf-8", "backslashreplace"),
        "/version": lambda data: data[:20].decode("utf-8", "backslashreplace"),
    }
)

FOREIGN: Mapping[str, Callable[[int, int], Found]] = MappingProxyType(
    {"text": read_text, "binary": read_binary, "npy": read_npy, "zip": read_zip}
)
