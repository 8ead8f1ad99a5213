"""Hypothesis strategies for the values that come back as themselves from every codec.

``scalars``, ``keys`` (what can be a key of a dict or a member of a set) and ``values`` (nested
arbitrarily); ``canon`` turns a value into what can be compared: exact types, NaN equal to
itself, 0.0 unlike -0.0, the order of dicts kept.
"""

from __future__ import annotations

import pathlib
from datetime import timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

texts = st.text(st.characters(exclude_categories=()), max_size=12)  # lone surrogates too
integers = st.one_of(st.integers(-5, 5), st.integers(), st.sampled_from([2**63, 2**64 - 1, 2**64, -(2**63) - 1]))
zones = st.one_of(
    st.none(),
    st.just(timezone.utc),
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
scalars = st.one_of(
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
values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(scalars, st.just(Decimal("-sNaN12")), st.binary(max_size=8).map(bytearray), st.builds(slice, keys, keys)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.one_of(texts, st.sampled_from(["$oobdump", "v"])), inner, max_size=4),
        st.dictionaries(keys, inner, max_size=4),
        st.sets(keys, max_size=4),
        st.fixed_dictionaries({"$oobdump": st.sampled_from(["tuple", "object", "cut"]), "v": inner}),
    ),
    max_leaves=12,
)


def canon(value: Any) -> Any:
    """The value as something that compares equal if and only if type and content are the same."""
    name = type(value).__name__
    if type(value) is int:
        return name, hex(value)
    if type(value) is dict:
        return name, [(canon(key), canon(item)) for key, item in value.items()]
    if type(value) in (list, tuple):
        return name, [canon(item) for item in value]
    if type(value) in (set, frozenset):
        return name, sorted((canon(item) for item in value), key=repr)
    if type(value) in (slice, Fraction):
        names = ("start", "stop", "step") if type(value) is slice else ("numerator", "denominator")
        return name, [canon(getattr(value, part)) for part in names]
    return name, repr(value)
