"""What a sentinel costs, how fast it answers, and whether a worker that has one needs a watcher of its own.

In: how many workers, drops and samples. Out: rows of named figures. "watcher" rows compare three set-ups
of the same workers: each with its own inotify and no sentinel; each with its own and a sentinel; none with
its own, so that the sentinel alone notices files and rings. Times are of a shared machine: compare rows of
one run only. A finding if an idle sentinel wakes up more than once a second or takes 25 MB.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import gauge
import idle

from support import dumps, programs
from support.sentinels import outside, sentinel

MAX_RSS_KB = 25_000
MAX_WAKEUPS_PER_S = 1.0 + 0.15  # one a second, and the borders of a few seconds' watch
IDLE_S = 8.0
SETTLE_S = 6.0

START = """
import sys, time, oobdump
began = time.perf_counter()
oobdump.start(sentinel=sys.argv[1])
print(time.perf_counter() - began)
"""

SETUPS = {
    "own watchers, no sentinel": {"OOBDUMP_SENTINEL": "off", "OOBDUMP_WATCH": "events"},
    "own watchers and a sentinel": {"OOBDUMP_WATCH": "events"},
    "the sentinel's watcher only": {"OOBDUMP_WATCH": "off"},
}


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; 1 if an idle sentinel is not as promised."""
    parser = gauge.parser(__doc__)
    parser.add_argument("--workers", type=int, default=8, help="workers of the watcher rows")
    parser.add_argument("--drops", type=int, default=20, help="files dropped for each set-up and target")
    parser.add_argument("--starts", type=int, default=9, help="starts for each setting")
    parser.add_argument("--answers", type=int, default=3, help="answers from outside")
    parser.add_argument("--seconds", type=float, default=IDLE_S, help="how long to watch an idle sentinel")
    options = parser.parse_args(argv)
    rows: list[dict[str, Any]] = []
    with gauge.workplace("sentinel") as place:
        rows += idle_rows(place, options.seconds)
        rows += answer_rows(place, options.answers)
        rows += start_rows(place, options.starts)
        for name, env in SETUPS.items():
            rows += watcher_rows(place, name, env, options.workers, options.drops)
        findings = list(place.findings)
    return gauge.show("sentinel", rows, findings, as_json=options.json)


def row(what: str, value: float, unit: str, note: str = "") -> dict[str, Any]:
    """One figure."""
    return {"what": what, "value": round(value, 3), "unit": unit, "note": note}


def settings(place: gauge.Workplace, name: str, **more: str) -> dict[str, str]:
    """Settings of a job of its own."""
    return {**place.environment, "OOBDUMP_JOB": name, **more}


def idle_rows(place: gauge.Workplace, seconds: float) -> Iterator[dict[str, Any]]:
    """Memory and wake-ups of the sentinel and its I/O child beside one worker that nobody asks any more."""
    with programs.running("idle", place.path / "idle", env=settings(place, "idle")) as running:
        job_dir = Path(place.layout.root, "idle")
        pid = sentinel(job_dir)
        dumps.ask(job_dir)
        time.sleep(SETTLE_S)
        child = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
        processes = {"sentinel": pid, "its I/O child": child, "worker": running.pid}
        before = {name: idle.use(each) for name, each in processes.items()}
        time.sleep(seconds)
        for name, each in processes.items():
            after = idle.use(each)
            per_s = (after.voluntary - before[name].voluntary) / seconds
            yield row(f"{name}: wake-ups", per_s, "1/s")
            yield row(f"{name}: processor", (after.nanoseconds - before[name].nanoseconds) / seconds / 1e6, "ms/s")
            if per_s > MAX_WAKEUPS_PER_S or (name == "worker" and per_s):
                place.findings.append(f"{name} woke up {per_s:.2f} times a second")
            if name != "worker":
                yield from memory_rows(place, name, each)


def memory_rows(place: gauge.Workplace, name: str, pid: int) -> Iterator[dict[str, Any]]:
    """Resident and proportional set size."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in rollup if line.endswith("kB")}
    if sizes["Rss"] > MAX_RSS_KB:
        place.findings.append(f"{name} has {sizes['Rss']} kB resident")
    yield row(f"{name}: resident", sizes["Rss"] / 1000, "MB")
    yield row(f"{name}: proportional", sizes["Pss"] / 1000, "MB")


def answer_rows(place: gauge.Workplace, answers: int) -> Iterator[dict[str, Any]]:
    """From acceptance to the committed dump from outside, of a worker that keeps the GIL, beyond its grace."""
    grace_s = 0.5
    env = settings(place, "held", OOBDUMP_GRACE_S=str(grace_s))
    with programs.running("c_wait_gil_held", place.path / "held", env=env):
        job_dir = Path(place.layout.root, "held")
        sentinel(job_dir)
        waits = []
        for count in range(1, answers + 1):
            dumps.drop(job_dir, "stacks")
            dump = max(outside(job_dir, count), key=lambda found: found.request_id)
            accepted = dumps.accepted(job_dir, dump.request_id)["accepted_at"]
            waits.append(dump.manifest["committed_at_s"] - accepted - grace_s)
        yield row("answer from outside, beyond grace", statistics.median(waits), "s", f"worst {max(waits):.3f}")


def start_rows(place: gauge.Workplace, starts: int) -> Iterator[dict[str, Any]]:
    """``oobdump.start()`` with a sentinel to launch, and without."""
    seconds: dict[str, list[float]] = {"auto": [], "off": []}
    for number in range(starts):
        for mode, found in seconds.items():
            env = programs.client_environment(**settings(place, f"start-{mode}-{number}"))
            done = subprocess.run([sys.executable, "-c", START, mode], env=env, check=True, capture_output=True)
            found.append(float(done.stdout))
    for mode, found in seconds.items():
        yield row(f"start(sentinel={mode!r})", statistics.median(found) * 1000, "ms", f"of {starts}")


def watcher_rows(
    place: gauge.Workplace, name: str, env: dict[str, str], workers: int, drops: int
) -> Iterator[dict[str, Any]]:
    """Dropped files for all workers and for one: time to the last dump, and processor time of all workers."""
    job = "".join(letter for letter in name if letter.isalpha())
    with many(place, job, env, workers) as running:
        job_dir = Path(place.layout.root, job)
        entries = dumps.wait_for_roster(job_dir, [each.pid for each in running], 90)
        if env.get("OOBDUMP_SENTINEL") != "off":
            sentinel(job_dir)
        dumps.ask(job_dir, "ping", workers)
        for who, targets, count in (("all", ["all"], workers), ("one", [next(iter(entries))], 1)):
            before = sum(idle.use(each.pid).nanoseconds for each in running)
            seconds = [ask(job_dir, targets, count) for _ in range(drops)]
            spent = sum(idle.use(each.pid).nanoseconds for each in running) - before
            yield row(f"{name}: {who} answered", statistics.median(seconds) * 1000, "ms")
            yield row(f"{name}: workers' processor, {who}", spent / drops / 1e6, "ms/request")


def ask(job_dir: Path, targets: list[str], count: int) -> float:
    """Seconds from the drop to the last dump."""
    before = set(dumps.request_ids(job_dir))
    began = time.perf_counter()
    hidden = job_dir / "requests" / f".{time.time_ns()}.tmp"
    hidden.write_bytes(json.dumps({"handlers": ["ping"], "targets": targets}).encode())
    hidden.rename(job_dir / "requests" / f"{time.time_ns()}.json")
    request_id = min(dumps.until(lambda: set(dumps.request_ids(job_dir)) - before, "accepted"))
    dumps.wait_for_dumps(job_dir, count, request_id)
    return time.perf_counter() - began


@contextmanager
def many(place: gauge.Workplace, job: str, env: dict[str, str], workers: int) -> Iterator[list[programs.Running]]:
    """Several workers of one job."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                programs.running("idle", place.path / f"{job}{number}", env=settings(place, job, **env))
            )
            for number in range(workers)
        ]


if __name__ == "__main__":
    sys.exit(main())
