"""The codecs: values come back as themselves or marked, nothing raises, and no foreign code runs."""

from __future__ import annotations

import abc
import builtins
import collections
import datetime as dt
import enum
import gc
import io
import json
import pickle
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any, ClassVar, NamedTuple

import msgpack
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from oobdump import codecs
from oobdump.codecs import base, kinds, model, peek
from oobdump.codecs.budget import MAX_DEPTH, MAX_ITEMS, Budget, Purse
from oobdump.codecs.kinds import Marked
from oobdump.codecs.raw import Inline
from oobdump.errors import CodecError
from strategies_values import canon, keys, values

codecs.load_all()

ALL = [codecs.get(name) for name in codecs.names()]
each = pytest.mark.parametrize("codec", ALL, ids=codecs.names())
json_codec, msgpack_codec, pickle_codec = ALL


def back(codec: codecs.Codec, value: Any) -> Any:
    """What a value becomes on the way to disk and home again."""
    return codec.decode(codec.encode(value))


# -- names -----------------------------------------------------------------------------------------


def test_a_codec_says_its_name_its_media_type_and_its_suffix():
    """What a part's file is called and labelled comes from its codec."""
    assert [(codec.name, codec.media_type, codec.suffix) for codec in ALL] == [
        ("json", "application/json", "json"),
        ("msgpack", "application/msgpack", "msgpack"),
        ("pickle", "application/vnd.oobdump.pickle", "pkl"),
    ]


def test_an_unknown_codec_is_refused_with_the_known_ones():
    """The message says what would be right."""
    with pytest.raises(CodecError, match=r"'yaml'.*json, msgpack, pickle"):
        codecs.get("yaml")


# -- round trips -------------------------------------------------------------------------------------


@each
@given(value=values)
def test_every_supported_value_comes_back_equal_and_of_the_same_types(codec, value):
    """Nested arbitrarily: NaN, -0.0, lone surrogates, odd keys, maps that look like tags, folds and zones.

    And nothing is counted as lost.
    """
    found = codec.encode_counting(value)
    assert (found.unknown, found.cut) == (0, 0)
    assert canon(codec.decode(found.data)) == canon(value)


@given(value=values)
def test_a_dump_can_be_converted_from_format_to_format(value):
    """What comes back from one codec is what the next one encodes."""
    for codec in (*ALL, *ALL):
        value = back(codec, value)
    assert canon(back(json_codec, value)) == canon(back(pickle_codec, value))


@given(value=values)
def test_a_walk_and_a_direct_encoding_mean_the_same(value):
    """The quick way is only quicker."""
    for codec in ALL:
        tree = model.walk(value, codec.format.form, Purse(Budget(), 60.0))
        (document,) = codec.format.write(tree, Inline())
        assert canon(codec.decode(document)) == canon(value)


@given(value=values)
def test_json_is_strict_for_any_reader(value):
    """No NaN literal, valid UTF-8, no key twice, no lone surrogate."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    text = json_codec.encode(value).decode("utf-8")
    found = json.loads(text, parse_constant=pytest.fail, object_pairs_hook=unique)
    json.dumps(found, ensure_ascii=False).encode("utf-8")


@given(value=values)
def test_msgpack_without_this_package_reads_every_document(value):
    """Bytes are bin, text is str, and no map has a key that Python or Node could not hold."""
    msgpack.unpackb(msgpack_codec.encode(value), strict_map_key=False)


@given(value=values)
def test_plain_pickle_reads_every_value_as_itself(value):
    """Standard values need no unpickler of ours, but for those that pickle itself has no form for."""
    assume(not re.search("mappingproxy|Ellipsis|NotImplemented|memory", repr(value)))
    assert canon(pickle.loads(pickle_codec.encode(value))) == canon(value)


def test_plain_pickle_reads_marks_with_the_standard_library_alone():
    """A mark is a hashable standard object with the fields as attributes, usable as a key."""
    program = "import pickle,sys; v = pickle.load(sys.stdin.buffer); k, = v['d']; print(k.type, k.kind, v['d'][k].why)"
    data = pickle_codec.encode({"d": {Colour.RED: object()}})
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], input=data, capture_output=True, check=True)
    assert done.stdout.decode().split(maxsplit=2)[1:] == ["enum", "its type has no form\n"]


def test_integers_beyond_64_bits_are_tagged_in_both_text_and_msgpack():
    """No reader rounds them without a word."""
    assert json_codec.encode(2**64) == b'{"$oobdump":"int","v":"0x10000000000000000"}'
    assert json_codec.encode(2**64 - 1) == b"18446744073709551615"
    (ext,) = msgpack.unpackb(msgpack_codec.encode([-(2**63) - 1]))
    assert (ext.code, msgpack.unpackb(ext.data)) == (79, ["int", "-0x8000000000000001"])


@each
def test_an_integer_of_any_size_comes_back(codec):
    """Beyond the 4,300 digits, too, from which Python refuses to write one in decimal."""
    assert back(codec, {"n": -(10**5000), 10**5000: 1}) == {"n": -(10**5000), 10**5000: 1}


def test_a_map_that_looks_like_a_tag_stays_a_map():
    """A user's data is never taken for ours, at any depth and even when tagged again."""
    value = {"$oobdump": "tuple", "v": [{"$oobdump": "dict", "v": [1, 2]}, {"$oobdump": 1}]}
    for codec in ALL:
        assert back(codec, value) == value


@pytest.mark.parametrize("codec", ALL[:2], ids=codecs.names()[:2])
@pytest.mark.parametrize(
    "value",
    [(1,), {"a": (1, 2)}, {1: 2}, {None: 1}, {True: 1}, {1.5: 1}, collections.OrderedDict(a=1), bytearray(b"x")],
)
def test_what_a_c_encoder_would_change_without_a_word_is_not_given_to_it(codec, value):
    """Tuples, keys that are not strings, subclasses: kept or marked, never quietly something else."""
    found = back(codec, value)
    assert canon(found) == canon(value) or found.type == "collections.OrderedDict"


@each
def test_every_kind_in_the_table_comes_back(codec):
    """The table's own examples, which load_all warms the codecs up with."""
    for kind in kinds.KINDS:
        assert canon(back(codec, kind.example)) == canon(kind.example)


# -- marks -------------------------------------------------------------------------------------------


class Colour(enum.Enum):
    """An Enum."""

    RED = 1
    BLUE = (2, "b")


class Level(enum.IntFlag):
    """A Flag that is an int."""

    A = 1
    B = 2


@dataclass
class Point:
    """A dataclass with what dataclasses can have."""

    x: int
    tags: list[Any] = field(default_factory=list)
    count: ClassVar[int] = 7


@dataclass(frozen=True)
class Slotted:
    """A dataclass without a dict."""

    __slots__ = ("a", "never_set")
    a: int


class Config(dict):  # type: ignore[type-arg]
    """A subclass of dict."""


class Pair(NamedTuple):
    """A named tuple."""

    a: int
    b: str


def described(codec: codecs.Codec, value: Any) -> Marked:
    """The mark that an object becomes; its address is not the test's."""
    found = back(codec, [value])[0]
    assert type(found) is Marked
    return found


@each
def test_an_object_of_an_unknown_type_becomes_a_placeholder_that_says_its_type_and_why(codec):
    """A gap is never silent."""
    lock = threading.Lock()
    assert described(codec, lock) == Marked("object", "_thread.lock", None, "its type has no form", hex(id(lock)))
    assert codec.encode_counting([lock, {"a": lock}, object()]).unknown in (2, 3)  # pickle writes a shared one once


@each
@pytest.mark.parametrize(
    ("value", "kind", "told"),
    [
        (Colour.RED, "enum", {"name": "RED", "value": 1}),
        (Colour.BLUE, "enum", {"name": "BLUE", "value": (2, "b")}),
        (Level.B, "enum", {"name": "B", "value": 2}),
        (Point(1, [(2,)]), "dataclass", {"x": 1, "tags": [(2,)]}),
        (Config(a=1), "instance", {"a": 1}),
        (Config({(1,): b"2"}), "instance", {(1,): b"2"}),
        (Pair(1, "b"), "instance", (1, "b")),
        (type("Text", (str,), {})("t\udce9"), "instance", "t\udce9"),
        (type("Number", (float,), {})(0.5), "instance", 0.5),
        (type("Bag", (set,), {})({1}), "instance", {1}),
        (int, "object", "builtins.int"),
    ],
)
def test_what_can_be_told_of_an_object_is_told(codec, value, kind, told):
    """Alike from every format, nested values with their own types."""
    mark = described(codec, value)
    assert (mark.kind, canon(mark.value)) == (kind, canon(told))
    assert mark == described(json_codec, value)


@each
def test_a_slotted_dataclass_is_told_without_its_unset_slots(codec):
    """An empty slot is not an error."""
    assert described(codec, Slotted(5)).value == {"a": 5}


@each
def test_an_exception_is_told_with_its_arguments_traceback_and_causes(codec):
    """The chain is followed, and no source file is read."""

    def fails() -> None:
        raise KeyError("k", 1) from ValueError("deep")

    try:
        fails()
    except KeyError as error:
        mark = described(codec, error)
    assert (mark.kind, mark.type, mark.value["args"]) == ("exception", "builtins.KeyError", ["k", 1])
    assert mark.value["traceback"][-1]["name"] == "fails"
    assert mark.value["traceback"][-1]["file"] == __file__
    assert mark.value["cause"].value["args"] == ["deep"]


@each
def test_a_dict_keyed_by_objects_keeps_every_entry(codec):
    """Two objects of one type stay two keys; an Enum member is a key too."""
    found = back(codec, {object(): 1, object(): 2, Colour.RED: 3, Point: 4, (Colour.BLUE, 5): 6})
    assert list(found.values()) == [1, 2, 3, 4, 6]


@each
def test_a_mark_comes_back_from_a_second_trip_unchanged(codec):
    """A dump can be read and written again."""
    once = back(codec, [object(), Colour.RED, Point(1), ValueError((1,))])
    for other in ALL:
        assert back(other, once) == once


@each
def test_a_time_whose_zone_is_foreign_is_marked_and_the_zone_is_not_asked(codec):
    """A zone's methods are foreign code; the naive time is still told."""

    class Zone(dt.tzinfo):
        def utcoffset(self, _: object) -> dt.timedelta:
            raise Touched

    naive = dt.datetime(2026, 1, 2, 3, 4)  # noqa: DTZ001
    assert described(codec, naive.replace(tzinfo=Zone())).value["naive"] == naive


# -- hostile objects -----------------------------------------------------------------------------------


class Touched(BaseException):
    """Foreign code ran. Not an Exception, so that no handler of ours can hide it."""


ARMED = threading.Event()
LEFT_ALONE = {"__new__", "__init__", "__init_subclass__", "__subclasshook__", "__class_getitem__", "__dict__"}
NOT_METHODS = (
    "__doc__",
    "__module__",
    "__slots__",
    "__weakref__",
    "__annotations__",
    "__getattribute__",
    "__setattr__",
)


def _touch(*_: Any, **__: Any) -> Any:
    if ARMED.is_set():
        raise Touched
    return NotImplemented


def _harmless_hash(self: object) -> int:
    return id(self) if not ARMED.is_set() else _touch()


def hostile_namespace(*like: type) -> dict[str, Any]:
    """Every special method of these types, replaced by one that must not run; and liars for attributes."""
    names = {name for cls in like for name in dir(cls) if name.startswith("__")} - LEFT_ALONE
    names |= {"keys", "items", "values", "get", "copy", "__getattr__", "__len__", "__iter__", "__bool__", "__float__"}
    names |= {"__buffer__", "__reduce__", "__reduce_ex__", "__getstate__", "__fspath__", "__index__", "__missing__"}
    space: dict[str, Any] = dict.fromkeys(names, _touch)
    for name in ("__class__", "args", "name", "value", "_name_", "real", "imag", "__traceback__", "__cause__"):
        space[name] = property(_touch)
    for name in NOT_METHODS:
        space.pop(name, None)
    return space | {"__hash__": _harmless_hash, "__eq__": lambda self, other: self is other or _touch()}


def _guarded(self: object, name: str) -> Any:
    _touch()
    return object.__getattribute__(self, name)


class HostileMeta(abc.ABCMeta):
    """A metaclass each of whose answers about its classes must not be asked for."""

    def __getattribute__(cls, name: str) -> Any:
        _touch()
        return type.__getattribute__(cls, name)

    def __hash__(cls) -> int:
        _touch()
        return super().__hash__()

    def __eq__(cls, other: object) -> bool:
        _touch()
        return cls is other

    def __instancecheck__(cls, instance: object) -> bool:
        _touch()
        return super().__instancecheck__(instance)

    def __subclasscheck__(cls, subclass: type) -> bool:
        _touch()
        return super().__subclasscheck__(subclass)

    def __repr__(cls) -> str:
        _touch()
        return super().__repr__()

    def __bool__(cls) -> bool:
        _touch()
        return True


def hostile(bases: tuple[type, ...], *args: Any) -> Any:
    """An instance of a class derived from these, hostile once armed."""
    space = hostile_namespace(*bases, object) | {"__getattribute__": _guarded}
    return HostileMeta("Hostile", bases, space)(*args)


class EvilName(str):
    """A string that runs code when it is hashed or compared: as a class's or an instance's attribute name."""

    __slots__ = ()

    def __hash__(self) -> int:
        return hash(str(self)) if not ARMED.is_set() else _touch()

    def __eq__(self, other: object) -> Any:
        return str.__eq__(self, other) if not ARMED.is_set() else _touch()


def _zoo() -> Iterator[tuple[str, Any]]:
    for cls, args in (
        (object, ()),
        (dict, ({"a": 1, 2: 3},)),
        (list, ([1, (2,)],)),
        (tuple, ([1, 2],)),
        (str, ("text",)),
        (int, (5,)),
        (float, (0.5,)),
        (complex, (1j,)),
        (bytes, (b"b",)),
        (bytearray, (b"b",)),
        (set, ([1],)),
        (frozenset, ([1],)),
        (Exception, ("what",)),
        (type(sys), ("module",)),
        (Decimal, ("1.5",)),
        (Fraction, (1, 2)),
        (dt.datetime, (2026, 1, 1)),
        (io.StringIO, ()),
        (collections.OrderedDict, ()),
        (threading.Thread, ()),
    ):
        yield cls.__name__, hostile((cls,), *args)
    yield "class", type(hostile((object,)))
    evil = HostileMeta("Evil", (), {EvilName("__dict__x"): 1, EvilName("__dataclass_fields__"): {}})()
    object.__getattribute__(evil, "__dict__")[EvilName("a")] = 1
    yield "evil names", evil
    data = dataclass(HostileMeta("Data", (), {"__annotations__": {"x": int}, "__getattribute__": _guarded}))(5)
    object.__getattribute__(data, "__dict__")[EvilName("more")] = 1
    yield "dataclass", data
    error = ValueError(hostile((object,)))
    error.__cause__ = hostile((Exception,), hostile((dict,)))
    yield "exception", error
    yield "dict of hostile keys", {hostile((str,), "k"): hostile((object,)), hostile((object,)): 1}
    yield "set of hostile members", {hostile((object,)), hostile((tuple,), [1])}
    yield "generator", (touch for touch in [1])
    yield "module", sys
    yield "frame", sys._getframe()
    yield "lambda", lambda: 1
    yield "memoryview", memoryview(b"x")
    yield "mock class", type("Liar", (), {"__class__": property(lambda _: dict)})()


ZOO = dict(_zoo())


@each
@pytest.mark.parametrize("name", ZOO)
def test_no_method_of_a_foreign_type_runs_and_the_document_is_valid(codec, name):
    """A ``__repr__`` can hang, and so can a metaclass's ``__hash__`` or a property called ``__class__``."""
    value = {"it": ZOO[name], "in": [(ZOO[name],), 1.5]}
    ARMED.set()
    try:
        data = codec.encode(value)
        found = codec.decode(data)
    finally:
        ARMED.clear()
    assert found["in"][1] == 1.5


@each
def test_a_hostile_subclass_of_a_builtin_still_tells_what_is_inside(codec):
    """By the built-in type's own methods, whatever the class says of itself."""
    for cls, inside in ((dict, {"a": 1, 2: 3}), (list, [1, (2,)]), (str, "text"), (float, 0.5), (bytes, b"b")):
        ARMED.set()
        try:
            mark = described(codec, ZOO[cls.__name__])
        finally:
            ARMED.clear()
        assert canon(mark.value) == canon(inside)


# -- budgets -------------------------------------------------------------------------------------------


def nested(depth: int, wrap: Any = lambda inner: [inner]) -> Any:
    """A value nested so deep."""
    value: Any = 0
    for _ in range(depth):
        value = wrap(value)
    return value


@each
@pytest.mark.parametrize(
    "wrap",
    [lambda inner: [inner], lambda inner: {"k": inner}, lambda inner: (inner,), lambda inner: {(): inner}, Point],
    ids=["list", "dict", "tuple", "odd dict", "dataclass"],
)
def test_extreme_nesting_is_cut_marked_and_counted(codec, wrap):
    """Whatever it is nested in; and the document is one that a plain reader can read."""
    value = nested(20_000, wrap)
    found = codec.encode_counting(value)
    assert found.cut == 1
    codec.decode(found.data)
    plain = {"json": json.loads, "msgpack": lambda data: msgpack.unpackb(data, strict_map_key=False)}
    plain.get(codec.name, pickle.loads)(found.data)


@each
@pytest.mark.parametrize("depth", [1, MAX_DEPTH - 1, MAX_DEPTH])
def test_nesting_within_the_budget_is_whole(codec, depth):
    """In plain containers and in tagged ones."""
    for wrap in (lambda inner: [inner], lambda inner: (inner,), lambda inner: {1: inner}):
        value = nested(depth, wrap)
        assert codec.encode_counting(value).cut == 0
        assert back(codec, value) == value


def test_deep_values_do_not_crash_a_process_that_raised_its_recursion_limit():
    """On 3.10 and 3.11 a C encoder or decoder recurses as deep as that limit lets it."""
    program = """
import sys
from oobdump import codecs
from oobdump.errors import CodecError
codecs.load_all()
sys.setrecursionlimit(10**6)
value = []
for _ in range(200_000): value = [value]
for name in codecs.names(): assert codecs.get(name).encode_counting(value).cut == 1
try: codecs.get("json").decode(b"[" * 200_000)
except CodecError: print("refused")
while value: value = value[0]
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"refused\n"), done.stderr


@pytest.mark.parametrize("codec", ALL[:2], ids=codecs.names()[:2])
def test_a_cycle_ends_in_a_mark(codec):
    """Where the format has no references; through lists, dicts, tuples and objects alike."""
    loop: list[Any] = [1]
    point = Point(1)
    loop += [loop, {"l": loop}, (loop,), point]
    point.tags.append(point)
    found = back(codec, loop)
    assert [found[1].why, found[2]["l"].why, found[3][0].why] == ["cycle"] * 3
    assert found[4].value["tags"][0].value.why == "cycle"


def test_pickle_keeps_cycles_and_sharing():
    """A reference is a reference."""
    loop: list[Any] = [1]
    loop += [loop, {"l": loop}]
    found = back(pickle_codec, loop)
    assert found[1] is found
    assert found[2]["l"] is found


@each
def test_shared_parts_are_not_multiplied_beyond_the_budget(codec):
    """A graph written as nested lists has 2**60 paths; its encoding ends, marked, and within the budget."""
    value: Any = []
    for _ in range(60):
        value = [value, value]
    found = codec.encode_counting(value, Budget(items=10_000))
    assert (found.cut > 0) == (codec.name != "pickle")
    assert len(found.data) < 4_000_000


@pytest.mark.parametrize("codec", ALL[:2], ids=codecs.names()[:2])
@pytest.mark.parametrize("extra", [0, 7])
def test_items_beyond_the_budget_are_left_out_and_counted(codec, extra):
    """The mark holds what was kept and the number of what was not."""
    value = [*[0] * (MAX_ITEMS - 1 + extra)]
    found = back(codec, value)
    if extra:
        assert (found.kind, found.why, found.omitted + len(found.value)) == ("cut", "items", len(value))
        assert 0 < found.omitted <= extra + 1
    else:
        assert found == value


@each
def test_objects_beyond_the_budget_are_left_out_and_counted(codec):
    """Whether the walk meets the end of the budget or the pickler does; nothing else is lost."""
    found = codec.encode_counting([[object() for _ in range(99)], 1], Budget(items=50))
    outer = codec.decode(found.data)
    (inner,) = outer.value
    assert (found.unknown, found.cut) == (49, 2)  # the inner list is itself an item
    assert [mark.kind for mark in inner.value] == ["object"] * 49
    assert [(cut.why, cut.omitted) for cut in (outer, inner)] == [("items", 1), ("items", 50)]


def test_a_dict_that_is_cut_is_still_a_dict_of_whole_entries():
    """Keys are never parted from their values, tagged or not."""
    for value in ({str(n): n for n in range(9)}, {n: n for n in range(9)}):
        found = json_codec.decode(json_codec.encode(value, Budget(items=5)))
        assert (found.why, found.omitted) == ("items", 9 - len(found.value))
        assert found.value.items() < value.items()


@each
def test_a_value_that_changes_while_it_is_encoded_gives_a_valid_document(codec):
    """Threads are running: dicts are resized, lists grow, during the walk."""
    moving: dict[Any, Any] = {"d": {}, "l": [], "t": (object(),)}
    stop = threading.Event()

    def move() -> None:
        while not stop.is_set():
            for n in range(50):
                moving["d"][n] = moving["l"].append((n,))
                moving[str(n)] = {n}
            moving["d"].clear()
            moving["l"].clear()
            for n in range(50):
                del moving[str(n)]

    thread = threading.Thread(target=move)
    thread.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for _ in range(100):
            assert type(back(codec, moving)) in (dict, Marked)
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        thread.join()


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="since 3.12 no collection runs within a C call")
def test_a_dict_that_a_collection_resizes_is_copied_again():
    """Copying makes tuples, those can start the collector, and that can run a finaliser which changes the dict."""
    moving = {str(n): n for n in range(20_000)}  # more tuples than the free list has

    def resize(phase: str, _: object) -> None:
        if phase == "start" and len(moving) < 20_003:
            moving[f"new {len(moving)}"] = 0

    thresholds = gc.get_threshold()
    gc.callbacks.append(resize)
    gc.set_threshold(100)
    try:
        copied = peek.items_of(moving)
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(resize)
    assert dict(copied) == moving


# -- what runs while answering ---------------------------------------------------------------------------


@pytest.fixture
def no_imports(monkeypatch):
    """Every import fails, by whatever way, until the test is over."""

    def refuse(name: str, *_: Any, **__: Any) -> Any:
        raise Touched(name)

    class Refuse:
        find_spec = staticmethod(refuse)

    def begin() -> None:
        monkeypatch.setattr(sys, "meta_path", [Refuse, *sys.meta_path])
        monkeypatch.setattr(builtins, "__import__", refuse)

    yield begin
    monkeypatch.undo()


@each
def test_encoding_and_decoding_import_nothing(codec, no_imports):
    """A hung thread may hold the import lock; pickle imports the module of each class it names."""
    value = [
        *(kind.example for kind in kinds.KINDS),
        ZOO,
        Colour.RED,
        Point(1),
        Config(a=1),
        ValueError(1),
        nested(500),
    ]
    no_imports()
    codec.decode(codec.encode(value))


@each
def test_plain_data_is_not_walked_in_python(codec, monkeypatch):
    """Most dumps are plain: they go to the encoder written in C as they are."""
    monkeypatch.setattr(base, "walk", lambda *_: pytest.fail("walked"))
    value = {"threads": [{"name": "MainThread", "id": 2**40, "daemon": False, "cpu": 0.5, "frames": [None] * 3}] * 3}
    assert back(codec, value) == value


@each
def test_when_even_the_walk_fails_the_document_says_so(codec, monkeypatch):
    """Out of memory, say: an answer all the same."""
    calls = []

    def thrice(*args: Any) -> Any:
        calls.append(args)
        if len(calls) <= 3:
            raise MemoryError
        return model.walk(*args)

    monkeypatch.setattr(base, "walk", thrice)
    found = codec.encode_counting(nested(20_000))
    assert (found.cut, len(calls)) == (1, 4)
    assert "could not be encoded" in codec.decode(found.data).why


# -- decoders --------------------------------------------------------------------------------------------


def decodes_or_refuses(codec: codecs.Codec, data: bytes) -> None:
    """A value or CodecError; any other exception fails the test."""
    try:
        codec.decode(data)
    except CodecError:
        pass


@each
@given(data=st.binary(max_size=200))
@example(data=b"")
@example(data=b"\xef\xbb\xbf1")
@example(data=b"\xc1")
@example(data=b"\x80\x05\x8c\x08builtins\x94\x8c\x07Warning\x94\x93\x94)R}b.")
def test_a_decoder_gives_a_value_or_a_codec_error_for_any_bytes(codec, data):
    """Rubbish raises nothing else."""
    decodes_or_refuses(codec, data)


@each
@given(value=values, data=st.data())
def test_a_decoder_gives_a_value_or_a_codec_error_for_damaged_documents(codec, value, data):
    """Torn at any byte, or with any byte changed."""
    document = codec.encode(value)
    at = data.draw(st.integers(0, len(document) - 1))
    decodes_or_refuses(codec, document[:at])
    decodes_or_refuses(codec, document[:at] + data.draw(st.binary(max_size=3)) + document[at + 1 :])


@each
def test_something_behind_the_document_is_refused(codec):
    """Two documents in one file are not one."""
    with pytest.raises(CodecError):
        codec.decode(codec.encode([1]) * 2)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":2}',
        "NaN",
        "[-Infinity]",
        '{"$oobdump":"tuple"}',
        '{"$oobdump":"tuple","v":[],"w":1}',
        '{"$oobdump":"tuple","v":"ab"}',
        '{"$oobdump":"no such kind","v":1}',
        '{"$oobdump":["tuple"],"v":1}',
        '{"$oobdump":"set","v":[[1]]}',
        '{"$oobdump":"set","v":[1,1]}',
        '{"$oobdump":"dict","v":[1,2,1,3]}',
        '{"$oobdump":"dict","v":[1]}',
        '{"$oobdump":"int","v":7}',
        '{"$oobdump":"float","v":"1.5"}',
        '{"$oobdump":"Fraction","v":["1e999999999"]}',
        '{"$oobdump":"Fraction","v":[1,0]}',
        '{"$oobdump":"object","v":{"unknown field":1}}',
        '{"$oobdump":"bytes","v":"?"}',
        "[" * 100_000,
        "1" * 100_000,
        "[1]]",
        "'a'",
    ],
)
def test_json_that_we_would_not_write_is_refused(text):
    """Two readers must not read two values, and a wrong tag is no value."""
    with pytest.raises(CodecError):
        json_codec.decode(text.encode())


def test_msgpack_with_a_key_twice_or_a_list_for_a_key_is_refused():
    """The same rules as for JSON."""
    for data in (b"\x82\x01\x01\x01\x02", b"\x81\x91\x01\x02", b"\x91" * 5000 + b"\x01"):
        with pytest.raises(CodecError):
            msgpack_codec.decode(data)


def test_every_other_global_in_a_pickle_is_refused_by_name_and_not_run(tmp_path):
    """What it would run is never reached."""

    class Bomb:
        def __reduce__(self) -> Any:
            return (open, (str(tmp_path / "made"), "w"))

    with pytest.raises(CodecError, match=r"io\.open|_io\.open|builtins\.open"):
        pickle_codec.decode(pickle.dumps(Bomb()))
    assert not list(tmp_path.iterdir())


def calling(module: str, name: str, *args: Any) -> bytes:
    """A pickle that calls a global with these arguments (a tuple stands for another such call)."""
    parts = b""
    for arg in args:
        parts += calling(*arg)[:-1] if type(arg) is tuple else pickle.dumps(arg, 2)[2:-1]
    return f"c{module}\n{name}\n(".encode() + parts + b"tR."


@pytest.mark.parametrize(
    "program",
    [
        calling("builtins", "bytearray", 10**12),
        calling("builtins", "set", ("builtins", "range", 10**12)),
        calling("fractions", "Fraction", "1e999999999"),
        calling("os", "system", "true"),
        calling("builtins", "eval", "1"),
        calling("builtins", "getattr", "", "__class__"),
        calling("builtins", "bytes", 10**12),
        b"Pid\n.",  # a persistent id
        b"\x82\x01.",  # a code of copyreg's
        b"Nr\xff\xff\xff\x0f.",  # a memo of 2**28 places
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
    ],
)
def test_pickles_that_compute_or_allocate_without_end_are_refused(program):
    """Only what is spelled out in the pickle is built; what it asks for is looked at before it is loaded."""
    with pytest.raises(CodecError):
        pickle_codec.decode(program)


def test_what_a_refused_pickle_calls_is_named():
    """Whoever reads the message knows what the pickle wanted."""
    with pytest.raises(CodecError, match=r"os\.system"):
        pickle_codec.decode(calling("os", "system", "true"))


@pytest.mark.parametrize("name", ["uuid UUID", "fractions Fraction", "pathlib PurePosixPath", "builtins set"])
def test_a_pickle_cannot_alter_a_class_that_it_may_use(name):
    """BUILD sets attributes of whatever is on the stack."""
    before = dict(vars(uuid.UUID)), dict(vars(Fraction))
    named = b"\x80\x02c" + name.replace(" ", "\n").encode() + b"\n"
    planted = pickle.dumps({"planted": 1}, 2)[2:-1]
    for state in (planted + b"b.", b"N" + planted + b"\x86b."):
        with pytest.raises(CodecError):
            pickle_codec.decode(named + state)
    assert (dict(vars(uuid.UUID)), dict(vars(Fraction))) == before


@given(value=keys)
def test_pickles_written_by_plain_pickle_are_read(value):
    """Standard values of other writers, whichever protocol; but a zone's names `getattr`, which is refused."""
    assume("zoneinfo" not in repr(value))
    for protocol in (2, 4, 5):
        data = pickle.dumps(value, protocol)
        assert canon(pickle_codec.decode(data)) == canon(pickle.loads(data))
