"""Every job of the table, one after the other, as a table of verdicts: ``make jobs``.

In: names of jobs (default: all). Out: one line each on stdout, 0 if every verdict is what the table says.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from jobs import harness
from jobs.table import JOBS, Job


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Run real jobs that misbehave, and check what diagnose says of each.")
    parser.add_argument("names", nargs="*", help="jobs of tests/jobs/table.py (default: all)")
    options = parser.parse_args(argv)
    chosen = [job for job in JOBS if not options.names or job.name in options.names]
    print(f"{'job':22} {'ranks':>5}  {'verdict':21} {'named':8} {'sure':7} {'s':>5}  {'where':24} right")
    wrong = sum(not one(job) for job in chosen)
    print(f"{len(chosen) - wrong} of {len(chosen)} verdicts are right")
    return int(bool(wrong) or not chosen)


def one(job: Job) -> bool:
    """Runs one job and prints its line; whether the verdict is right."""
    with tempfile.TemporaryDirectory(prefix="oobdump-jobs-") as place:
        try:
            with harness.running(job, Path(place) / "job") as started:
                found = harness.diagnose(job, started.root)
        except AssertionError as error:
            print(f"{job.name:22} {job.size:5}  could not be started: {error}", flush=True)
            return False
    complaints = list(found.complaints())
    verdict = found.document.get("verdict") or {}
    named = [each["user_frame"] or {} for each in found.document.get("outliers", ()) if each["named_by_verdict"]]
    where = ", ".join(dict.fromkeys(f"{each.get('function', '-')}:{each.get('line', '')}" for each in named[:2])) or "-"
    ranks = ",".join(map(str, verdict.get("ranks", ()))) or "-"
    print(
        f"{job.name:22} {job.size:5}  {verdict.get('rule', '-'):21} {ranks:8} {verdict.get('confidence', '-'):7} "
        f"{found.seconds:5.1f}  {where:24} {'no' if complaints else 'yes'}",
        flush=True,
    )
    for complaint in complaints:
        print(f"    {complaint}", flush=True)
    return not complaints


if __name__ == "__main__":
    sys.exit(main())
