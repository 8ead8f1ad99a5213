"""Writes the table of what ``oobdump run`` changes around a program, from real processes with and without it.

In: nothing. Out: ``docs/reference/_generated/run.md``, or with ``--check`` exit code 1 if the page is not what
is seen here. The rule it keeps: the page is looked up, never remembered. Each process is looked at from
outside, through ``/proc``, while it waits for its standard input; so this runs on Linux only.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [place for name in ("tests", "src") if (place := str(ROOT / name)) not in sys.path]

from support import installed, proc  # noqa: E402 - found through the line above

PAGE = ROOT / "docs" / "reference" / "_generated" / "run.md"
MADE = "<!-- made by tools/gen_run_table.py: change the code, then run `make docs` -->\n\n"

READY_WITHIN_S = 60.0

THREADS = 10
"""Counted in tens: four to eight are usual, and a spare one or two may stay until they are needed again."""

WAIT = "import sys; sys.stdin.read()"
FORK = f"import os, sys; pid = os.fork(); {WAIT}; pid and os.waitpid(pid, 0)"
SUBPROCESS = "import subprocess, sys; subprocess.call(sys.argv[1:])"

SUBJECTS: dict[str, tuple[tuple[str, ...], int]] = {
    "a Python program": (("python", "-c", WAIT), 0),
    "its Python child": (("python", "-c", SUBPROCESS, "python", "-c", WAIT), 1),
    "its forked child": (("python", "-c", FORK), 1),
    "its other child": (("python", "-c", SUBPROCESS, "cat"), 1),
    "a Python run with -S": (("python", "-S", "-c", WAIT), 0),
    "another program": (("sh", "-c", "cat; true"), 0),
}
"""By the heading of a column: what is run, and how far below it the process is that is looked at."""


@dataclass(frozen=True)
class Seen:
    """One process from outside."""

    variables: frozenset[str]
    ignored: frozenset[str]
    handled: frozenset[str]
    blocked: frozenset[str]
    descriptors: Counter[str]
    threads: int


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; exit code 1 if ``--check`` finds an old page."""
    parser = argparse.ArgumentParser(description="Write the table of what `oobdump run` changes.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page is old")
    check = parser.parse_args(argv).check
    with tempfile.TemporaryDirectory(prefix="oobdump-table-") as place:
        text = MADE + table(Path(place))
    old = not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text
    if old and check:
        print(f"{PAGE.name} is not what is seen here: run `make docs` and commit it; seen:\n{text}", file=sys.stderr)
    elif old:
        PAGE.write_text(text, encoding="utf-8")
        print(f"wrote {PAGE}")
    return 1 if old and check else 0


def table(place: Path) -> str:
    """A row for each thing that may change, a column for each kind of process."""
    here = installed.install(place / "installed")
    columns = {what: differences(place, here, words, below) for what, (words, below) in SUBJECTS.items()}
    rows = list(next(iter(columns.values())))
    lines = [["", *columns], ["---"] * (len(columns) + 1)]
    lines += [[row, *(column[row] for column in columns.values())] for row in rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def differences(place: Path, here: installed.Installed, words: Sequence[str], below: int) -> dict[str, str]:
    """What one kind of process has with ``oobdump run`` and would not have without."""
    with waiting(place, here, words, below) as pid:
        bare = look(pid)
    with waiting(place, here, [*here.run, *words], below) as pid:
        armed = look(pid)
    return {
        "variables": change(bare.variables, armed.variables),
        "signals ignored": change(bare.ignored, armed.ignored),
        "signals handled": change(bare.handled, armed.handled),
        "signals blocked": change(bare.blocked, armed.blocked),
        "descriptors": counted(armed.descriptors - bare.descriptors, bare.descriptors - armed.descriptors),
        "threads": up_to(armed.threads - bare.threads),
    }


def change(before: frozenset[str], after: frozenset[str]) -> str:
    """What came, and what went."""
    words = [f"`{name}`" for name in sorted(after - before)] + [f"not `{name}`" for name in sorted(before - after)]
    return ", ".join(words) or "-"


def up_to(threads: int) -> str:
    """A bound: a spare thread that was needed a moment ago may still be there."""
    return f"up to {-(-threads // THREADS) * THREADS} more" if threads else "-"


def counted(more: Counter[str], fewer: Counter[str]) -> str:
    """The same for things that are many."""
    words = [f"{count} {kind}" for kind, count in sorted(more.items())]
    words += [f"{count} {kind} fewer" for kind, count in sorted(fewer.items())]
    return ", ".join(words) or "-"


@contextmanager
def waiting(place: Path, here: installed.Installed, words: Sequence[str], below: int) -> Iterator[int]:
    """A program that waits for its standard input, at rest; the pid of the process so far below it."""
    environ = here.environment(place, OOBDUMP_SENTINEL="off")  # a process of its own, which comes when it comes
    del environ["OOBDUMP_JOB"]  # so that what `run` says of the job is seen as well
    quietly = {"stdin": subprocess.PIPE, "stderr": subprocess.DEVNULL}  # -S is remarked on
    process = subprocess.Popen(words, env=environ, start_new_session=True, **quietly)  # type: ignore[call-overload]
    try:
        yield at_rest(process.pid, below)
    finally:
        process.communicate(timeout=READY_WITHIN_S)


def at_rest(pid: int, below: int) -> int:
    """Goes down to the process that reads, and waits until it and its parent's threads stand still."""
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        found: int | None = pid
        for _ in range(below):
            found = next(iter(children(found)), None) if found else None
        reader = None if found is None else next(iter(children(found)), found)  # `sh` waits for its `cat`
        if reader is not None and proc.settled(reader, "read") and quiet(reader):
            return reader if below else found or reader
    raise SystemExit(f"process {pid} does not come to rest")


def quiet(pid: int) -> bool:
    """Whether no thread of a process runs: what it does after its start is done."""
    looks = [proc.look(pid, tid) for tid in proc.threads(pid)]
    time.sleep(0.2)
    return looks == [proc.look(pid, tid) for tid in proc.threads(pid)]


def children(pid: int) -> list[int]:
    """The children of a process."""
    words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(word) for word in words]


def look(pid: int) -> Seen:
    """What the kernel tells of a process."""
    about = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (about / "status").read_text().splitlines() if ":" in line)
    names = {entry.split(b"=")[0].decode() for entry in (about / "environ").read_bytes().split(b"\0") if entry}
    return Seen(
        frozenset(names - {"_"}),
        signals(status["SigIgn"]),
        signals(status["SigCgt"]),
        signals(status["SigBlk"]),
        Counter(kind(os.readlink(path)) for path in (about / "fd").iterdir()),
        int(status["Threads"]),
    )


def signals(mask: str) -> frozenset[str]:
    """A mask of ``/proc/PID/status`` by names; what a libc keeps for itself is left out."""
    bits = int(mask, 16)
    return frozenset(s.name for s in signal.Signals if bits >> (s - 1) & 1)


def kind(link: str) -> str:
    """What a descriptor is."""
    if link.endswith(".fifo"):
        return "FIFO"
    for word in ("signalfd", "inotify", "socket", "pipe"):
        if word in link:
            return word
    return "file"


if __name__ == "__main__":
    sys.exit(main())
