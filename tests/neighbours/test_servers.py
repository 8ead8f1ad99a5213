"""Servers, schedulers' helpers and notebooks: what they do on their own signals is the same with and without us."""

from __future__ import annotations

import importlib.util
import os
import signal
from pathlib import Path

import pytest

from support.neighbours import ARMED, running


def needs(package: str) -> pytest.MarkDecorator:
    """Skips where a package is not installed."""
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed for this Python")


@needs("gunicorn")
def test_gunicorn_opens_its_logs_anew(tmp_path: Path) -> None:
    """SIGUSR1 to the master reopens the files in master and worker, each time, whoever of them is armed."""
    found = {}
    for arm in ("", *ARMED):
        with running("gunicorn_server", tmp_path / (arm or "alone"), arm) as server:
            log = server.notes_file.with_name("error.log")
            for count in (2, 4):
                log.rename(log.with_suffix(f".{count}"))
                os.kill(server.running.pid, signal.SIGUSR1)
                found[arm] = sorted(server.wait_for_notes(count))
            if arm:
                assert set(server.answers_by_file()) == {"request_file"}
    assert found[""] == ["reopened master True"] * 2 + ["reopened worker True"] * 2
    assert found["first"] == found["last"] == found[""]


@needs("submitit")
@pytest.mark.slow
def test_submitit_is_preempted_and_resumed(tmp_path: Path) -> None:
    """Its signal makes a checkpoint in the midst of a sleep, ends the task and has it run again, though we want it."""
    found = {}
    for arm in ("", *ARMED):
        env = {"OOBDUMP_SIGNALS": "SIGUSR2=ping"}
        with running("submitit_job", tmp_path / (arm or "alone"), arm, env=env) as job:
            if arm:
                assert job.answers_by_file() == ["request_file"]
            os.kill(job.pid, signal.SIGUSR2)
            found[arm] = job.wait_for_notes(3)
            assert job.channels() == ["request_file"] * bool(arm)
    assert found[""] == ["checkpoint 0", "resumed 1", "result 1"]
    assert found["first"] == found["last"] == found[""]


@needs("ipykernel")
@pytest.mark.slow
def test_a_cell_of_a_notebook_is_interrupted(tmp_path: Path) -> None:
    """The interrupt button ends the cell and not the kernel; while a cell sleeps, our signal is answered."""
    found = {}
    for arm in ("", "first"):
        with running("jupyter_kernel", tmp_path / (arm or "alone"), arm) as kernel:
            for count in (1, 2):
                if arm:
                    kernel.answers_by_signal(signal.SIGUSR1)
                kernel.wait_for_notes(2 * count - 1)
                found[arm] = kernel.interrupt()
            if arm:
                assert kernel.answers_by_file() == ["signal", "signal", "request_file"]
    assert found[""][:4] == ["cell begins", "KeyboardInterrupt ok"] * 2
    assert found["first"][:4] == found[""][:4]
