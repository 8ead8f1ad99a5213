"""Neighbours of the standard library: what they observe of their own signals is the same with and without us."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from support import dumps
from support.neighbours import ARMED, Neighbour, observed, running

TWICE = [signal.SIGUSR1, signal.SIGUSR1]


@pytest.mark.parametrize("wait", ["sleep", "lock", "read", "select"])
def test_a_handler_runs_at_once_whatever_the_main_thread_waits_in(wait: str, tmp_path: Path) -> None:
    """A handler from before or after ``start()`` interrupts the main thread's wait, as it does without us."""
    alone = observed("plain_handler", tmp_path, "", TWICE, env={"WAIT": wait})
    assert alone == ["SIGUSR1 MainThread"] * 2
    for arm in ARMED:
        assert observed("plain_handler", tmp_path, arm, TWICE, env={"WAIT": wait}) == alone


def test_a_signal_from_before_is_left_alone_and_that_is_said(tmp_path: Path) -> None:
    """One warning, and a line in the roster with the owner's name and what to do; the signal is not listed as ours."""
    with running("plain_handler", tmp_path, "last", env={"WAIT": "sleep"}) as neighbour:
        (problem,) = neighbour.entry["problems"]
        assert problem == (
            "SIGUSR1 is left to _neighbour.note_signal, which had it first: give oobdump another signal "
            "(OOBDUMP_SIGNALS='SIGUSR2=stacks,process'), or ask by file, or set OOBDUMP_SHARE_SIGNALS=1 to have both"
        )
        assert neighbour.warnings == f"oobdump: {problem}\n"
        assert neighbour.entry["channels"]["signal"] == {"off": problem}


def test_a_signal_that_was_taken_over_is_said_to_be(tmp_path: Path) -> None:
    """The roster names the new owner, and the signal is ours no more."""
    with running("plain_handler", tmp_path, "first", env={"WAIT": "sleep"}) as neighbour:
        dumps.until(lambda: neighbour.entry["problems"], "a problem in the roster")
        (problem,) = neighbour.entry["problems"]
        assert problem.startswith("SIGUSR1 was taken over by _neighbour.note_signal: it is theirs")
        assert neighbour.entry["channels"]["signal"] == {"off": problem}
        assert not neighbour.warnings


def test_shared_signals_serve_both(tmp_path: Path) -> None:
    """With ``OOBDUMP_SHARE_SIGNALS`` the handler from before runs at once, and the signal asks for a dump as well."""
    env = {"WAIT": "read", "OOBDUMP_SHARE_SIGNALS": "1"}
    with running("plain_handler", tmp_path, "last", env=env) as neighbour:
        neighbour.answers_by_signal(signal.SIGUSR1)
        assert neighbour.wait_for_notes(1) == ["SIGUSR1 MainThread"]
        assert not neighbour.warnings


def test_another_signal_is_ours_beside_a_handler(tmp_path: Path) -> None:
    """The neighbour's signal stays the neighbour's, and the one that was configured instead is answered."""
    env = {"WAIT": "lock", "OOBDUMP_SIGNALS": "SIGUSR2=ping"}
    for arm in ARMED:
        with running("plain_handler", tmp_path / arm, arm, env=env) as neighbour:
            assert neighbour.send(TWICE) == ["SIGUSR1 MainThread"] * 2
            neighbour.answers_by_signal(signal.SIGUSR2)
            assert neighbour.notes == ["SIGUSR1 MainThread"] * 2


def tracebacks(text: str) -> list[list[str]]:
    """The functions of each traceback, and whose it is; addresses left out."""
    blocks = re.split(r"(?=^(?:Current thread|Thread|Stack) )", text, flags=re.MULTILINE)
    frames = [re.findall(r'^  File ".*", line \d+ in (\S+)', block, flags=re.MULTILINE) for block in blocks]
    return [
        [block.split(" 0x")[0].split(" (")[0], *names] for block, names in zip(blocks, frames, strict=True) if names
    ]


@pytest.mark.parametrize("wait", ["sleep", "lock"])
def test_faulthandler_shows_the_main_thread(wait: str, tmp_path: Path) -> None:
    """``faulthandler.register`` by the user: the traceback is the main thread's, though that waits for ever."""
    found = {}
    for arm in ("", *ARMED):
        with running("fault_handler", tmp_path / (arm or "alone"), arm, env={"WAIT": wait}) as neighbour:
            for count in (1, 2):
                os.kill(neighbour.pid, signal.SIGUSR1)
                dumps.until(lambda n=count: len(tracebacks(read(neighbour))) >= n, f"{count} tracebacks")
            found[arm] = tracebacks(read(neighbour))
            if arm:
                assert neighbour.answers_by_file() == ["request_file"]
    assert len(found[""]) == 2
    assert found[""][0][1:2] == [{"sleep": "wait_in_sleep", "lock": "wait_for_lock"}[wait]]
    assert found["first"] == found["last"] == found[""]


def read(neighbour: Neighbour) -> str:
    """What faulthandler wrote."""
    return neighbour.notes_file.read_text()


def test_faulthandler_tells_of_a_crash(tmp_path: Path) -> None:
    """``faulthandler.enable`` by the user: the last words are in the user's file, the end is the signal's."""
    found = {}
    for arm in ("", *ARMED):
        with running("fault_enabled", tmp_path / (arm or "alone"), arm) as neighbour:
            if arm:
                assert neighbour.answers_by_file() == ["request_file"]
            neighbour.running.release()
            code = neighbour.running.wait_for_exit()
            found[arm] = (code, read(neighbour).splitlines()[0], tracebacks(read(neighbour)))
    assert found[""][:2] == (-signal.SIGSEGV, "Fatal Python error: Segmentation fault")
    assert found["first"] == found["last"] == found[""]


def test_sigwait_in_a_thread_of_the_program_gets_every_signal(tmp_path: Path) -> None:
    """A signal that the program blocked before ``start()``, to wait for it itself, is left to it."""
    alone = observed("sigwait_thread", tmp_path, "", TWICE * 3)
    assert observed("sigwait_thread", tmp_path, "last", TWICE * 3) == alone == ["SIGUSR1 sigwait"] * 6


def test_a_handler_waits_for_the_end_of_a_section_that_blocks_its_signal(tmp_path: Path) -> None:
    """``pthread_sigmask`` by the user: the handler runs after the section, never in it."""
    one = ["end of section {}", "SIGUSR1 MainThread"]
    expected = [line.format(number) for number in range(3) for line in one]
    for arm in ("", *ARMED):
        with running("critical_section", tmp_path / (arm or "alone"), arm) as neighbour:
            assert neighbour.wait_for_notes(6) == expected
            if arm:
                assert neighbour.answers_by_file() == ["request_file"]
