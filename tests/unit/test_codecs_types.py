"""Arrays, registered types and bulk data: what the codecs hold beside the standard library's values."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oobdump import codecs
from oobdump.codecs.arrays import Array
from oobdump.codecs.bins import may_have_bytes
from oobdump.codecs.budget import Budget
from oobdump.codecs.marked import Marked
from oobdump.codecs.raw import MIN_BULK_BYTES, Reference
from oobdump.errors import CodecError

ALL = [codecs.get(name) for name in codecs.names()]
each = pytest.mark.parametrize("codec", ALL, ids=codecs.names())


def back(codec: codecs.Codec, value: Any) -> Any:
    """There and home again, with nothing counted as lost."""
    found = codec.encode_counting(value)
    assert (found.unknown, found.cut) == (0, 0)
    return codec.decode(found.data)


# -- numpy -------------------------------------------------------------------------------------------

DTYPES: list[Any] = [
    *("?", "i1", "<i2", ">i4", "<u8", "f2", "f4", ">f8", "g", "c8", "G", "S3", "U4", "V5", "M8[ns]", "M8[D]", "m8[s]"),
    [("a", "i4"), ("b", "f8", (2,)), ("c", [("d", "S2")])],
    {"names": ["x", "y"], "formats": ["i4", "f8"], "offsets": [4, 16], "itemsize": 32},
]


@each
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_numpy_array_of_each_dtype_comes_back(codec, dtype):
    """Of any shape and order: zero-d, empty, Fortran, strided; and the dtype by itself."""
    numpy = pytest.importorskip("numpy")
    kind = numpy.dtype(dtype)
    whole = numpy.frombuffer(bytes(range(24)) * kind.itemsize, kind)
    views = (whole.reshape(4, 6), whole[5:6].reshape(()), whole[:0].reshape(0, 4))
    for array in (*views, numpy.asfortranarray(whole.reshape(4, 6)), whole.reshape(4, 6)[::2, 1::2]):
        found = back(codec, {"a": [array]})["a"][0]
        assert (type(found), found.dtype, found.shape) == (numpy.ndarray, kind, array.shape)
        assert found.tobytes() == array.tobytes() or (found == array).all()  # what is between fields is no data
    assert back(codec, kind) == kind


@each
def test_a_numpy_array_of_objects_comes_back(codec):
    """Its elements are values like any others."""
    numpy = pytest.importorskip("numpy")
    array = numpy.empty((2, 2), object)
    array[0, 0], array[1, 1] = (1, {2}), [3]
    found = back(codec, array)
    assert (found.dtype, found.tolist()) == (array.dtype, array.tolist())


@each
def test_numpy_scalars_come_back(codec):
    """Of exactly their types: a float64 is a float too, and no float comes back for it."""
    numpy = pytest.importorskip("numpy")
    scalars = (
        *(numpy.float32(1.5), numpy.float64("nan"), numpy.int8(3), numpy.bool_(True), numpy.complex64(1j)),
        *(numpy.str_("a\0"), numpy.bytes_(b"a\0"), numpy.void(b"abc"), numpy.longdouble(1) / 3),
        *(numpy.datetime64("2026-01-01"), numpy.timedelta64(3, "s"), numpy.zeros((), [("a", "i4")])[()]),
    )
    for scalar, found in zip(scalars, back(codec, list(scalars)), strict=True):
        assert (type(found), found.dtype, found.tobytes()) == (type(scalar), scalar.dtype, scalar.tobytes())


# -- torch -------------------------------------------------------------------------------------------


@pytest.mark.torch
@each
def test_a_tensor_of_each_dtype_comes_back(codec):
    """Every dtype that this torch can make a tensor of, bit for bit."""
    torch = pytest.importorskip("torch")
    seen = 0
    for dtype in {found for found in vars(torch).values() if type(found) is torch.dtype}:
        if "q" in repr(dtype) or dtype in (torch.bool, torch.complex32):
            continue
        data = torch.arange(16 * dtype.itemsize, dtype=torch.uint8).view(dtype).reshape(2, 8)
        found = back(codec, [data])[0]
        assert (type(found), found.dtype, found.shape) == (torch.Tensor, dtype, data.shape)
        assert found.view(torch.uint8).tolist() == data.view(torch.uint8).tolist()
        seen += 1
    assert seen > 20
    assert back(codec, torch.tensor([True, False])).tolist() == [True, False]


@pytest.mark.torch
@each
def test_a_tensor_of_each_shape_and_kind_comes_back(codec):
    """Transposed, strided, zero-d, empty, conjugated, expanded, sparse, quantized, with gradients, on meta."""
    torch = pytest.importorskip("torch")
    plain = torch.randn(4, 6)
    tensors = (
        *(plain, plain.t(), plain[::2, 1::2], torch.tensor(5.0), torch.empty(0, 3), plain.expand(2, 4, 6)),
        *(torch.complex(plain, plain).conj(), plain.clone().requires_grad_(), torch.nn.Parameter(plain)),
        *(torch.nn.Parameter(plain, requires_grad=False), plain.to_sparse(), torch.empty(2, 3, device="meta")),
    )
    for tensor in tensors:
        found = back(codec, {"t": tensor})["t"]
        same = ("dtype", "shape", "layout", "device", "requires_grad")
        assert [getattr(found, name) for name in same] == [getattr(tensor, name) for name in same]
        assert type(found) is type(tensor)
        assert tensor.is_meta or torch.equal(found.detach().to_dense(), tensor.detach().to_dense())
    for value in (torch.Size([1, 2]), torch.float32, torch.device("cuda:1")):
        assert (type(back(codec, value)), back(codec, value)) == (type(value), value)


@pytest.mark.torch
def test_without_the_libraries_an_array_is_told_and_written_again(tmp_path):
    """Whoever reads needs neither numpy nor torch, and nothing imports them for him."""
    torch, numpy = pytest.importorskip("torch"), pytest.importorskip("numpy")
    value = {"t": torch.arange(6.0).reshape(2, 3), "a": numpy.arange(3), "s": torch.Size([1])}
    for codec in ALL:
        (tmp_path / codec.name).write_bytes(codec.encode(value))
    program = """
import sys
from oobdump import codecs
for name in codecs.names():
    data = open(sys.argv[1] + "/" + name, "rb").read()
    value = codecs.get(name).decode(data)
    for other in map(codecs.get, codecs.names()):
        assert other.decode(other.encode(value)) == value, (name, other.name)
    print(value["t"].kind, value["t"].dtype, value["t"].shape, len(value["t"].data), value["a"].dtype, value["s"].type)
assert "numpy" not in sys.modules and "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "tensor float32 (2, 3) 24 <i8 torch.Size\n" * 3


# -- bulk data -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", codecs.names())
def test_bulk_data_is_written_from_where_it_is(name):
    """In pieces, which are views of the array itself; only JSON needs a side part."""
    numpy = pytest.importorskip("numpy")
    codec, array = codecs.get(name), numpy.zeros(8 * MIN_BULK_BYTES, "u1")
    found = codec.encode_parts({"a": array, "b": 1})
    (view,) = [piece for piece in (*found.pieces, *found.bulk) if len(piece) == len(array)]
    array[7] = 7
    assert bytes(view[:9]) == b"\0\0\0\0\0\0\0\7\0"
    assert bool(found.bulk) == (name == "json")
    assert codec.decode(found.data, b"".join(found.bulk))["a"].tolist() == array.tolist()
    file = io.BytesIO()
    assert codec.encode_to({"a": array}, file) == len(file.getvalue())
    assert codec.decode(file.getvalue())["a"].tolist() == array.tolist()


def test_json_without_its_side_part_says_where_the_data_is():
    """The rest of the document is read all the same."""
    numpy = pytest.importorskip("numpy")
    found = codecs.get("json").encode_parts({"a": numpy.zeros(MIN_BULK_BYTES), "b": 1})
    read = codecs.get("json").decode(found.data)
    assert (read["a"].data, read["b"]) == (Reference(0, 8 * MIN_BULK_BYTES), 1)
    with pytest.raises(CodecError):
        codecs.get("json").decode(found.data, b"short")


# -- registered types ------------------------------------------------------------------------------------


class Money:
    """A user's type."""

    def __init__(self, cents: int) -> None:
        self.cents = cents

    def __eq__(self, other: object) -> bool:
        return type(other) is Money and other.cents == self.cents

    __hash__ = None  # type: ignore[assignment]


@pytest.fixture
def money():
    """Registered for the time of a test."""
    codecs.register_type(Money, "tests.Money", lambda value: [value.cents], lambda body: Money(body[0]))
    yield
    codecs.unregister_type("tests.Money")


@each
def test_a_registered_type_comes_back(codec, money):
    """Nested too; and where nobody registered it, it is told, and any codec writes it again."""
    document = codec.encode({"m": [Money(5), (Money(6),)]})
    assert codec.decode(document) == {"m": [Money(5), (Money(6),)]}
    codecs.unregister_type("tests.Money")
    told = codec.decode(document)
    assert (told["m"][0].kind, told["m"][0].type, told["m"][0].value) == ("converted", "tests.Money", [5])
    for other in ALL:
        assert back(other, told) == told


@each
@pytest.mark.parametrize("error", [ValueError, SystemExit, RuntimeError])
def test_a_converter_that_raises_makes_a_placeholder(codec, error):
    """Even one that would end the program."""

    def fails(_: Money) -> object:
        raise error

    codecs.register_type(Money, "tests.Money", fails, lambda _: None)
    try:
        (found,) = codec.decode(codec.encode([Money(1)]))
    finally:
        codecs.unregister_type("tests.Money")
    assert type(found) is Marked
    assert error.__name__ in found.why


def test_a_registered_name_has_a_dot_and_is_nobody_elses(money):
    """So that no name is one of ours."""
    for name in ("Money", "tuple", ".", ""):
        with pytest.raises(CodecError, match="a dot"):
            codecs.register_type(Array, name, list, list)
    with pytest.raises(CodecError, match="Money"):
        codecs.register_type(Array, "tests.Money", list, list)


# -- what C encoders do without a word ---------------------------------------------------------------------

plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(max_size=300)),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=9), inner, max_size=5)),
)


@given(value=plain, raw=st.sampled_from([b"", b"x", bytearray(b"\xc4"), memoryview(b"abc")]), at=st.booleans())
def test_a_document_tells_whether_it_has_bytes(value, raw, at):
    """Never missed, whatever numbers and texts are before and behind it."""
    try:
        assert may_have_bytes(msgpack.packb([value, raw, value] if at else {"k": [raw], "v": value}))
    except UnicodeEncodeError:
        pass


@pytest.mark.parametrize("length", [195, 196, 197, 198, 0xC400, 0x1C4])
def test_lengths_that_look_like_bytes_lead_nobody_astray(length):
    """The header before such a length is made to stumble over."""
    for value in ("x" * length, [1] * length, ["ü" * length, bytearray(b"x")], {"k": "y" * length}):
        assert type(codecs.get("msgpack").decode(codecs.get("msgpack").encode([value]))[0]) is type(value)
    assert may_have_bytes(msgpack.packb(["x" * length, b"1"]))
    assert not may_have_bytes(msgpack.packb(["x" * 30, 1.5, 0xC4C4C4]))


@pytest.mark.parametrize("key", [1, -1.5, 1e16, True, None])
def test_json_never_makes_a_text_of_a_key(key):
    """The encoder of the standard library would, without a word."""
    value = {"a": [{key: 1, "b": 2}], "12": "34", "true": False}
    found = codecs.get("json").decode(codecs.get("json").encode(value))
    assert [type(name) for name in found["a"][0]] == [type(key), str]
    assert found == value


# -- budgets ---------------------------------------------------------------------------------------------


@each
def test_texts_beyond_the_budget_are_left_out_and_counted(codec):
    """The rest is kept."""
    found = codec.encode_counting({"long": "x" * 10_000, "short": "y", "n": 1}, Budget(bytes=2_000))
    read = codec.decode(found.data)
    assert (found.cut, read["long"].why, read["short"], read["n"]) == (1, "bytes", "y", 1)
    assert len(found.data) < 2_000


@each
def test_an_encoding_that_takes_too_long_is_cut(codec, money):
    """At the next converter that is not begun; what is missing is said."""
    began = [Money(n) for n in range(200)]
    found = codec.encode_counting(began, Budget(seconds=0.0))
    assert found.cut >= 1
    codec.decode(found.data)
