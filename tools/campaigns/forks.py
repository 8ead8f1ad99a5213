"""Signals at children from their first instant: the parent's bell never rings for them, and none dies of it.

In: a number of children. Out: a row for each way of making one (``forking_parent.py``); a finding
if the parent dumped although it was never asked, if a child ended otherwise than with 0, or if the
parent did not answer when it was asked at last.
"""

from __future__ import annotations

import collections
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ground

from oobdump.store import reader
from support import dumps, programs

CHILDREN = 200
"""For each way."""

AGAIN_S = 0.002
"""Between two signals at the same child, from its first instant to its end."""

ENDS_WITHIN_S = 1800.0
LAST_CHILDREN = 40
"""That may not have been cleared away yet."""

SPARE_DESCRIPTORS = 2
"""The sentinel that the worker watches, and one that is open for a moment."""

SPARE_THREADS = 2
"""An answering thread that was needed a moment ago may still be there."""


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; 1 if a child rang its parent's bell, or died."""
    parser = ground.parser(__doc__)
    parser.add_argument("--children", type=int, default=CHILDREN, help="for each way of making one")
    options = parser.parse_args(argv)
    with ground.workplace("forks") as place:
        rows = campaign(place, options.children)
    return ground.show("forks", rows, place.findings, as_json=options.json)


def campaign(place: ground.Workplace, children: int) -> list[dict[str, Any]]:
    """One parent with many children; each is signalled, the parent never, and then it is."""
    program = ground.Victim("forking_parent", "")
    running = programs.launch(program, place.path / "parent", env=place.environment, arguments=(str(children),))
    try:
        ground.await_ready(running)
        sent = fire(place, running)
        by_pid = collections.Counter(dump.pid for dump in own_dumps(Path(place.layout.job_dir)))
        if by_pid[running.pid]:
            place.findings.append(f"the parent dumped {by_pid[running.pid]} times for its children's signals")
        summary = json.loads(running.stdout)
        leaks(place, running, summary["held"])
        ask_parent(place, running)
    finally:
        running.stop()
    place.findings += ground.damage(place.layout, reader.request_ids(place.layout))[1]
    return [row(place, way, pids, sent, by_pid) for way, pids in summary["ways"].items()]


def fire(place: ground.Workplace, running: programs.Running) -> collections.Counter[int]:
    """Signal every child as soon as it is there, and again until the parent says that it had all; signals by pid."""
    sent: collections.Counter[int] = collections.Counter()
    alive: dict[int, int] = {}
    deadline = time.monotonic() + ENDS_WITHIN_S
    again = 0.0
    while not running.stdout and running.popen.poll() is None and time.monotonic() < deadline:
        there = set(children_of(running.pid))
        for pid in there - alive.keys():
            alive[pid] = hold(pid)
            sent[pid] += shoot(alive[pid])
        for pid in alive.keys() - there:
            let_go(alive.pop(pid))
        if time.monotonic() > again:
            again = time.monotonic() + AGAIN_S
            for pid, pidfd in alive.items():
                sent[pid] += shoot(pidfd)
    for pidfd in alive.values():
        let_go(pidfd)
    if not running.stdout:
        place.findings.append(f"the parent did not end its work: {running.stderr[-500:]}")
    return sent


def leaks(place: ground.Workplace, running: programs.Running, held: list[dict[str, int]]) -> None:
    """Nothing of the children may stay: descriptors and threads in the parent, their bells, their roster entries.

    A few of the last children may still be there: whoever starts or ends next in the job removes them, and
    those who were asked stay in the roster, since their outcome does.
    """
    before, after = held
    if (
        after["descriptors"] > before["descriptors"] + SPARE_DESCRIPTORS
        or after["threads"] > before["threads"] + SPARE_THREADS
    ):
        place.findings.append(f"the parent held {before} before its children and {after} after them")
    bells = [path.name for path in (place.path / "run").rglob("*.fifo") if str(running.pid) not in path.name]
    if len(bells) > LAST_CHILDREN:
        place.findings.append(f"{len(bells)} bells of children are left")
    job = Path(place.layout.job_dir)
    asked = {worker for each in dumps.request_ids(job) for worker in dumps.accepted(job, each)["asked"]}
    unasked = [name for name in dumps.roster(job) if name not in asked]
    if len(unasked) > LAST_CHILDREN + 1:
        place.findings.append(f"{len(unasked)} roster entries of children that were never asked are left")


def children_of(pid: int) -> list[int]:
    """The living children of a process, as the kernel lists them."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def own_dumps(job_dir: Path) -> list[dumps.Dump]:
    """What workers dumped themselves: a sentinel's dumps, of children that died while they answered, are not theirs."""
    return [dump for dump in dumps.committed(job_dir) if not dump.worker.endswith(".outside")]


def hold(pid: int) -> int:
    """A descriptor of a process; -1 if it has just gone."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return -1


def let_go(pidfd: int) -> None:
    """Closes it, if there is one."""
    if pidfd >= 0:
        os.close(pidfd)


def shoot(pidfd: int) -> bool:
    """One signal; whether there was still somebody to hear it."""
    if pidfd < 0:
        return False
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGUSR1)
    except ProcessLookupError:
        return False
    return True


def ask_parent(place: ground.Workplace, running: programs.Running) -> None:
    """After all that the parent's own bell rings when it should."""
    os.kill(running.pid, signal.SIGUSR1)
    job_dir = Path(place.layout.job_dir)
    try:
        dumps.until(lambda: any(dump.pid == running.pid for dump in own_dumps(job_dir)), "the parent's own dump")
    except AssertionError as error:
        place.findings.append(str(error))


def row(
    place: ground.Workplace,
    way: str,
    statuses: dict[str, int],
    sent: collections.Counter[int],
    by_pid: collections.Counter[int],
) -> dict[str, Any]:
    """What became of the children that were made in one way."""
    pids = [int(pid) for pid in statuses]
    silent = [pid for pid in pids if by_pid[int(pid)] == 0] if "answers" in way else []
    if silent:
        place.findings.append(f"{way}: {len(silent)} children have no dump of their own")
    bad = {pid: status for pid, status in statuses.items() if status != 0}
    if bad:
        place.findings.append(f"{way}: children ended with {collections.Counter(bad.values())}")
    return {
        "way": way,
        "children": len(pids),
        "signalled": sum(sent[pid] > 0 for pid in pids),
        "signals": sum(sent[pid] for pid in pids),
        "ended well": len(pids) - len(bad),
        "children's dumps": sum(by_pid[pid] for pid in pids),
    }


if __name__ == "__main__":
    sys.exit(main())
