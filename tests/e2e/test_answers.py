"""A hung worker answers, whatever it hangs in and however it is asked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support import dumps, programs
from support.programs import SOURCES, Running

IN_C = ["c_wait_gil_released", "d_state"]
IN_PYTHON = ["lock", "blocking_read", "spinning_python", "asyncio_owns_wakeup_fd"]
HOLDING = ["logging_lock", "import_lock", "import_unfinished", "stdout_full", "del_wants_lock", "enumerate_lock"]


def touch(program: Running) -> dumps.Dump:
    """`touch requests/stacks`."""
    return dumps.ask(program.job_dir, count=len(program.pids))[0]


def request(program: Running) -> dumps.Dump:
    """`oobdump request stacks`."""
    command = [sys.executable, "-m", "oobdump", "request", "stacks", "--dir", program.root, "--json"]
    environ = {**os.environ, "PYTHONPATH": str(SOURCES)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert [outcome["status"] for outcome in answer["outcomes"]] == ["ok"] * len(program.pids)
    return dumps.committed(program.job_dir, answer["request_id"])[0]


def kill(program: Running) -> dumps.Dump:
    """`kill -USR1 PID`."""
    before = len(dumps.committed(program.job_dir))
    os.kill(program.pids[0], signal.SIGUSR1)
    return dumps.wait_for_dumps(program.job_dir, before + 1)[-1]


WAYS = [touch, request, kill]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", [*IN_PYTHON, *IN_C, *HOLDING])
def test_each_way_of_asking_is_answered(name: str, way: Callable[[Running], dumps.Dump], tmp_path: Path) -> None:
    """A worker in this state answers this way of asking, with the frame it hangs in."""
    with programs.running(name, tmp_path) as program:
        dumps.wait_for_roster(program.job_dir, program.pids)
        dump = way(program)
        assert dump.record("stacks")["status"] == "ok"
        main = next(thread for thread in dump.value("stacks")["threads"] if thread["main"])
        assert program.program.frame in {frame["function"].rpartition(".")[2] for frame in main["frames"]}
        assert program.popen.poll() is None, "asking ended the program"


@pytest.mark.parametrize("way", [touch, request])
def test_a_program_whose_loop_took_the_signal_over_answers_files(
    way: Callable[[Running], dumps.Dump], tmp_path: Path
) -> None:
    """asyncio's ``add_signal_handler(SIGUSR1)`` after ``start()``: files are answered as ever."""
    with programs.running("asyncio_owns_signal", tmp_path) as program:
        dumps.wait_for_roster(program.job_dir, program.pids)
        assert way(program).record("stacks")["status"] == "ok"


def test_a_signal_that_was_taken_over_is_forwarded(tmp_path: Path) -> None:
    """asyncio's own handler runs, once for a signal, and no dump is made of what is not for us."""
    with programs.running("asyncio_owns_signal", tmp_path) as program:
        dumps.wait_for_roster(program.job_dir, program.pids)
        os.kill(program.pids[0], signal.SIGUSR1)
        dumps.until(lambda: program.handler_file.exists() and program.handler_file.read_text(), "asyncio's handler ran")
        dumps.ask(program.job_dir, "ping")
        assert len(dumps.request_ids(program.job_dir)) == 1, "only the file was answered"


@pytest.mark.parametrize("form", ["json", "msgpack", "pickle"])
def test_the_signal_writes_each_format(form: str, tmp_path: Path) -> None:
    """``OOBDUMP_FORMAT`` sets what a signal's dump is written as, and each is read back."""
    from oobdump import codecs

    with programs.running("lock", tmp_path, env={"OOBDUMP_FORMAT": form}) as program:
        dumps.wait_for_roster(program.job_dir, program.pids)
        dump = kill(program)
        record = dump.record("stacks")
        codec = codecs.get(form)
        assert (record["media_type"], record["path"]) == (codec.media_type, f"stacks.{codec.suffix}")
        assert "wait_for_lock" in set(dumps.words(codec.decode(dump.content("stacks"))))


@pytest.mark.parametrize("name", ["SIGUSR2", "SIGRTMIN+3"])
def test_any_signal_can_be_the_request_signal(name: str, tmp_path: Path) -> None:
    """The signal and its handlers are set by ``OOBDUMP_SIGNALS``; real-time ones too."""
    signum = signal.SIGUSR2 if name == "SIGUSR2" else signal.SIGRTMIN + 3
    with programs.running("lock", tmp_path, env={"OOBDUMP_SIGNALS": f"{name}=ping"}) as program:
        dumps.wait_for_roster(program.job_dir, program.pids)
        os.kill(program.pids[0], signum)
        dump = dumps.wait_for_dumps(program.job_dir)[0]
        assert [part["handler"] for part in dump.manifest["parts"]] == ["ping"]


@pytest.mark.torch
@pytest.mark.parametrize("way", WAYS)
def test_a_rank_hung_in_a_real_collective_answers(way: Callable[[Running], dumps.Dump], tmp_path: Path) -> None:
    """Under torchrun, one rank waits in Gloo's ``all_reduce`` for another that never enters it."""
    with programs.running("gloo_all_reduce", tmp_path, env={"ODD_RANK": "1"}) as program:
        dumps.wait_for_roster(program.job_dir, program.pids)
        program.pids.sort(key=lambda pid: {pid: rank for rank, pid in program.ranks.items()}[pid])
        dump = way(program)
        assert dump.record("stacks")["status"] == "ok"
        assert "enter_all_reduce" in set(dumps.words(dump.value("stacks")))
