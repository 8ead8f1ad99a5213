"""Recorders of all ranks together: each known fault is found, and neither order nor gaps change what is said."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oobdump.job.calls import Pool
from oobdump.job.collectives import TraceProblem
from oobdump.job.matching import match
from oobdump.job.recorder import parse_bytes
from support.recorders import Recorder, Team, as_json, as_pickle
from support.scenarios import SCENARIOS, job

WORLD = Team("0", "default_pg", (0, 1, 2, 3))
ROWS = (Team("1", "row", (0, 1)), Team("2", "row", (2, 3)))
COLUMNS = (Team("3", "column", (0, 2)), Team("4", "column", (1, 3)))


def traces(recorders, form=as_pickle):
    """Each recorder read back from what it would write, with one pool."""
    pool = Pool()
    return [parse_bytes(recorder.rank, form(recorder.document()), pool=pool) for recorder in recorders]


def four(*teams, **settings):
    """Four ranks with the world and these groups."""
    return [Recorder(rank, [team for team in (WORLD, *teams) if rank in team.ranks], **settings) for rank in range(4)]


@pytest.mark.parametrize("ranks", [8, 64])
@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("form", [as_pickle, as_json])
def test_each_known_fault_is_found(name: str, ranks: int, form) -> None:
    """The first finding has the fault's kind, group, place and ranks; a healthy job has none."""
    made = job(ranks)
    wanted = SCENARIOS[name](made, 3)
    found = match(traces(made.recorders, form))
    assert found.ranks == frozenset(range(ranks))
    assert not found.problems
    if not wanted.kind:
        assert (found.findings, found.waits, found.cycles, found.wavefront) == ((), (), (), ())
        return
    first = found.findings[0]
    assert (first.kind, first.group.desc, first.seq, first.ranks) == (
        wanted.kind,
        wanted.group,
        wanted.seq,
        wanted.ranks,
    )
    assert first.group in found.wavefront


def test_a_missing_rank_is_behind_with_nothing_open() -> None:
    """It never entered: its counters are equal, the others wait for it, and its group is the wavefront."""
    made = job(8)
    SCENARIOS["missing"](made, 2)
    found = match(traces(made.recorders))
    world = next(group for group in found.groups if group.key.desc == "default_pg")
    assert world.never_entered == {5}
    assert world.front == 3
    assert [(each.entered, each.completed, len(each.ranks)) for each in world.positions] == [(2, 2, 1), (3, 2, 7)]
    (wait,) = found.waits
    assert (wait.on, len(wait.waiting), wait.seq) == ({5}, 7, 3)
    assert found.blockers == {5}
    assert wait.frames[0].function == "<module>"


def test_what_only_follows_is_told_from_the_cause() -> None:
    """All ranks hang behind one missing rank of a tensor-parallel group: it alone blocks, and comes first."""
    made = job(16)
    SCENARIOS["missing-in-subgroup"](made, 2)
    found = match(traces(made.recorders))
    assert found.blockers == {15}
    assert found.findings[0].ranks == {15}
    assert {group.desc for group in found.wavefront} == {"tp", "dp"}
    assert all(15 in key.members for key in found.wavefront)


# -- circles ---------------------------------------------------------------------------------------------------------


def test_two_groups_in_another_order_are_a_circle() -> None:
    """Rank 0 waits in its row for 1, that in its column for 3, that in its row for 2, and that in its column for 0."""
    made = four(*ROWS, *COLUMNS)
    for recorder, team in zip(made, [ROWS[0], COLUMNS[1], COLUMNS[0], ROWS[1]], strict=True):
        recorder.collective(team, state="scheduled")
    found = match(traces(made))
    (cycle,) = found.cycles
    assert cycle.ranks == {0, 1, 2, 3}
    assert {key.name for key in cycle.groups} == {"1", "2", "3", "4"}
    assert set(found.wavefront) == set(cycle.groups)
    assert not found.blockers


def test_a_circle_that_only_the_device_sees() -> None:
    """Both ranks called both groups; on the device each runs another first, so each waits for the other."""
    pair = (Team("1", "a", (0, 1)), Team("2", "b", (0, 1)))
    made = [Recorder(rank, pair) for rank in (0, 1)]
    for recorder, order in zip(made, [pair, pair[::-1]], strict=True):
        recorder.collective(order[0], state="started")
        recorder.collective(order[1], state="scheduled")
    (cycle,) = match(traces(made)).cycles
    assert cycle.ranks == {0, 1}
    assert {key.desc for key in cycle.groups} == {"a", "b"}


def test_a_chain_is_no_circle() -> None:
    """Rank 0 waits for 1, which waits for 3, which computes: no circle, and 3 blocks."""
    made = four(*ROWS, *COLUMNS)
    made[0].collective(ROWS[0], state="scheduled")
    made[1].collective(COLUMNS[1], state="scheduled")
    made[3].collective(WORLD)
    found = match(traces(made))
    assert not found.cycles
    assert found.blockers >= {3}
    assert 1 not in found.blockers


# -- what differs ----------------------------------------------------------------------------------------------------


def test_where_as_many_did_the_one_as_the_other_all_are_named() -> None:
    """Two against two: nobody can say who is wrong."""
    made = four()
    for recorder in made:
        recorder.collective(WORLD, "all_reduce" if recorder.rank < 2 else "broadcast", state="scheduled")
    (first, *_) = match(traces(made)).findings
    assert (first.kind, first.ranks) == ("type-mismatch", {0, 1, 2, 3})
    assert [variant.ranks for variant in first.variants] == [{0, 1}, {2, 3}]


def test_a_call_left_out_is_told() -> None:
    """One rank skipped a broadcast: from there on its calls are those that come later elsewhere."""
    made = four()
    for recorder in made:
        recorder.collective(WORLD)
        for name in ("broadcast", "all_gather", "barrier")[1 if recorder.rank == 2 else 0 :]:
            recorder.collective(WORLD, name, [[4]], out=[[4, 4]] if name == "all_gather" else [[4]], state="scheduled")
    first = match(traces(made)).findings[0]
    assert (first.kind, first.seq, first.ranks) == ("type-mismatch", 2, {2})
    assert "1 call had been left out" in first.detail


def test_a_mismatch_among_ended_calls_is_found() -> None:
    """Gloo lets Float and Int of equal size pass: the difference is found all the same, at its first place."""
    made = four(backend="gloo")
    for _ in range(3):
        for recorder in made:
            recorder.collective(WORLD, dtype="Int" if recorder.rank == 1 else "Float")
    (only,) = match(traces(made)).findings
    assert (only.kind, only.seq, only.ranks) == ("dtype-mismatch", 1, {1})
    assert "2 later places" in only.detail


@pytest.mark.parametrize(
    ("name", "sizes", "out"),
    [
        ("scatter", lambda rank: [[4, 8]] if rank == 0 else [], lambda _: [[8]]),
        ("gather", lambda _: [[8]], lambda rank: [[4, 8]] if rank == 0 else []),
        ("all_to_all", lambda rank: [[rank + 1]], lambda rank: [[4 - rank]]),
        ("all_gather", lambda _: [[8]], lambda _: [[4, 8]]),
        ("_reduce_scatter_base", lambda _: [[32]], lambda _: [[8]]),
        ("barrier", lambda _: [], lambda _: []),
    ],
)
def test_sizes_that_may_differ_are_no_mismatch(name: str, sizes, out) -> None:
    """Only a root has the whole of a scatter or gather, an all-to-all may be uneven, and a gather grows."""
    made = four()
    for recorder in made:
        recorder.collective(WORLD, name, sizes(recorder.rank), out=out(recorder.rank))
    assert not match(traces(made)).findings


@pytest.mark.parametrize(
    ("name", "sizes", "out", "said"),
    [
        ("all_gather", [[8]], [[3, 8]], "make no 24"),
        ("_reduce_scatter_base", [[30]], [[8]], "do not make 8"),
        ("all_reduce", [[8]], [[9]], "differ in size"),
        ("all_to_all", [[8]], [[9]], "32 elements go in and 36 come out"),
    ],
)
def test_sizes_that_cannot_fit_are_found_where_all_ranks_agree(name: str, sizes, out, said: str) -> None:
    """All ranks make the same call, and it is wrong on each."""
    made = four()
    for recorder in made:
        recorder.collective(WORLD, name, sizes, out=out)
    (only,) = match(traces(made)).findings
    assert (only.kind, only.ranks) == ("size-mismatch", {0, 1, 2, 3})
    assert said in only.detail


# -- sends and receives ----------------------------------------------------------------------------------------------


def pipeline(made):
    """Each rank sends to the next and receives from the one before, in a batch."""
    for recorder in made:
        calls = [("recv", recorder.rank - 1)] if recorder.rank else []
        calls += [("send", recorder.rank + 1)] if recorder.rank < 3 else []
        recorder.batch(WORLD, calls)
    return made


def test_a_pipeline_in_order_has_no_findings() -> None:
    """Every send has its receive."""
    found = match(traces(pipeline(four())))
    assert not found.findings
    assert not found.waits


def test_a_receive_without_a_send_names_who_did_not_send() -> None:
    """Rank 2 never sends its second batch: 3 waits for 2, and nobody else is named."""
    made = pipeline(four())
    made[3].batch(WORLD, [("recv", 2)], state="started")
    found = match(traces(made))
    (only,) = found.findings
    assert (only.kind, only.ranks, only.others) == ("p2p-unmatched", {2}, {3})
    assert found.blockers == {2}
    assert "called no send" in only.detail


def test_a_send_and_a_receive_of_other_sizes() -> None:
    """Each pair is compared; the one that sends more than the other takes is found."""
    made = pipeline(four())
    made[0].batch(WORLD, [("send", 1)], size=64)
    made[1].batch(WORLD, [("recv", 0)], size=32)
    (only,) = match(traces(made)).findings
    assert only.kind == "p2p-mismatch"
    assert "[64] is sent and [32] is received" in only.detail


def test_of_a_wrapped_ring_open_calls_are_counted_only() -> None:
    """Where old sends were overwritten, a receive of long ago has no visible counterpart: that is no finding."""
    made = four(capacity=3)
    for _ in range(5):
        pipeline(made)
    assert not match(traces(made)).findings


# -- what is not known -----------------------------------------------------------------------------------------------


def test_a_rank_whose_ring_forgot_a_group_is_not_called_missing() -> None:
    """Its entries of that group were overwritten: it may have entered."""
    made = four(*ROWS, capacity=6)
    for recorder in made:
        recorder.collective(WORLD)
        if recorder.rank in ROWS[0].ranks:
            for _ in range(8 if recorder.rank == 1 else 1):
                recorder.collective(ROWS[0])
    found = match(traces(made))
    world = next(group for group in found.groups if group.key.desc == "default_pg")
    assert world.unheard == {1}
    assert not [each for each in found.findings if each.group == world.key]


def test_a_rank_without_a_dump_may_be_the_one() -> None:
    """No file of rank 2: the others wait, nobody that was heard is missing, and 2 is said not to be heard."""
    made = four()
    for recorder in made:
        recorder.collective(WORLD, state="started")
    found = match([each for each in traces(made) if each.rank != 2] + [TraceProblem(2, "trace_2", "it is empty")])
    assert [each.rank for each in found.problems] == [2]
    (wait,) = found.waits
    assert (wait.on, wait.unheard) == (frozenset(), {2})
    (only,) = found.findings
    assert (only.kind, only.unheard) == ("not-completed", {2})


def test_members_that_gloo_does_not_know_can_be_given() -> None:
    """Without its members a group is who called in it; with them the rank that never called is missing."""
    made = four(*ROWS, backend="gloo")
    made[0].collective(ROWS[0], state="scheduled")
    for recorder in made[2:]:
        recorder.collective(ROWS[1])
    read = []
    for each in made:
        document = each.document() | {"pg_config": {"": {"name": "", "desc": "", "ranks": "[]"}}}
        read.append(parse_bytes(each.rank, as_pickle(document)))
    assert not [each for each in match(read).findings if each.kind == "missing-ranks"]
    (only,) = match(read, members={"1": (0, 1)}).findings
    assert (only.kind, only.ranks) == ("missing-ranks", {1})


def test_the_world_can_be_larger_than_what_was_read() -> None:
    """Ranks of the roster that left no recorder are members that were not heard."""
    made = four(backend="gloo")
    for recorder in made:
        recorder.collective(WORLD, state="scheduled")
    read = []
    for each in made:
        document = each.document() | {"pg_config": {}}
        read.append(parse_bytes(each.rank, as_pickle(document)))
    (group,) = match(read, world=range(6)).groups
    assert (group.members, group.unheard, group.members_from) == (frozenset(range(6)), {4, 5}, "world")


def test_of_two_recorders_of_one_rank_the_further_counts() -> None:
    """A dump of an earlier incarnation lies beside the newer one: it is said, and does not count."""
    one, two = Recorder(0, (WORLD,)), Recorder(0, (WORLD,))
    one.collective(WORLD)
    for _ in range(3):
        two.collective(WORLD)
    for order in ([one, two], [two, one]):
        found = match([parse_bytes(each.rank, as_pickle(each.document()), where=str(each is one)) for each in order])
        assert found.groups[0].front == 3
        assert [(each.where, "further" in each.reason) for each in found.problems] == [("True", True)]


# -- properties ------------------------------------------------------------------------------------------------------


@given(st.sampled_from(sorted(SCENARIOS)), st.randoms(use_true_random=False), st.integers(0, 3))
def test_the_order_of_reading_never_matters(name: str, chance: random.Random, lost: int) -> None:
    """Any order of the ranks, and any ranks left out, say the same as the sorted ones."""
    made = job(8)
    SCENARIOS[name](made, 2)
    left = traces(made.recorders)[lost:]
    shuffled = chance.sample(left, len(left))
    assert match(shuffled) == match(left)


@given(st.data())
def test_no_rank_is_lost(data: st.DataObject) -> None:
    """Whatever ranks called, each is in one position of every group it called in, and in the result."""
    made = four(*ROWS, *COLUMNS)
    for recorder in made:
        for team in data.draw(st.lists(st.sampled_from(recorder.teams), max_size=6)):
            state = data.draw(st.sampled_from(["completed", "started", "scheduled"]))
            recorder.collective(team, data.draw(st.sampled_from(["all_reduce", "broadcast"])), state=state)
    found = match(traces(made))
    assert found.ranks == {0, 1, 2, 3}
    for group in found.groups:
        counted = [rank for position in group.positions for rank in position.ranks]
        assert sorted(counted) == sorted(group.heard)
    for wait in found.waits:
        assert wait.waiting
        assert not wait.waiting & wait.on or len(wait.on) > 1
    for cycle in found.cycles:
        assert all(cycle.ranks & wait.waiting and cycle.ranks & wait.on for wait in cycle.waits)
