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
import select
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gauge
from oobdump.client import Client
from oobdump.inbox import SETTLED_S
from oobdump.request import HandlerCall, Request
from oobdump.store import reader
from support import programs

SAMPLES = 200
ANSWERS = 30
STARTS = 10

WITHIN_S = 60.0
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
            ended = running.wait_for_exit()
            assert ended == 0, running.stderr  # noqa: S101 - nothing to measure
            return statistics.median(map(int, running.stdout.split())) / 1000
        wake = waker(place, name, running)
        return statistics.median(heard(running, wake) for _ in range(samples)) / 1000


def waker(place: gauge.Workplace, name: str, running: programs.Running) -> Callable[[], None]:
    """What wakes the subject."""
    if name != "inotify":
        return lambda: os.kill(running.pid, signal.SIGUSR1)
    directory = Path(running.directory)
    numbers = itertools.count()

    def drop() -> None:
        os.rename(directory / "stdin", directory / "watched" / str(next(numbers)))

    return lambda: drop() if (directory / "stdin").exists() else None


if __name__ == "__main__":
    sys.exit(main())
