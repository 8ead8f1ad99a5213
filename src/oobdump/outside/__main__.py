"""``python -m oobdump.outside``: answers for workers of one request, from a process that may be lost.

In: a root, a job, a request, workers. Out: on stdout one JSON object a worker, as each is settled; exit
status 0 if each has an outcome on disk. The rule this module keeps: nothing of the command line's
libraries is loaded, so that it starts in the time of a bare Python.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
from collections.abc import Sequence
from dataclasses import asdict

from oobdump.outside.answer import OutsideAnswer, answer_for
from oobdump.outside.ladder import LADDER_S
from oobdump.store.layout import Layout

__all__ = ["main"]

AT_ONCE = 8
"""Workers that are climbed for at the same time: a node has as many ranks, and two processors suffice."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs with these arguments; the exit status."""
    given = _parser().parse_args(argv)
    layout = Layout(os.path.abspath(given.dir), given.job)
    answers: list[OutsideAnswer] = []
    room = threading.Semaphore(AT_ONCE)

    def one(worker: str) -> None:
        with room:
            found = answer_for(
                layout,
                given.request,
                worker,
                by=given.by,
                reason=given.reason,
                deadline_s=given.deadline,
                grace_s=given.grace,
            )
        answers.append(found)
        os.write(1, json.dumps(asdict(found)).encode("ascii") + b"\n")

    threads = [threading.Thread(target=one, args=(worker,), daemon=True) for worker in given.workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return int(any(answer.outcome == "failed" for answer in answers))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m oobdump.outside", description="answer for workers from outside")
    parser.add_argument("--dir", required=True, help="root of the dumps")
    parser.add_argument("--job", required=True)
    parser.add_argument("--request", required=True, metavar="ID")
    parser.add_argument("--by", choices=("sentinel", "client"), default="client")
    parser.add_argument("--reason", default="asked for by hand", help="why the worker is looked at from outside")
    parser.add_argument("--deadline", type=float, default=LADDER_S, metavar="S")
    parser.add_argument("--grace", type=float, default=2.5, metavar="S", help="how long it was waited for")
    parser.add_argument("workers", nargs="+", metavar="WORKER")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
