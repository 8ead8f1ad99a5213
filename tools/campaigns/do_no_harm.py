"""Signals, requests and the ladder, all at once, at busy workers on each interpreter: nobody is harmed.

In: interpreters (``--python``, else as ``storm.py`` finds them), loads (``threads``; ``training`` and
``loader`` where there is torch), and how often to ask each. Out: a row for each interpreter and load; a finding
if a process died, was ever stopped or traced, paused for seconds more than unasked, computed something wrong,
wrote to stderr, tore a dump, or left a request without an outcome.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ground
from storm import interpreters

from oobdump.outside.ladder import Subject, climb
from oobdump.store import drops, reader, roster
from support import dumps, programs

SIGNALS, REQUESTS, CLIMBS = 100_000, 10_000, 300
EVERY_S = 0.0005

OPEN = 24
"""Requests under way at a time: more than a person asks, and not so many that they expire."""

OUTCOME_WITHIN_S = 120.0

PAUSE_S = 2.0
"""Beyond five times the longest pause unasked: other programs of this machine make pauses too."""

QUESTION = json.dumps({"handlers": ["stacks", "process"], "timeout_s": 60}).encode()

QUIET = {"TORCH_CPP_LOG_LEVEL": "ERROR", "PYTHONWARNINGS": "ignore"}
"""torch says what it serves, and that there are few processors: whatever else is on stderr is a finding."""

LOADS = ("threads", "training", "loader")


@dataclass
class Tally:
    """What was done to one worker, and what was seen meanwhile."""

    signals: int = 0
    requests: int = 0
    own: int = 0
    outside: int = 0
    climbs: int = 0
    read: int = 0
    stopped: int = 0
    findings: list[str] = field(default_factory=list)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; 1 if anybody was harmed."""
    parser = ground.parser(__doc__)
    parser.add_argument("--signals", type=int, default=SIGNALS, help="signals for each interpreter and load")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="requests for each")
    parser.add_argument("--climbs", type=int, default=CLIMBS, help="ladders for each, beside those of the sentinel")
    parser.add_argument("--python", action="append", help="an interpreter; may be given more than once")
    parser.add_argument("--load", action="append", choices=LOADS, help="a load; may be given more than once")
    options = parser.parse_args(argv)
    found, notes = interpreters(options.python)
    findings = [] if found else ["no interpreter that can import oobdump: give some with --python"]
    rows = []
    for version, python in found.items():
        for load in options.load or LOADS:
            if load != "threads" and not has_torch(python):
                notes.append(f"{version}: no torch, so no {load}")
                continue
            with ground.workplace("harm") as place:
                rows.append(one(place, version, python, load, options))
                findings += [f"{version} {load}: {finding}" for finding in place.findings]
    return ground.show("do_no_harm", rows, findings, notes, as_json=options.json)


def has_torch(python: str) -> bool:
    """Whether an interpreter has torch."""
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
    return subprocess.run([python, "-c", code], check=False).returncode == 0


def one(place: ground.Workplace, version: str, python: str, load: str, options: Any) -> dict[str, Any]:
    """One interpreter and load: unasked for a while, then asked in every way at once."""
    with victim(place, python, load, "unasked") as running:
        time.sleep(min(10.0, 1.0 + options.signals * EVERY_S))
        usual = end(place, running)
    with victim(place, python, load, "asked") as running:
        began = time.monotonic()
        tally = harass(place, running, options)
        seconds = time.monotonic() - began
        asked = end(place, running)
    place.findings += tally.findings
    counts, torn = ground.damage(place.layout, reader.request_ids(place.layout))
    place.findings += torn
    if usual and asked and asked["longest_pause_s"] > PAUSE_S + 5 * usual["longest_pause_s"]:
        place.findings.append(f"a pause of {asked['longest_pause_s']:.3f} s, unasked {usual['longest_pause_s']:.3f} s")
    return {
        "version": version,
        "load": load,
        "signals": tally.signals,
        "requests": tally.requests,
        "own answers": tally.own,
        "from outside": tally.outside,
        "signals' dumps": counts["committed"],
        "climbs": tally.climbs,
        "stacks read": tally.read,
        "alive and correct": asked is not None,
        "longest pause ms": round(asked["longest_pause_s"] * 1000, 1) if asked else None,
        "unasked ms": round(usual["longest_pause_s"] * 1000, 1) if usual else None,
        "seconds": round(seconds, 1),
    }


@contextmanager
def victim(place: ground.Workplace, python: str, load: str, name: str) -> Iterator[programs.Running]:
    """The busy worker, armed, at work, and in the roster."""
    directory = place.path / name
    program = ground.Victim("busy_victim", "")
    running = programs.launch(program, directory, env=place.environment | QUIET, python=python, arguments=(load,))
    try:
        ground.await_ready(running)
        dumps.wait_for_roster(Path(place.layout.job_dir), [running.pid], programs.READY_WITHIN_S)
        yield running
    finally:
        running.stop()


def harass(place: ground.Workplace, running: programs.Running, options: Any) -> Tally:
    """Signals, requests and ladders at once, until all are done."""
    tally = Tally()
    done = threading.Event()
    jobs = [
        threading.Thread(target=send, args=(place, running, tally, options.signals)),
        threading.Thread(target=look_from_outside, args=(place, running, tally, options.climbs)),
    ]
    watcher = threading.Thread(target=watch, args=(running, tally, done))
    for thread in (*jobs, watcher):
        thread.start()
    try:
        ask(place, running, tally, options.requests)
        for thread in jobs:
            thread.join()
    finally:
        done.set()
        watcher.join()
    return tally


def send(place: ground.Workplace, running: programs.Running, tally: Tally, count: int) -> None:
    """Signals to the worker and to its armed children, in turn."""
    targets = itertools.cycle(armed(place, running))
    while tally.signals < count and running.popen.poll() is None:
        os.kill(next(targets), signal.SIGUSR1)
        tally.signals += 1
        time.sleep(EVERY_S)


def armed(place: ground.Workplace, running: programs.Running) -> list[int]:
    """The worker, and its children that are in the roster; those of a DataLoader stay until its end."""
    entries = roster.read(place.layout)[0]
    below = [
        entry.identity.pid for entry in entries if entry.alive() and "armed" in (entry.channels.get("signal") or {})
    ]
    return sorted({running.pid, *(pid for pid in below if pid in running.processes())})


def look_from_outside(place: ground.Workplace, running: programs.Running, tally: Tally, count: int) -> None:
    """The ladder, climbed for a worker that needs none."""
    entry = next(each for each in roster.read(place.layout)[0] if each.identity.pid == running.pid)
    while tally.climbs < count and running.popen.poll() is None:
        climbed = climb(Subject(entry.identity, entry))
        tally.climbs += 1
        tally.read += climbed.stacks is not None


def watch(running: programs.Running, tally: Tally, done: threading.Event) -> None:
    """Whether the process is ever stopped or traced."""
    while not done.wait(0.001):
        try:
            state = Path(f"/proc/{running.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            return
        if state in "Tt":
            tally.stopped += 1
            tally.findings.append(f"it was in state {state}")


def ask(place: ground.Workplace, running: programs.Running, tally: Tally, count: int) -> None:
    """Drops requests, a few at a time, and sees that each has an outcome."""
    waiting: dict[str, float] = {}
    while (tally.requests < count or waiting) and running.popen.poll() is None:
        while tally.requests < count and len(waiting) < OPEN:
            tally.requests += 1
            request_id = drops.drop(place.layout, f"harm-{tally.requests}.json", QUESTION)
            waiting[request_id] = time.monotonic()
        for request_id, since in [*waiting.items()]:
            if settled(place, request_id, tally):
                del waiting[request_id]
            elif time.monotonic() - since > OUTCOME_WITHIN_S:
                tally.findings.append(f"{request_id} has no outcome within {OUTCOME_WITHIN_S:g} s")
                del waiting[request_id]
        time.sleep(0.005)


def settled(place: ground.Workplace, request_id: str, tally: Tally) -> bool:
    """Whether every asked worker has an outcome; then it is counted, checked, and forgotten."""
    try:
        accepted = reader.open_request(place.layout, request_id)
    except OSError:
        return False
    if accepted is None:
        return False
    own = [reader.has_manifest(place.layout, request_id, worker) for worker in accepted.asked]
    other = [reader.has_outside(place.layout, request_id, worker) for worker in accepted.asked]
    if not all(map(any, zip(own, other, strict=True))):
        return False
    tally.own += sum(own)
    tally.outside += sum(other)
    tally.findings += ground.damage(place.layout, [request_id])[1]
    shutil.rmtree(place.layout.request_dir(request_id), ignore_errors=True)
    return True


def end(place: ground.Workplace, running: programs.Running) -> dict[str, Any] | None:
    """Lets the program end; what it says, None if it was not alive and correct."""
    if running.popen.poll() is not None:
        place.findings.append(f"the process died with {running.popen.returncode}: {running.stderr[-500:]}")
        return None
    running.release()
    code, output, errors = running.wait_for_exit(60), running.stdout, running.stderr
    if errors:
        place.findings.append(f"stderr: {errors[-500:]}")
    if code != 0:
        place.findings.append(f"exit status {code}, output {output[-500:]!r}")
        return None
    said: dict[str, Any] = json.loads(output)
    return said


if __name__ == "__main__":
    sys.exit(main())
