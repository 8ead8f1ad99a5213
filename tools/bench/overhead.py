"""What an armed worker costs a training loop: the ratio of its times, in pairs, idle and asked once a second.

In: a number of pairs. Out: for each loop (plain Python; torch, where it is installed) and each clock (wall,
processor), the median ratio (armed over unarmed) with its interval, and the difference in per cent. The loop
(``overhead_loop.py``) runs in one process that starts and stops oobdump between two halves of a pair, now
this one first and now that one, so that drift cancels out.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import sys
from collections.abc import Sequence
from typing import Any

import gauge

PAIRS = 150
ASKED_EACH = 4
"""A block that is asked takes ten times as long as one that is not: so many fewer pairs of it."""

WITHIN_S = 900.0
"""A pair takes 0.3 s on an idle machine, 2.2 s when asked."""


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; 0, or 1 if a loop failed."""
    parser = gauge.parser(__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    options = parser.parse_args(argv)
    loops = ["python", *(["torch"] if importlib.util.find_spec("torch") else [])]
    rows: list[dict[str, Any]] = []
    with gauge.workplace("overhead") as place:
        for loop in loops:
            rows += measured(place, loop, "idle", options.pairs)
            rows += measured(place, loop, "asked", max(2, options.pairs // ASKED_EACH))
    notes = [] if "torch" in loops else ["torch is not installed: its loop was left out"]
    return gauge.show("overhead", rows, place.findings, notes, as_json=options.json)


def measured(place: gauge.Workplace, loop: str, when: str, pairs: int) -> list[dict[str, Any]]:
    """One loop, asked or not: a row for each clock."""
    with gauge.launched(place, "overhead_loop", str(pairs), loop, when) as running:
        if running.wait_for_exit(WITHIN_S) != 0:
            place.findings.append(f"the {loop} loop failed: {running.stderr[-500:]}")
            return []
        found = json.loads(running.stdout)
    return [{"loop": loop, "when": when, **row(clock, found[clock])} for clock in ("wall", "processor")]


def row(clock: str, pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """One clock: times without and with oobdump."""
    ratios = [armed / bare for bare, armed in pairs]
    low, high = gauge.interval(ratios)
    return {
        "clock": clock,
        "pairs": len(pairs),
        "bare ms": statistics.median(bare for bare, _ in pairs) * 1000,
        "armed ms": statistics.median(armed for _, armed in pairs) * 1000,
        "ratio": f"{statistics.median(ratios):.4f}",
        "95 % from": f"{low:.4f}",
        "to": f"{high:.4f}",
        "difference": f"{(statistics.median(ratios) - 1) * 100:+.2f} %",
    }


if __name__ == "__main__":
    sys.exit(main())
