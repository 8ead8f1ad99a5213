"""Hypothesis strategies for the values that come back as themselves from every codec.

``scalars``, ``keys`` (what can be a key of a dict or a member of a set) and ``values`` (nested
arbitrarily); ``canon`` turns a value into what can be compared: exact types, NaN equal to
itself, 0.0 unlike -0.0, the order of dicts kept.
"""

from __future__ import annotations

import array
import ipaddress
import pathlib
import re
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

texts = st.text(st.characters(exclude_categories=()), max_size=12)  # lone surrogates too
integers = st.one_of(st.integers(-5, 5), st.integers(), st.sampled_from([2**63, 2**64 - 1, 2**64, -(2**63) - 1]))
zones = st.one_of(
    st.none(),
    st.just(timezone.utc),
    st.sampled_from([ZoneInfo("UTC"), ZoneInfo("Europe/Berlin")]),
    st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)), st.text("ABC", min_size=1)),
    st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23))),
)
moments = st.one_of(
    st.builds(lambda moment, fold: moment.replace(fold=fold), st.datetimes(timezones=zones), st.integers(0, 1)),
    st.builds(lambda time, fold: time.replace(fold=fold), st.times(timezones=zones), st.integers(0, 1)),
    st.dates(),
    st.timedeltas(),
)
paths = st.builds(
    lambda cls, parts: cls(*parts),
    st.sampled_from([pathlib.PurePosixPath, pathlib.PureWindowsPath, type(pathlib.Path())]),
    st.lists(st.text("ab .\udce9", min_size=1, max_size=4), max_size=3),
)
addresses = st.one_of(
    st.ip_addresses(),
    st.builds(lambda address, bits: ipaddress.ip_interface((address, bits)), st.ip_addresses(), st.integers(0, 32)),
    st.builds(
        lambda address, bits: ipaddress.ip_network((address, bits), strict=False), st.ip_addresses(), st.integers(0, 32)
    ),
)
patterns = st.builds(
    re.compile, st.sampled_from(["a+", "(x|y)*", "\udce9"]), st.sampled_from([0, re.IGNORECASE, re.ASCII | re.DOTALL])
)
scalars = st.one_of(
    addresses,
    patterns,
    st.sampled_from([..., NotImplemented]),
    st.none(),
    st.booleans(),
    integers,
    st.floats(),
    texts,
    st.binary(max_size=12),
    st.complex_numbers(),
    st.decimals().filter(lambda number: not number.is_snan()),  # one of those cannot be hashed
    st.builds(Fraction, st.integers(), st.integers(1)),
    st.uuids(),
    moments,
    paths,
    st.builds(range, st.integers(), st.integers(), st.integers(1)),
)
keys = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3).map(tuple), st.frozensets(inner, max_size=3)),
    max_leaves=5,
)
buffers = st.one_of(
    st.binary(max_size=8).map(memoryview),
    st.binary(max_size=8).map(bytearray).map(memoryview),
    st.lists(st.floats(width=32), max_size=4).map(lambda items: array.array("f", items)),
    st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4).map(lambda items: memoryview(array.array("Q", items))),
)
factories = st.sampled_from([None, list, dict, set, int, deque])
values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        scalars,
        buffers,
        st.builds(Counter, st.dictionaries(keys, st.integers(), max_size=3)),
        st.just(Decimal("-sNaN12")),
        st.binary(max_size=8).map(bytearray),
        st.builds(slice, keys, keys),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.one_of(texts, st.sampled_from(["$oobdump", "v"])), inner, max_size=4),
        st.dictionaries(keys, inner, max_size=4),
        st.sets(keys, max_size=4),
        st.builds(deque, st.lists(inner, max_size=4), st.sampled_from([None, 4, 9])),
        st.dictionaries(keys, inner, max_size=3).map(OrderedDict),
        st.builds(defaultdict, factories, st.dictionaries(keys, inner, max_size=3)),
        st.dictionaries(keys, inner, max_size=3).map(MappingProxyType),
        st.fixed_dictionaries({"$oobdump": st.sampled_from(["tuple", "object", "cut"]), "v": inner}),
    ),
    max_leaves=12,
)


def canon(value: Any) -> Any:
    """The value as something that compares equal if and only if type and content are the same."""
    parts = _PARTS.get(type(value), repr)
    return type(value).__name__, parts(value)


def _in_order(value: Any) -> Any:
    return [(canon(key), canon(item)) for key, item in value.items()]


def _each(value: Any) -> Any:
    return [canon(item) for item in value]


def _sorted(value: Any) -> Any:
    return sorted(_each(value), key=repr)


def _named(*names: str) -> Callable[[Any], Any]:
    return lambda value: [canon(getattr(value, name)) for name in names]


_PARTS: dict[type, Callable[[Any], Any]] = {
    int: hex,
    **dict.fromkeys((dict, OrderedDict, Counter, MappingProxyType), _in_order),
    **dict.fromkeys((list, tuple), _each),
    **dict.fromkeys((set, frozenset), _sorted),
    defaultdict: lambda value: (repr(value.default_factory), _in_order(value)),
    deque: lambda value: (value.maxlen, _each(value)),
    memoryview: lambda value: (value.format, value.shape, value.readonly, value.tobytes()),
    slice: _named("start", "stop", "step"),
    Fraction: _named("numerator", "denominator"),
}
