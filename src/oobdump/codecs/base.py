"""What every codec of the value model does the same: encode without failing, decode with one error.

In: the three functions of a format (``direct``, ``write``, ``read``) and its ``Form``. Out: a codec.
Encoding tries ``direct`` first, which leaves a value alone unless it can be written whole; then
it walks the value and writes the tree. Only this module keeps the rule that ``encode`` raises
for no object, and ``decode`` nothing but ``CodecError``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from oobdump.codecs import peek
from oobdump.codecs.marked import mark
from oobdump.codecs.model import Form, walk
from oobdump.errors import CodecError

__all__ = ["Data", "Encoded", "ModelCodec"]

Data = bytes | bytearray | memoryview
"""What a document can be read from."""


@dataclass(frozen=True)
class Encoded:
    """A document; how many placeholders it has, and how many marks of a cut."""

    data: bytes
    unknown: int = 0
    cut: int = 0


@dataclass(frozen=True)
class ModelCodec:
    """A codec of the value model.

    ``direct`` gives the document of a value that needs no walk, or None, or raises; ``write``
    gives that of a walked tree; ``read`` gives the value of a document, or raises anything.
    """

    name: str
    media_type: str
    suffix: str
    form: Form
    direct: Callable[[object], Encoded | None]
    write: Callable[[Any], bytes]
    read: Callable[[Data], Any]

    def encode(self, value: object) -> bytes:
        """The document of any object. Never raises."""
        return self.encode_counting(value).data

    def encode_counting(self, value: object) -> Encoded:
        """The document, and how many placeholders and cuts it has. Never raises."""
        try:
            found = self.direct(value)
            if found is not None:
                return found
        except Exception:  # noqa: BLE001, S110 - NaN, lone surrogates, a dict that was resized: the walk can
            pass
        try:
            return self._walked(value)
        except Exception as error:  # noqa: BLE001 - memory, most likely; or a recursion limit set very low
            why = f"the value could not be encoded: {peek.type_name(type(error))}"
            return self._walked(mark(value, "cut", why=why))

    def _walked(self, value: object) -> Encoded:
        walked = walk(value, self.form)
        return Encoded(self.write(walked.tree), walked.unknown, walked.cut)

    def decode(self, data: Data) -> Any:
        """The value of a document. Raises ``CodecError`` and nothing else."""
        try:
            return self.read(data)
        except CodecError:
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {error!s:.200}"
            raise CodecError(f"the bytes are no {self.name} document of oobdump ({what})") from error
