"""What an armed worker costs a training loop that nobody asks anything: the ratio of its times, in pairs.

In: a number of pairs. Out: a row for the wall clock and one for processor time, each with the median ratio
(armed over unarmed) and its interval. The loop (``overhead_loop.py``) runs in one process that starts and
stops oobdump between two halves of a pair, now this one first and now that one, so that drift cancels out.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from typing import Any

import gauge

PAIRS = 150
WITHIN_S = 300.0
"""A pair takes 0.2 s on an idle machine."""


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; 0, or 1 if the loop failed."""
    parser = gauge.parser(__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    options = parser.parse_args(argv)
    rows: list[dict[str, Any]] = []
    with gauge.workplace("overhead") as place, gauge.launched(place, "overhead_loop", str(options.pairs)) as running:
        if running.wait_for_exit(WITHIN_S) == 0:
            measured = json.loads(running.stdout)
            rows = [row(clock, measured[clock]) for clock in ("wall", "processor")]
        else:
            place.findings.append(f"the loop failed: {running.stderr[-500:]}")
    return gauge.show("overhead", rows, place.findings, as_json=options.json)


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
    }


if __name__ == "__main__":
    sys.exit(main())
