"""The target language: each word means what it says, in any order, and nobody is left out in silence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import strategies
from oobdump.errors import RequestError
from oobdump.targets import Candidate, select

words = st.lists(
    st.sampled_from(["all", "any", "0", "0-7", "3", "12", "n0", "n1", "rank", "child", "other", "host:3", "rank:0-12"])
    | strategies.target_words,
    min_size=1,
    max_size=4,
)

JOB = [
    Candidate("rank00000.n0.10", "n0", 0, "rank"),
    Candidate("rank00001.n0.11", "n0", 1, "rank"),
    Candidate("rank00002.n1.10", "n1", 2, "rank"),
    Candidate("rank00010.n1.11", "n1", 10, "rank"),
    Candidate("rank00001.n0.20", "n0", 1, "child"),
    Candidate("proc.n0.5", "n0", None, "other"),
]
"""Two nodes, four ranks, a DataLoader worker of rank 1, and the launcher."""


def asked(asked_words, candidates=JOB):
    """Who is asked, or None for a refusal."""
    try:
        return select(asked_words, candidates)
    except RequestError:
        return None


# -- properties ------------------------------------------------------------------------------------------------------


@strategies.FEW
@given(words, strategies.rosters, st.randoms(use_true_random=False))
def test_the_order_of_words_and_roster_does_not_matter(words_, there, random):
    """The same words about the same workers ask the same ones in the same order."""
    shuffled, turned = random.sample(there, len(there)), random.sample(words_, len(words_))
    assert asked(turned, shuffled) == asked(words_, there)


@strategies.FEW
@given(words, strategies.rosters)
def test_each_asked_worker_is_there_and_asked_once(words_, there):
    """Nobody is made up, and overlapping words ask nobody twice."""
    found = asked(words_ + words_, there)
    if found is not None:
        assert len(found) == len(set(found)) > 0
        assert set(found) <= {candidate.worker for candidate in there}


@strategies.FEW
@given(words, strategies.rosters)
def test_several_words_ask_whom_each_of_them_asks(words_, there):
    """A list of words is the union of its words, and refused if one of them alone is."""
    alone = [asked([word], there) for word in words_]
    together = asked(words_, there)
    if None in alone:
        assert together is None
    else:
        assert set(together) == {worker for found in alone for worker in found}


@strategies.FEW
@given(strategies.rosters.filter(bool))
def test_all_is_every_rank_where_there_are_ranks(there):
    """``all`` leaves helpers out, unless there are only helpers."""
    ranks = {candidate.worker for candidate in there if candidate.role == "rank"}
    assert set(asked(["all"], there)) == (ranks or {candidate.worker for candidate in there})


@strategies.FEW
@given(strategies.rosters.filter(bool))
def test_any_is_one_that_all_would_ask(there):
    """``any`` is one worker, a rank if there is one."""
    (one,) = asked(["any"], there)
    assert one in asked(["all"], there)


@strategies.FEW
@given(strategies.rosters)
def test_every_worker_can_be_asked_by_its_name(there):
    """A worker's name asks that worker; with the prefix whatever else it may mean."""
    for candidate in there:
        assert asked([f"worker:{candidate.worker}"], there) == (candidate.worker,)
        assert candidate.host not in ("", None)
        assert candidate.worker in asked([f"host:{candidate.host}"], there)


@strategies.FEW
@given(st.lists(st.text(max_size=10), min_size=1, max_size=3), strategies.rosters)
def test_rubbish_gives_request_error_and_nothing_else(words_, there):
    """No text raises anything but ``RequestError``, with a message that can be shown."""
    try:
        select(words_, there)
    except RequestError as error:
        assert str(error).isprintable()  # noqa: PT017 - whether it raises depends on the text


# -- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words_", "expected"),
    [
        (["all"], [0, 1, 2, 3]),
        (["any"], [0]),
        (["0"], [0]),
        (["0-1"], [0, 1]),
        (["0-7", "10"], [0, 1, 2, 3]),
        (["2-99"], [2, 3]),
        (["00"], [0]),
        (["n1"], [2, 3]),
        (["n0"], [0, 1, 4, 5]),
        (["rank"], [0, 1, 2, 3]),
        (["child"], [4]),
        (["other"], [5]),
        (["role:other"], [5]),
        (["rank:1"], [1]),
        (["host:n1", "other"], [2, 3, 5]),
        (["proc.n0.5"], [5]),
        (["worker:rank00001.n0.20"], [4]),
    ],
)
def test_words(words_, expected):
    """Ranks, hosts, names, roles, and the two short words; a rank's number means the rank, not its helpers."""
    assert set(asked(words_)) == {JOB[index].worker for index in expected}


def test_ranks_come_first_and_in_order():
    """Ranks by number, then helpers, then those without a rank."""
    assert asked(["all", "child", "other"]) == (
        "rank00000.n0.10",
        "rank00001.n0.11",
        "rank00002.n1.10",
        "rank00010.n1.11",
        "rank00001.n0.20",
        "proc.n0.5",
    )


def test_ranks_are_numbers_and_no_texts():
    """Beyond the width of their names, too."""
    there = [Candidate(f"rank{rank:05d}.n.1", "n", rank, "rank") for rank in (100_000, 99_999)]
    assert asked(["all"], there) == ("rank99999.n.1", "rank100000.n.1")
    assert asked(["any"], there) == ("rank99999.n.1",)


@pytest.mark.parametrize(
    "word", ["5", "3-9", "9-0", "n2", "ALL", "host:n", "rank:n0", "role:all", "rank:", "1-", "٣", "-1"]
)
def test_a_word_that_means_nobody_is_refused(word):
    """One word in vain refuses the request: the asker hears which one, and who is there."""
    with pytest.raises(RequestError, match="matches no running worker") as caught:
        select(["all", word], JOB)
    assert "rank00000.n0.10" in str(caught.value)


def test_no_digits_but_ours():
    """A rank is written in ASCII digits, as names of workers are."""
    there = [Candidate("rank00003.n0.1", "n0", 3, "rank")]
    assert asked(["٣"], there) is None
    assert asked(["rank:٣"], there) is None


def test_nobody_is_there():
    """An empty roster is said as such."""
    with pytest.raises(RequestError, match="no worker of this job is running"):
        select(["all"], [])


def test_a_long_roster_is_not_listed_in_full():
    """A refusal in a job of 10,000 stays readable."""
    there = [Candidate(f"rank{rank:05d}.n.{rank + 1}", "n", rank, "rank") for rank in range(10_000)]
    with pytest.raises(RequestError, match="and 9992 more") as caught:
        select(["x" * 5000], there)
    assert len(str(caught.value)) < 1000


def test_words_with_a_second_meaning_can_be_told_apart():
    """A host that is called like a role or a rank is reached with its prefix."""
    there = [Candidate("rank00003.rank.1", "rank", 3, "rank"), Candidate("proc.3.2", "3", None, "other")]
    assert asked(["rank"], there) == asked(["host:rank"], there) == ("rank00003.rank.1",)
    assert asked(["3"], there) == ("rank00003.rank.1",)
    assert asked(["host:3"], there) == ("proc.3.2",)
