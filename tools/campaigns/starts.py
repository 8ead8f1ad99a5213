"""Request signals at random instants of a program's life, from its first instruction to the end of teardown.

In: how many instants for each kind of program. Out: a row for each: one Python that imports torch, children
made in four ways, and torchrun with two ranks, all under ``oobdump run``; a finding for each that did not end
with status 0. A run's instants begin where ``oobdump run`` has made itself safe, as the kernel shows it: what
lies before is the start of a Python that is not ours yet, and its length is a row of its own.
"""

from __future__ import annotations

import importlib.util
import json
import random
import signal
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import forks
import ground

from support import installed, proc, programs

INSTANTS = 300
AT_A_TIME = 5
"""Instants of one run: more runs would import torch more often, which takes seconds each time."""

WITHIN_S = 300.0
PAUSE_S = 0.02
"""At most, between two signals at one child: it lives for a few tenths of a second."""

HERE = Path(__file__).resolve().parent
SIGNAL_BIT = 1 << (signal.SIGUSR1 - 1)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; 1 if anything was harmed."""
    parser = ground.parser(__doc__)
    parser.add_argument("--instants", type=int, default=INSTANTS, help="for each kind of program")
    parser.add_argument("--only", choices=("program", "children", "torchrun"), help="one kind alone")
    parser.add_argument("--seed", type=int)
    options = parser.parse_args(argv)
    chance, note = ground.chance(options.seed)
    notes = [note]
    rows: list[dict[str, Any]] = []
    with ground.workplace("starts") as place:
        here = installed.install(place.path / "installed")
        has_torch = importlib.util.find_spec("torch") is not None
        if options.only in (None, "program"):
            rows += one_python(place, here, options.instants, chance, has_torch=has_torch)
        if options.only in (None, "children"):
            rows += children(place, here, options.instants, chance)
        if options.only in (None, "torchrun") and has_torch:
            rows.append(torchrun(place, here, options.instants, chance))
        elif not has_torch:
            notes.append("torch is not installed: no torchrun, and the program imports asyncio instead")
    return ground.show("starts", rows, place.findings, notes, as_json=options.json)


def row(what: str, runs: int, signals: int, well: int, windows: Sequence[float]) -> dict[str, Any]:
    """One line of the table; the window is before the first instruction of ours."""
    return {
        "what": what,
        "runs": runs,
        "signals": signals,
        "ended well": well,
        "window ms": statistics.median(windows) * 1000 if windows else None,
    }


# -- one program, and torchrun ---------------------------------------------------------------------------------------


def one_python(
    place: ground.Workplace, here: installed.Installed, instants: int, chance: random.Random, *, has_torch: bool
) -> list[dict[str, Any]]:
    """``oobdump run -- python -c 'import torch'``."""
    what = "import torch" if has_torch else "import asyncio"
    return [under_fire(place, here, f"python -c '{what}'", ["python", "-c", what], instants, chance)]


def torchrun(
    place: ground.Workplace, here: installed.Installed, instants: int, chance: random.Random
) -> dict[str, Any]:
    """Two ranks that meet, reduce and leave; every process is aimed at, the agent included."""
    launcher = ["torchrun", "--nnodes=1", "--nproc-per-node=2", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0"]
    words = [*launcher, "--local-addr=127.0.0.1", str(HERE / "reducing_rank.py")]
    return under_fire(place, here, "torchrun --nproc-per-node 2", words, instants, chance)


def under_fire(
    place: ground.Workplace,
    here: installed.Installed,
    what: str,
    words: Sequence[str],
    instants: int,
    chance: random.Random,
) -> dict[str, Any]:
    """Runs until there were so many signals; the first run has none, and tells how long one takes."""
    windows, well, sent, lasts, runs = [], 0, 0, 0.0, 0
    while sent < instants:
        aims = sorted(chance.random() * lasts for _ in range(min(AT_A_TIME, instants - sent))) if runs else []
        directory = place.path / what.split(maxsplit=1)[0] / str(runs)
        began = time.monotonic()
        window, shots, code = one_run(here, directory, words, aims, chance)
        lasts = max(lasts, time.monotonic() - began - window) if runs == 0 else lasts
        windows.append(window)
        sent, runs, well = sent + shots, runs + 1, well + (code == 0)
        if code != 0:
            place.findings.append(f"{what}: ended with {code}: {(directory / 'stderr').read_text()[-300:]}")
        if runs > 4 * instants / AT_A_TIME + 4:
            place.findings.append(f"{what}: only {sent} signals in {runs} runs")
            break
    return row(what, runs, sent, well, windows)


def one_run(
    here: installed.Installed, directory: Path, words: Sequence[str], aims: Sequence[float], chance: random.Random
) -> tuple[float, int, int]:
    """One run with signals at these instants; how long it was unsafe, signals that found somebody, exit status."""
    token = uuid.uuid4().hex
    born = time.monotonic()
    popen = here.start(directory, [*here.run, *words], token)
    try:
        window = until_safe(popen) - born
        began, shots = time.monotonic(), 0
        for aim in aims:
            time.sleep(max(0.0, began + aim - time.monotonic()))
            there = proc.carrying(programs.TOKEN, token)
            shots += bool(there) and shoot_pid(chance.choice(sorted(there)))
        return window, shots, popen.wait(WITHIN_S)
    finally:
        for pid in proc.carrying(programs.TOKEN, token):
            proc.kill_carrier(pid, programs.TOKEN, token)
        popen.wait(WITHIN_S)


def until_safe(popen: subprocess.Popen[bytes]) -> float:
    """When the kernel shows that the started process ignores the signal, or blocks or handles it."""
    while popen.poll() is None:
        status = Path(f"/proc/{popen.pid}/status").read_text()
        masks = [line.split()[1] for line in status.splitlines() if line.startswith(("SigIgn", "SigBlk", "SigCgt"))]
        if any(int(mask, 16) & SIGNAL_BIT for mask in masks):
            break
    return time.monotonic()


def shoot_pid(pid: int) -> bool:
    """One signal at a process; whether there was still somebody."""
    descriptor = forks.hold(pid)
    try:
        return forks.shoot(descriptor)
    finally:
        forks.let_go(descriptor)


# -- children --------------------------------------------------------------------------------------------------------


def children(
    place: ground.Workplace, here: installed.Installed, instants: int, chance: random.Random
) -> list[dict[str, Any]]:
    """An armed parent's children, each aimed at from its first instant; the parent's bell must not ring."""
    directory = place.path / "children"
    each = max(1, instants // AT_A_TIME)
    token = uuid.uuid4().hex
    words = [*here.run, "python", str(HERE / "starting_parent.py"), str(each)]
    popen = here.start(directory, words, token, OOBDUMP_KEEP="0")
    try:
        sent = fire_at_descendants(popen, chance)
        code = popen.wait(WITHIN_S)
    finally:
        for pid in proc.carrying(programs.TOKEN, token):
            proc.kill_carrier(pid, programs.TOKEN, token)
    if code != 0:
        place.findings.append(f"the parent ended with {code}: {(directory / 'stderr').read_text()[-500:]}")
        return []
    job = directory / "dumps" / "job"
    rung = [dump for dump in forks.own_dumps(job) if dump.pid == popen.pid]
    if rung:
        place.findings.append(f"the parent dumped {len(rung)} times for its children's signals")
    here.call(directory, "python", "-c", "pass")  # what a child in a hurry leaves, the next worker sweeps
    left = [*(directory / "run").rglob("*.fifo")]
    if left:
        place.findings.append(f"bells are left: {[path.name for path in left][:5]}")
    ways: dict[str, dict[str, int]] = json.loads((directory / "stdout").read_text())
    return [children_row(place, way, statuses, sent) for way, statuses in ways.items()]


def children_row(place: ground.Workplace, way: str, statuses: dict[str, int], sent: dict[int, int]) -> dict[str, Any]:
    """One way of making a child."""
    bad = {pid: status for pid, status in statuses.items() if status != 0}
    if bad:
        place.findings.append(f"{way}: children ended with {bad}")
    shots = sum(sent.get(int(pid), 0) for pid in statuses)
    return row(f"child by {way}", len(statuses), shots, len(statuses) - len(bad), [])


def fire_at_descendants(popen: subprocess.Popen[bytes], chance: random.Random) -> dict[int, int]:
    """Signals every descendant now and then, from when it is first seen; how many each got."""
    sent: dict[int, int] = {}
    deadline = time.monotonic() + WITHIN_S * 4
    while popen.poll() is None and time.monotonic() < deadline:
        for pid in descendants(popen.pid):
            sent[pid] = sent.get(pid, 0) + shoot_pid(pid)
        time.sleep(chance.random() * PAUSE_S)
    return sent


def descendants(pid: int, children_of: Callable[[int], list[int]] = forks.children_of) -> list[int]:
    """Everything below a process."""
    found = []
    for child in children_of(pid):
        found += [child, *descendants(child)]
    return found


if __name__ == "__main__":
    sys.exit(main())
