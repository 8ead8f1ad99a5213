"""The ladder's pieces, each by itself: py-spy's answer, PyTorch's server, the kernel's log, refusals, the dump."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import strategies
from oobdump.identity import Machine
from oobdump.job.stacks import WorkerStacks, parse_stacks
from oobdump.outside import details, ending, look, pyspy, refusal, torch_server
from oobdump.outside.answer import answer_for
from oobdump.outside.obstacles import obstacles
from oobdump.outside.rungs import Found, Refused, bounded, side_by_side
from oobdump.outside.usable import usable
from oobdump.request import AcceptedRequest, HandlerCall, Request
from oobdump.response import Part
from oobdump.store import reader, roster
from oobdump.store.fallen import fallen
from oobdump.store.from_outside import OutsideDump
from oobdump.wire import accepted_to_bytes
from support.programs import SOURCES

ELSEWHERE = Machine("elsewhere", "boot", "pid:[1]")


@pytest.fixture
def layout(tmp_path):
    """A job's directory."""
    return strategies.job_at(tmp_path / "root")


def accepted(layout, *workers, calls=("stacks",)):
    """A request that was accepted for these workers."""
    request = Request(tuple(map(HandlerCall, calls)))
    found = AcceptedRequest("id", request, workers, time.time(), "client.here.1", {"channel": "request_file"})
    os.makedirs(layout.request_dir("id"), mode=0o700, exist_ok=True)
    with open(layout.request_json("id"), "wb") as file:
        file.write(accepted_to_bytes(found))
    return found


@contextmanager
def child(code="input()"):
    """A process that waits."""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as found:
        yield found
        found.kill()


# -- py-spy's answer as the stacks handler's document ----------------------------------------------------------------

names = st.none() | st.text(max_size=20)
frames = st.fixed_dictionaries(
    {"name": st.text(max_size=10), "filename": st.text(max_size=10), "line": st.integers(-1, 10**6)}
)
pyspy_threads = st.fixed_dictionaries(
    {
        "thread_id": st.integers(0, 2**63),
        "thread_name": names,
        "os_thread_id": st.none() | st.integers(1, 2**22),
        "owns_gil": st.booleans(),
        "frames": st.lists(frames, max_size=5),
    }
)


@settings(max_examples=50)
@given(st.lists(pyspy_threads, min_size=1, max_size=5))
def test_whoever_merges_reads_it_like_a_workers_own(threads):
    """Every answer of py-spy becomes a document that the merge takes, with as many threads."""
    document = json.loads(json.dumps(pyspy.to_stacks(pyspy.Sample(tuple(threads)), 5)))
    found = parse_stacks("proc.host.5", None, document)
    assert isinstance(found, WorkerStacks), found
    assert len(found.threads) == len(threads)


def test_frames_are_outermost_first_and_ours_are_known():
    """py-spy gives the innermost first; a thread of ours has its kernel's name, a user's its own."""
    ours = {"name": "start_thread.<locals>.body", "filename": "/x/oobdump/threads.py", "line": 60}
    inner = {"name": "wait", "filename": "/x/y.py", "line": 3}
    threads = (
        {"thread_id": 2, "thread_name": None, "os_thread_id": 7, "frames": [inner, ours]},
        {"thread_id": 1, "thread_name": "MainThread", "os_thread_id": 5, "frames": [inner]},
    )
    main, bell = pyspy.to_stacks(pyspy.Sample(threads), 5, names={7: "oobdump bell", 5: "python"})["threads"]
    assert (main["main"], main["name"], main["ours"]) == (True, "MainThread", False)
    assert (bell["main"], bell["name"], bell["ours"]) == (False, "oobdump bell", True)
    assert [frame["function"] for frame in bell["frames"]] == ["start_thread.<locals>.body", "wait"]


def test_a_very_long_stack_is_cut_as_the_handler_cuts_it():
    """The first 100 and the last 900 frames, and how many are missing where."""
    frames = [{"name": f"f{n}", "filename": "x.py", "line": n} for n in reversed(range(1500))]
    (thread,) = pyspy.to_stacks(pyspy.Sample(({"frames": frames, "thread_id": 1},)), 5)["threads"]
    assert (len(thread["frames"]), thread["omitted_frames"], thread["omitted_after"]) == (1000, 500, 100)
    assert [thread["frames"][n]["line"] for n in (0, 99, 100, 999)] == [0, 99, 600, 1499]


def test_what_is_no_python_is_said(tmp_path):
    """py-spy's own words, on one line, are the reason."""
    with subprocess.Popen(["sleep", "60"]) as other:
        with pytest.raises(pyspy.NotRead, match="ython") as raised:
            pyspy.sample(other.pid, time.monotonic() + 20)
        other.kill()
    assert "\n" not in str(raised.value)
    assert not raised.value.refused


# -- what may hang is read in a child --------------------------------------------------------------------------------


def test_the_details_of_a_process_are_read_one_by_one():
    """Limits, descriptors, children, arguments, environment and libraries, each on a line of its own."""
    with child() as found:
        env = {**os.environ, "A_TOKEN": "hidden"}
        with subprocess.Popen([sys.executable, "-c", "input()"], env=env, stdin=subprocess.PIPE) as asked:
            done = subprocess.run(details.command(asked.pid), capture_output=True, check=True)
            asked.kill()
        assert found.poll() is None
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["name"] for line in lines] == list(details.NAMES)
    values = {line["name"]: line.get("value") for line in lines}
    assert values["environment"]["A_TOKEN"] == "(redacted)"
    assert values["descriptors"]["open"] >= 3
    assert values["arguments"][-1] == "input()"


# -- PyTorch's server ------------------------------------------------------------------------------------------------


@contextmanager
def server(path, answer):
    """Something that listens there and sends these bytes; None: it accepts and says nothing."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()

        def serve():
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                if answer is None:
                    done.wait(20)
                else:
                    connection.sendall(answer)

        done = threading.Event()
        thread = threading.Thread(target=serve)
        thread.start()
        yield
        done.set()
        thread.join()


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\npong", b"pong"),
        (CHUNKED + b"4\r\n[1,2\r\n1\r\n]\r\n0\r\n\r\n", b"[1,2]"),
    ],
)
def test_a_server_that_answers(tmp_path, answer, body):
    """A part with the body, whole or in chunks, and its media type's suffix."""
    with server(f"{tmp_path}/s", answer):
        part = torch_server.ask(f"{tmp_path}/s", "ping", time.monotonic() + 20)
    assert (part.status, part.body, part.suffix) == ("ok", body, "json" if body[:1] == b"[" else "txt")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "without an answer"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "answered 404"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npong", "4 of 9 bytes"),
        (CHUNKED + b"9\r\n[1,2", "cut off"),
        (b"rubbish\r\n\r\n", "no HTTP"),
        (None, "no answer in time"),
    ],
)
def test_a_server_that_does_not(tmp_path, answer, why):
    """Whatever is wrong with the answer is said, by the deadline."""
    with server(f"{tmp_path}/s", answer), pytest.raises(torch_server.NoServer, match=why):
        torch_server.ask(f"{tmp_path}/s", "ping", time.monotonic() + 0.5)


def test_no_server_at_all(tmp_path):
    """A path that nobody listens at."""
    with pytest.raises(torch_server.NoServer, match="No such file"):
        torch_server.ask(f"{tmp_path}/none", "ping", time.monotonic() + 5)


# -- how it ended ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ("Memory cgroup out of memory: Killed process 77 (python) total-vm:1kB", True),
        ("Out of memory: Killed process 77 (python) total-vm:1kB", True),
        ("oom-kill:constraint=CONSTRAINT_MEMCG,task=python,pid=77,uid=0", True),
        ("python[77]: segfault at 10 ip 00 sp 00 error 4 in libtorch_cpu.so", False),
        ("traps: python[77] general protection fault ip:0 sp:0 error:0 in x", False),
        ("traps: python[77] trap divide error ip:0 sp:0 error:0 in x", False),
        ("Out of memory: Killed process 777 (python)", None),
        ("python[7]: segfault at 10", None),
        ("something about 77", None),
    ],
)
def test_the_kernels_log_counts_for_that_process_alone(message, found):
    """A line that names the pid, after its start, and whether it is the OOM killer's; no other line."""
    lines = list(ending.kernel_lines(iter([f"6,1,5000,-;{message}\n SUBSYSTEM=x"]), 77, 4000))
    assert [is_oom for _, is_oom in lines] == ([] if found is None else [found])
    assert not list(ending.kernel_lines(iter([f"6,1,3000,-;{message}"]), 77, 4000)), "before it started"


@given(st.lists(st.text(max_size=60)))
def test_a_damaged_log_raises_nothing(records):
    """Whatever stands in it."""
    list(ending.kernel_lines(iter(records), 7, 0))


# -- why the kernel refuses ------------------------------------------------------------------------------------------

PLAIN = {"CapEff": "0", "CapPrm": "0", "Seccomp": "0", "Uid": "5 5 5 5"}


@pytest.mark.parametrize(
    ("ours", "theirs", "owner", "yama", "words"),
    [
        ({}, {"Uid": "6 6 6 6"}, 6, 0, "it belongs to uid 6, we are uid 5"),
        ({}, {}, 0, 0, "it is not dumpable"),
        ({}, {}, 5, 1, "PR_SET_PTRACER"),
        ({}, {}, 5, 2, "ptrace_scope is 2"),
        ({}, {"CapPrm": "80000"}, 5, 0, "capabilities that we lack"),
        ({"Seccomp": "2", "CapEff": "80000"}, {}, 5, 0, "a seccomp filter is on us"),
    ],
)
def test_each_reason_is_told(ours, theirs, owner, yama, words):
    """Another user, not dumpable, Yama, capabilities, seccomp: what can be seen is said, with what would help."""
    (reason,) = refusal.reasons({**PLAIN, **ours}, {**PLAIN, **theirs}, owner, yama)
    assert words in reason


def test_with_the_right_to_trace_nothing_forbids_it():
    """SYS_PTRACE goes over all of them but seccomp."""
    assert not list(refusal.reasons({**PLAIN, "CapEff": "80000"}, {**PLAIN, "Uid": "6 6 6 6"}, 0, 3))


# -- rungs -----------------------------------------------------------------------------------------------------------


def test_each_rung_has_an_outcome_whatever_it_does():
    """One that works, is refused, raises or never comes back; none takes another with it."""
    release = threading.Event()

    def refuse(_deadline):
        raise Refused("not allowed")

    rungs = {
        "works": (5.0, lambda _: Found(value=1)),
        "refused": (5.0, refuse),
        "raises": (5.0, lambda _: 1 / 0),
        "hangs": (0.1, lambda _: release.wait() and Found()),
    }
    found = side_by_side(rungs, time.monotonic() + 5)
    release.set()
    assert {name: rung.status for name, rung in found.items()} == {
        "works": "ok",
        "refused": "refused",
        "raises": "error",
        "hangs": "timeout",
    }
    assert "ZeroDivisionError" in found["raises"].why


def test_bounded_gives_or_raises_or_is_late():
    """A result, the task's own error, or ``TimeoutError``."""
    release = threading.Event()
    assert bounded(lambda: 5, 20) == 5
    with pytest.raises(ZeroDivisionError):
        bounded(lambda: 1 / 0, 20)
    with pytest.raises(TimeoutError):
        bounded(release.wait, 0.05)
    release.set()


def test_a_look_at_a_process_and_at_none():
    """Each thread with its state; None for a pid that is nobody's, or another incarnation's."""
    found = look.look(os.getpid())
    assert found.threads[0].tid == os.getpid()
    assert found.state in ("R", "S")
    assert look.look(os.getpid(), 1) is None
    with child() as gone:
        pass
    assert look.look(gone.pid) is None


def test_a_used_up_limit_is_an_obstacle():
    """Descriptors at their limit; one below it is none."""
    limits = {"Max open files": {"soft": "256", "hard": "unlimited"}}
    assert "256 of 256" in obstacles(None, (), {"limits": limits, "descriptors": {"open": 256}})[0]
    assert not obstacles(None, (), {"limits": limits, "descriptors": {"open": 255}})
    assert not obstacles(None, (), {"limits": {"Max open files": {"soft": "unlimited"}}, "descriptors": {"open": 9}})


def test_a_directory_that_takes_no_file_is_told(tmp_path):
    """One that does not exist yet is tried above it, and nothing is left there; one that refuses, with the reason."""
    assert usable(f"{tmp_path}/root/job") == ""
    assert os.listdir(tmp_path) == []
    assert "/proc/1/job takes no file" in usable("/proc/1/job")


# -- the dump, whole or absent ---------------------------------------------------------------------------------------


def attempt(layout, identity, by="client"):
    """One that has written everything and not published."""
    accepted(layout, identity.worker)
    dump = OutsideDump.of(layout, "id", identity, by)
    record = dump.writer.write_part(Part("stacks", "ok", 200, "text/plain", "txt", by.encode()))
    dump.writer.commit((record,), "stopped", {"why": "x"}, time.time())
    return dump


def test_nothing_is_seen_before_it_is_whole_and_the_first_wins(layout):
    """Two that climb for one worker: the first that publishes stands, the other's is gone, and no claim is left."""
    identity = strategies.identity_of(os.getpid(), 0)
    first, second = attempt(layout, identity, "sentinel"), attempt(layout, identity, "client")
    assert not reader.has_outside(layout, "id", identity.worker)
    assert reader.dumps(layout, "id") == []
    assert [first.publish(), second.publish()] == [True, False]
    (dump,) = reader.dumps(layout, "id")
    assert (dump.found, dump.outside, dump.answered_by, dump.state) == ("committed", True, "sentinel", "stopped")
    assert reader.part_bytes(dump, dump.parts[0]) == b"sentinel"
    assert sorted(os.listdir(layout.request_dir("id"))) == [f"{identity.worker}.outside", "request.json"]


def test_of_many_at_once_one_wins(layout):
    """Eight threads publish at the same time: one dump, whole, and seven that know it is not theirs."""
    identity = strategies.identity_of(os.getpid(), 0)
    tries = [attempt(layout, identity, "client") for _ in range(8)]
    start, won = threading.Barrier(8), []
    threads = [threading.Thread(target=lambda d=d: (start.wait(), won.append(d.publish()))) for d in tries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]
    assert reader.dumps(layout, "id")[0].found == "committed"


def test_a_claim_holds_while_its_owner_lives_and_no_longer(layout):
    """Another process's claim: respected; taken over once it is dead, or past its time."""
    identity = strategies.identity_of(os.getpid(), 0)
    accepted(layout, identity.worker)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from oobdump.store.layout import Layout;"
        "from oobdump.identity import Identity, Machine; from oobdump.store.from_outside import OutsideDump;"
        "i = Identity(Machine.here(), int(sys.argv[3]), 0, 'job', 0);"
        "print(OutsideDump.of(Layout(sys.argv[2], 'job'), 'id', i, 'client').claim(float(sys.argv[4])), flush=True);"
        "input()"
    )

    def claimed_for(seconds):
        words = [str(SOURCES), layout.root, str(os.getpid()), str(seconds)]
        other = subprocess.Popen([sys.executable, "-c", code, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert other.stdout.readline() == b"True\n"
        return other

    mine = OutsideDump.of(layout, "id", identity, "client")
    with claimed_for(600) as other:
        assert not mine.claim(5)
        other.kill()
    assert mine.claim(5), "its owner is dead"
    mine.drop()
    with claimed_for(-1) as late:
        assert mine.claim(5), "its time is over"
        late.kill()


def test_killed_in_the_middle_leaves_nothing_that_counts(layout):
    """``kill -9`` before the rename: no dump is seen, and the next try makes one."""
    identity = strategies.identity_of(os.getpid(), 0)
    abandoned = attempt(layout, identity)
    assert os.path.isdir(abandoned.writer.directory)
    assert reader.dumps(layout, "id") == []
    assert attempt(layout, identity).publish()


# -- answering -------------------------------------------------------------------------------------------------------


def test_a_gone_worker_is_answered_for_and_what_was_asked_is_refused(layout):
    """Each handler has a part: the worker is gone; a second answer finds the first."""
    with child() as worker:
        identity = strategies.identity_of(worker.pid, 0)
        roster.write(layout, roster.Entry(identity, 0))
    accepted(layout, identity.worker, calls=("stacks", "memory"))
    answer = answer_for(layout, "id", identity.worker, by="sentinel", reason="test")
    assert (answer.outcome, answer.state) == ("committed", "gone")
    dump = reader.read_dump(layout, "id", f"{identity.worker}.outside")
    assert [(part.handler, part.status) for part in dump.parts] == [
        ("stacks", "refused"),
        ("memory", "refused"),
        ("ending", "ok"),
    ]
    assert dump.evidence["reason"] == "test"
    again = answer_for(layout, "id", identity.worker, by="client", reason="test")
    assert (again.outcome, again.state, again.directory) == ("elsewhere", "gone", answer.directory)


def test_a_noted_wait_status_is_the_state(layout):
    """What the sentinel or a parent was told is in the roster, and counts."""
    with child() as worker:
        identity = strategies.identity_of(worker.pid, 0)
        entry = roster.write(layout, roster.Entry(identity, 0))
    roster.note_end(layout, entry, at=1.0, by="sentinel", how="found gone", wait_status=int(signal.SIGSEGV))
    accepted(layout, identity.worker)
    answer = answer_for(layout, "id", identity.worker, by="client", reason="test")
    assert (answer.state, answer.why) == ("crashed", "SIGSEGV (told by sentinel)")


def test_what_cannot_be_seen_from_here_is_unreachable(layout):
    """A worker of another machine: said so, and nothing of ours is taken for it."""
    identity = replace(strategies.identity_of(os.getpid(), 0), machine=ELSEWHERE)
    roster.write(layout, roster.Entry(identity, 0))
    accepted(layout, identity.worker)
    assert answer_for(layout, "id", identity.worker, by="client", reason="test").state == "unreachable"


def test_a_fallback_takes_what_the_root_does_not(layout, tmp_path):
    """A root that takes no file: the dump is committed in the next store, whole, with its request."""
    fallback = replace(layout, root=str(tmp_path / "fallback"))
    broken = replace(layout, root="/proc/1")
    with child() as worker:
        identity = strategies.identity_of(worker.pid, 0)
    request = accepted(layout, identity.worker)
    answer = answer_for(
        broken, "id", identity.worker, by="client", reason="test", fallbacks=(fallback,), accepted=request,
        entry=roster.Entry(identity, 1),
    )  # fmt: skip
    assert (answer.outcome, answer.store) == ("committed", 1)
    assert reader.read_dump(fallback, "id", f"{identity.worker}.outside").found == "committed"
    assert reader.open_request(fallback, "id") == request


@pytest.mark.parametrize("worker", ["nobody", "rank00000.host", "../x"])
def test_what_is_no_worker_is_said(layout, worker):
    """Names that nobody has."""
    accepted(layout, "rank00000.host.1")
    assert answer_for(layout, "id", worker, by="client", reason="test").outcome == "failed"


def test_as_a_program_of_its_own(layout):
    """``python -m oobdump.outside``: one JSON line a worker, and 0."""
    with child() as worker:
        identity = strategies.identity_of(worker.pid, 0)
        roster.write(layout, roster.Entry(identity, 0))
        accepted(layout, identity.worker)
        words = ["--dir", layout.root, "--job", layout.job, "--request", "id", "--by", "sentinel", identity.worker]
        env = {**os.environ, "PYTHONPATH": str(SOURCES)}
        command = [sys.executable, "-m", "oobdump.outside", *words]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout)
    assert (line["worker"], line["outcome"], line["state"]) == (identity.worker, "committed", "unreachable")


# -- who is asked although it is gone --------------------------------------------------------------------------------


def entry(rank, *, alive=False, registered=1, ended=None, **changes):
    """A worker that runs, or ended as told."""
    pid = os.getpid() if alive else 2**22 - 1 - (rank or 0)
    identity = replace(strategies.identity_of(pid, rank), **changes)
    return roster.Entry(identity, registered, started_at=float(registered), ended=ended)


@pytest.mark.parametrize(
    ("others", "asked"),
    [
        ([entry(1)], [1]),
        ([entry(1, ended={"how": "found gone", "at_s": 2.0})], [1]),
        ([entry(1, ended={"how": "found gone", "at_s": 2.0, "wait_status": 0})], []),
        ([entry(1, ended={"how": "exiting", "at_s": 2.0, "wait_status": 256})], [1]),
        ([entry(1, ended={"how": "exiting", "at_s": 2.0})], [1]),
        ([entry(1, ended={"how": "stopped", "at_s": 2.0})], []),
        ([entry(1, ended={"how": "found gone", "at_s": 0.5})], []),
        ([entry(1, attempt=3)], []),
        ([entry(1, world_size=9)], []),
        ([entry(0)], []),
        ([entry(None, role="other")], []),
    ],
)
def test_who_fell_out_of_a_run_is_asked(others, asked):
    """Dead, not ended well, of this run and not replaced; the newest incarnation of rank 0 runs."""
    alive = entry(0, alive=True, registered=2 if others[0].identity.rank == 0 else 1)
    assert [found.identity.rank for found in fallen([alive, *others])] == asked


def test_of_a_run_that_is_over_everybody_is_asked_who_did_not_end_well():
    """With nobody alive: each rank's last incarnation, unless it is known to have ended well."""
    over = [entry(0), entry(1, ended={"how": "found gone", "at_s": 2.0, "wait_status": 0}), entry(2, registered=2)]
    assert [found.identity.rank for found in fallen(over)] == [0, 2]
    assert fallen([]) == []
