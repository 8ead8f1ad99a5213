"""``pyspy_dump`` on real processes: it answers, pauses nobody unless asked, and always ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from oobdump import codecs
from oobdump.handlers import child_process, load, pyspy
from oobdump.registry import Registry
from oobdump.request import HandlerCall
from oobdump.response import Part
from oobdump.runner import run_call
from oobdump.threads import BLOCKABLE
from support import dumps, programs

HAS_PYSPY = any(
    os.access(f"{place}/py-spy", os.X_OK) for place in [os.path.dirname(sys.executable), *os.get_exec_path()]
)
needs_pyspy = pytest.mark.skipif(not HAS_PYSPY, reason="py-spy is not installed")


def ask(**params: str) -> Part:
    """One call in this process."""
    registry = Registry()
    assert load(registry) == []
    return run_call(registry.get("pyspy_dump"), HandlerCall("pyspy_dump", params), b"", codecs.get("json"))


@needs_pyspy
@pytest.mark.parametrize("params", [{}, {"nonblocking": "1"}, {"nonblocking": "true", "native": "false"}])
def test_the_stacks_of_this_process(params: dict[str, str]) -> None:
    """The text names this process and the function that asks; PyTorch's ``1`` counts as true."""
    part = ask(**params)
    assert (part.status, part.code, part.media_type) == ("ok", 200, "text/plain"), bytes(part.body)
    assert f"Process {os.getpid()}:".encode() in part.body
    assert b"test_the_stacks_of_this_process" in part.body


@needs_pyspy
@pytest.mark.parametrize("params", [{"native": "1"}, {"nonblocking": "false"}, {"native": "true", "nonblocking": "0"}])
def test_pausing_modes_when_asked(params: dict[str, str]) -> None:
    """``native``, or ``nonblocking=false``, pauses the process for a moment, and it goes on."""
    part = ask(**params)
    assert part.code == 200, bytes(part.body)
    assert b"test_pausing_modes_when_asked" in part.body


def test_native_and_nonblocking_exclude_each_other() -> None:
    """Both at once is 400, and says what to leave out."""
    part = ask(native="1", nonblocking="1")
    assert part.code == 400
    assert b"leave nonblocking out" in part.body


@pytest.mark.parametrize("name", ["native", "subprocesses", "nonblocking"])
def test_other_values_are_refused(name: str) -> None:
    """What is neither true nor false is 400 in PyTorch's words."""
    part = ask(**{name: "yes"})
    assert (part.code, part.body) == (400, f"Invalid value for {name} valid values are true or false".encode())


@needs_pyspy
def test_subprocesses_that_are_no_python_do_not_end_it() -> None:
    """Each Python below this process has its stacks in the answer, a program that is none one line."""
    waits = "import time\ndef wait_below():\n    print(flush=True)\n    time.sleep(60)\nwait_below()"
    with (
        subprocess.Popen(["sleep", "60"]) as other,
        subprocess.Popen([sys.executable, "-c", waits], stdout=subprocess.PIPE) as child,
    ):
        try:
            assert child.stdout is not None
            child.stdout.readline()
            part = ask(subprocesses="true")
        finally:
            child.kill()
            other.kill()
    assert part.code == 200
    assert f"Process {child.pid}:".encode() in part.body
    assert b"wait_below" in part.body
    assert f"Process {other.pid}: Error".encode() in part.body


def test_no_pyspy_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the program: 501, and the command that installs it."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    part = ask()
    assert part.code == 501
    assert b"pip install py-spy" in part.body


@needs_pyspy
def test_a_hung_worker_answers_through_a_request_file(tmp_path: Path) -> None:
    """`touch requests/pyspy_dump`: a process whose main thread waits in C is read from outside, and not harmed."""
    with programs.running("c_wait_gil_released", tmp_path) as program:
        dump = dumps.ask(program.job_dir, "pyspy_dump", pids=program.pids)[0]
        assert dump.record("pyspy_dump")["status"] == "ok"
        assert program.program.frame.encode() in dump.content("pyspy_dump")
        assert program.popen.poll() is None


@needs_pyspy
@pytest.mark.slow
def test_a_pause_that_a_thread_in_d_state_prolongs_is_ended(tmp_path: Path) -> None:
    """Asked to pause a process whose main thread cannot stop, py-spy is ended, and the worker answers on."""
    with programs.running("d_state", tmp_path) as program:
        dumps.wait_for_roster(program.job_dir, program.pids)
        call = {"name": "pyspy_dump", "params": {"nonblocking": "false"}}
        dumps.drop_json(program.job_dir, "pause", handlers=[call], timeout_s=30)
        dump = dumps.wait_for_dumps(program.job_dir, within_s=60)[0]
        record = dump.record("pyspy_dump")
        assert record["code"] == 200 or b"the pause was ended" in dump.content("pyspy_dump"), record
        assert dumps.ask(program.job_dir, "ping")[0].record("ping")["status"] == "ok"
        states = [line for pid in program.pids for line in _states(pid)]
        assert not {"T", "t"} & {*states}, f"a thread stays stopped: {states}"


def _states(pid: int) -> list[str]:
    tasks = sorted(Path(f"/proc/{pid}/task").iterdir())
    return [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in tasks]


# -- the child ---------------------------------------------------------------------------------------------------------


def test_a_child_blocks_no_signal() -> None:
    """From a thread that blocks every signal, the child starts with none blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKABLE)
    try:
        run = child_process.run(["grep", "^SigBlk", "/proc/self/status"], time.monotonic() + 10)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert run.output.split() == [b"SigBlk:", b"0" * 16]
    assert (run.code, run.ended) == (0, True)


def test_a_child_is_ended_at_the_deadline() -> None:
    """A program that does not end is killed in time and reaped; what it wrote until then is kept."""
    before, began = children(), time.monotonic()
    run = child_process.run(["sh", "-c", "echo so far; exec sleep 60"], began + 0.5)
    assert (run.output, run.ended) == (b"so far\n", False)
    assert time.monotonic() - began < 5
    assert children() == before


def children() -> set[str]:
    """The children of this process, zombies too; other tests may have left some."""
    return {pid for tid in os.listdir("/proc/self/task") for pid in child_pids(tid)}


def child_pids(tid: str) -> list[str]:
    """Of one thread."""
    return Path(f"/proc/self/task/{tid}/children").read_text(encoding="ascii").split()


def test_a_program_that_is_not_there_and_descriptors() -> None:
    """A missing program is the shell's 127, and nothing stays open."""
    before = sorted(os.listdir("/proc/self/fd"))
    run = child_process.run(["/nonexistent/program"], time.monotonic() + 10)
    assert (run.code, run.ended) == (child_process.NOT_FOUND, True)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_a_reaped_child_is_no_error() -> None:
    """A program that reaps every child in a SIGCHLD handler only hides the status; the output is there."""
    reaped = []

    def reap(_signum: int, _frame: object) -> None:
        try:
            reaped.append(os.waitpid(-1, os.WNOHANG))
        except ChildProcessError:
            pass

    before = signal.signal(signal.SIGCHLD, reap)
    try:
        run = child_process.run(["echo", "Thread"], time.monotonic() + 10)
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert run.output == b"Thread\n"
    assert run.ended
    assert run.code in (0, None)


def test_the_deadline_is_below_a_requests(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A py-spy that hangs is ended, and the answer says so before a request's default deadline has passed."""
    fake = tmp_path / "py-spy"
    fake.write_text("#!/bin/sh\nexec sleep 60\n")
    fake.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(pyspy, "DEADLINE_S", 0.3)
    part = ask()
    assert part.code == 504
    assert b"did not end within 0.3 s" in part.body
