"""Workers that cannot answer, and processes that nobody armed: each has an outcome, its state and its evidence."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from oobdump.outside.state import STATES
from support import dumps, proc, programs
from support.programs import Running

WITHIN_S = 90.0
GRACE_S = "0.6"
"""Short, so that the tests are; the machine's load is no part of what they claim."""

NO_SENTINEL = {"OOBDUMP_SENTINEL": "off"}
"""The client climbs; a sentinel's part has tests of its own."""

SETPRIV = shutil.which("setpriv")
needs_setpriv = pytest.mark.skipif(
    SETPRIV is None or os.geteuid() != 0, reason="takes root and setpriv(1) to give capabilities up"
)
V1_MEMORY = Path("/sys/fs/cgroup/memory")
V2 = Path("/sys/fs/cgroup")


def ask(program: Running, *words: object, prefix: tuple[str, ...] = (), code: int = 1) -> dict[str, Any]:
    """Runs a command that asks; its only outcome. ``code`` 1: who had to be looked at from outside is a finding."""
    command = [*prefix, sys.executable, "-m", "oobdump", *map(str, words), "--dir", str(program.root), "--json"]
    env = programs.client_environment(OOBDUMP_GRACE_S=GRACE_S)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert done.returncode == code, done.stderr + done.stdout
    (outcome,) = json.loads(done.stdout)["outcomes"]
    assert outcome["state"] in STATES
    return outcome


def part(outcome: dict[str, Any], handler: str) -> Any:
    """One part's value."""
    (found,) = [each for each in outcome["parts"] if each["handler"] == handler]
    assert found["path"] is not None, found["error"]
    data = Path(found["path"]).read_bytes()
    return json.loads(data) if found["media_type"] == "application/json" else data.decode()


def manifest(outcome: dict[str, Any]) -> dict[str, Any]:
    """The manifest of an outside dump."""
    paths = [Path(each["path"]) for each in outcome["parts"] if each["path"]]
    directory = paths[0].parent
    assert directory.name == f"{outcome['worker']}.outside"
    return json.loads((directory / "manifest.json").read_bytes())


def rungs(outcome: dict[str, Any]) -> dict[str, Any]:
    """What each rung came to, by name."""
    return {rung["rung"]: rung for rung in manifest(outcome)["evidence"]["rungs"]}


def functions(outcome: dict[str, Any]) -> set[str]:
    """The functions on the main thread's stack."""
    main = next(thread for thread in part(outcome, "stacks")["threads"] if thread["main"])
    return {frame["function"].rpartition(".")[2] for frame in main["frames"]}


@contextmanager
def armed(name: str, place: Path, **env: str) -> Iterator[Running]:
    """A program that is in the roster."""
    with programs.running(name, place, env={**NO_SENTINEL, **env}) as program:
        dumps.wait_for_roster(program.job_dir, program.pids)
        yield program


# -- it is there, and cannot answer ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "why"),
    [("c_wait_gil_held", "keeps the GIL and waits"), ("c_sum", "keeps the GIL and (computes|runs)")],
)
def test_a_held_gil_is_named_with_its_keeper(name: str, why: str, tmp_path: Path) -> None:
    """Waiting or computing in C with the GIL: the state says which, the frame is found, and so are our threads."""
    with armed(name, tmp_path) as program:
        outcome = ask(program, "request", "stacks", "memory")
        assert (outcome["state"], outcome["answered_by"]) == ("gil-held", "client")
        assert re.search(why, outcome["why"]), outcome["why"]
        assert program.program.frame in functions(outcome)
        if sys.version_info >= (3, 11):  # before, py-spy cannot tell the kernel's ids without a pause
            named = {thread["name"] for thread in part(outcome, "stacks")["threads"] if thread["ours"]}
            assert "oobdump bell" in named
        (memory,) = [each for each in outcome["parts"] if each["handler"] == "memory"]
        assert (memory["status"], memory["error"]["type"]) == ("refused", "NotFromOutside")
        assert {"proc", "details", "torch-server", "py-spy"} == set(rungs(outcome))
        assert program.popen.poll() is None, "looking ended it"


@pytest.mark.slow
def test_a_stopped_worker_is_seen_and_answers_when_it_goes_on(tmp_path: Path) -> None:
    """SIGSTOP: the state and the stack from outside; after SIGCONT the worker's own dump counts, and both are shown."""
    with armed("idle", tmp_path) as program:
        os.kill(program.pid, signal.SIGSTOP)
        outcome = ask(program, "request", "stacks", "dump_traceback", "environment", "process")
        assert outcome["state"] == "stopped"
        assert "wait_for_nothing" in functions(outcome)
        assert "in wait_for_nothing" in part(outcome, "dump_traceback")
        assert part(outcome, "environment")["variables"]["PROGRAM_TOKEN"] == "(redacted)"
        assert part(outcome, "process")["pid"] == program.pid
        os.kill(program.pid, signal.SIGCONT)
        (request_id,) = dumps.request_ids(program.job_dir)
        worker = outcome["worker"]
        own = program.job_dir / "dumps" / request_id / worker / "manifest.json"
        dumps.until(own.exists, "its own dump")
        later = ask(program, "show", request_id, code=0)
        assert (later["answered_by"], later["state"]) == ("worker", "busy")
        assert "late" in later["why"]
        assert later["outside"].endswith(f"{worker}.outside")


@pytest.mark.slow
def test_a_traced_worker_is_seen(tmp_path: Path) -> None:
    """A debugger holds it: the state names the tracer, and the stack is read all the same."""
    with armed("idle", tmp_path) as program:
        tracer = [sys.executable, programs.SOURCES.parent / "tests/support/tracer.py", str(program.pid)]
        with subprocess.Popen(tracer, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holding:
            assert holding.stdout.readline() == b"holding\n"
            outcome = ask(program, "request", "stacks")
            holding.stdin.close()
        assert outcome["state"] == "traced"
        assert str(holding.pid) in outcome["why"]
        assert "wait_for_nothing" in functions(outcome)
        assert ask(program, "request", "stacks", code=0)["state"] == "responsive"


@pytest.mark.slow
def test_what_is_used_up_is_named(tmp_path: Path) -> None:
    """A worker without a descriptor left cannot answer; the reason says how many are open."""
    with armed("no_descriptors", tmp_path) as program:
        outcome = ask(program, "request", "stacks")
        assert outcome["state"] == "unreachable"
        assert "out of descriptors" in outcome["why"]


# -- it is gone ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "state", "why"),
    [
        ("segfault", "crashed", "SIGSEGV"),
        ("abort", "crashed", "SIGABRT"),
        ("exit:7", "exited", "exit code 7"),
        ("exception", "exited", "exit code 1"),
    ],
)
def test_how_it_ended_is_told(how: str, state: str, why: str, tmp_path: Path) -> None:
    """Nobody has waited for it: the kernel tells. Then somebody has: what it left behind tells as much as it can."""
    with armed("crash", tmp_path, CRASH=how) as program:
        program.release()
        os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOWAIT)
        zombie = ask(program, "request", "stacks")
        assert (zombie["state"], why in zombie["why"]) == (state, True), zombie["why"]
        program.wait_for_exit()
        outcome = ask(program, "signal", program.pid)
        if state == "crashed":
            assert outcome["state"] == "crashed"
            assert re.search("Fatal Python error: (Segmentation fault|Aborted)", part(outcome, "last_words"))
            assert "crash.py" in part(outcome, "last_words")
        else:
            assert (outcome["state"], "exit code" in outcome["why"]) == ("exited", True)


@pytest.mark.slow
def test_killed_before_and_after_the_question(tmp_path: Path) -> None:
    """``kill -9`` of a stopped worker while it is waited for: this request has its outcome, and so has the next."""
    with armed("idle", tmp_path) as program:
        os.kill(program.pid, signal.SIGSTOP)
        command = [*programs.OOBDUMP, "request", "stacks", "--dir", str(program.root), "--json"]
        env = programs.client_environment(OOBDUMP_GRACE_S="30")
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE) as asking:
            dumps.until(lambda: dumps.request_ids(program.job_dir), "the request is accepted")
            program.popen.kill()
            out, _ = asking.communicate(timeout=WITHIN_S)
        (outcome,) = json.loads(out)["outcomes"]
        assert (outcome["state"], outcome["answered_by"]) == ("killed", "client")
        assert "SIGKILL" in outcome["why"]
        assert "no sign that memory ran out" in outcome["why"]
        assert ask(program, "request", "stacks")["state"] == "killed"
        program.wait_for_exit()
        assert ask(program, "request", "stacks")["state"] == "killed", "what was seen once is noted in the roster"


def test_nobody_was_told_how_it_ended(tmp_path: Path) -> None:
    """Its parent waited for it before anybody looked, and no sentinel ran: ``gone``, and the reason says so."""
    with armed("idle", tmp_path) as program:
        program.popen.kill()
        program.wait_for_exit()
        outcome = ask(program, "request", "stacks")
        assert (outcome["state"], "cause unknown" in outcome["why"]) == ("gone", True)


def test_the_kernel_out_of_memory_is_evidence(tmp_path: Path) -> None:
    """Ended in a memory cgroup of its own: ``killed``, with the kernel's words or the cgroup's count."""
    with memory_cgroup() as cgroup, armed("eats_memory", tmp_path, CGROUP=str(cgroup)) as program:
        program.release()
        assert program.wait_for_exit() == -signal.SIGKILL
        outcome = ask(program, "request", "stacks")
        assert outcome["state"] == "killed"
        assert "out of memory" in outcome["why"].lower()


@contextmanager
def memory_cgroup() -> Iterator[Path]:
    """A memory cgroup of 64 MiB that is ours."""
    v1 = (V1_MEMORY / "memory.limit_in_bytes").exists()
    parent, limit = (V1_MEMORY, "memory.limit_in_bytes") if v1 else (V2, "memory.max")
    cgroup = parent / f"oobdump-test-{os.getpid()}"
    try:
        cgroup.mkdir()
        (cgroup / limit).write_text(str(64 * 2**20))
    except OSError as error:
        if cgroup.is_dir():
            cgroup.rmdir()
        pytest.skip(f"no memory cgroup can be made here: {error}")
    try:
        yield cgroup
    finally:
        dumps.until(lambda: _removed(cgroup), f"{cgroup} is empty")


def _removed(cgroup: Path) -> bool:
    try:
        cgroup.rmdir()
    except OSError:
        return False
    return True


# -- nobody armed it, or the kernel refuses --------------------------------------------------------------------------


def test_a_process_that_is_not_armed_is_looked_at_and_never_signalled(tmp_path: Path) -> None:
    """``signal PID``: a Python program that knows nothing of oobdump lives on, and has a dump from outside."""
    with programs.running("lock", tmp_path, bare=True) as program:
        before = proc.look(program.pid, program.pid)
        outcome = ask(program, "signal", program.pid)
        assert (outcome["state"], outcome["answered_by"], outcome["job"]) == ("unreachable", "client", "unarmed")
        assert "not armed" in outcome["why"]
        assert "wait_for_lock" in functions(outcome)
        assert proc.look(program.pid, program.pid) == before, "it was neither signalled nor paused"


def test_d_state_is_named_and_costs_no_more_than_its_deadline(tmp_path: Path) -> None:
    """An unarmed process whose main thread is in D state: named, its frame found, and it goes on when released."""
    with programs.running("d_state", tmp_path, bare=True) as program:
        outcome = ask(program, "signal", program.pid)
        assert outcome["state"] == "uninterruptible"
        assert "wait_in_vfork" in functions(outcome)
        program.release()
        assert program.wait_for_exit() == 0


NOBODY = 65534
CLOSED = "import ctypes, os; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0); os.write(1, b'closed'); input()"
OPEN = "import os; os.write(1, b'open'); input()"
AS_NOBODY = (str(SETPRIV), f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
WITHOUT_PTRACE = (str(SETPRIV), "--bounding-set=-sys_ptrace", "--inh-caps=-all")


@needs_setpriv
@pytest.mark.parametrize(
    ("program", "asker", "why"),
    [
        (CLOSED, AS_NOBODY, "it is not dumpable"),
        (OPEN, WITHOUT_PTRACE, f"it belongs to uid {NOBODY}, we are uid 0"),
    ],
)
def test_who_may_not_read_it_says_why_and_gives_the_rest(program: str, asker: tuple[str, ...], why: str) -> None:
    """py-spy's rung is ``refused``, and so is what it would have given; what ``/proc`` gives to all is there."""
    with tempfile.TemporaryDirectory() as place:
        os.chown(place, NOBODY if asker is AS_NOBODY else 0, -1)
        started = [*AS_NOBODY, sys.executable, "-c", program]
        with subprocess.Popen(started, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/") as other:
            assert other.stdout.read(4) in (b"clos", b"open")
            command = [*asker, *programs.OOBDUMP, "signal", str(other.pid), "--dir", f"{place}/root", "--json"]
            env = programs.client_environment(TMPDIR=place)
            done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=WITHIN_S, check=False)
            other.stdin.close()
        assert done.returncode == 1, done.stderr + done.stdout
        (outcome,) = json.loads(done.stdout)["outcomes"]
        found = rungs(outcome)
        assert (found["py-spy"]["status"], found["proc"]["status"]) == ("refused", "ok")
        assert why in found["py-spy"]["why"]
        (stacks,) = [each for each in outcome["parts"] if each["handler"] == "stacks"]
        assert (stacks["status"], why in stacks["error"]["message"]) == ("refused", True)
        assert part(outcome, "proc")["looks"][0]["pid"] == outcome["pid"]


def test_without_any_socket_the_ladder_gives_all_that_needs_none(tmp_path: Path) -> None:
    """A client under seccomp that may make no socket still gives the state, the stacks and the details."""
    under = "from no_sockets import forbid_sockets; forbid_sockets(); from oobdump.cli import main; main()"
    with armed("c_wait_gil_held", tmp_path) as program:
        env = programs.client_environment(OOBDUMP_GRACE_S=GRACE_S)
        env["PYTHONPATH"] += f"{os.pathsep}{programs.PROGRAMS_DIR}"
        command = [sys.executable, "-c", under, "request", "stacks", "--dir", str(program.root), "--json"]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=WITHIN_S, check=False)
        assert done.returncode == 1, done.stderr
        (outcome,) = json.loads(done.stdout)["outcomes"]
        assert outcome["state"] == "gil-held"
        assert "wait_in_c_with_gil" in functions(outcome)


@pytest.mark.torch
@pytest.mark.slow
def test_pytorchs_server_answers_while_the_gil_is_held(tmp_path: Path) -> None:
    """With torch in the worker its C++ handlers are a rung: the recorder's trace comes without the GIL."""
    with armed("torch_gil_held", tmp_path) as program:
        outcome = ask(program, "request", "stacks", "fr_trace_json", "wait_counter_values")
        assert outcome["state"] == "gil-held"
        assert rungs(outcome)["torch-server"]["status"] == "ok"
        assert {each["handler"]: each["status"] for each in outcome["parts"]}["fr_trace_json"] == "ok"
        assert "version" in part(outcome, "fr_trace_json")


# -- several at once, and looking again and again ---------------------------------------------------------------------


@pytest.mark.slow
def test_a_healthy_process_is_not_slowed_by_being_looked_at(tmp_path: Path) -> None:
    """The ladder, three times over, on a busy unarmed process: it is never stopped, traced or signalled."""
    with programs.running("busy_threads", tmp_path, bare=True) as program:
        states = set()
        for _ in range(3):
            began = time.monotonic()
            ask(program, "signal", program.pid)
            states.add(proc.look(program.pid, program.pid).state)
            assert time.monotonic() - began < WITHIN_S
        assert not states & {"T", "t"}
        assert program.popen.poll() is None
