"""What every codec of the value model does the same: encode without failing, decode with one error.

In: a ``Format``. Out: a codec. Encoding first tries the format's ``direct``, which leaves a value
alone unless it can be written without a walk; then a walk that trusts what it sees; then, if the
tree cannot be written, one that looks at each value; then, if the document is too large, one that
counts bytes. Only this module keeps the rule that ``encode`` raises for no object, and ``decode``
nothing but ``CodecError``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from oobdump.codecs.budget import DEFAULT, Budget, Purse
from oobdump.codecs.marked import mark
from oobdump.codecs.model import Form, walk
from oobdump.codecs.raw import Bulk
from oobdump.errors import CodecError

__all__ = ["Data", "Encoded", "Format", "ModelCodec", "Pieces"]

Data = bytes | bytearray | memoryview
"""What a document can be read from."""

Pieces = tuple[Data, ...]
"""A document or side part in pieces: what one after another makes a file. Bulk data is not copied into one."""


@dataclass(frozen=True)
class Encoded:
    """A document and its side part, and how many placeholders and marks of a cut there are."""

    pieces: Pieces
    bulk: Pieces = ()
    unknown: int = 0
    cut: int = 0

    @property
    def data(self) -> bytes:
        """The document in one piece: a copy."""
        return b"".join(self.pieces)

    @property
    def size(self) -> int:
        """Bytes of the document."""
        return sum(map(len, self.pieces))


class Format(Protocol):
    """One way to write the value model.

    ``inline`` and ``side`` say where bulk data goes in a document alone, and in one with a side part.
    """

    @property
    def form(self) -> Form:
        """What it can hold as it is."""

    def direct(self, value: object, purse: Purse, bulk: Bulk) -> Pieces | None:
        """The document of a value that needs no walk, or None, or raises."""

    def write(self, tree: Any, bulk: Bulk) -> Pieces:
        """The document of a walked tree; raises if there is something in it that it cannot hold."""

    def read(self, data: Data, bulk: Data | None) -> Any:
        """The value of a document; raises anything."""


@dataclass(frozen=True)
class ModelCodec:
    """A codec of the value model."""

    name: str
    media_type: str
    suffix: str
    format: Format
    inline: type[Bulk]
    side: type[Bulk]

    def encode(self, value: object, budget: Budget = DEFAULT) -> bytes:
        """The document of any object, whole in itself. Never raises."""
        return self.encode_counting(value, budget).data

    def encode_to(self, value: object, file: Any, budget: Budget = DEFAULT) -> int:
        """Writes that document, whose bulk data is not copied; returns its size. Raises what ``file.write`` raises."""
        pieces = self.encode_counting(value, budget).pieces
        for piece in pieces:
            file.write(piece)
        return sum(map(len, pieces))

    def encode_counting(self, value: object, budget: Budget = DEFAULT) -> Encoded:
        """The document in pieces, and how many placeholders and cuts it has. Never raises."""
        return self._encoded(value, budget, self.inline)

    def encode_parts(self, value: object, budget: Budget = DEFAULT) -> Encoded:
        """The same for a store that can hold a side part: bulk data is there if the format cannot hold it as it is."""
        return self._encoded(value, budget, self.side)

    def _encoded(self, value: object, budget: Budget, bulk: type[Bulk]) -> Encoded:
        made: Encoded | None = None
        for attempt in self._attempts(value, budget, bulk):
            made = attempt
            if made.size <= budget.bytes + sum(len(piece) for piece in made.pieces if type(piece) is memoryview):
                return made
        return made or self._nothing(value, budget, bulk)

    def _attempts(self, value: object, budget: Budget, bulk: type[Bulk]) -> Iterator[Encoded]:
        """Documents, each with more care than the one before; fewer if some cannot be made."""
        found = self._direct(value, budget, bulk)
        if found is not None:
            yield found
        for form in (self.format.form.trusting(), self.format.form, self.format.form.sized(budget.bytes // 2)):
            found = self._walked(value, form, budget, bulk)
            if found is not None:
                yield found

    def _direct(self, value: object, budget: Budget, bulk: type[Bulk]) -> Encoded | None:
        purse, place = Purse(budget, budget.seconds / 2), bulk()
        try:
            pieces = self.format.direct(value, purse, place)
        except Exception:  # noqa: BLE001 - NaN, lone surrogates, a dict that was resized: the walk can
            return None
        return None if pieces is None else Encoded(pieces, tuple(place.pieces), purse.unknown, purse.cut)

    def _walked(self, value: object, form: Form, budget: Budget, bulk: type[Bulk]) -> Encoded | None:
        purse, place = Purse(budget, budget.seconds / 2), bulk()
        try:
            pieces = self.format.write(walk(value, form, purse), place)
        except Exception:  # noqa: BLE001 - a value that does not fit; memory; a recursion limit set very low
            return None
        return Encoded(pieces, tuple(place.pieces), purse.unknown, purse.cut)

    def _nothing(self, value: object, budget: Budget, bulk: type[Bulk]) -> Encoded:
        why = "the value could not be encoded, most likely for want of memory"
        mark_of_it = mark(value, "cut", why=why)
        purse, place = Purse(budget, budget.seconds), bulk()
        return Encoded(self.format.write(walk(mark_of_it, self.format.form, purse), place), (), 0, purse.cut)

    def decode(self, data: Data, bulk: Data | None = None) -> Any:
        """The value of a document, and of its side part. Raises ``CodecError`` and nothing else."""
        try:
            return self.format.read(data, bulk)
        except CodecError:
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {error!s:.200}"
            raise CodecError(f"the bytes are no {self.name} document of oobdump ({what})") from error
