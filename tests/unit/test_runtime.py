"""The node-local directory of bells and sockets keeps nothing of the dead, and all of the living."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from oobdump.channels.runtime import left_by_the_dead, open_bell, sweep
from oobdump.identity import Identity

GONE = 2**22 - 1
"""No process: above the largest pid that a kernel gives by default."""


def test_what_dead_workers_left_is_removed(tmp_path: Path) -> None:
    """FIFO, socket and PyTorch's socket of a killed worker go when somebody sweeps; a living one's stay."""
    here = Identity.here({}, job="job")
    alive = os.getppid()
    directory = tmp_path / "run" / "job"
    directory.mkdir(parents=True, mode=0o700)
    left = [
        f"proc.{here.host}.{GONE}.fifo",
        f"rank00003.{here.host}.{GONE}.sock",
        f"torch.proc.{here.host}.{GONE}.sock",
    ]
    kept = [f"proc.{here.host}.{alive}.sock", f"proc.elsewhere.{GONE}.sock", "notes.txt"]
    for name in (*left, *kept):
        (directory / name).touch()
    (tmp_path / "run").chmod(0o700)
    bell, problems = open_bell(str(tmp_path / "run"), replace(here, job="job"), lambda _byte: None)
    try:
        assert problems == []
        dead = left_by_the_dead(str(directory), here)
        sweep(path for paths in dead.values() for path in paths)
        assert {*dead} == {f"proc.{here.host}.{GONE}", f"rank00003.{here.host}.{GONE}"}
        assert {path.name for path in directory.iterdir()} == {*kept, f"{here.worker}.fifo"}
    finally:
        bell.forget()


def test_a_bell_that_is_heard_is_not_swept(tmp_path: Path) -> None:
    """A worker of another pid namespace has no process here; its bell says that it lives."""
    here = Identity.here({}, job="job")
    directory = tmp_path / "run" / "job"
    directory.mkdir(parents=True, mode=0o700)
    os.mkfifo(directory / f"proc.{here.host}.{GONE}.fifo", 0o600)
    (directory / f"proc.{here.host}.{GONE}.sock").touch()
    there = {path.name for path in directory.iterdir()}
    listening = os.open(directory / f"proc.{here.host}.{GONE}.fifo", os.O_RDWR | os.O_NONBLOCK)
    assert left_by_the_dead(str(directory), here) == {}
    assert {path.name for path in directory.iterdir()} == there
    os.close(listening)
    dead = left_by_the_dead(str(directory), here)
    assert {*dead} == {f"proc.{here.host}.{GONE}"}
    sweep(path for paths in dead.values() for path in paths)
    assert list(directory.iterdir()) == []
