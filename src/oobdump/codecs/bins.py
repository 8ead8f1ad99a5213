"""Whether a msgpack document may have bytes in it, told at C speed without decoding it.

In: a document that msgpack's packer wrote. Out: False if none of its objects is a ``bin``.
The packer writes bytearrays and memoryviews as bytes without a word, and there is no way to ask
it not to. To look at each value beforehand would cost more than to pack it, so the document is
asked. The headers of ``bin`` are made the one byte that msgpack never uses, and the C reader,
which skips objects without making them, stumbles over it wherever it expects a header; inside
numbers and texts it does not look. A length that has such a byte would lead it astray: so the
header before each such length is made that byte too. Whatever it stumbles over first, it
has come there by the right way; and if it comes to the end, there was no ``bin``.
"""

from __future__ import annotations

import msgpack

__all__ = ["may_have_bytes"]

_NEVER_USED = 0xC1
_BIN_HEADERS = (b"\xc4", b"\xc5", b"\xc6")

_REACH = {0xD9: 1, 0xDA: 2, 0xDB: 4, 0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4}
"""Headers that a length comes after, and its bytes."""

_WITH_LENGTHS = frozenset(_REACH)


def may_have_bytes(document: bytes) -> bool:
    """False only if nothing in the document (ext payloads apart) is a ``bin``."""
    trapped: bytearray | None = None
    for header in _BIN_HEADERS:
        at = document.find(header)
        if trapped is None and at >= 0:
            trapped = bytearray(document)
        while at >= 0:
            _trap(document, trapped, at)  # type: ignore[arg-type]
            at = document.find(header, at + 1)
    return trapped is not None and not _reads_to_the_end(trapped)


def _trap(document: bytes, trapped: bytearray, at: int) -> None:
    trapped[at] = _NEVER_USED
    before = document[max(0, at - 4) : at]
    if not _WITH_LENGTHS.isdisjoint(before):
        for distance, header in enumerate(reversed(before), 1):
            if _REACH.get(header, 0) >= distance:
                trapped[at - distance] = _NEVER_USED


def _reads_to_the_end(trapped: bytearray) -> bool:
    reader = msgpack.Unpacker(max_buffer_size=len(trapped))
    reader.feed(trapped)
    try:
        reader.skip()
    except Exception:  # noqa: BLE001 - it stumbled
        return False
    return int(reader.tell()) == len(trapped)
