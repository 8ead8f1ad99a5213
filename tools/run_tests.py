"""Runs the tests in two phases: first those that hold figures, alone; then all others, in parallel.

In: an optional marker expression and anything that pytest takes. Out: pytest's output, the
large phase last, and the worse of the two exit codes. The rules it keeps: a test marked ``serial``
never shares the machine with another test; and one that failed beside others is run once more,
alone, since real processes under deadlines may starve. What passed only then is named.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence

PARALLEL = 3
"""Tests run programs of several processes, and wait for them half of the time: more get in each other's way."""

SOME_FAILED = 1
"""Pytest's exit code when tests failed, and nothing else went wrong."""

NO_TESTS = 5
"""Pytest's exit code when nothing was selected."""


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; pytest's exit code, 5 only when neither phase had a test."""
    parser = argparse.ArgumentParser(description="Run oobdump's tests.")
    parser.add_argument("--marks", default="", help="a marker expression, such as 'not slow'")
    parser.add_argument("--jobs", default=str(PARALLEL), help="processes of the parallel phase")
    options, words = parser.parse_known_args(argv)
    narrow = f" and ({options.marks})" if options.marks else ""
    codes = [
        run("-m", f"serial{narrow}", *words),
        alone_if_failed(run("-m", f"not serial{narrow}", "-n", options.jobs, *words), *words),
    ]
    ran = [code for code in codes if code != NO_TESTS]
    return max(ran, default=NO_TESTS)


def alone_if_failed(code: int, *words: str) -> int:
    """After the parallel phase: its exit code, or that of what failed in it, run again without company."""
    if code != SOME_FAILED:
        return code
    print("== what failed beside others, once more and alone", flush=True)
    return run("--last-failed", "--last-failed-no-failures=none", "-v", *words)


def run(*words: str) -> int:
    """One phase."""
    return subprocess.run([sys.executable, "-m", "pytest", *words], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
