"""A sentinel beside real workers: it is there, it answers for those that cannot, it is made again, it leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support import dumps, proc, programs
from support.sentinels import GRACE_S, end, outside, seats, sentinel, sentinels

IDLE_S = 6.0


def status(pid: int, field: str) -> str:
    """One field of ``/proc/<pid>/status``."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{field}:"))


def children(pid: int) -> list[int]:
    """A process's children."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_start_puts_a_sentinel_beside_the_worker(tmp_path: Path, places: dict[str, str]) -> None:
    """It is nobody's child, leads its own session, has nothing of the program open and no signal blocked; it leaves."""
    with programs.running("idle", tmp_path, env=places) as program:
        pid = sentinel(program.job_dir)
        assert int(status(pid, "PPid")) not in (program.pid, os.getpid())
        assert (os.getsid(pid), os.getpgid(pid)) == (pid, pid)
        assert int(status(pid, "SigBlk"), 16) == 0
        opened = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)}
        assert opened == {"/dev/null"}
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        end(program.pid)
        program.wait_for_exit()  # only then does the kernel tell others how it ended
        dumps.until(lambda: not proc.threads(pid), "the sentinel left", 30)
        assert seats(program.job_dir) == []
        assert not list(Path(places["OOBDUMP_RUNTIME_DIR"]).glob("*/*.lock"))
        (entry,) = dumps.roster(program.job_dir).values()
        assert entry["ended"]["wait_status"] == signal.SIGKILL
        assert entry["ended"]["by"].startswith("sentinel.")


def test_several_workers_have_one_sentinel(tmp_path: Path, places: dict[str, str]) -> None:
    """Six workers that start at once launch one sentinel between them; all six follow it."""
    code = "import oobdump, time\noobdump.start()\ntime.sleep(3600)"
    environ = programs.environment(tmp_path, "none", bare=False, extra=places)
    workers = [subprocess.Popen([sys.executable, "-c", code], env=environ) for _ in range(6)]
    try:
        job_dir = tmp_path / "dumps" / "job"
        dumps.wait_for_roster(job_dir, [worker.pid for worker in workers], 60)
        pid = sentinel(job_dir)
        time.sleep(1.0)
        assert sentinels(places["OOBDUMP_RUNTIME_DIR"]) == [pid]
        end(pid)
        again = sentinel(job_dir, other_than=pid)
        time.sleep(1.0)
        assert sentinels(places["OOBDUMP_RUNTIME_DIR"]) == [again]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def test_a_worker_that_keeps_the_gil_is_answered_for(tmp_path: Path, places: dict[str, str]) -> None:
    """A dropped file has its answer from outside soon after ``grace``, with the frame in which the worker stands."""
    with programs.running("c_wait_gil_held", tmp_path, env=places) as program:
        sentinel(program.job_dir)
        dumps.drop(program.job_dir, "stacks")
        (dump,) = outside(program.job_dir)
        assert dump.manifest["answered_by"] == "sentinel"
        assert dump.manifest["state"] == "gil-held"
        assert "wait_in_c_with_gil" in set(dumps.words(dump.value("stacks")))
        waited = dump.manifest["committed_at_s"] - dumps.accepted(program.job_dir, dump.request_id)["accepted_at"]
        assert waited < GRACE_S + 20  # of a machine that others load; tools/bench says what it takes


def test_a_bare_signal_under_a_stuck_gil_is_answered_once(tmp_path: Path, places: dict[str, str]) -> None:
    """``kill -USR1`` shows as a pending bit only: the sentinel asks for what the signal asks for, once."""
    env = {**places, "OOBDUMP_SIGNALS": "SIGUSR1=stacks,memory"}
    with programs.running("c_wait_gil_held", tmp_path, env=env) as program:
        sentinel(program.job_dir)
        os.kill(program.pids[0], signal.SIGUSR1)
        (dump,) = outside(program.job_dir)
        accepted = dumps.accepted(program.job_dir, dump.request_id)
        assert accepted["source"]["channel"] == "signal"
        assert [call["name"] for call in accepted["request"]["handlers"]] == ["stacks", "memory"]
        assert accepted["accepted_by"].startswith("sentinel.")
        assert "wait_in_c_with_gil" in set(dumps.words(dump.value("stacks")))
        os.kill(program.pids[0], signal.SIGUSR1)  # the same pending bit: the same episode
        time.sleep(4.0)
        assert dumps.request_ids(program.job_dir) == [dump.request_id]


def test_a_worker_that_answers_is_left_to_itself(tmp_path: Path, places: dict[str, str]) -> None:
    """A healthy worker's answers are its own: no dump from outside, by file or by signal."""
    with programs.running("spinning_python", tmp_path, env={**places, "OOBDUMP_GRACE_S": "10"}) as program:
        sentinel(program.job_dir)
        dumps.ask(program.job_dir)
        os.kill(program.pids[0], signal.SIGUSR1)
        dumps.wait_for_dumps(program.job_dir, 2)
        time.sleep(2.5)
        assert {dump.manifest["answered_by"] for dump in dumps.committed(program.job_dir)} == {"worker"}


def test_a_killed_sentinel_is_replaced_and_the_request_answered(tmp_path: Path, places: dict[str, str]) -> None:
    """``kill -9`` of the sentinel with a request open: the worker that runs starts another, which answers it."""
    with (
        programs.running("idle", tmp_path / "idle", env=places) as idle,
        programs.running("c_wait_gil_held", tmp_path / "held", env={**places, "OOBDUMP_DIR": str(idle.root)}) as held,
    ):
        job_dir = idle.job_dir
        dumps.wait_for_roster(job_dir, [*idle.pids, *held.pids])
        pid = sentinel(job_dir)
        dumps.drop(job_dir, "stacks")
        dumps.until(lambda: dumps.request_ids(job_dir), "the request accepted")
        end(pid)
        (dump,) = outside(job_dir)
        assert str(held.pids[0]) in dump.worker
        again = sentinel(job_dir, other_than=pid)
        assert dump.manifest["evidence"]["reason"]
        assert [seat["pid"] for seat in seats(job_dir)] == [again]


def test_a_worker_killed_while_it_answers_has_an_outcome(tmp_path: Path, places: dict[str, str]) -> None:
    """``kill -9`` after the claim: the dump from outside says how it ended, and does not wait for the deadline."""
    with programs.running("user_handlers", tmp_path, env=places) as program:
        sentinel(program.job_dir)
        dumps.drop_json(program.job_dir, "hangs", handlers=["hangs"], timeout_s=600)
        claim = dumps.until(lambda: list(program.job_dir.glob("dumps/*/*/claim.json")), "the claim")
        assert claim
        end(program.pids[0])
        (dump,) = outside(program.job_dir)
        assert dump.manifest["state"] == "killed"
        assert {part["status"] for part in dump.manifest["parts"]} <= {"refused", "error", "ok"}


def test_worker_and_sentinel_killed_together(tmp_path: Path, places: dict[str, str]) -> None:
    """Both are killed with a request open: a worker that is left has another sentinel, and that one answers."""
    with (
        programs.running("idle", tmp_path / "idle", env=places) as idle,
        programs.running("user_handlers", tmp_path / "victim", env={**places, "OOBDUMP_DIR": str(idle.root)}) as victim,
    ):
        job_dir = idle.job_dir
        dumps.wait_for_roster(job_dir, [*idle.pids, *victim.pids])
        pid = sentinel(job_dir)
        dumps.drop_json(job_dir, "hangs", handlers=["hangs"], timeout_s=600)
        claimed = f"dumps/*/*.{victim.pids[0]}/claim.json"
        dumps.until(lambda: list(job_dir.glob(claimed)), "the claim")
        end(pid)
        end(victim.pids[0])
        (dump,) = outside(job_dir)
        assert str(victim.pids[0]) in dump.worker
        assert dump.manifest["state"] in ("killed", "exited")


def test_the_last_workers_sentinel_leaves_an_outcome(tmp_path: Path, places: dict[str, str]) -> None:
    """The only worker is killed in the middle: its sentinel answers before it leaves."""
    with programs.running("user_handlers", tmp_path, env=places) as program:
        pid = sentinel(program.job_dir)
        dumps.drop_json(program.job_dir, "hangs", handlers=["hangs"], timeout_s=600)
        dumps.until(lambda: list(program.job_dir.glob("dumps/*/*/claim.json")), "the claim")
        end(program.pids[0])
        dumps.until(lambda: not proc.threads(pid), "the sentinel left", 40)
        assert outside(program.job_dir, within_s=0.0)


def test_what_the_program_has_open_is_not_kept_open(tmp_path: Path, places: dict[str, str]) -> None:
    """A pipe that the program's children inherit, its output for one, is not open in the sentinel."""
    code = "import oobdump, sys\noobdump.start()\nsys.stdin.read()"
    environ = programs.environment(tmp_path, "none", bare=False, extra=places)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], env=environ, close_fds=False, **pipes) as program:
        pid = sentinel(tmp_path / "dumps" / "job")
        ours = {os.readlink(f"/proc/{program.pid}/fd/{fd}") for fd in (0, 1, 2)}
        assert all(link.startswith("pipe:") for link in ours)
        for process in (pid, *children(pid)):
            assert not ours & {link(process, fd) for fd in os.listdir(f"/proc/{process}/fd")}
        program.communicate()


def link(pid: int, descriptor: str) -> str:
    """What a descriptor stands for; nothing if it was closed meanwhile."""
    try:
        return os.readlink(f"/proc/{pid}/fd/{descriptor}")
    except FileNotFoundError:
        return ""


def test_a_forked_child_starts_none_and_is_answered_for(tmp_path: Path, places: dict[str, str]) -> None:
    """A forked child is adopted from the roster; it launches nothing, and its sentinel is its parent's."""
    with programs.running("queue_child", tmp_path, env=places) as program:
        entries = dumps.wait_for_roster(program.job_dir, program.pids)
        pid = sentinel(program.job_dir)
        assert sentinels(places["OOBDUMP_RUNTIME_DIR"]) == [pid]
        forked = [entry for entry in entries.values() if entry["pid"] != program.pid]
        assert [entry["channels"]["sentinel"] for entry in forked if "off" in entry["channels"]["sentinel"]]


def test_off_starts_none(tmp_path: Path, places: dict[str, str]) -> None:
    """``OOBDUMP_SENTINEL=off``: no process, and the roster says so."""
    with programs.running("idle", tmp_path, env={**places, "OOBDUMP_SENTINEL": "off"}) as program:
        (entry,) = dumps.wait_for_roster(program.job_dir, program.pids).values()
        assert entry["channels"]["sentinel"] == {"off": "by setting"}
        time.sleep(2.0)
        assert sentinels(places["OOBDUMP_RUNTIME_DIR"]) == []


@pytest.mark.slow
@pytest.mark.serial
def test_idle_it_wakes_up_once_a_second_and_stays_small(tmp_path: Path, places: dict[str, str]) -> None:
    """At most one wake-up a second, its I/O child none where file events arrive; under 25 MB each; the worker: zero."""
    with programs.running("idle", tmp_path, env=places) as program:
        pid = sentinel(program.job_dir)
        dumps.ask(program.job_dir)
        time.sleep(9.0)  # an answer plans a last look five seconds later
        (io_child,) = children(pid)
        watched = [pid, io_child, program.pid]
        before = [switches(each) for each in watched]
        time.sleep(IDLE_S)
        woke = [switches(each) - earlier for each, earlier in zip(watched, before, strict=True)]
        assert woke[0] <= IDLE_S + 1
        assert woke[1:] == [0, 0]
        assert all(int(status(each, "VmRSS").split()[0]) < 25_000 for each in (pid, io_child))


def test_where_no_file_events_arrive_the_sentinel_looks_for_all(tmp_path: Path, places: dict[str, str]) -> None:
    """With polling the worker does not poll while it has a sentinel; dropped files are answered all the same."""
    env = {**places, "OOBDUMP_WATCH": "poll", "OOBDUMP_POLL_S": "0.3"}
    with programs.running("idle", tmp_path, env=env) as program:
        pid = sentinel(program.job_dir)
        time.sleep(5.0)
        before = switches(program.pid)
        time.sleep(2.0)
        assert switches(program.pid) == before
        dumps.ask(program.job_dir)
        end(pid)
        sentinel(program.job_dir, other_than=pid)
        dumps.ask(program.job_dir)


def switches(pid: int) -> int:
    """The voluntary context switches of all threads."""
    texts = [Path(f"/proc/{pid}/task/{tid}/status").read_text() for tid in proc.threads(pid)]
    return sum(int(text.partition("\nvoluntary_ctxt_switches:")[2].split()[0]) for text in texts)
