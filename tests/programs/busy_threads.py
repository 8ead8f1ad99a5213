"""A healthy process that is busy in the ways that kill a careless dumper: ``work``.

Three threads churn frames (recursion, generators, ``exec``), short threads start and end,
and the main thread adds numbers up. Each checks its own results all the time. At SIGTERM,
or when ``RELEASE_FIFO`` is written, it prints ``correct <rounds>`` and ends with 0, or
``wrong <which>`` and ends with 1.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

from _program import arm, ready, wait_until_released

DEPTH = 60
NUMBERS = 300
SHORT_THREADS = 4
SPOIL = int(os.environ.get("SPOIL", "0"))
"""Anything but 0 makes one thread's result wrong, to see that it is noticed."""

SOURCE = compile(f"total = sum(n * n for n in range({NUMBERS + SPOIL}))", "<churn>", "exec")
SQUARES = sum(n * n for n in range(NUMBERS))

stopping: list[str] = []  # not an Event: a signal handler that takes a lock can deadlock with itself
wrong: list[str] = []
rounds: dict[str, int] = {}


def descend(depth: int) -> int:
    """As many frames as ``depth``, and their count."""
    return 0 if depth == 0 else 1 + descend(depth - 1)


def squares(numbers: int) -> Iterator[int]:
    """A chain of two generators, resumed for each number."""
    yield from (n * n for n in range(numbers))


def by_recursion() -> bool:
    """Whether deep recursion counts right."""
    return descend(DEPTH) == DEPTH


def by_generators() -> bool:
    """Whether generators add up right."""
    return sum(squares(NUMBERS)) == SQUARES


def by_exec() -> bool:
    """Whether executed code adds up right."""
    names: dict[str, int] = {}
    exec(SOURCE, names)  # code objects that come and go are the load
    return names["total"] == SQUARES


def by_short_threads() -> bool:
    """Whether threads that start and end each leave their result."""
    results: list[int] = []
    threads = [threading.Thread(target=lambda: results.append(descend(DEPTH))) for _ in range(SHORT_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results == [DEPTH] * SHORT_THREADS


def churn(name: str, check: Callable[[], bool]) -> None:
    """Check at least once and until told to stop; an error is a wrong result too."""
    rounds[name] = 0
    while not (stopping and rounds[name]):
        try:
            right = check()
        except Exception as error:  # whatever broke it, it is a wrong result
            right = False
            wrong.append(f"{name}: {error!r}")
        if not right:
            wrong.append(name)
            return
        rounds[name] += 1


CHECKS: dict[str, Callable[[], bool]] = {
    "recursion": by_recursion,
    "generators": by_generators,
    "exec": by_exec,
    "short_threads": by_short_threads,
}


def stop_when_released() -> None:
    """Let the release FIFO do what SIGTERM does."""
    wait_until_released()
    stopping.append("released")


def stop_at_sigterm(_number: int, _frame: object) -> None:
    """A program's own signal handler: it must go on working beside oobdump."""
    stopping.append("SIGTERM")


def work() -> None:
    """Start the load and add numbers up beside it."""
    threads = [threading.Thread(target=churn, args=item, name=item[0]) for item in CHECKS.items()]
    for thread in threads:
        thread.start()
    ready()
    churn("main", by_generators)
    for thread in threads:
        thread.join()


def main() -> int:
    """Work until stopped; whether every result was right."""
    arm()
    signal.signal(signal.SIGTERM, stop_at_sigterm)
    if "RELEASE_FIFO" in os.environ:
        threading.Thread(target=stop_when_released, name="stop", daemon=True).start()
    work()
    sys.stdout.write(f"wrong {wrong}\n" if wrong else f"correct {rounds}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
