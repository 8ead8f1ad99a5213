"""What an armed process does while nothing happens: context switches and processor time of all its threads.

In: seconds to watch, seconds to settle. Out: a row before the process was ever asked and one after it
answered a dropped file and a signal; a finding for each voluntary context switch, since there must be none.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gauge

from support import dumps, proc, programs

WATCHED_S = 10.0
SETTLE_S = 7.0
"""The last alarm of an answer is for a look at the inbox that might have stuck: five seconds after it began."""


@dataclass(frozen=True)
class Use:
    """What all threads of a process have used since they started."""

    threads: int
    voluntary: int
    involuntary: int
    nanoseconds: int


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; 1 if an idle process woke up."""
    parser = gauge.parser(__doc__)
    parser.add_argument("--seconds", type=float, default=WATCHED_S, help="how long to watch")
    parser.add_argument("--settle", type=float, default=SETTLE_S, help="how long to wait before that")
    options = parser.parse_args(argv)
    with gauge.workplace("idle") as place, armed(place) as running:
        rows = [watch(place, running.pid, "never asked", options.seconds, options.settle)]
        ask(Path(place.layout.job_dir), running.pid)
        rows.append(watch(place, running.pid, "after two answers", options.seconds, options.settle))
    return gauge.show("idle", rows, place.findings, as_json=options.json)


def armed(place: gauge.Workplace) -> AbstractContextManager[programs.Running]:
    """A process that waits for nothing, armed."""
    return programs.running("idle", place.path / "idle", env=place.environment)


def ask(job_dir: Path, pid: int) -> None:
    """Have one dropped file and one signal answered."""
    dumps.ask(job_dir)
    os.kill(pid, signal.SIGUSR1)
    dumps.wait_for_dumps(job_dir, 2)


def watch(place: gauge.Workplace, pid: int, when: str, seconds: float, settle_s: float) -> dict[str, Any]:
    """Let the process settle, and see what it uses from then on."""
    time.sleep(settle_s)
    before = use(pid)
    time.sleep(seconds)
    after = use(pid)
    switches = after.voluntary - before.voluntary
    if switches or after.threads != before.threads:
        place.findings.append(
            f"{when}: {switches} voluntary context switches in {seconds:g} s, threads {after.threads}"
        )
    return {
        "when": when,
        "seconds": seconds,
        "threads": after.threads,
        "voluntary switches": switches,
        "involuntary switches": after.involuntary - before.involuntary,
        "processor µs": (after.nanoseconds - before.nanoseconds) / 1000,
    }


def use(pid: int) -> Use:
    """The sums over all threads."""
    statuses = [Path(f"/proc/{pid}/task/{tid}/status").read_text() for tid in proc.threads(pid)]
    nanoseconds = [int(Path(f"/proc/{pid}/task/{tid}/schedstat").read_text().split()[0]) for tid in proc.threads(pid)]
    return Use(len(statuses), counted("voluntary", statuses), counted("nonvoluntary", statuses), sum(nanoseconds))


def counted(kind: str, statuses: Sequence[str]) -> int:
    """Context switches of one kind, over all threads."""
    line = re.compile(rf"^{kind}_ctxt_switches:\s*(\d+)", re.MULTILINE)
    return sum(int(number) for text in statuses for number in line.findall(text))


if __name__ == "__main__":
    sys.exit(main())
