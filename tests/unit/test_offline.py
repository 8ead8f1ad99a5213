"""Reading what was left or copied: each kind is told by its content, and no file is fatal to the others."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest

from oobdump.errors import StoreError
from oobdump.job.collectives import TraceProblem
from oobdump.job.matching import match
from oobdump.job.pyspy import parse_pyspy
from oobdump.job.stacks import Problem, WorkerStacks
from oobdump.job.trace import RankTrace
from oobdump.offline import child, recorders
from oobdump.offline.reading import read
from oobdump.offline.recorders import read_recorders
from oobdump.request import AcceptedRequest, HandlerCall, Request
from oobdump.response import Part
from oobdump.store import atomic
from oobdump.store.layout import Layout
from oobdump.store.writer import DumpWriter
from strategies import identity_of, job_at
from support.recorders import Recorder, Team, as_json, as_pickle, write

WORLD = Team("0", "default_pg", tuple(range(8)))


def recorders_of(ranks=8):
    """So many ranks, of which rank 5 never enters the second call."""
    made = [Recorder(rank, (WORLD,)) for rank in range(ranks)]
    for recorder in made:
        recorder.collective(WORLD)
        if recorder.rank != 5:
            recorder.collective(WORLD, state="started")
    return made


def by_rank(found):
    """What was read, by rank."""
    return {each.rank: each for each in found}


# -- recorders -------------------------------------------------------------------------------------------------------


def test_torchfrtraces_input_is_read(tmp_path: Path) -> None:
    """A directory of ``<prefix><rank>``, whatever else is in it, gives every rank's trace and the verdict."""
    directory = write(tmp_path / "traces", recorders_of())
    (directory / "README").write_text("foreign")
    (directory / "core.4711").write_bytes(b"\x7fELF" + bytes(100))
    found = read(str(directory))
    assert [trace.rank for trace in found.traces] == list(range(8))
    assert match(found.traces).blockers == {5}
    assert found.notes == ("README: 1 files of another kind", "core.N: 1 files of another kind")


def test_hosts_in_directories_and_in_names_are_one_family(tmp_path: Path) -> None:
    """Files of one job lie in a directory a host, or have the host's number in their names."""
    for recorder in recorders_of():
        place = tmp_path / f"host{recorder.rank // 4}"
        place.mkdir(exist_ok=True)
        (place / f"node{recorder.rank // 4}_rank{recorder.rank}.pkl").write_bytes(as_pickle(recorder.document()))
    assert sorted(by_rank(read(str(tmp_path)).traces)) == list(range(8))


def test_one_file_is_enough(tmp_path: Path) -> None:
    """A single recorder, as JSON, by its path."""
    file = tmp_path / "trace_3.json"
    file.write_bytes(as_json(recorders_of()[3].document()))
    (trace,) = read(str(file)).traces
    assert isinstance(trace, RankTrace)
    assert (trace.rank, trace.source) == (3, "json")


def test_of_two_attempts_the_larger_family_counts(tmp_path: Path) -> None:
    """Files of the same ranks under another prefix are left out, and that is said."""
    write(tmp_path, recorders_of())
    write(tmp_path, recorders_of()[:2], prefix="old_")
    found = read(str(tmp_path))
    assert len(found.traces) == 8
    assert found.notes == ("old_N: 2 left out, for ranks that other files tell of",)


class Planted:
    """Runs a command where it is unpickled by anybody who does not refuse."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        """What unpickling calls."""
        return os.system, (f"touch {self.path}",)


def nested(depth: int) -> bytes:
    """A key of a dict that is a tuple of the same tuple twice, and so on: hashing it takes 2**depth steps."""
    inner = b"K\x01\x85q\x00" + b"".join(b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(depth))
    return b"\x80\x02" + inner + b"}h%cK\x01s." % depth


HUGE_MEMO = b"\x80\x02]r\xff\xff\xff\x7f."
"""Memo number 2**31: the unpickler would make a table of 32 GiB."""


def test_hostile_files_are_reported_by_rank_and_harm_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A FIFO, a link to /dev/zero, an empty and a torn file, bombs and a planted command: the others are read."""
    monkeypatch.setattr(recorders, "CPU_S", 0)
    monkeypatch.setattr(recorders, "FILES_A_CPU_S", 32)
    directory = write(tmp_path / "traces", recorders_of(ranks=8))
    torn = as_pickle(recorders_of()[0].document())[:-30]
    hostile = {
        20: b"",
        21: torn,
        22: nested(60),
        23: HUGE_MEMO,
        24: pickle.dumps({"entries": [Planted(tmp_path / "ran")]}, protocol=2),
        25: b"hello",
    }
    for rank, content in hostile.items():
        (directory / f"nccl_trace_rank_{rank}").write_bytes(content)
    os.mkfifo(directory / "nccl_trace_rank_26")
    (directory / "nccl_trace_rank_27").symlink_to("/dev/zero")
    found = by_rank(read(str(directory)).traces)
    assert sorted(found) == [*range(8), *range(20, 28)]
    assert all(isinstance(found[rank], RankTrace) for rank in range(8))
    problems = {rank: found[rank].reason for rank in range(20, 28) if isinstance(found[rank], TraceProblem)}
    assert sorted(problems) == list(range(20, 28))
    assert "ended the process that read it" in problems[22]
    assert "damaged" in problems[21]
    assert "MemoryError" in problems[23]
    assert "posix" in problems[24] or "nt." in problems[24]
    assert "not a regular file" in problems[26]
    assert not (tmp_path / "ran").exists()
    assert match(found.values()).blockers == {5}


def test_after_a_few_lost_files_no_more_are_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs seconds: a directory of a thousand bombs must not cost hours."""
    monkeypatch.setattr(recorders, "CPU_S", 0)
    monkeypatch.setattr(recorders, "MAX_LOST", 1)
    monkeypatch.setattr(recorders, "MAX_CHILDREN", 1)
    for rank in range(3):
        (tmp_path / f"trace_{rank}").write_bytes(nested(60))
    reasons = [each.reason for each in read_recorders([(rank, str(tmp_path / f"trace_{rank}")) for rank in range(3)])]  # type: ignore[union-attr]
    assert "ended the process" in reasons[0]
    assert reasons[1:] == ["not read: other files ended the process that reads them"] * 2


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    """A sparse file of terabytes costs nothing."""
    path = tmp_path / "trace_0"
    with open(path, "wb") as file:
        file.write(b"\x80\x02}")
        file.truncate(child.MAX_FILE_BYTES + 1)
    (found,) = read(str(tmp_path)).traces
    assert isinstance(found, TraceProblem)
    assert "more than" in found.reason


def test_traces_of_several_children_share_their_calls(tmp_path: Path) -> None:
    """More files than one task holds come back in order, and equal lanes are one object again."""
    files = []
    for rank in range(3 * recorders.CHUNK):
        made = Recorder(rank, (Team("0", "default_pg", tuple(range(3 * recorders.CHUNK))),))
        made.collective(made.teams[0])
        path = tmp_path / f"trace_{rank}"
        path.write_bytes(as_pickle(made.document()))
        files.append((rank, str(path)))
    found = read_recorders(files)
    assert [each.rank for each in found] == [rank for rank, _ in files]
    assert len({id(each.lanes[0].calls) for each in found if isinstance(each, RankTrace)}) == 1


# -- py-spy and stacks -----------------------------------------------------------------------------------------------


def pyspy_document(pid=100):
    """What ``py-spy dump --json`` prints, cut to what is used."""
    frames = [
        {"name": "wait", "filename": "/code/train.py", "module": None, "short_filename": "train.py", "line": 9},
        {"name": "<module>", "filename": "/code/train.py", "module": None, "short_filename": "train.py", "line": 20},
    ]
    thread = {"pid": pid, "thread_id": 1, "active": False, "owns_gil": False, "frames": frames}
    return [
        {**thread, "thread_name": "Thread-1", "os_thread_id": pid + 1},
        {**thread, "thread_name": "MainThread", "os_thread_id": pid},
        {**thread, "pid": pid + 5, "thread_name": "MainThread", "os_thread_id": pid + 5},
    ]


def test_pyspys_files_are_stacks_of_ranks(tmp_path: Path) -> None:
    """One file a rank; frames are turned to outermost first, and threads of other processes left out."""
    for rank in range(3):
        (tmp_path / f"rank{rank}.json").write_text(json.dumps(pyspy_document(100 + rank)))
    (tmp_path / "rank7.json").write_text('[{"pid": 1')
    found = read(str(tmp_path)).stacks
    assert [each.rank for each in found] == [0, 1, 2, 7]
    first, damaged = found[0], found[-1]
    assert isinstance(first, WorkerStacks)
    assert [(thread.label, thread.main) for thread in first.threads] == [("Thread-N", False), ("MainThread", True)]
    assert [frame.function for frame in first.threads[0].frames] == ["<module>", "wait"]
    assert isinstance(damaged, Problem)


@pytest.mark.parametrize(
    "value",
    [None, {}, [], [1], [{}], [{"pid": -1}], [{"pid": 1}], [{"pid": 1, "frames": [1]}], [{"pid": 1, "frames": [{}]}]],
)
def test_what_is_no_pyspy_file_is_a_problem(value: object) -> None:
    """Any other document is reported with its rank."""
    found = parse_pyspy("rank3.json", 3, value)
    assert isinstance(found, Problem)
    assert (found.rank, "py-spy" in found.reason) == (3, True)


# -- dumps -----------------------------------------------------------------------------------------------------------


def job_with_dumps(root: Path, ranks: int = 3) -> Layout:
    """A job with two requests: each rank has answered the first, and rank 0 has only claimed the second."""
    identities = [identity_of(1000 + rank, rank) for rank in range(ranks)]
    layout = job_at(root, identities)
    for request_id, answered in (("r1", identities), ("r2", identities[1:])):
        asked = tuple(identity.worker for identity in identities)
        accepted = AcceptedRequest(request_id, Request((HandlerCall("ping"),)), asked, 1.0, "test")
        for identity in identities:
            writer = DumpWriter(layout, request_id, identity)
            writer.publish(accepted)
            writer.claim(("ping",), 2.0)
            if identity in answered:
                record = writer.write_part(Part("ping", "ok", 200, "text/plain", "txt", b"pong"))
                writer.commit((record,), "responsive", {}, 3.0)
    return layout


@pytest.mark.parametrize("what", ["root", "job", "dumps", "request", "dump"])
def test_a_copy_of_any_part_of_a_job_is_read(what: str, tmp_path: Path) -> None:
    """The root, the job, its dumps, one request under another name, one dump: each says what is in it."""
    layout = job_with_dumps(tmp_path / "root")
    one = Path(layout.request_dir("r2"))
    places = {
        "root": Path(layout.root),
        "job": Path(layout.job_dir),
        "dumps": Path(layout.dumps),
        "request": one,
        "dump": min(one.glob("rank00001.*")),
    }
    target = tmp_path / "copied" / (places[what].name if what == "dump" else "from-elsewhere")
    shutil.copytree(places[what], target / "dumps" if what == "dumps" else target)
    found = read(str(target))
    states = {dump.worker.split(".")[0]: dump.found for dump in found.dumps}
    everyone = {"rank00000": "partial", "rank00001": "committed", "rank00002": "committed"}
    assert states == ({"rank00001": "committed"} if what == "dump" else everyone)
    assert found.request_id == "r2"
    assert found.layout is not None
    if what != "dump":
        assert found.accepted is not None
        assert len(found.accepted.asked) == 3


def test_a_request_can_be_chosen(tmp_path: Path) -> None:
    """The newest is taken unless one is named; one that is not there is an error that says so."""
    layout = job_with_dumps(tmp_path)
    assert read(layout.job_dir, request_id="r1").request_id == "r1"
    with pytest.raises(StoreError, match="no request r9 with dumps"):
        read(layout.job_dir, request_id="r9")


def test_what_cannot_be_read_at_all_is_an_error_with_what_could(tmp_path: Path) -> None:
    """Nothing there, nothing known in it, or several jobs: one sentence with the next step."""
    with pytest.raises(StoreError, match="does not exist"):
        read(str(tmp_path / "nowhere"))
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(StoreError, match="--from takes"):
        read(str(tmp_path))
    for job in ("a", "b"):
        atomic.make_tree(str(tmp_path), f"{tmp_path}/{job}", f"{tmp_path}/{job}/dumps")
    with pytest.raises(StoreError, match="2 jobs"):
        read(str(tmp_path))
