"""How long until a worker that is asked has heard, claimed and committed, beside what the machine itself takes.

In: numbers of samples. Out: a row of medians in µs, for a main thread that waits and for one that spins in
Python, each beside a bare limit of the same run: the wake-up descriptor, ``sigwait``, a polled ``signalfd``,
inotify, and one write and rename (``latency_subject.py`` holds them all). Then what ``import oobdump`` costs,
and ``start()`` and ``stop()``.

A dump is timed when its manifest is seen by this process, which looks every 0.1 ms.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TextIO, TypeVar

import gauge

from oobdump.client import Client
from oobdump.identity import Machine, name_of
from oobdump.inbox import SETTLED_S
from oobdump.request import HandlerCall, Request
from oobdump.store import reader
from support import dumps, programs

SAMPLES = 200
ANSWERS = 30
STARTS = 10

WITHIN_S = 60.0
SCATTER_S = 0.006
"""A little more than the interpreter's switch interval."""

SCATTER = random.Random(0)  # noqa: S311 - chance, not secrecy
LOOK_EVERY_S = 0.0001
QUIET_TIMES = 25
"""A signal's dump is followed by a pause of 20 times as long as it took: the next sample comes after it."""

MAINS = ("waits", "spins")
"""What the main thread does meanwhile."""

LIMITS = ("wake-up descriptor", "sigwait", "signalfd", "inotify")
FILES = ("write 4 KiB + rename", "mkdir", "link")

BESIDE: Mapping[str, tuple[str, ...]] = {
    "signal to handler": ("signalfd",),
    "signal to claim": ("signalfd",),
    "signal to dump": ("signalfd", "a dump's files"),
    "file to handler": ("inotify",),
    "file to claim": ("inotify",),
    "file to dump": ("inotify", "a dump's files"),
    "client to handler": ("wake-up descriptor",),
    "client to claim": ("wake-up descriptor",),
    "client to dump": ("wake-up descriptor", "a dump's files"),
}
"""What bounds each figure from below."""

DUMP_FILES = {"write 4 KiB + rename": 4, "mkdir": 2}
"""What a dump of one part is made of: request, claim, part, manifest, and two directories."""

COSTS = """
import time
began = time.perf_counter()
import oobdump
imported = time.perf_counter()
oobdump.start()
started = time.perf_counter()
oobdump.stop()
print(imported - began, started - imported, time.perf_counter() - started)
"""

T = TypeVar("T")
Figures = dict[tuple[str, str], float]
"""Median µs by what was measured and what the main thread did."""


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; 0, or 1 if something was not answered."""
    parser = gauge.parser(__doc__)
    parser.add_argument("--samples", type=int, default=SAMPLES, help="for each bare limit")
    parser.add_argument("--answers", type=int, default=ANSWERS, help="for each way of asking")
    parser.add_argument("--starts", type=int, default=STARTS, help="processes that import and start")
    options = parser.parse_args(argv)
    figures: Figures = {}
    with gauge.workplace("latency") as place:
        for way in MAINS:
            for name in (*LIMITS, *FILES):
                figures[name, way] = limit(place, name, way, options.samples)
            figures["a dump's files", way] = sum(count * figures[name, way] for name, count in DUMP_FILES.items())
            figures |= answers(place, way, options.answers)
        figures |= costs(place, options.starts)
    notes = [f"a dropped file is left alone for {SETTLED_S * 1e3:g} ms, in case it is still being written"]
    return gauge.show("latency, µs", rows(figures), place.findings, notes, as_json=options.json)


def rows(figures: Figures) -> list[dict[str, Any]]:
    """A row for each thing that was measured."""
    return [row(name, figures) for name in dict.fromkeys(name for name, _ in figures)]


def row(name: str, figures: Figures) -> dict[str, Any]:
    """Both medians, and how many times the bare limit they are."""
    beside = BESIDE.get(name, ())
    found: dict[str, Any] = {"what": name}
    found |= {f"main {way}": figures.get((name, way)) for way in MAINS}
    found["beside"] = " + ".join(beside)
    for way in MAINS:
        least = sum(figures[other, way] for other in beside)
        found[f"times, {way}"] = figures[name, way] / least if beside else None
    return found


def limit(place: gauge.Workplace, name: str, way: str, samples: int) -> float:
    """The median of one bare limit."""
    with gauge.launched(place, "latency_subject", name, way, str(samples)) as running:
        if name in FILES:
            running.wait_for_exit(WITHIN_S)
            return statistics.median(map(int, running.stdout.split())) / 1000
        wake = waker(name, running)
        with (running.directory / "stdout").open() as heard_at:
            return statistics.median(heard(wake, heard_at) for _ in range(samples)) / 1000


def waker(name: str, running: programs.Running) -> Callable[[], None]:
    """What wakes the subject: one system call."""
    if name != "inotify":
        return lambda: os.kill(running.pid, signal.SIGUSR1)
    source, watched, numbers = running.directory / "stderr", running.directory / "watched", itertools.count()
    return lambda: os.link(source, watched / str(next(numbers)))


def heard(wake: Callable[[], None], heard_at: TextIO) -> int:
    """Nanoseconds until the subject heard; it says when that was, so it does not matter when we read it."""
    began = time.monotonic_ns()
    wake()
    line = wait(heard_at.readline, "the subject's time")
    pause(SCATTER_S)
    return int(line) - began


def pause(longest_s: float) -> None:
    """Part from the rhythm of the interpreter's switch interval, or every sample would meet the same moment of it."""
    time.sleep(SCATTER.uniform(longest_s / 5, longest_s))


def answers(place: gauge.Workplace, way: str, samples: int) -> Figures:
    """The medians of all ways of asking."""
    found: dict[str, list[float]] = {}
    with gauge.launched(place, "latency_subject", "oobdump", way, "0") as running:
        dumps.wait_for_roster(Path(place.layout.job_dir), [running.pid])
        for kind, ask in ASKS.items():
            for number in range(samples):
                for step, microseconds in asked(
                    place, running, partial(ask, place, running, f"{way}-{number}")
                ).items():
                    found.setdefault(f"{kind} to {step}", []).append(microseconds)
    return {(name, way): statistics.median(samples) for name, samples in found.items()}


def ask_by_signal(_place: gauge.Workplace, running: programs.Running, _name: str) -> None:
    """As a person does who has nothing else."""
    os.kill(running.pid, signal.SIGUSR1)


def ask_by_file(place: gauge.Workplace, _running: programs.Running, name: str) -> None:
    """By one rename; writing the file belongs to the asker, and to the figure."""
    dumps.drop_json(Path(place.layout.job_dir), name, handlers=["stamp"])


def ask_by_client(place: gauge.Workplace, _running: programs.Running, _name: str) -> None:
    """As the command line does: the client accepts the file itself, and rings."""
    Client(place.layout).ask(Request((HandlerCall("stamp"),)))


ASKS: Mapping[str, Callable[[gauge.Workplace, programs.Running, str], None]] = {
    "signal": ask_by_signal,
    "file": ask_by_file,
    "client": ask_by_client,
}


def asked(place: gauge.Workplace, running: programs.Running, ask: Callable[[], None]) -> dict[str, float]:
    """Microseconds from asking to handler, claim and dump."""
    known = set(reader.request_ids(place.layout))
    wall, began = time.time(), time.monotonic_ns()
    ask()
    dump = wait(lambda: committed(place, running, known), "a committed dump")
    ended = time.monotonic_ns()
    handled_at = json.loads(reader.part_bytes(dump, dump.parts[0]))["at"]
    time.sleep((ended - began) / 1e9 * QUIET_TIMES + SCATTER_S)
    pause(SCATTER_S)
    return {
        "handler": (handled_at - began) / 1000,
        "claim": ((dump.claimed_at or wall) - wall) * 1e6,
        "dump": (ended - began) / 1000,
    }


def committed(place: gauge.Workplace, running: programs.Running, known: set[str]) -> reader.Dump | None:
    """The committed dump of a request that was not known."""
    for request_id in set(os.listdir(place.layout.dumps)) - known:
        worker = name_of(None, Machine.here().host, running.pid)
        if reader.has_manifest(place.layout, request_id, worker):
            return reader.read_dump(place.layout, request_id, worker)
    return None


def costs(place: gauge.Workplace, starts: int) -> Figures:
    """Import, start and stop, each in a fresh process."""
    environment = programs.environment(place.path, "", bare=False, extra=place.environment)
    command = [sys.executable, "-c", COSTS]
    runs = [subprocess.run(command, env=environment, check=True, capture_output=True) for _ in range(starts)]
    columns = zip(*(map(float, run.stdout.split()) for run in runs), strict=True)
    names = ("import oobdump", "oobdump.start()", "oobdump.stop()")
    return {(name, "waits"): statistics.median(times) * 1e6 for name, times in zip(names, columns, strict=True)}


def wait(look: Callable[[], T | None], what: str) -> T:
    """The first true value, looked for again and again."""
    deadline = time.monotonic() + WITHIN_S
    while not (found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come within {WITHIN_S:g} s")
        time.sleep(LOOK_EVERY_S)
    return found


if __name__ == "__main__":
    sys.exit(main())
