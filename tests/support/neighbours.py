"""Run a program of ``tests/neighbours/programs`` with and without oobdump, and compare what it observed.

In: a program's name and the signals that are its own. Out: its notes, one a line. The programs
know nothing of these tests but where to note and to announce; oobdump is armed before the program
takes its signal, after it, or not at all (``ARMS``).

Rule kept here: every wait ends by a note or at a deadline, never by a pause that hopes.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import dumps, proc, programs
from support.programs import NO_ENVIRONMENT, Program, Running

NEIGHBOURS_DIR = Path(__file__).resolve().parent.parent / "neighbours" / "programs"

ARMED = ("first", "last")
"""Before the neighbour takes its signal, and after it."""

WITHIN_S = 60.0


@dataclass(frozen=True)
class _Program(Program):
    @property
    def path(self) -> Path:
        return NEIGHBOURS_DIR / f"{self.name}.py"


@dataclass(frozen=True)
class Neighbour:
    """One that runs now."""

    running: Running
    notes_file: Path

    @property
    def pid(self) -> int:
        """Its process."""
        return self.running.pids[0]

    @property
    def notes(self) -> list[str]:
        """What it observed so far."""
        return self.notes_file.read_text().splitlines() if self.notes_file.exists() else []

    @property
    def warnings(self) -> str:
        """What ``start()`` warned of."""
        path = Path(f"{self.notes_file}.warnings")
        return path.read_text() if path.exists() else ""

    def wait_for_notes(self, count: int) -> list[str]:
        """At least so many notes."""
        what = f"{count} notes of {self.running.program.name}; stderr: {self.running.stderr[-2000:]}"
        dumps.until(lambda: len(self.notes) >= count, what, WITHIN_S)
        return self.notes

    def send(self, signals: Sequence[int]) -> list[str]:
        """Sends each signal once the one before it was noted; the notes."""
        for signum in signals:
            before = len(self.notes)
            os.kill(self.pid, signum)
            self.wait_for_notes(before + 1)
        return self.notes

    def interrupt(self) -> list[str]:
        """SIGINT, once the main thread stands still, until there is another note."""
        dumps.until(lambda: proc.settled(self.pid, "any"), "a main thread that waits", WITHIN_S)
        return self.send([signal.SIGINT])

    @property
    def entry(self) -> dict[str, Any]:
        """Its roster entry, once it is there."""
        found = dumps.wait_for_roster(self.running.job_dir, [self.pid], WITHIN_S).values()
        return next(entry for entry in found if entry["pid"] == self.pid)

    def answers_by_file(self) -> list[str]:
        """Asks by file; the channels by which dumps were asked for so far."""
        dumps.wait_for_roster(self.running.job_dir, [self.pid], WITHIN_S)
        dumps.ask(self.running.job_dir, "ping", within_s=WITHIN_S)
        return self.channels()

    def answers_by_signal(self, signum: int) -> None:
        """Sends a signal that is ours, and waits for the dump."""
        before = self.channels().count("signal")
        os.kill(self.pid, signum)
        dumps.until(lambda: self.channels().count("signal") > before, "a dump that the signal asked for", WITHIN_S)

    def channels(self) -> list[str]:
        """The channel of each committed dump."""
        job_dir = self.running.job_dir
        return [dumps.accepted(job_dir, dump.request_id)["source"]["channel"] for dump in dumps.committed(job_dir)]


@contextmanager
def running(
    name: str,
    directory: Path,
    arm: str = "",
    *,
    env: Mapping[str, str] = NO_ENVIRONMENT,
    announcements: int = 1,
    waits: bool = True,
    ready_within_s: float = WITHIN_S,
) -> Iterator[Neighbour]:
    """A neighbour that is ready and, if it ``waits``, whose main thread stands still, while a ``with`` block lasts."""
    program = _Program(name, "", announcements=announcements)
    notes = directory / "notes"
    ours = {"ARM": arm, "NOTES": str(notes), "OOBDUMP_RUNTIME_DIR": str(directory / "run")}
    started = programs.launch(program, directory, env={**ours, **env})
    try:
        started._await_announcements(time.monotonic() + ready_within_s)
        if waits:
            dumps.until(lambda: proc.settled(started.pids[0], "any"), f"{name} waits", WITHIN_S)
        yield Neighbour(started, notes)
    finally:
        started.stop()


def observed(
    name: str, directory: Path, arm: str, signals: Sequence[int], *, env: Mapping[str, str] = NO_ENVIRONMENT
) -> list[str]:
    """What the neighbour noted of its own signals; if it is armed, oobdump must answer by file and by file only."""
    with running(name, directory / (arm or "alone"), arm, env=env) as neighbour:
        notes = neighbour.send(signals)
        if arm:
            assert neighbour.answers_by_file() == ["request_file"]
        return notes
