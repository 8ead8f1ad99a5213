"""Folded rank sets: a text and its set mean each other, and no text is expanded without a bound."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oobdump.errors import RequestError
from oobdump.job.ranks import MAX_RANKS, format_ranks, parse_ranks

RANKS = st.frozensets(st.integers(0, 40) | st.integers(0, 999_999_999), max_size=60)


@given(RANKS)
def test_round_trip(ranks):
    """What is formatted reads back as the same set."""
    assert parse_ranks(format_ranks(ranks)) == ranks


@given(RANKS)
def test_the_text_is_canonical(ranks):
    """Numbers rise through the text, and two neighbours never stand apart."""
    runs = [[int(word) for word in part.split("-")] for part in format_ranks(ranks).split(",") if part]
    assert all(len(run) == 1 or run[0] < run[1] for run in runs)
    assert all(left[-1] + 1 < right[0] for left, right in itertools.pairwise(runs))


@pytest.mark.parametrize(
    ("text", "ranks"),
    [
        ("", set()),
        ("  ", set()),
        ("0", {0}),
        ("0-2,12", {0, 1, 2, 12}),
        (" 5 , 1-2 ", {1, 2, 5}),
        ("3-3", {3}),
        ("0-3,2-5,4", {0, 1, 2, 3, 4, 5}),
        ("007", {7}),
    ],
)
def test_reads(text, ranks):
    """Spaces, overlaps and any order are fine."""
    assert parse_ranks(text) == ranks


def test_formats():
    """Neighbours fold, repetitions vanish, the order of what goes in does not matter."""
    assert format_ranks([12, 2, 1, 0, 1]) == "0-2,12"
    assert format_ranks([4, 5]) == "4-5"
    assert format_ranks([]) == ""


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "-1",
        "1-",
        "1--2",
        "1,,2",
        ",",
        "3-1",
        "1 2",
        "1.0",
        "+1",
        "٣",
        "²",
        "0x1",
        "1_000",
        "1000000000",
        "1-2-3",
        "\x1b",
    ],
)
def test_refuses_what_is_no_set_of_ranks(text):
    """Anything but numbers and rising ranges is an error that the asker can mend."""
    with pytest.raises(RequestError):
        parse_ranks(text)


@pytest.mark.parametrize(
    "text", ["0-999999999", f"0-{MAX_RANKS}", f"0-{MAX_RANKS // 2},600000-{MAX_RANKS + 600_000 - 1}"]
)
def test_refuses_more_ranks_than_a_job_has(text):
    """A few characters cannot ask for gigabytes."""
    with pytest.raises(RequestError, match="no job has so many"):
        parse_ranks(text)


def test_takes_the_largest_job():
    """The bound itself is allowed."""
    assert len(parse_ranks(f"0-{MAX_RANKS - 1}")) == MAX_RANKS


@given(st.text(max_size=30))
def test_rubbish_gives_request_error_and_nothing_else(text):
    """No text raises anything but ``RequestError``."""
    try:
        parse_ranks(text)
    except RequestError as error:
        assert str(error).isprintable()  # noqa: PT017 - whether it raises depends on the text
