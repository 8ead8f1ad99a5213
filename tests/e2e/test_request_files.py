"""The request file channel on real processes: what happens to the directory, and who is asked."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from support import dumps, programs

MORE_THAN_THE_EVENT_QUEUE = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text()) + 1000


@pytest.mark.parametrize("what", ["requests", "."], ids=["the inbox", "the job directory"])
def test_a_directory_that_was_deleted_and_made_again_is_watched(what: str, tmp_path: Path) -> None:
    """Somebody removes the inbox, or everything: files dropped into the new one are answered."""
    with programs.running("lock", tmp_path) as program:
        dumps.wait_for_roster(program.job_dir, program.pids)
        shutil.rmtree(program.job_dir / what, ignore_errors=True)  # the worker makes it again meanwhile
        dumps.until((program.job_dir / "requests").is_dir, "the inbox is back")
        dumps.wait_for_roster(program.job_dir, program.pids)
        for _ in range(2):
            dumps.ask(program.job_dir)


def test_a_directory_that_was_moved_away_is_made_again(tmp_path: Path) -> None:
    """An inbox that was renamed is not the inbox: the one at its place is."""
    with programs.running("lock", tmp_path) as program:
        dumps.wait_for_roster(program.job_dir, program.pids)
        (program.job_dir / "requests").rename(program.job_dir / "elsewhere")
        dumps.until((program.job_dir / "requests").is_dir, "the inbox is back")
        dumps.ask(program.job_dir)


def test_without_inotify_it_polls_and_says_so(tmp_path: Path) -> None:
    """With the user's inotify instances used up, dropped files are still answered; the roster says how."""
    with programs.running("no_inotify", tmp_path, env={"OOBDUMP_POLL_S": "0.2"}) as program:
        entry = next(iter(dumps.wait_for_roster(program.job_dir, program.pids).values()))
        channel = entry["channels"]["request_file"]
        assert (channel["events"], channel["poll_s"]) == (False, 0.2)
        assert "Too many open files" in channel["why"]
        for _ in range(2):
            dumps.ask(program.job_dir)


def test_polling_can_be_forced(tmp_path: Path) -> None:
    """``OOBDUMP_WATCH=poll``: no events are asked for."""
    with programs.running("lock", tmp_path, env={"OOBDUMP_WATCH": "poll", "OOBDUMP_POLL_S": "0.1"}) as program:
        entry = next(iter(dumps.wait_for_roster(program.job_dir, program.pids).values()))
        assert entry["channels"]["request_file"] == {"events": False, "poll_s": 0.1}
        dumps.ask(program.job_dir)


def test_an_overflown_event_queue_loses_nothing(tmp_path: Path) -> None:
    """More events than the kernel keeps, while the worker is stopped: the one file that matters is found."""
    with programs.running("lock", tmp_path) as program:
        dumps.wait_for_roster(program.job_dir, program.pids)
        os.kill(program.pids[0], signal.SIGSTOP)
        noise = program.job_dir / "requests" / ".noise.tmp"
        for _ in range(MORE_THAN_THE_EVENT_QUEUE // 2):
            noise.touch()
            noise.unlink()
        dumps.drop(program.job_dir, "stacks")
        os.kill(program.pids[0], signal.SIGCONT)
        dumps.wait_for_dumps(program.job_dir)


def test_hundreds_of_files_at_once_are_each_answered(tmp_path: Path) -> None:
    """The disk is the queue: a burst is answered file by file, none refused."""
    count = 300
    with programs.running("lock", tmp_path, env={"OOBDUMP_KEEP": "0"}) as program:
        dumps.wait_for_roster(program.job_dir, program.pids)
        for nth in range(count):
            dumps.drop_json(program.job_dir, f"r{nth}", handlers="ping")
        found = dumps.wait_for_dumps(program.job_dir, count, within_s=60)
        assert {dump.manifest["status"] for dump in found} == {"ok"}
        assert len(found) == count


def test_a_request_that_expired_is_refused_not_answered(tmp_path: Path) -> None:
    """A worker that was stopped past a request's expiry says so instead of telling old news."""
    with programs.running("lock", tmp_path) as program:
        dumps.wait_for_roster(program.job_dir, program.pids)
        os.kill(program.pids[0], signal.SIGSTOP)
        client = subprocess.Popen(
            [
                *programs.OOBDUMP,
                "request",
                "ping",
                "--dir",
                program.root,
                "--expires",
                "0.2",
                "--timeout",
                "1",
                "--json",
            ],
            stdout=subprocess.PIPE,
            env=programs.client_environment(),
        )
        request_id = dumps.until(lambda: dumps.request_ids(program.job_dir), "accepted by the client")[0]
        accepted = dumps.accepted(program.job_dir, request_id)
        dumps.until(lambda: time.time() > accepted["accepted_at"] + 0.3, "expired")
        outcome = json.loads(client.communicate(timeout=60)[0])["outcomes"][0]
        assert (outcome["status"], outcome["state"]) == ("refused", "stopped")
        assert outcome["answered_by"] in ("sentinel", "client")
        os.kill(program.pids[0], signal.SIGCONT)
        dump = next(
            found for found in dumps.wait_for_dumps(program.job_dir, 2) if not found.worker.endswith(".outside")
        )
        assert [(part["status"], part["code"]) for part in dump.manifest["parts"]] == [("refused", 410)]


def test_a_forked_child_answers_for_itself_as_a_child(tmp_path: Path) -> None:
    """Parent and child carry RANK=0: the parent is the rank; `all` asks it alone, `child` asks the child alone."""
    with programs.running("queue_child", tmp_path, env={"RANK": "0"}) as program:
        entries = dumps.wait_for_roster(program.job_dir, program.pids)
        by_role = {entry["role"]: entry for entry in entries.values()}
        assert by_role.keys() == {"rank", "child"}
        assert by_role["rank"]["pid"] == program.pid
        for target, role in (("all", "rank"), ("child", "child")):
            dumps.drop_json(program.job_dir, target, handlers="stacks", targets=target)
            request_id = dumps.until(lambda: dumps.request_ids(program.job_dir), "accepted")[-1]
            asked = dumps.accepted(program.job_dir, request_id)["asked"]
            assert asked == [by_role[role]["worker"]]
            dump = dumps.wait_for_dumps(program.job_dir, 1, request_id)[0]
            assert (dump.pid, dump.value("stacks")["pid"]) == (by_role[role]["pid"], by_role[role]["pid"])
            shutil.rmtree(program.job_dir / "dumps" / request_id)


def test_a_signal_at_a_forked_child_rings_only_the_child(tmp_path: Path) -> None:
    """The child's signal is answered by the child; the parent's bell stays silent."""
    with programs.running("queue_child", tmp_path, env={"RANK": "0"}) as program:
        dumps.wait_for_roster(program.job_dir, program.pids)
        child = next(pid for pid in program.pids if pid != program.pid)
        os.kill(child, signal.SIGUSR1)
        assert [dump.pid for dump in dumps.wait_for_dumps(program.job_dir)] == [child]
        dumps.drop_json(program.job_dir, "after", handlers="ping", targets="rank")
        dumps.wait_for_dumps(program.job_dir, 2)
        assert len(dumps.request_ids(program.job_dir)) == 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "tmpfs", disk], check=False)
    if mounted.returncode:
        pytest.skip("a small tmpfs cannot be mounted here: it needs root and CAP_SYS_ADMIN")
    return disk


def test_a_full_disk_sends_the_dump_to_the_fallback_and_later_home(small_disk: Path, tmp_path: Path) -> None:
    """No byte is left under the root: the dump is committed beside it, and is home once there is room."""
    away = tmp_path / "away"
    env = {"OOBDUMP_DIR": str(small_disk), "OOBDUMP_FALLBACK_DIR": str(away)}
    job = small_disk / "job"
    ballast = small_disk / "ballast"
    try:
        with programs.running("lock", tmp_path / "program", env=env) as program:
            dumps.wait_for_roster(job, program.pids)
            with ballast.open("wb", buffering=0) as file:
                try:
                    while file.write(b"x" * 1024):
                        pass
                except OSError:
                    pass
            os.kill(program.pids[0], signal.SIGUSR1)
            dump = dumps.wait_for_dumps(away / "job")[0]
            assert dump.manifest["evidence"]["not_in"][0]["root"] == str(small_disk)
            assert "No space left" in dump.manifest["evidence"]["not_in"][0]["why"]
            assert not dumps.committed(job)
            ballast.unlink()
            home = dumps.wait_for_dumps(job, within_s=60)[0]
            assert home.manifest == dump.manifest
            assert home.value("stacks")["pid"] == program.pid
            dumps.until(lambda: not dumps.committed(away / "job"), "the copy is gone")
    finally:
        subprocess.run(["umount", "-l", small_disk], check=True)
