"""What is fuzzed: each decoder, and each reader of files that somebody else wrote.

In: bytes. Out: anything, or an error that the target names; any other error is a finding, and so
is more time or memory than ``decoders`` allows. ``seeds`` are real encodings, made by the codecs
and by the libraries underneath.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgpack

from oobdump import codecs
from oobdump.cli.pretty import pretty
from oobdump.errors import CodecError, OobdumpError
from oobdump.reading import arrays, documents, elements, foreign, pickles, source, summary
from oobdump.reading.outline import Bounds, Outline
from oobdump.store import reader
from oobdump.store.layout import Layout

__all__ = ["TARGETS", "Target", "seeds"]


@dataclass(frozen=True)
class Target:
    """One reader: what is called with the bytes, which errors it may raise, whose seeds it gets."""

    call: Callable[[bytes], object]
    errors: tuple[type[BaseException], ...]
    seeds: tuple[str, ...]


# -- what is called ----------------------------------------------------------------------------------------------------


def _decode(name: str) -> Callable[[bytes], object]:
    """A decoder; what it gives must be a value that each codec takes."""
    codec, others = codecs.get(name), [codecs.get(each) for each in codecs.names()]

    def call(data: bytes) -> object:
        value = codec.decode(data)
        for other in others:
            other.decode(other.encode(value))
        return value

    return call


def _outline(kind: str) -> Callable[[bytes], object]:
    """What ``show`` does with a document: read, outlined, laid out; each line must be harmless."""

    def call(data: bytes) -> object:
        found = documents.READERS[kind](data, trust=True)
        look = arrays.Look(None, "fuzz", found.bins)
        tree = json.loads(json.dumps(Outline(Bounds(nodes=2000), look.tree, revived=found.revived).of(found.tree)))
        return _harmless(pretty(tree))

    return call


def _harmless(lines: Iterator[str]) -> int:
    found = list(lines)
    if not all(line.isprintable() for line in found):
        raise AssertionError("a line that moves a terminal's cursor")
    return len(found)


def _foreign(kind: str) -> Callable[[bytes], object]:
    descriptor = os.memfd_create(f"fuzz-{kind}")

    def call(data: bytes) -> object:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, data, 0)
        return _harmless(pretty(Outline().of(foreign.FOREIGN[kind](descriptor, len(data)).tree)))

    return call


def _describe(data: bytes) -> object:
    return pickles.describe(data).plain


def _format(data: bytes) -> object:
    name, _, head = data.partition(b"\0")
    return source.format_of(name.decode("utf-8", "surrogateescape"), head, name.decode("latin-1"))


def _numbers(data: bytes) -> object:
    """The name of a dtype, a NUL, and an array's bytes."""
    name, _, rest = data.partition(b"\0")
    known = elements.element(name.decode("utf-8", "replace"))
    if known is None:
        return None
    told = summary.summarise(
        name.decode("utf-8", "replace"), [len(rest) // known.size], rest[: len(rest) // known.size * known.size]
    )
    return None if told is None else told.line


_WRITER = "rank00000.host.7"


def _manifest() -> Callable[[bytes], object]:
    """A manifest as anybody may have left it, and the parts that it names."""
    root = tempfile.mkdtemp(prefix="oobdump-fuzz-")
    layout = Layout(root, "job")
    directory = layout.dump("request", _WRITER)
    os.makedirs(directory)

    def call(data: bytes) -> object:
        with open(f"{directory}/manifest.json", "wb") as file:
            file.write(data)
        dump = reader.read_dump(layout, "request", _WRITER)
        for record in dump.parts:
            try:
                reader.part_bytes(dump, record)
            except OobdumpError:
                continue
        return dump

    return call


TARGETS: Mapping[str, Callable[[], Target]] = MappingProxyType(
    {
        **{name: lambda name=name: Target(_decode(name), (CodecError,), (name,)) for name in codecs.CODECS},  # type: ignore[misc]
        **{
            f"outline_{name}": lambda name=name: Target(_outline(name), (CodecError,), (name, f"foreign_{name}"))  # type: ignore[misc]
            for name in codecs.CODECS
        },
        **{
            f"foreign_{kind}": lambda kind=kind: Target(_foreign(kind), (CodecError,), (kind,))  # type: ignore[misc]
            for kind in foreign.FOREIGN
        },
        "describe_pickle": lambda: Target(_describe, (), ("pickle", "foreign_pickle")),
        "format": lambda: Target(_format, (), ("names", "pickle", "json", "msgpack")),
        "numbers": lambda: Target(_numbers, (), ("dtypes",)),
        "manifest": lambda: Target(_manifest(), (), ("manifest",)),
    }
)
"""Made when they are wanted: some need a file."""


# -- seeds -------------------------------------------------------------------------------------------------------------


def seeds(name: str) -> list[bytes]:
    """Real inputs of one kind."""
    return list(_SEEDS[name]())


def _values() -> list[Any]:
    """The table's own examples, alone and nested, and what has no form."""
    from oobdump.codecs.kinds import KINDS  # noqa: PLC0415 - with the examples that the table of the day has

    examples = [kind.example for kind in KINDS]
    odd: list[Any] = [
        object(),
        ValueError("seed"),
        {"$oobdump": "tuple", "v": [1]},
        {1: {2: [3, (4,)]}},
        "\x1b[31m\ud800",
    ]
    return [*examples, *odd, examples, {"a": [1, 2.5, None, True, "text"], "b": b"bytes", "c": float("nan")}]


def _encoded(name: str) -> Callable[[], Iterator[bytes]]:
    return lambda: map(codecs.get(name).encode, _values())


_STRANGER: dict[Any, Any] = {"a": [1, 2, {"b": None}], "c": "text", "d": 1.5}


def _foreign_msgpack() -> Iterator[bytes]:
    yield msgpack.packb({**_STRANGER, "t": msgpack.Timestamp(1, 2), "e": msgpack.ExtType(5, b"abc"), b"k": {1: 2}})
    yield b"\xc7\x05\x4f\x92\xa3set\x90"


def _foreign_pickle() -> Iterator[bytes]:
    for protocol in range(6):
        yield pickle.dumps({**_STRANGER, "f": print, "r": range(3), "s": {1, 2}, "b": bytearray(b"x")}, protocol)
    nested: tuple[Any, ...] = ()
    for _ in range(30):
        nested = (nested, nested)
    yield pickle.dumps(nested)


def _zips() -> Iterator[bytes]:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            archive.writestr("m/data.pkl", pickle.dumps(_STRANGER, 2))
            archive.writestr("m/data/0", b"\0" * 12)
            archive.writestr("a.npy", next(_arrays()))
        yield file.getvalue()


def _arrays() -> Iterator[bytes]:
    for dtype, shape, data in (
        ("<f8", "(3,)", b"\0" * 24),
        (">i2", "(2, 2)", b"\1\2" * 4),
        ("<U3", "()", b"a\0\0\0" * 3),
    ):
        header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
        yield b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def _dtypes() -> Iterator[bytes]:
    names = [
        "float32",
        "bfloat16",
        "float8_e5m2",
        "bool",
        "complex64",
        "<f4",
        ">i8",
        "<M8[ns]",
        "<U3",
        "|S2",
        "<f16",
        "<c32",
    ]
    return (name.encode() + b"\0" + bytes(range(96)) for name in names)


def _manifests() -> Iterator[bytes]:
    error = {"type": "ValueError", "message": "seed", "traceback": ""}
    part = {"handler": "stacks", "status": "ok", "code": 200, "media_type": "application/json", "path": "stacks.json"}
    rest = {"size": 2, "checksum": "crc32:00000000", "seconds": 0.1, "error": error}
    yield json.dumps(
        {
            "schema_version": 1,
            "request_id": "request",
            "worker": _WRITER,
            "answered_by": "worker",
            "identity": {"rank": 0},
            "status": "ok",
            "state": "responsive",
            "evidence": {},
            "committed_at_s": 1.0,
            "parts": [{**part, **rest}, {**part, **rest, "path": None, "error": None}],
        }
    ).encode()


_SEEDS: Mapping[str, Callable[[], Iterator[bytes]]] = MappingProxyType(
    {
        "json": _encoded("json"),
        "msgpack": _encoded("msgpack"),
        "pickle": _encoded("pickle"),
        "foreign_json": lambda: iter(
            (json.dumps(_STRANGER, indent=1).encode(), b'\xef\xbb\xbf{"a":NaN,"a":-Infinity}')
        ),
        "foreign_msgpack": _foreign_msgpack,
        "foreign_pickle": _foreign_pickle,
        "text": lambda: iter((b"one\ntwo\x1b[31m\n", "\u202etext\n".encode(), b"\xff\xfe")),
        "binary": lambda: iter((bytes(range(256)) * 2,)),
        "npy": _arrays,
        "zip": _zips,
        "names": lambda: iter((b"part.json\0{}", b"x.pt\0PK\x03\x04", b"application/json; charset=x\0[", b"n\0\xc3")),
        "dtypes": _dtypes,
        "manifest": _manifests,
    }
)
