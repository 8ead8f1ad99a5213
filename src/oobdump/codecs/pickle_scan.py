"""A look at the opcodes of a pickle before any of them runs.

In: the bytes. Out: nothing, or ``CodecError``: for a torn pickle, for something behind its end,
for an opcode that no dump needs (protocol 0's text, persistent ids, extension codes, buffers that
are elsewhere), and for a memo index beyond the pickle's own length, which would make the C
unpickler allocate up to 64 GiB for five bytes. What an opcode does is not its concern.
Only this module knows how long an opcode is. Runs of short ones are skipped by one regular
expression, so that the price is a Python step for each string, not for each opcode.
"""

from __future__ import annotations

import pickle
import re

from oobdump.errors import CodecError

__all__ = ["scan"]

_SIMPLE = (
    *(pickle.MARK, pickle.POP, pickle.POP_MARK, pickle.DUP, pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE),
    *(pickle.EMPTY_LIST, pickle.APPEND, pickle.APPENDS, pickle.LIST, pickle.EMPTY_TUPLE, pickle.TUPLE),
    *(pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.EMPTY_DICT, pickle.DICT, pickle.SETITEM, pickle.SETITEMS),
    *(pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET, pickle.REDUCE, pickle.BUILD, pickle.NEWOBJ),
    *(pickle.STACK_GLOBAL, pickle.MEMOIZE),
)
_SIZED = {  # opcodes by the size of their one argument
    1: (pickle.PROTO, pickle.BININT1, pickle.BINGET, pickle.BINPUT),
    2: (pickle.BININT2,),
    4: (pickle.BININT, pickle.LONG_BINGET),
    8: (pickle.BINFLOAT, pickle.FRAME),
}
_WITH_NUMBER = {  # the size of the count that comes before an opcode's bytes, and of a memo index
    pickle.LONG_BINPUT: 4,
    **dict.fromkeys((pickle.SHORT_BINUNICODE, pickle.SHORT_BINBYTES, pickle.SHORT_BINSTRING, pickle.LONG1), 1),
    **dict.fromkeys((pickle.BINUNICODE, pickle.BINBYTES, pickle.BINSTRING, pickle.LONG4), 4),
    **dict.fromkeys((pickle.BINUNICODE8, pickle.BINBYTES8, pickle.BYTEARRAY8), 8),
}


def _one_of(opcodes: tuple[bytes, ...]) -> bytes:
    return b"[" + b"".join(map(re.escape, opcodes)) + b"]"


_RUN = re.compile(
    b"(?:"
    + b"|".join([_one_of(_SIMPLE), *(_one_of(opcodes) + b".{%d}" % size for size, opcodes in _SIZED.items())])
    + b"|c[^\\n]*\\n[^\\n]*\\n){0,1000}",  # bounded: the matcher remembers each repetition
    re.DOTALL,
)


def scan(data: bytes) -> None:
    """Raises ``CodecError`` for what cannot be one whole pickle, or asks for more than it holds."""
    at, opcode = 0, b""
    while opcode != pickle.STOP:
        run = _RUN.match(data, at)
        begun, at = at, run.end() if run else at
        opcode = data[at : at + 1]
        if opcode in _WITH_NUMBER:
            at = _after(data, at + 1, opcode)
        elif at == begun and opcode != pickle.STOP:
            raise CodecError(f"the pickle is torn, or has an opcode that no dump needs ({opcode!r} at byte {at})")
    if at + 1 != len(data):
        raise CodecError("there is something behind the end of the pickle: it is not one document")


def _after(data: bytes, at: int, opcode: bytes) -> int:
    """Where the next opcode is, after one with a count or a memo index."""
    size = _WITH_NUMBER[opcode]
    number = int.from_bytes(data[at : at + size], "little")
    if at + size + (opcode != pickle.LONG_BINPUT) * number > len(data) or number > len(data):
        raise CodecError(f"the pickle asks for more than it holds (at byte {at - 1}): it is torn, or a bomb")
    return at + size + (opcode != pickle.LONG_BINPUT) * number
