"""The rules of a verdict on made-up evidence: which applies, whom it names, and which comes first."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oobdump.job.blame import picture
from oobdump.job.evidence import Evidence
from oobdump.job.rules import RULES, Finding, findings
from oobdump.job.stacks import Frame
from support.evidence import (
    ALL_REDUCE,
    INIT,
    LIBRARY,
    LOADER,
    LOADER_USER,
    MAIN,
    OP,
    READS,
    SAVES,
    STORE,
    circle,
    differs,
    ended,
    evidence,
    still,
    waits,
    worker,
)

BROADCAST = OP._replace(name="broadcast")
WIDE = OP._replace(input_sizes=((8,),))
DOUBLE = OP._replace(input_dtypes=("Double",))
FOLDED = OP._replace(input_sizes=((2, 2),))


def verdict(found: Evidence) -> Finding:
    """The first finding."""
    return findings(picture(found))[0]


def three_wait(odd: tuple[Frame, ...]) -> Evidence:
    """Ranks 0 to 2 wait for rank 3, which stands elsewhere."""
    return evidence(still(ALL_REDUCE, ALL_REDUCE, ALL_REDUCE, odd), waits([0, 1, 2], [3]))


@pytest.mark.parametrize(
    ("stack", "rule", "where"),
    [
        (READS, "missing-rank", "load_shard (data.py:72)"),
        (LOADER_USER, "dataloader-stuck", "Shards.__getitem__ (data.py:12)"),
        (LOADER, "dataloader-stuck", "main (train.py:90)"),
        (SAVES, "checkpoint-io", "keep (train.py:55)"),
        ((MAIN, Frame("/home/me/io.py", 3, "Saver.write_checkpoint")), "checkpoint-io", "write_checkpoint (io.py:3)"),
        ((MAIN, Frame("/home/me/net.py", 3, "checkpoint")), "missing-rank", "checkpoint (net.py:3)"),
        (LIBRARY, "missing-rank", "no frame of the user's code"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_missing_ranks_own_stack_says_why(stack: tuple[Frame, ...], rule: str, where: str) -> None:
    """The verdict names the rank, and the innermost frame of the user's or that there is none."""
    found = verdict(three_wait(stack))
    assert (found.rule, found.ranks) == (rule, (3,))
    assert where in found.summary


def test_a_rank_that_waits_in_the_store_is_told_by_its_counters() -> None:
    """The store's calls have no Python frame: the wait counters tell."""
    stuck = worker(3, STORE, STORE, STORE, waits=("wait",))
    found = verdict(evidence([*still(*[ALL_REDUCE] * 3), stuck], waits([0, 1, 2], [3])))
    assert (found.rule, found.ranks, found.confidence) == ("store-wait", (3,), "high")


def test_all_in_the_rendezvous_wait_in_the_store() -> None:
    """Nobody is outside and nobody is absent: the number of ranks, or the store, is wrong."""
    assert verdict(evidence(still(INIT, INIT))).rule == "store-wait"


def test_a_rank_that_never_came_to_the_rendezvous_is_missing() -> None:
    """It is named whether it has a worker or not."""
    assert verdict(evidence(still(INIT, READS, INIT))).ranks == (1,)
    absent = verdict(evidence(still(INIT, INIT), world=3))
    assert (absent.rule, absent.ranks) == ("missing-rank", (2,))
    assert "has no worker" in absent.summary


def test_without_a_recorder_the_stacks_tell() -> None:
    """Some stand in a collective and one does not: it is named, with less confidence."""
    found = verdict(evidence(still(ALL_REDUCE, ALL_REDUCE, READS)))
    assert (found.rule, found.ranks, found.confidence) == ("missing-rank", (2,), "medium")


def test_a_rank_that_receives_is_let_off() -> None:
    """A receive is not recorded on Gloo: of those behind, the one that waits itself is not to blame."""
    receives = (MAIN, Frame(ALL_REDUCE[-1].file, 2300, "recv"))
    found = verdict(evidence(still(ALL_REDUCE, READS, receives), waits([0], [1, 2])))
    assert (found.rule, found.ranks) == ("missing-rank", (1,))


@pytest.mark.parametrize(
    ("state", "rule"),
    [
        *((state, "process-dead") for state in ("exited", "killed", "crashed", "gone")),
        *(("stopped", "stopped"), ("traced", "stopped"), ("gil-held", "gil-held")),
    ],
)
def test_a_rank_that_cannot_go_on_comes_first(state: str, rule: str) -> None:
    """Whatever else is seen, its state explains it."""
    out = worker(1, None, None, None, state=state)
    found = verdict(evidence([worker(0, ALL_REDUCE, ALL_REDUCE, ALL_REDUCE), out], waits([0], [], unheard=[1])))
    assert (found.rule, found.ranks) == (rule, (1,))
    assert state in " ".join(found.evidence)


def test_a_rank_nobody_can_reach_is_missing_with_little_confidence() -> None:
    """Nothing is known of it but that it is silent."""
    out = worker(1, None, None, None, state="unreachable")
    found = verdict(evidence([worker(0, ALL_REDUCE, ALL_REDUCE, ALL_REDUCE), out], waits([0], [], unheard=[1])))
    assert (found.rule, found.ranks, found.confidence) == ("missing-rank", (1,), "low")


def test_a_job_that_completes_collectives_is_not_hung() -> None:
    """Even if at each look all ranks stand in the same line."""
    ranks = [worker(rank, ALL_REDUCE, ALL_REDUCE, completed=(5, 9)) for rank in range(3)]
    found = verdict(evidence(ranks, waits([0, 1, 2], [])))
    assert (found.rule, found.ranks, found.confidence) == ("not-hung", (), "high")


def test_a_job_at_work_in_one_long_step_is_not_hung() -> None:
    """No collective is under way, and every rank uses its processor."""
    assert verdict(evidence([worker(rank, READS, READS, cpu=0.9) for rank in range(2)])).rule == "not-hung"


def test_a_wait_that_burns_a_processor_is_a_wait() -> None:
    """NCCL's waits spin: a rank that computes in one place is not seen to get further."""
    spins = (MAIN, Frame("/home/me/train.py", 44, "synchronize"))
    ranks = [worker(0, spins, spins, cpu=1.0), worker(1, READS, READS)]
    found = verdict(evidence(ranks, waits([0], [1])))
    assert (found.rule, found.ranks) == ("missing-rank", (1,))


def test_one_sample_never_says_that_a_job_is_healthy() -> None:
    """Stuck and slow look the same in one picture."""
    assert verdict(evidence([worker(rank, READS, cpu=0.9) for rank in range(2)])).rule == "unknown"


def test_a_rank_that_others_wait_for_in_every_sample_is_a_straggler() -> None:
    """The job goes on, at its pace."""
    ranks = [worker(rank, *[ALL_REDUCE] * 3, completed=(5, 6, 7)) for rank in (0, 1)]
    late = worker(2, READS, READS, READS, completed=(5, 6, 7))
    found = verdict(evidence([*ranks, late], waits([0, 1], [2])))
    assert (found.rule, found.ranks) == ("straggler", (2,))


def test_steps_of_milliseconds_and_three_samples_make_no_straggler() -> None:
    """Somebody is last in each picture; with hundreds of steps between two of them that is chance, until six agree."""
    few = [worker(0, *[ALL_REDUCE] * 3, completed=(5, 205, 405)), worker(1, *[READS] * 3, completed=(5, 205, 405))]
    assert verdict(evidence(few)).rule == "not-hung"
    counts = tuple(5 + 200 * nth for nth in range(6))
    many = [worker(0, *[ALL_REDUCE] * 6, completed=counts), worker(1, *[READS] * 6, completed=counts)]
    assert (verdict(evidence(many)).rule, verdict(evidence(many)).ranks) == ("straggler", (1,))


def test_a_rank_that_is_still_at_work_is_a_straggler() -> None:
    """Nobody advances, but the one that is waited for goes from function to function."""
    ranks = [worker(rank, *[ALL_REDUCE] * 2) for rank in (0, 1)]
    found = verdict(evidence([*ranks, worker(2, READS, SAVES, cpu=1.0)], waits([0, 1], [2])))
    assert (found.rule, found.ranks) == ("straggler", (2,))


@pytest.mark.parametrize(
    ("kind", "op", "rule"),
    [
        ("type-mismatch", BROADCAST, "different-collective"),
        ("order-mismatch", BROADCAST, "order-mismatch"),
        ("size-mismatch", WIDE, "shape-mismatch"),
        ("dtype-mismatch", DOUBLE, "shape-mismatch"),
    ],
)
def test_a_difference_between_calls_is_named(kind: str, op: object, rule: str) -> None:
    """With the odd ranks, and what each side called."""
    made = differs(kind, {(0, 2): OP, (1,): op}, ranks=[1])  # type: ignore[arg-type, dict-item]
    found = verdict(evidence(still(*[ALL_REDUCE] * 3), made))
    assert (found.rule, found.ranks, found.confidence) == (rule, (1,), "high")
    assert "train_step (train.py:40)" in found.summary


def test_a_difference_that_lost_no_data_and_has_ended_blames_nobody() -> None:
    """A shape of [2, 2] is [4] to a backend; element types that differ are not."""
    harmless = ended(differs("size-mismatch", {(0, 2): OP, (1,): FOLDED}, ranks=[1]))
    lost = ended(differs("dtype-mismatch", {(0, 2): OP, (1,): DOUBLE}, ranks=[1]))
    assert verdict(evidence(still(ALL_REDUCE, READS, ALL_REDUCE), harmless)).rule == "missing-rank"
    assert verdict(evidence(still(ALL_REDUCE, READS, ALL_REDUCE), lost)).rule == "shape-mismatch"


def test_ranks_that_wait_for_each_other_over_groups_are_deadlocked() -> None:
    """Unless they move: then the recorder saw them in passing."""
    assert verdict(evidence(still(ALL_REDUCE, ALL_REDUCE), circle())).rule == "deadlock-over-groups"
    moving = [worker(rank, ALL_REDUCE, ALL_REDUCE, completed=(1, 2)) for rank in range(2)]
    assert verdict(evidence(moving, circle())).rule == "not-hung"


def test_what_outliers_share_is_said() -> None:
    """A host that they alone are on, and a group that they alone are."""
    ranks = [worker(rank, *[ALL_REDUCE] * 2, host="node1") for rank in (0, 1)]
    odd = [worker(rank, READS, READS, host="node2") for rank in (2, 3)]
    found = verdict(evidence([*ranks, *odd], waits([0, 1], [2, 3])))
    assert "all of them run on node2" in found.evidence


def test_recorders_alone_give_a_verdict() -> None:
    """Files of another tool: no stacks, no samples, and the missing rank all the same."""
    ranks = [replace(worker(rank), looks=()) for rank in range(4)]
    found = verdict(evidence(ranks, waits([0, 1, 2], [3])))
    assert (found.rule, found.ranks, found.confidence) == ("missing-rank", (3,), "medium")


def test_nothing_known_is_unknown() -> None:
    """No evidence at all gives the last rule, and says what is missing."""
    found = verdict(evidence([]))
    assert found.rule == "unknown"
    assert any("no flight recorder" in text for text in found.evidence)


STACKS = st.sampled_from([ALL_REDUCE, INIT, READS, LOADER_USER, SAVES, STORE, LIBRARY, (), None])
STATES = st.sampled_from(["responsive", "busy", "stopped", "gil-held", "exited", "unreachable", "uninterruptible"])


@st.composite
def anything(draw: st.DrawFn) -> Evidence:
    """A job of any ranks in any states."""
    workers = [
        worker(
            rank,
            *draw(st.lists(STACKS, min_size=2, max_size=3)),
            state=draw(STATES),
            cpu=draw(st.sampled_from([0.0, 1.0])),
            waits=draw(st.sampled_from([(), ("wait",)])),
        )
        for rank in draw(st.lists(st.integers(0, 5), unique=True, max_size=6))
    ]
    half = st.lists(st.integers(0, 5), max_size=3)
    made = draw(st.sampled_from([None, circle(), differs("type-mismatch", {(0,): OP, (1,): BROADCAST}, ranks=[1])]))
    return evidence(workers, made or waits(draw(half), draw(half), unheard=draw(half)), world=draw(st.integers(0, 7)))


@given(anything())
def test_there_is_always_one_verdict_of_the_table(found: Evidence) -> None:
    """No rule raises, each names itself and only ranks of the job, and a mute rank is never a healthy job."""
    all_found = findings(picture(found))
    assert all_found
    for each in all_found:
        assert each.rule in RULES
        assert each.summary
        assert set(each.ranks) <= {*found.ranks, *found.absent, *range(6)}
    mute = any(not each.answered for each in found.judged)
    assert not (mute and all_found[0].rule == "not-hung")


@given(anything(), st.randoms(use_true_random=False))
def test_the_order_of_workers_does_not_matter(found: Evidence, random: object) -> None:
    """The same workers in another order give the same verdict."""
    shuffled = [*found.workers]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = verdict(found), verdict(replace(found, workers=tuple(shuffled)))
    assert (one.rule, one.ranks, one.confidence) == (other.rule, other.ranks, other.confidence)
