"""What the benchmarks stand on: the campaigns' ground, and medians.

In: samples. Out: a median with its spread; ``ground`` importable whichever way a benchmark is run.
"""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CAMPAIGNS = str(Path(__file__).resolve().parents[1] / "campaigns")
if CAMPAIGNS not in sys.path:
    sys.path.insert(0, CAMPAIGNS)

from ground import Workplace, await_ready, parser, show, workplace  # noqa: E402 - found through the lines above

from support import programs  # noqa: E402

__all__ = ["Workplace", "interval", "launched", "parser", "show", "workplace"]

RESAMPLES = 2_000
COVERAGE = 0.95


@dataclass(frozen=True)
class Subject(programs.Program):
    """A program of a benchmark's own, in this directory."""

    @property
    def path(self) -> Path:
        """The program's file."""
        return Path(__file__).resolve().with_name(f"{self.name}.py")


@contextmanager
def launched(place: Workplace, name: str, *words: str) -> Iterator[programs.Running]:
    """A program of this directory that says when it is ready; its output is in ``stdout``."""
    directory = place.path / "-".join((name, *words)).replace(" ", "-")
    running = programs.launch(Subject(name, ""), directory, env=place.environment, arguments=words)
    try:
        await_ready(running)
        yield running
    finally:
        running.stop()


def interval(samples: Sequence[float]) -> tuple[float, float]:
    """Where the median would be in 95 of 100 repetitions, by drawing again from the samples."""
    chance = random.Random(len(samples))  # noqa: S311 - chance, not secrecy
    medians = sorted(statistics.median(chance.choices(samples, k=len(samples))) for _ in range(RESAMPLES))
    outside = int(RESAMPLES * (1 - COVERAGE) / 2)
    return medians[outside], medians[-1 - outside]
