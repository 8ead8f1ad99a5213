"""Event loops take signals through the wake-up descriptor: theirs arrive as without us, and ours are answered."""

from __future__ import annotations

import importlib.util
import signal
from pathlib import Path

import pytest

from support.neighbours import ARMED, observed, running

THREE = [signal.SIGUSR1] * 3


def loop(name: str) -> object:
    """A loop, skipped where its package is not installed."""
    missing = importlib.util.find_spec(name) is None
    return pytest.param(name, marks=pytest.mark.skipif(missing, reason=f"{name} is not installed for this Python"))


LOOPS = [loop("asyncio"), loop("uvloop"), loop("trio")]


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_gets_its_signals(name: str, tmp_path: Path) -> None:
    """The request signal's number is the loop's own: it gets each one, and we ask for nothing."""
    env = {"LOOP": name, "THEIRS": "SIGUSR1"}
    alone = observed("loop_handler", tmp_path, "", THREE, env=env)
    assert alone == ["SIGUSR1 MainThread"] * 3
    for arm in ARMED:
        assert observed("loop_handler", tmp_path, arm, THREE, env=env) == alone


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_and_we_each_get_our_own(name: str, tmp_path: Path) -> None:
    """Another signal is the loop's: it gets each, whoever has the wake-up descriptor, and ours are dumps."""
    env = {"LOOP": name, "THEIRS": "SIGUSR2"}
    for arm in ARMED:
        with running("loop_handler", tmp_path / arm, arm, env=env) as neighbour:
            for count in (1, 2):
                neighbour.answers_by_signal(signal.SIGUSR1)
                assert neighbour.send([signal.SIGUSR2]) == ["SIGUSR2 MainThread"] * count
            assert neighbour.answers_by_file() == ["signal", "signal", "request_file"]
