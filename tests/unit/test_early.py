"""The first instruction: which signals it makes safe, what it gives back, and that it loads nothing."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oobdump import early
from oobdump.config import read_signals, signal_number
from support.programs import SOURCES


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        (None, [signal.SIGUSR1]),
        ("", []),
        ("off", []),
        ("usr2", [signal.SIGUSR2]),
        ("SIGUSR1=stacks,process;SIGRTMIN+3=memory", [signal.SIGUSR1, signal.SIGRTMIN + 3]),
        (" SIGUSR1 = stacks ", [signal.SIGUSR1]),
        ("SIGKILL;SIGCHLD;SIGIOT;SIGSEGV=stacks", []),
        ("SIGNONE=stacks;SIGUSR1+x;RTMIN+;_DFL;DFL", []),
        ("SIGRTMIN+²=stacks;SIGRTMIN+-1=stacks", []),
    ],
)
def test_the_signals_of_a_setting(text: str | None, numbers: list[int]) -> None:
    """Known names count, nonsense and what cannot be taken does not."""
    assert early.numbers(text) == numbers


@given(st.lists(st.sampled_from(["SIGUSR1", "usr2", "SIGRTMIN+2", "SIGHUP"]), min_size=1, unique=True))
def test_both_readings_of_a_setting_agree(names: list[str]) -> None:
    """What the first instruction makes safe is what ``start()`` will take."""
    text = ";".join(f"{name}=ping" for name in names)
    assert early.numbers(text) == [signal_number(name) for name in read_signals(text)]


@given(st.text(alphabet="SIGUR1234567890+=;, ²\0é", max_size=30))
def test_no_text_raises(text: str) -> None:
    """A setting that makes no sense is refused later, with advice, and never here."""
    for number in early.numbers(text):
        assert number in signal.valid_signals() or number > 1


def run(code: str, **env: str) -> str:
    """A fresh interpreter's answer."""
    words = [sys.executable, "-c", code]
    return subprocess.run(
        words, env={"PYTHONPATH": str(SOURCES), **env}, check=True, capture_output=True, text=True
    ).stdout


def test_guard_and_undo() -> None:
    """Only what would end the process is ignored, and it is given back; a handler of somebody's stays."""
    code = """
import signal
from oobdump import early
mine = lambda *_: None
signal.signal(signal.SIGUSR2, mine)
early.guard()
print(signal.getsignal(signal.SIGUSR1).name, signal.getsignal(signal.SIGUSR2) is mine)
early.undo()
print(signal.getsignal(signal.SIGUSR1).name, signal.getsignal(signal.SIGUSR2) is mine)
"""
    assert run(code, OOBDUMP_SIGNALS="SIGUSR1;SIGUSR2;SIGRTMIN+99") == "SIG_IGN True\nSIG_DFL True\n"


def test_the_first_instruction_needs_nothing() -> None:
    """Up to there nothing is loaded that takes time: not ``signal``, ``enum``, ``re``, ``typing`` or click."""
    code = """
import sys
before = set(sys.modules)
sys.argv = ["oobdump", "run"]
from oobdump import __main__, early
early.guard()
print(sorted(name for name in set(sys.modules) - before if not name.startswith("oobdump")))
"""
    assert run(code) == "['__future__']\n"


def test_off_the_main_thread_it_says_so_and_does_nothing() -> None:
    """Only the main thread of the main interpreter may say what a signal does."""
    code = """
import signal, threading
from oobdump import early
said = []
thread = threading.Thread(target=lambda: (early.guard(), said.append(early.in_main_interpreter())))
thread.start(); thread.join()
print(said, early.in_main_interpreter(), signal.getsignal(signal.SIGUSR1).name, early.found)
"""
    assert run(code) == "[False] True SIG_DFL {}\n"
