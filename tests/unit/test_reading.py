"""Reading files of any format and any intent: numbers without numpy, outlines with bounds, pickles that never run."""

from __future__ import annotations

import base64
import json
import math
import os
import pickle
import struct
import time
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oobdump import codecs
from oobdump.cli.pretty import pretty
from oobdump.codecs import pickle_codec
from oobdump.errors import CodecError
from oobdump.reading import confined, documents, pickles, source
from oobdump.reading.arrays import Look
from oobdump.reading.confined import ConfinedError, Order
from oobdump.reading.elements import element
from oobdump.reading.outline import BODY, MARK, Bounds, Outline, flat, shown
from oobdump.reading.source import SourceError
from oobdump.reading.summary import MAX_ELEMENTS, summarise
from strategies_values import values

# -- numbers ---------------------------------------------------------------------------------------------------------

PACKED = [
    *(("uint8", "B"), ("int8", "b"), ("uint16", "H"), ("int16", "h"), ("uint32", "I"), ("int32", "i"), ("uint64", "Q")),
    *(("int64", "q"), ("float16", "e"), ("float32", "f"), ("float64", "d"), ("bool", "?"), ("<i4", "i"), ("<f8", "d")),
]


@pytest.mark.parametrize(("dtype", "code"), PACKED)
@given(data=st.binary(max_size=64))
def test_numbers_are_read_as_struct_reads_them(dtype, code, data):
    """The names of numpy and PyTorch mean what they say, for any bytes."""
    found = element(dtype)
    assert found.size == struct.calcsize(f"<{code}")
    data = data[: len(data) // found.size * found.size]
    expected = struct.unpack(f"<{len(data) // found.size}{code}", data)
    assert list(map(repr, found.read(data))) == list(map(repr, expected))


def test_big_endian_numbers_are_swapped():
    """numpy's order is part of its name."""
    assert list(element(">i4").read(struct.pack(">3i", 1, -2, 3))) == [1, -2, 3]
    assert element(">f8").read(struct.pack(">d", 2.5))[0] == 2.5
    assert element(">c8").read(struct.pack(">2f", 1, 2)) == [1 + 2j]


def test_a_bfloat16_is_the_upper_half_of_a_float32():
    """For each number that it can hold exactly."""
    for number in (0.0, 1.0, -2.5, 2.0**127, 2.0**-126, math.inf):
        assert element("bfloat16").read(struct.pack("<f", number)[2:])[0] == number
    assert math.isnan(element("bfloat16").read(b"\xc0\x7f")[0])


FLOAT8 = {  # code: value, from the definition of each format
    "float8_e4m3fn": {0x00: 0.0, 0x01: 2.0**-9, 0x38: 1.0, 0x7E: 448.0, 0xFE: -448.0, 0x7F: math.nan, 0xFF: math.nan},
    "float8_e4m3fnuz": {0x01: 2.0**-10, 0x40: 1.0, 0x7F: 240.0, 0x80: math.nan, 0xFF: -240.0},
    "float8_e5m2": {0x01: 2.0**-16, 0x3C: 1.0, 0x7B: 57344.0, 0x7C: math.inf, 0xFC: -math.inf, 0x7D: math.nan},
    "float8_e5m2fnuz": {0x01: 2.0**-17, 0x40: 1.0, 0x7F: 57344.0, 0x80: math.nan},
    "float8_e8m0fnu": {0x00: 2.0**-127, 0x7F: 1.0, 0xFE: 2.0**127, 0xFF: math.nan},
}


@pytest.mark.parametrize(("dtype", "known"), FLOAT8.items())
def test_float8_is_as_its_format_is_defined(dtype, known):
    """Smallest, one, largest, infinity and NaN of each of PyTorch's five."""
    found = dict(zip(known, element(dtype).read(bytes(known)), strict=True))
    assert list(map(repr, found.values())) == list(map(repr, known.values()))


def test_other_dtypes_of_numpy_are_read():
    """Times with NaT, fixed texts, records, 80-bit floats; what is unknown is said to be."""
    assert list(element("<M8[s]").read(struct.pack("<2q", 0, -(2**63)))) == ["1970-01-01T00:00:00", None]
    assert element("<M8[ns]").read(struct.pack("<q", 1_500_000_001))[0] == "1970-01-01T00:00:01.500000001"
    assert element("<m8[h]").read(struct.pack("<q", 5)) == ["5 h"]
    assert element("<U2").read("ab".encode("utf-32-le") + "c\0".encode("utf-32-le")) == ["ab", "c"]
    assert element("|S2").read(b"abc\0") == [b"ab", b"c\0"]
    record = {"names": ["a", "b"], "formats": ["<i2", "<f4"], "offsets": [0, 4], "itemsize": 8}
    assert element(record).read(struct.pack("<h2xf", 7, 0.5)) == [(7, 0.5)]
    pair = {"base": "<i2", "shape": [2]}
    nested = {"names": ["a", "b"], "formats": [pair, record], "offsets": [0, 4], "itemsize": 12}
    assert element(nested).read(struct.pack("<2hh2xf", 1, 2, 7, 0.5)) == [((1, 2), (7, 0.5))]
    assert element("<f16").read(struct.pack("<QH6x", 2**63 + 2**62, 16383)) == [1.5]
    records = ({"names": 1}, {**record, "itemsize": 3}, {**record, "offsets": ["x", 0]})
    for odd in ("|O", "<q99", "float9", "", 7, None, *records):
        assert element(odd) is None


# -- summaries -------------------------------------------------------------------------------------------------------


@given(numbers=st.lists(st.floats(width=32), min_size=1, max_size=200))
def test_a_summary_is_what_python_computes(numbers):
    """Least, largest, mean, NaN and infinities, of any floats."""
    told = summarise("float32", [len(numbers)], struct.pack(f"<{len(numbers)}f", *numbers))
    known = [number for number in numbers if not math.isnan(number)]
    assert (told.count, told.seen, told.nan) == (len(numbers), len(numbers), len(numbers) - len(known))
    assert told.infinite == sum(map(math.isinf, known))
    if known:
        assert (told.least, told.largest) == (f"{min(known):.6g}", f"{max(known):.6g}")
        if all(map(math.isfinite, known)):
            assert float(told.mean) == pytest.approx(math.fsum(known) / len(known), rel=1e-5, abs=1e-30)


@given(codes=st.binary(min_size=1, max_size=300))
def test_counted_and_read_elements_tell_the_same(codes):
    """Small elements are counted by their codes: the figures are those of reading each one."""
    told = summarise("int8", [len(codes)], codes)
    numbers = array("b", codes)
    assert (told.least, told.largest) == (str(min(numbers)), str(max(numbers)))
    assert float(told.mean) == pytest.approx(sum(numbers) / len(numbers), rel=1e-5, abs=1e-9)


def test_a_summary_says_how_much_it_has_seen():
    """Of a large array only the beginning is looked at, and that is said."""
    count = MAX_ELEMENTS + 3
    told = summarise("uint8", [count], bytes(count))
    assert f"(of the first {MAX_ELEMENTS:,} of {count:,})" in told.line
    assert told.line.endswith("[0, 0, 0, 0, 0, 0, 0, 0, …]")


def test_what_does_not_fit_its_shape_is_not_summarised():
    """No figure is given of bytes that are too few, too many, or of an unknown type."""
    assert summarise("float32", [2], bytes(7)) is None
    assert summarise("float32", [2], bytes(12)) is None
    assert summarise("nosuch", [2], bytes(8)) is None
    assert summarise("float32", [], struct.pack("<f", 2)).line == "min 2 max 2 mean 2 NaN 0 [2]"
    assert summarise("float32", [0, 5], b"").line == "NaN 0 []"


# -- arrays in documents ---------------------------------------------------------------------------------------------


def tag(kind, body):
    """A tag as it stands in a document."""
    return {MARK: kind, BODY: body}


def inline(data: bytes) -> dict:
    """Bytes in a JSON document."""
    return tag("bytes", base64.b64encode(data).decode())


def line_of(kind, body, look=None) -> str:
    """What is shown of one array."""
    return flat(Outline(arrays=(look or Look()).tree).of(tag(kind, body)))


TWO = struct.pack("<2f", 1.5, math.nan)


def test_a_tensor_is_one_line():
    """dtype, shape, least, largest, mean, NaN, first values; and what else its writer said."""
    body = {"dtype": "float32", "shape": [2], "data": inline(TWO)}
    assert line_of("tensor", body) == "tensor float32 [2]: min 1.5 max 1.5 mean 1.5 NaN 1 [1.5, nan]"
    assert line_of("tensor", {**body, "data": TWO}) == line_of("tensor", body)  # as msgpack has it
    more = {**body, "requires_grad": True, "device": "cuda:0", "order": "F"}
    assert line_of("tensor", more).startswith("tensor float32 [2] cuda:0 requires_grad Fortran order: ")
    assert line_of("tensor", {"dtype": "float32", "shape": [9], "device": "meta", "why": "a meta tensor has none"}) == (
        "tensor float32 [9] meta: no data here (a meta tensor has none)"
    )
    assert line_of("npscalar", {"dtype": "<i2", "data": b"\2\0"}) == "npscalar <i2 []: min 2 max 2 mean 2 NaN 0 [2]"
    objects = {"dtype": "|O", "shape": [2], "items": [1, tag("tuple", [2])]}
    assert line_of("ndarray", objects) == "{ndarray |O [2]: [1, tuple [2]]}"
    assert line_of("npscalar", {"dtype": "U", "shape": [], "text": "a\0"}) == '{npscalar U []: "a\\u0000"}'
    assert line_of("npscalar", {"dtype": "S", "shape": [], "data": b"a\0"}) == "npscalar S []: b'a\\x00'"
    sparse = {"dtype": "float32", "shape": [9], "layout": "sparse_coo", "parts": {"values": body}}
    assert line_of("tensor", sparse).startswith('{tensor float32 [9] sparse_coo: {"values": tensor float32 [2]: min')


def test_a_side_part_is_followed_in_its_directory_only(tmp_path):
    """A plain file beside the document; a link, a FIFO or what is too short is said, and never waited for."""
    body = {"dtype": "float32", "shape": [2], "data": tag("bulk", {"offset": 4, "size": 8})}
    side = tmp_path / "part.json.bin"
    directory = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for make, said in (
            (lambda: None, "not there as a plain file"),
            (lambda: side.symlink_to("/dev/zero"), "not there as a plain file"),
            (lambda: os.mkfifo(side), "not there as a plain file"),
            (lambda: side.write_bytes(b"short"), "has no 12 bytes: it is torn"),
        ):
            side.unlink(missing_ok=True)
            make()
            look = Look(directory, "part.json")
            assert line_of("tensor", body, look) == "tensor float32 [2]: its data is missing"
            assert said in look.notes[0]
        side.write_bytes(b"skip" + TWO)
        assert "min 1.5" in line_of("tensor", body, Look(directory, "part.json"))
    finally:
        os.close(directory)


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        {"dtype": "float32"},
        {"dtype": "float32", "shape": [-1], "data": b""},
        {"dtype": "float32", "shape": [1] * 100, "data": b"1234"},
        {"dtype": "float32", "shape": [1], "data": "text"},
        {"dtype": "float32", "shape": [1], "data": tag("bulk", 7)},
        {"dtype": {"names": 1}, "shape": [1], "data": b"1234"},
    ],
)
def test_an_array_that_is_none_is_shown_as_a_tag(body):
    """What a hostile document calls a tensor raises nothing."""
    assert line_of("tensor", body)


def test_a_shape_that_is_absurd_costs_nothing():
    """The number of elements is computed, not made."""
    body = {"dtype": "float32", "shape": [2**62, 2**62], "data": b""}
    assert line_of("tensor", body) == f"tensor float32 [{2**62}, {2**62}]: 0 bytes, not as many as its shape says"


# -- outlines --------------------------------------------------------------------------------------------------------


@given(value=values)
def test_every_outline_is_lines_that_harm_no_terminal(value):
    """From a document or from a value, and both say the same."""
    for name in ("json", "msgpack", "pickle"):
        found = documents.READERS[name](codecs.get(name).encode(value), trust=True)
        tree = json.loads(json.dumps(Outline(revived=found.revived).of(found.tree)))
        assert all(line.isprintable() for line in pretty(tree))


def test_what_is_cut_is_said():
    """Items, keys, characters, lines, depth and the whole: each cut counts what it left out."""
    bounds = Bounds(items=3, nodes=1000, chars=10, lines=2)

    def lines(value):
        return list(pretty(Outline(bounds).of(value)))

    assert lines(list(range(9)))[-1] == "[0, 1, 2, … 6 more items]"
    assert lines({str(number): number for number in range(5)})[-1] == '{"0": 0, "1": 1, "2": 2, …: … 2 more keys}'
    assert lines("x" * 25) == ['"xxxxxxxxxx" … 15 more characters']
    assert lines("a\n" * 9)[-1] == "… 7 more lines"
    assert lines(b"\1" * 100) == ["100 bytes: 01 01 01 01 01 01 01 01 01 01 01 01 01 01 01 01 …"]
    deep: list = ["leaf"]
    for _ in range(100):
        deep = [deep]
    assert "nested too deep to be shown" in "".join(lines(deep))
    wide = [[number] for number in range(5000)]
    assert "more than 1,000 values" not in str(lines(wide)[:3])
    assert list(pretty(Outline(Bounds(items=10**6, nodes=1000)).of(wide)))[-1] == "- … 4,500 more items"


def test_keys_in_keys_have_an_end():
    """A map as a key of a map as a key, 900 deep: found by the fuzzer to be laid out without a bound."""
    data = b"\x81" * 900 + b"\xc0" * 901
    found = documents.read_msgpack(data, trust=False)
    assert "nested too deep to be shown" in "".join(pretty(Outline().of(found.tree)))


def test_values_without_a_word_in_json_read_as_values():
    """Numbers of any size, times, paths, odd keys and marks are told as a person says them."""
    lines = [
        (tag("int", "0x10000000000000000"), "18446744073709551616"),
        (tag("int", "0x" + "f" * 5000), "0xffffffffffffffffffffffffffffffffffffff… (5,000 hexadecimal digits)"),
        (tag("datetime", "2026-01-02T03:04:05"), "2026-01-02T03:04:05"),
        (tag("tuple", [1, 2]), "tuple [1, 2]"),
        (tag("dict", [1, "one", None, 2]), '{1: "one", null: 2}'),
        (tag("object", {"type": "a.B", "why": "its type has no form"}), "<object a.B: its type has no form>"),
        (tag("float", "nan"), "nan"),
        (tag("bytes", "AAEC"), "3 bytes: 00 01 02"),
    ]
    for value, text in lines:
        assert list(pretty(Outline().of(value), 200)) == [text]
    assert flat(shown("as it is")) == "as it is"


# -- pickles ---------------------------------------------------------------------------------------------------------


class Harm:
    """What a pickle may do when it is loaded."""

    def __reduce__(self):
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_is_described_and_not_run(protocol, tmp_path, monkeypatch):
    """Every protocol: its globals by name, which of them our reader refuses, how often it calls something."""
    monkeypatch.chdir(tmp_path)
    told = pickles.describe(pickle.dumps([Harm(), complex(1, 2), b"bytes"], protocol))
    assert told.refused == {"posix.mkdir": 1}
    assert any(name.endswith(".complex") for name in told.allowed)
    assert told.calls >= 2
    assert not told.problem
    assert not (tmp_path / "exploded").exists()


def test_names_from_the_memo_are_found():
    """A global whose module or name was said earlier in the pickle is still named."""
    told = pickles.describe(pickle.dumps([os.mkdir, os.rmdir, os.mkdir, "posix", "rmdir"], 4))
    assert set(told.refused) == {"posix.mkdir", "posix.rmdir"}


@given(data=st.binary(max_size=200))
def test_any_bytes_are_described(data):
    """Nothing is raised, whatever they are."""
    assert pickles.describe(data).plain
    assert pickles.describe(b"\x80\x05" + data + b".").plain


def test_what_a_pickle_lacks_or_has_too_much_is_said():
    """Torn, persistent ids, something behind the end."""
    whole = pickle.dumps({"a": 1})
    assert "torn" in pickles.describe(whole[:-3]).problem
    assert pickles.describe(whole + b"more").trailing == 4
    assert pickles.describe(b"\x80\x02U\x01xQ.").persistent == 1


def test_recorder_pickles_load_with_every_global_refused():
    """Builtins only: nothing is looked up, so nothing can be."""
    entry = {"record_id": 1, "frames": [{"name": "f", "line": 3}], "process_group": ("0", "default"), "t": None}
    trace = pickle.dumps({"version": "2.10", "pg_config": {"": {"ranks": "[0, 1]"}}, "entries": [entry] * 3})
    told = pickles.describe(trace)
    assert (dict(told.allowed), dict(told.refused), told.calls) == ({}, {}, 0)
    assert documents.read_pickle(trace, trust=True).tree["entries"][2]["process_group"] == ("0", "default")


# -- in a process of its own -----------------------------------------------------------------------------------------


def read(path, **order):
    """What the confined process answers."""
    with source.opened(str(path)) as found:
        return confined.ask(found, Order(**{"task": "outline", "format": found.format, **order}))


def bomb(levels: int) -> bytes:
    """A pickle whose value is written out as 2**levels tuples; ``hash`` of it would take as long."""
    value: tuple = ()
    for _ in range(levels):
        value = (value, value)
    return pickle.dumps(value)


def test_a_bomb_is_shown_within_bounds(tmp_path):
    """412 bytes that stand for 2**100 tuples: a few thousand of them are shown."""
    path = tmp_path / "bomb.pkl"
    path.write_bytes(bomb(100))
    answer = read(path, trust=True)
    assert len(answer.data) < 2**20
    assert b"more than 20,000 values" in answer.data or b"nested too deep" in answer.data


def test_a_bomb_that_costs_time_ends_with_words(tmp_path, monkeypatch):
    """A key whose hash takes 2**100 steps: the process is ended, and this one is told why."""
    monkeypatch.setattr(confined, "CPU_S", 1)
    path = tmp_path / "hash.pkl"
    path.write_bytes(b"\x80\x05}" + bomb(100)[11:-1] + b"K\x01s.")
    began = time.monotonic()
    with pytest.raises(ConfinedError, match="more than 1 s of processor time"):
        read(path, trust=True)
    assert time.monotonic() - began < 30


def test_a_bomb_that_costs_memory_ends_with_words(tmp_path, monkeypatch):
    """Where decoding takes more than there is, that is said, and it is no crash of ours."""
    monkeypatch.setattr(confined, "MEMORY_PER_BYTE", 0)
    monkeypatch.setattr(confined, "MEMORY_BYTES", 150 * 2**20)
    path = tmp_path / "large.json"
    path.write_bytes(b"[" + b"[]," * 3_000_000 + b"[]]")
    with pytest.raises(ConfinedError, match="150 MiB"):
        read(path)


def test_the_confined_process_is_armed_with_nothing(tmp_path, monkeypatch):
    """Neither a variable nor a startup file of site packages reaches it."""
    monkeypatch.setenv("OOBDUMP_DIR", str(tmp_path))
    monkeypatch.setenv("PYTHONSTARTUP", "/nonexistent")
    monkeypatch.setenv("PYTHONMALLOC", "nosuch")  # would end any interpreter that heeds it
    path = tmp_path / "a.json"
    path.write_text("[1]")
    assert json.loads(read(path).data) == [1]


def test_trust_is_needed_and_never_means_running(tmp_path, monkeypatch):
    """Without it a pickle is described; with it, what our reader refuses is refused by name."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "harm.pkl"
    path.write_bytes(pickle.dumps(Harm()))
    assert b"posix.mkdir" in read(path).data
    assert "not decoded without --trust" in read(path).notes[0]
    with pytest.raises(ConfinedError, match=r"posix\.mkdir.*not run"):
        read(path, trust=True)
    with pytest.raises(ConfinedError, match="without --trust"):
        read(path, task="convert", to="json")
    assert not (tmp_path / "exploded").exists()


def test_what_is_not_a_file_is_said_and_not_waited_for(tmp_path):
    """A FIFO, a link to a device, a directory, a socket, nothing: named as what they are."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zero").symlink_to("/dev/zero")
    what = (("fifo", "a FIFO"), ("zero", "a link to /dev/zero"), (".", "a directory"), ("no", "No such file"))
    for name, said in what:
        with pytest.raises(SourceError, match=said), source.opened(str(tmp_path / name)):
            pass
    with pytest.raises(SourceError), source.opened("a\0b"):
        pass


FORMATS = {
    b'{"a": 1}': "json",
    b" [1]": "json",
    b"\x80\x05K\x01.": "pickle",
    b"\x81\xa1a\x01": "msgpack",
    b"plain words": "text",
    b"\xff\x00\x01": "binary",
    b"\x93NUMPY": "npy",
    b"PK\x03\x04": "zip",
    b"": "text",
}


@pytest.mark.parametrize(("head", "kind"), FORMATS.items())
def test_a_format_is_told_by_its_bytes(head, kind):
    """Where neither a name nor a manifest says more."""
    assert source.format_of("part", head) == kind
    assert source.format_of("x.bin", head, "application/json") == ("json" if kind not in ("npy", "zip") else kind)


def test_our_reader_says_which_globals_it_takes():
    """What is allowed is what the description says is."""
    assert pickle_codec.allows("builtins", "set")
    assert not pickle_codec.allows("builtins", "eval")
    with pytest.raises(CodecError, match=r"builtins\.eval"):
        codecs.get("pickle").decode(b"cbuiltins\neval\n.")
