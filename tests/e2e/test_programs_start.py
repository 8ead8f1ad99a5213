"""The programs that other tests hang on hang where they say, seen from outside and without oobdump.

A test that finds the frame of a program in a dump proves nothing if the program was
elsewhere. Here each one runs bare; the kernel (``/proc``) says how its main thread waits,
and ``py-spy``, where there is one, which function it is in.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from support import proc, programs
from support.dumps import until
from support.pyspy import PY_SPY, functions

needs_py_spy = pytest.mark.skipif(PY_SPY is None, reason="py-spy is not installed")

EVERY = [
    pytest.param(name, marks=[pytest.mark.torch, pytest.mark.slow] if program.ranks or program.torch else [])
    for name, program in programs.PROGRAMS.items()
]


@pytest.mark.parametrize("name", EVERY)
def test_program_reaches_its_hang(name: str, tmp_path: Path) -> None:
    """Every program becomes ready, waits as its table row says, and leaves no process behind."""
    program = programs.PROGRAMS[name]
    with programs.running(name, tmp_path / name, bare=True) as running:
        assert len(running.pids) == program.announcements
        assert all(proc.settled(pid, program.wait) for pid in running.pids)
        assert sorted(running.ranks) == [*range(program.ranks)]
        assert {running.pid, *running.pids} <= {*running.processes()}
    assert running.processes() == []


@needs_py_spy
@pytest.mark.parametrize("name", EVERY)
def test_program_is_in_its_frame(name: str, tmp_path: Path) -> None:
    """Every main thread is in the promised function, and so is some thread for each further one."""
    program = programs.PROGRAMS[name]
    with programs.running(name, tmp_path / name, bare=True) as running:
        for pid in running.pids:
            until(lambda pid=pid: program.frame in functions(pid, main_only=True), f"{program.frame} in {pid}")
        seen = set().union(*(functions(pid) for pid in running.pids))
        assert {*program.frames} <= seen


def test_every_program_is_in_the_table() -> None:
    """No program is left out of these tests."""
    files = {path.stem for path in programs.PROGRAMS_DIR.glob("[!_]*.py")}
    assert files == {*programs.PROGRAMS}


def test_d_state_ends_when_released(tmp_path: Path) -> None:
    """Opening the FIFO lets the child go, and the program ends well with its child collected."""
    with programs.running("d_state", tmp_path / "p", bare=True) as running:
        running.release()
        assert running.wait_for_exit() == 0
        assert running.processes() == []


@pytest.mark.parametrize("how", ["SIGTERM", "release"])
def test_busy_threads_end_correct(how: str, tmp_path: Path) -> None:
    """The load ends on request, has worked in each of its threads, and says that all was right."""
    with programs.running("busy_threads", tmp_path / "p", bare=True) as running:
        if how == "release":
            running.release()
        else:
            os.kill(running.pid, signal.SIGTERM)
        assert running.wait_for_exit() == 0
        assert running.stdout.startswith("correct {")
        assert not running.stderr


def test_busy_threads_notice_a_wrong_result(tmp_path: Path) -> None:
    """A thread that computes nonsense makes the program say so and fail: ``correct`` means something."""
    with programs.running("busy_threads", tmp_path / "p", bare=True, env={"SPOIL": "1"}) as running:
        running.release()
        assert running.wait_for_exit() == 1
        assert running.stdout.startswith("wrong ['exec")


@needs_py_spy
@pytest.mark.parametrize("name", [name for name, program in programs.PROGRAMS.items() if program.trap])
def test_trap_is_set(name: str, tmp_path: Path) -> None:
    """A thread that logs, imports, prints, enumerates or allocates in the hung program hangs too, and stays."""
    program = programs.PROGRAMS[name]
    with programs.running(name, tmp_path / "p", bare=True) as running:
        assert program.trap not in functions(running.pid)
        running.release()
        until(lambda: program.trap in functions(running.pid), f"{program.trap} on some stack")
        until(lambda: all(proc.settled(running.pid, "any", tid) for tid in proc.threads(running.pid)), "all waiting")
        assert program.trap in functions(running.pid)
        assert program.trap not in functions(running.pid, main_only=True)


def test_asyncio_runs_its_own_signal_handler(tmp_path: Path) -> None:
    """The loop of ``asyncio_owns_signal`` handles SIGUSR1 itself, and notes that in a file."""
    with programs.running("asyncio_owns_signal", tmp_path / "p", bare=True) as running:
        os.kill(running.pid, signal.SIGUSR1)
        until(running.handler_file.exists, "the handler's file")
        until(lambda: running.handler_file.read_text() == "handled\n", "the handler's line")


def test_asyncio_loop_can_be_blocked(tmp_path: Path) -> None:
    """With ``BLOCK_LOOP=1`` the same program waits in C and its handler does not run."""
    with programs.running(
        "asyncio_owns_signal", tmp_path / "p", bare=True, env={"BLOCK_LOOP": "1"}, wait="lock"
    ) as running:
        os.kill(running.pid, signal.SIGUSR1)
        until(lambda: proc.settled(running.pid, "lock"), "still waiting")
        assert not running.handler_file.exists()


@pytest.mark.torch
@pytest.mark.slow
@needs_py_spy
def test_odd_rank_is_the_one_asked_for(tmp_path: Path) -> None:
    """Of four ranks, the one in ``ODD_RANK`` stays outside and the others are in the collective."""
    with programs.running("gloo_all_reduce", tmp_path / "p", bare=True, env={"ODD_RANK": "2"}, ranks=4) as running:
        stacks = {rank: functions(pid, main_only=True) for rank, pid in running.ranks.items()}
        assert [rank for rank in sorted(stacks) if "enter_all_reduce" in stacks[rank]] == [0, 1, 3]
        assert "stay_outside" in stacks[2]


def test_program_that_dies_is_reported_with_its_stderr(tmp_path: Path) -> None:
    """A program that cannot start fails the test at once, with the reason."""
    broken = {"RELEASE_FIFO": str(tmp_path / "missing" / "fifo")}
    with (
        pytest.raises(programs.ProgramError, match="No such file or directory"),
        programs.running("d_state", tmp_path / "p", bare=True, env=broken),
    ):
        pass


def test_program_that_never_hangs_is_reported(tmp_path: Path) -> None:
    """A program that waits otherwise than promised is an error with its real whereabouts, and is cleaned up."""
    with (
        pytest.raises(programs.ProgramError, match="announced its hang, but pid"),
        programs.running("blocking_read", tmp_path / "p", bare=True, wait="lock", ready_within_s=5),
    ):
        pass
