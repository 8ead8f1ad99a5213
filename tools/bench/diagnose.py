"""Flight recorders of many ranks: what reading and matching them takes, beside torchfrtrace in the same run.

In: a number of ranks and of entries, on the command line. Out: a table; findings where the verdicts
differ or, at full size, where we are not eight times as fast with a sixth of the memory. The traces
are synthetic NCCL ones (there is no GPU here); both programs read the same files, each in a process
of its own that ends with its answer. Time is that of the processor, which a busy machine changes
less, and of the clock.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gauge import Workplace, parser, show, workplace

from support import torchfrtrace
from support.recorders import write
from support.scenarios import SCENARIOS, job

FAULT = "missing"
CALLS_A_STEP = 3

FASTER = 8
"""Times, by the processor's clock; torchfrtrace's own time includes its import of torch, as its command does."""

SMALLER = 6
FULL_SIZE = 512
"""Below so many ranks both are bound by starting Python, and no figure is judged."""

WITHIN_S = 1200.0


def main(argv: Sequence[str] | None = None) -> int:
    """Make the traces, run both, show; 1 for findings."""
    options = _options(argv)
    with workplace("diagnose") as place:
        rows: list[dict[str, Any]] = []
        for ranks in options.ranks:
            rows += _compared(place, ranks, options.entries)
        rows += [_ours(place, ranks, options.few) for ranks in options.alone]
        findings = list(place.findings)
        notes = ["synthetic NCCL traces; memory is the sum of a process and of the children that read for it"]
        return show("diagnose", rows, findings, notes, as_json=options.json)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--ranks", type=int, nargs="*", default=[512], help="ranks of the jobs that both read")
    made.add_argument("--entries", type=int, default=500, help="recorder entries a rank there")
    made.add_argument(
        "--alone", type=int, nargs="*", default=[8, 64, 512, 4096], help="ranks of jobs that we read alone"
    )
    made.add_argument("--few", type=int, default=60, help="recorder entries a rank there")
    return made.parse_args(argv)


def _compared(place: Workplace, ranks: int, entries: int) -> list[dict[str, Any]]:
    directory, odd = _traces(place, ranks, entries)
    ours, wall = _run_ours(directory)
    begin = time.perf_counter()
    (theirs,) = torchfrtrace.verdicts([directory])
    their_wall = time.perf_counter() - begin
    first = ours["findings"][0] if ours["findings"] else None
    said = [["missing-ranks", bad["group"], bad["seq"], bad["missing"]] for bad in theirs.get("bad", [])]
    if first is None or said != [first] or first[3] != odd:
        place.findings.append(f"{ranks} ranks: we say {first}, torchfrtrace says {theirs}, the fault is at {odd}")
    rows = [_row("oobdump", ranks, entries, ours, wall), _row("torchfrtrace", ranks, entries, theirs, their_wall)]
    faster, smaller = theirs["cpu_s"] / ours["cpu_s"], theirs["kib"] / ours["kib"]
    if ranks >= FULL_SIZE and (faster < FASTER or smaller < SMALLER):
        place.findings.append(f"{ranks} ranks: {faster:.1f} times as fast and 1/{smaller:.1f} of the memory")
    ratio = {"seconds": their_wall / wall, "processor s": faster, "MiB": smaller}
    return [*rows, {"who": "ratio", "ranks": ranks, "entries": entries, **ratio}]


def _ours(place: Workplace, ranks: int, entries: int) -> dict[str, Any]:
    directory, odd = _traces(place, ranks, entries)
    ours, wall = _run_ours(directory)
    if ours["ranks"] != ranks or ours["findings"][0][3] != odd:
        place.findings.append(f"{ranks} ranks: {ours['ranks']} heard, {ours['findings'][:1]}; the fault is at {odd}")
    return _row("oobdump", ranks, entries, ours, wall)


def _traces(place: Workplace, ranks: int, entries: int) -> tuple[Path, list[int]]:
    """The files, and the ranks to be named."""
    made = job(ranks, capacity=entries)
    wanted = SCENARIOS[FAULT](made, entries // CALLS_A_STEP)
    return write(place.path / f"{ranks}-{entries}", made.recorders), sorted(wanted.ranks)


def _run_ours(directory: Path) -> tuple[dict[str, Any], float]:
    command = [sys.executable, str(Path(__file__).with_name("recorders_subject.py")), str(directory)]
    script = f"import sys; sys.path[:0] = {sys.path!r}; sys.argv = {command[1:]!r}; import runpy; "
    script += "runpy.run_path(sys.argv[0], run_name='__main__')"
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, timeout=WITHIN_S)
    return json.loads(done.stdout), time.perf_counter() - begin


def _row(who: str, ranks: int, entries: int, found: dict[str, Any], wall: float) -> dict[str, Any]:
    seconds = {"seconds": wall, "processor s": found["cpu_s"], "MiB": found["kib"] / 1024}
    return {"who": who, "ranks": ranks, "entries": entries, **seconds}


if __name__ == "__main__":
    sys.exit(main())
