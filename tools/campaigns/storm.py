"""Signals every half millisecond at a process with busy threads, on each interpreter: nothing breaks.

In: interpreters (``--python``, else one per version from .venvs, PATH and pyenv) and a number of
signals. Out: a row each; a finding if the process died, computed something wrong, wrote to stderr,
tore a dump, or did not answer the storm's last signal, or one more, by a dump claimed after it.

The load is ``tests/programs/busy_threads.py``. The slow-down is of all its work together, per second of
processor time, against the same program, armed and left alone beside the same sender (which sends signal 0).
"""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ground

import test_all
from oobdump.store import reader
from support import programs

SIGNALS = 20_000
EVERY_S = 0.0005

ANSWERED_WITHIN_S = 120.0
"""Storms are answered with pauses of twenty times as long as a dump took; a loaded machine makes that seconds."""

MOMENT_S = 0.01
"""The kernel counts processor time in ticks of this length."""

ASK = "import sys, oobdump; print('.'.join(map(str, sys.version_info[:3])))"

WEIGH = """
import time, busy_threads
def cost(check):
    began = time.perf_counter()
    for rounds in range(1, 1001):
        check()
        if time.perf_counter() - began > 0.2:
            break
    return (time.perf_counter() - began) / rounds
print({**{name: cost(check) for name, check in busy_threads.CHECKS.items()}, "main": cost(busy_threads.by_generators)})
"""
"""Seconds that each check takes alone. Which thread runs is chance: what counts is all work together."""


@dataclass(frozen=True)
class Sent:
    """What was sent: how often, in how many seconds, and when the last one was (wall clock)."""

    count: int
    seconds: float
    last_at: float


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; 1 if anything broke."""
    parser = ground.parser(__doc__)
    parser.add_argument("--signals", type=int, default=SIGNALS, help="signals for each interpreter")
    parser.add_argument("--python", action="append", help="an interpreter; may be given more than once")
    options = parser.parse_args(argv)
    found, notes = interpreters(options.python)
    findings = [] if found else ["no interpreter that can import oobdump: give some with --python"]
    rows = []
    for version, python in found.items():
        with ground.workplace("storm") as place:
            rows.append(storm(place, version, python, options.signals))
            findings += [f"{version}: {finding}" for finding in place.findings]
    return ground.show("storm", rows, findings, notes, as_json=options.json)


def interpreters(given: Sequence[str] | None) -> tuple[dict[str, str], list[str]]:
    """Interpreters that can import oobdump, by version; and a note for each that is missing."""
    if given:
        answers = {python: ask(python) for python in given}
        return (
            {version: python for python, version in answers.items() if version},
            [f"{python} cannot import oobdump" for python, version in answers.items() if not version],
        )
    found: dict[str, tuple[str, str]] = {}
    for python in [*map(str, sorted(test_all.VENVS.glob("*/bin/python"))), sys.executable, *test_all.candidates()]:
        version = ask(python)
        found.setdefault(version.rpartition(".")[0], (version, python))
    missing = [version for version in test_all.VERSIONS if version not in found]
    notes = [f"no Python {version} that can import oobdump; `make test-all` makes one" for version in missing]
    return {found[version][0]: found[version][1] for version in test_all.VERSIONS if version in found}, notes


def ask(python: str) -> str:
    """An interpreter's version; nothing if it cannot import oobdump."""
    environment = {**os.environ, "PYTHONPATH": str(ground.ROOT / "src")}
    try:
        done = subprocess.run([python, "-c", ASK], check=True, capture_output=True, text=True, env=environment)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def storm(place: ground.Workplace, version: str, python: str, signals: int) -> dict[str, Any]:
    """One interpreter: the program unasked, then in the storm."""
    costs = weigh(python)
    with load(place, python, "unasked") as unasked:
        began = processor_s(unasked)
        send(unasked, 0, signals)
        usual = end(place, unasked, began, costs)
    with load(place, python, "asked") as asked:
        began = processor_s(asked)
        sent = send(asked, signal.SIGUSR1, signals)
        answered_s = answer(place, asked, sent.last_at, "the last signal of the storm")
        one_more = send(asked, signal.SIGUSR1, 1)
        answer(place, asked, one_more.last_at, "one more signal after the storm")
        stormed = end(place, asked, began, costs)
    ids = reader.request_ids(place.layout)
    counts, findings = ground.damage(place.layout, ids)
    place.findings += findings
    place.findings += ["a dump is only in the fallback directory"] * os.path.exists(place.path / "fallback")
    return {
        "version": version,
        "signals": sent.count,
        "seconds": round(sent.seconds, 2),
        "dumps": counts["committed"],
        "answered after s": answered_s,
        "alive and correct": stormed is not None,
        "slow-down": round(usual / stormed, 3) if usual and stormed else None,
    }


@contextmanager
def load(place: ground.Workplace, python: str, name: str) -> Iterator[programs.Running]:
    """The busy program, armed."""
    with programs.running("busy_threads", place.path / name, env=place.environment, python=python) as running:
        yield running


def send(running: programs.Running, signum: int, count: int) -> Sent:
    """Send a signal again and again, as long as there is somebody to send it to."""
    began = due = time.monotonic()
    last_at, sent = time.time(), 0
    while sent < count and running.popen.poll() is None:
        last_at = time.time()
        os.kill(running.pid, signum)
        sent += 1
        due = max(due + EVERY_S, time.monotonic() - EVERY_S)  # never catch up: it is the interval that counts
        time.sleep(max(0.0, due - time.monotonic()))
    return Sent(sent, time.monotonic() - began, last_at)


def answer(place: ground.Workplace, running: programs.Running, asked_at: float, what: str) -> float | None:
    """Seconds until there was a committed dump that was claimed after a signal; None if none came."""
    deadline = time.monotonic() + ANSWERED_WITHIN_S
    while time.monotonic() < deadline and running.popen.poll() is None:
        if any(claimed_after(place, request_id, asked_at) for request_id in reader.request_ids(place.layout)[-3:]):
            return round(time.time() - asked_at, 3)
        time.sleep(0.01)
    place.findings.append(f"{what} was not answered within {ANSWERED_WITHIN_S:g} s")
    return None


def claimed_after(place: ground.Workplace, request_id: str, asked_at: float) -> bool:
    """Whether a request has a committed dump that began after that time."""
    return any(
        dump.found == "committed" and (dump.claimed_at or 0.0) >= asked_at
        for dump in reader.dumps(place.layout, request_id)
    )


def end(place: ground.Workplace, running: programs.Running, began: float, costs: dict[str, float]) -> float | None:
    """Let the program end; seconds of work that it did per second, None if it was not alive and correct."""
    if running.popen.poll() is not None:
        place.findings.append(f"the process died with {running.popen.returncode}: {running.stderr[-500:]}")
        return None
    seconds = processor_s(running) - began
    running.release()
    code, output, errors = running.wait_for_exit(), running.stdout, running.stderr
    if errors:
        place.findings.append(f"stderr: {errors[-500:]}")
    if code != 0 or not output.startswith("correct "):
        place.findings.append(f"exit status {code}, output {output[-500:]!r}")
        return None
    rounds: dict[str, int] = ast.literal_eval(output.removeprefix("correct "))
    return sum(count * costs[name] for name, count in rounds.items()) / max(seconds, MOMENT_S)


def processor_s(running: programs.Running) -> float:
    """Processor time of a program so far: other people's load on the machine does not count."""
    fields = Path(f"/proc/{running.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def weigh(python: str) -> dict[str, float]:
    """What a round of each of the program's checks costs, in seconds."""
    environment = {**os.environ, "PYTHONPATH": str(programs.PROGRAMS_DIR)}
    done = subprocess.run([python, "-c", WEIGH], check=True, capture_output=True, text=True, env=environment)
    costs: dict[str, float] = ast.literal_eval(done.stdout)
    return costs


if __name__ == "__main__":
    sys.exit(main())
