"""Flight recorders as values: both forms say the same, older ones are read, and nothing that is damaged raises."""

from __future__ import annotations

import copy
import json
import os
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oobdump.job.calls import Pool
from oobdump.job.collectives import TraceProblem
from oobdump.job.recorder import parse_bytes, parse_document
from oobdump.job.trace import GroupStatus, RankTrace
from support.recorders import Recorder, Team, as_json, as_pickle

WORLD = Team("0", "default_pg", (0, 1, 2, 3))
PAIR = Team("1", "tp", (0, 1))


def recorder(rank=0, **settings):
    """A rank that did two calls of the world, one of the pair, and hangs in the third of the world."""
    made = Recorder(rank, (WORLD, PAIR), **settings)
    made.collective(WORLD)
    made.collective(PAIR, "broadcast", [[8, 2], [1]])
    made.collective(WORLD)
    made.collective(WORLD, state="started", line=99)
    return made


def parsed(document, **settings):
    """The trace of a document that is in order."""
    trace = parse_document(0, document, **settings)
    assert isinstance(trace, RankTrace), trace
    return trace


def test_a_pickle_says_what_was_recorded() -> None:
    """Groups, calls, what is open since when and where (outermost frame first), and the counters."""
    trace = parse_bytes(0, as_pickle(recorder().document()), where="file")
    assert isinstance(trace, RankTrace)
    assert (trace.rank, trace.version, trace.source, trace.entries, trace.wrapped) == (0, "2.10", "pickle", 4, False)
    world, pair = trace.lanes
    assert (world.group.name, world.group.desc, world.group.ranks) == ("0", "default_pg", (0, 1, 2, 3))
    assert [(call.seq, call.op.name, call.done) for call in world.calls] == [
        (1, "all_reduce", True),
        (2, "all_reduce", True),
        (3, "all_reduce", False),
    ]
    assert pair.calls[0].op.input_sizes == ((8, 2), (1,))
    assert world.status == GroupStatus(3, 3, 2)
    (waiting,) = world.open
    assert waiting.call is world.calls[2]
    assert [frame.line for frame in waiting.frames if frame.function == "train_step"] == [99]
    assert waiting.frames[0].function == "<module>"
    assert waiting.frames[-1].function == "all_reduce"
    assert not pair.open


def test_json_says_the_same_but_for_frames() -> None:
    """The same calls, groups, counters and times from PyTorch's JSON, where None is 0 and numbers are texts."""
    document = recorder().document()
    one, other = parse_bytes(0, as_pickle(document)), parse_bytes(0, as_json(document))
    assert isinstance(one, RankTrace)
    assert isinstance(other, RankTrace)
    assert [(lane.group, lane.calls, lane.status) for lane in one.lanes] == [
        (lane.group, lane.calls, lane.status) for lane in other.lanes
    ]
    assert one.lanes[0].open[0].created_ns == other.lanes[0].open[0].created_ns
    assert other.lanes[0].open[0].frames == ()


def test_a_dump_without_entries_still_has_its_counters() -> None:
    """JSON leaves ``entries`` out where there are none: no lanes, but the counters by PyTorch's number of the group."""
    document = recorder().document() | {"entries": []}
    assert b"entries" not in as_json(document)
    trace = parse_bytes(0, as_json(document))
    assert isinstance(trace, RankTrace)
    assert trace.lanes == ()
    assert dict(trace.statuses)["0"] == GroupStatus(3, 3, 2)


def test_equal_lanes_of_one_pool_are_one_object() -> None:
    """What makes a thousand ranks cheap: ranks that did the same share their calls, whatever their times."""
    pool = Pool()
    lanes = [parse_bytes(rank, as_pickle(recorder(rank).document()), pool=pool).lanes for rank in (0, 1)]
    for one, other in zip(*lanes, strict=True):
        assert one.calls is other.calls
    alone = parse_bytes(0, as_pickle(recorder().document()))
    assert alone.lanes[0].calls == lanes[0][0].calls


@given(st.lists(st.sampled_from(["all_reduce", "broadcast", "barrier"]), min_size=1, max_size=12), st.data())
def test_a_pool_never_changes_what_is_read(names: list[str], data: st.DataObject) -> None:
    """Whatever ranks did before, a rank's trace is the one it has by itself."""
    pool = Pool()
    for rank in range(4):
        made = Recorder(rank, (WORLD,))
        for name in data.draw(st.permutations(names)):
            made.collective(WORLD, name, state=data.draw(st.sampled_from(["completed", "started", "scheduled"])))
        content = as_pickle(made.document())
        assert parse_bytes(rank, content, pool=pool) == parse_bytes(rank, content)


def test_gloo_tells_completion_by_retired_only() -> None:
    """``state`` stays ``scheduled`` there: a retired entry is done, another is open."""
    document = recorder(backend="gloo").document()
    for entry in document["entries"]:
        entry["state"] = "scheduled"
    world, _ = parsed(document).lanes
    assert [call.done for call in world.calls] == [True, True, False]
    assert world.calls[0].op.backend == "gloo"


def test_gloos_nameless_group_says_nothing() -> None:
    """``pg_config`` is ``{'': …}`` on Gloo, of whichever group was made last: members stay unknown."""
    document = recorder().document() | {"pg_config": {"": {"name": "", "desc": "", "ranks": "[]"}}}
    assert [lane.group.ranks for lane in parsed(document).lanes] == [None, None]


def test_entries_inside_a_batch_end_with_it() -> None:
    """PyTorch never updates the sends and receives of a batch, only the entry that closes it."""
    made = Recorder(1, (WORLD,))
    made.batch(WORLD, [("send", 2), ("recv", 0)])
    made.batch(WORLD, [("send", 2), ("recv", 0)], state="started")
    (lane,) = parsed(made.document()).lanes
    assert [(call.op.name, call.nth, call.done) for call in lane.calls] == [
        ("send", 0, True),
        ("recv", 1, True),
        ("coalesced", 2, True),
        ("send", 0, False),
        ("recv", 1, False),
        ("coalesced", 2, False),
    ]
    assert [(call.op.source, call.op.target) for call in lane.calls[:2]] == [(1, 2), (0, 1)]


def test_older_recorders_lack_fields() -> None:
    """PyTorch 2.3 wrote neither dtypes nor ``retired`` nor ``is_p2p``."""
    document = recorder().document() | {"version": "2.1"}
    for entry in document["entries"]:
        for name in ("input_dtypes", "output_dtypes", "retired", "is_p2p"):
            del entry[name]
    world, _ = parsed(document).lanes
    assert [call.done for call in world.calls] == [True, True, False]


def test_a_ring_that_wrapped_says_so() -> None:
    """The oldest entry's number tells that others were overwritten."""
    trace = parsed(recorder(capacity=2).document())
    assert (trace.wrapped, trace.entries, trace.last_record_id) == (True, 2, 3)


# -- damaged and hostile ---------------------------------------------------------------------------------------------


class Planted:
    """Runs a command where it is unpickled by anybody who does not refuse."""

    def __reduce__(self):
        """What unpickling calls."""
        return os.system, ("touch /tmp/oobdump-was-here",)


HOSTILE = {
    "empty": b"",
    "text": b"hello",
    "torn pickle": as_pickle(recorder().document())[:-40],
    "torn json": as_json(recorder().document())[:-40],
    "planted": pickle.dumps({"version": "2.10", "entries": [Planted()]}, protocol=2),
    "persistent id": b"\x80\x04P1\n.",
    "deep json": b'{"a":' + b"[" * 100_000,
    "a list": pickle.dumps([1, 2], protocol=2),
    "other version": pickle.dumps({"version": "3.0"}, protocol=2),
    "entries no list": pickle.dumps({"version": "2.10", "entries": 7}, protocol=2),
    "an entry no dict": pickle.dumps({"version": "2.10", "entries": [7]}, protocol=2),
    "NaN for sizes": b'{"version":"2.10","entries":[{"input_sizes":NaN}]}',
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_no_recorder_is_a_problem_with_its_rank(content: bytes) -> None:
    """The rank and the file stay; the reason names no value of the file; nothing planted runs."""
    found = parse_bytes(7, content, where="rank7")
    assert isinstance(found, TraceProblem)
    assert (found.rank, found.where) == (7, "rank7")
    assert found.reason
    assert not os.path.exists("/tmp/oobdump-was-here")


FIELDS = sorted(recorder().document()["entries"][0])
ODD = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
)


@given(st.sampled_from(FIELDS), ODD | st.dictionaries(st.text(max_size=2), ODD, max_size=2), st.integers(0, 3))
def test_no_value_in_an_entry_raises(name: str, value: object, place: int) -> None:
    """Any value in any field of any entry gives a trace or a problem."""
    document = copy.deepcopy(recorder().document())
    document["entries"][place][name] = value
    assert isinstance(parse_document(0, document), (RankTrace, TraceProblem))


@given(st.sampled_from(["version", "pg_config", "pg_status", "entries", "comm_lib_version"]), ODD)
def test_no_value_beside_the_entries_raises(name: str, value: object) -> None:
    """The same for the fields of the dump itself, and for the counters and groups inside."""
    document = recorder().document()
    assert isinstance(parse_document(0, document | {name: value}), (RankTrace, TraceProblem))
    for inner in ("pg_config", "pg_status"):
        for changed in ({"0": value}, {"0": {**document[inner]["0"], "ranks": value}}):
            assert isinstance(parse_document(0, document | {inner: changed}), (RankTrace, TraceProblem))


@given(st.data())
def test_no_bytes_raise(data: st.DataObject) -> None:
    """A dump cut anywhere, with any byte changed, gives a trace or a problem."""
    content = bytearray(data.draw(st.sampled_from([as_pickle(recorder().document()), as_json(recorder().document())])))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    for found in (parse_bytes(3, bytes(content)), parse_bytes(3, bytes(content[:cut]))):
        assert isinstance(found, (RankTrace, TraceProblem))
        assert found.rank == 3


def test_the_reason_says_where() -> None:
    """A person can find the place: the field, what it is and what it should be."""
    document = recorder().document()
    document["entries"][2]["state"] = 5
    found = parse_document(0, document)
    assert isinstance(found, TraceProblem)
    assert "state is of type int instead of scheduled or started or completed" in found.reason
    assert json.dumps(found.reason)
