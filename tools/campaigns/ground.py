"""What the campaigns stand on: the sources, the tests' real programs, a place to work, and one check.

In: nothing. Out: an importable ``oobdump`` and ``support`` (the tests' own helpers) whichever way a
campaign is run; ``workplace``, a directory that is kept only if something went wrong; ``damage``,
which reads a job's dumps twice, with the project's reader and without it.
"""

from __future__ import annotations

import json
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [place for name in ("tools", "tests", "src") if (place := str(ROOT / name)) not in sys.path]

from figures import parser, show  # noqa: E402 - found through the line above
from oobdump.errors import DamagedDump  # noqa: E402
from oobdump.store import reader  # noqa: E402
from oobdump.store.layout import Layout  # noqa: E402
from support import programs  # noqa: E402

__all__ = ["ROOT", "Victim", "Workplace", "await_ready", "chance", "damage", "parser", "show", "workplace"]


REMOVED_WITHIN_S = 20.0
"""A sentinel leaves within seconds of its last worker."""

LOOK_EVERY_S = 0.1


class Workplace:
    """A fresh directory, and what was found wrong there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.findings: list[str] = []

    @property
    def environment(self) -> dict[str, str]:
        """Settings that keep everything a program makes in here, and every dump."""
        return {
            "OOBDUMP_DIR": str(self.layout.root),
            "OOBDUMP_JOB": self.layout.job,
            "OOBDUMP_RUNTIME_DIR": str(self.path / "run"),
            "OOBDUMP_FALLBACK_DIR": str(self.path / "fallback"),
            "OOBDUMP_KEEP": "0",
            "OOBDUMP_KEEP_BYTES": "0",
        }

    @property
    def layout(self) -> Layout:
        """Where the dumps go."""
        return Layout(str(self.path / "root"), "campaign")


@contextmanager
def workplace(name: str) -> Iterator[Workplace]:
    """A directory for one run; it stays, and is named on stderr, if there are findings or an error.

    SIGTERM raises ``SystemExit`` meanwhile: a campaign that is ended early leaves no process either.
    """
    place = Workplace(Path(tempfile.mkdtemp(prefix=f"oobdump-{name}-")))
    before = signal.signal(signal.SIGTERM, lambda signum, _frame: sys.exit(128 + signum))
    keep = True
    try:
        yield place
        keep = bool(place.findings)
    finally:
        signal.signal(signal.SIGTERM, before)
        if keep:
            print(f"{name}: what was found is in {place.path}", file=sys.stderr)
        else:
            _remove(place.path)


def _remove(path: Path) -> None:
    """Removes it, although a sentinel that leaves soon may still write there."""
    deadline = time.monotonic() + REMOVED_WITHIN_S
    while path.exists():
        shutil.rmtree(path, ignore_errors=time.monotonic() < deadline)
        time.sleep(LOOK_EVERY_S)


def chance(seed: int | None) -> tuple[random.Random, str]:
    """A source of chance, and the note that says how to have the same again."""
    seed = time.time_ns() % 2**32 if seed is None else seed
    return random.Random(seed), f"seed {seed}"  # noqa: S311 - chance, not secrecy


@dataclass(frozen=True)
class Victim(programs.Program):
    """A program of a campaign's own, in this directory."""

    @property
    def path(self) -> Path:
        """The program's file."""
        return Path(__file__).resolve().with_name(f"{self.name}.py")


def await_ready(running: programs.Running) -> None:
    """Wait until a program that was launched says that it is ready."""
    waiting = select.poll()
    waiting.register(running.ready_fd, select.POLLIN)
    deadline = time.monotonic() + programs.READY_WITHIN_S
    while not waiting.poll(100):
        if running.popen.poll() is not None or time.monotonic() > deadline:
            raise programs.ProgramError(
                f"{running.program.name} was never ready; its stderr:\n{running.stderr[-4000:]}"
            )
    os.read(running.ready_fd, 4096)


def damage(layout: Layout, ids: Iterable[str]) -> tuple[dict[str, int], list[str]]:
    """How many dumps were found ``committed``, ``partial`` or ``foreign``, and what is wrong with them.

    Wrong are: a foreign dump, a part that is not as the manifest says, a request that cannot be read,
    and a manifest that this function and the project's reader do not agree on.
    """
    counts: dict[str, int] = {"committed": 0, "partial": 0, "foreign": 0}
    findings: list[str] = []
    for request_id in ids:
        findings += _request_damage(layout, request_id)
        for dump in reader.dumps(layout, request_id):
            counts[dump.found] += 1
            findings += [f"{dump.directory}: {what}" for what in _dump_damage(dump)]
    return counts, findings


def _request_damage(layout: Layout, request_id: str) -> list[str]:
    try:
        reader.open_request(layout, request_id)
    except DamagedDump as error:
        return [str(error)]
    return []


def _dump_damage(dump: reader.Dump) -> Iterator[str]:
    manifest = Path(dump.directory, "manifest.json")
    if dump.found == "foreign":
        yield f"foreign: {dump.why}"
    if (dump.found == "committed") != manifest.exists():
        yield f"taken for {dump.found}, its manifest says otherwise"
    if dump.found == "committed":
        yield from (f"{part['path']} is torn" for part in _object(manifest)["parts"] if not _is_whole(dump, part))
        yield from _refused_parts(dump)


def _is_whole(dump: reader.Dump, part: dict[str, Any]) -> bool:
    if part["path"] is None:
        return bool(part["size"] == 0)
    try:
        data = Path(dump.directory, part["path"]).read_bytes()
    except OSError:
        return False
    return bool(len(data) == part["size"] and f"crc32:{zlib.crc32(data):08x}" == part["checksum"])


def _refused_parts(dump: reader.Dump) -> Iterator[str]:
    for part in dump.parts:
        try:
            reader.part_bytes(dump, part)
        except DamagedDump as error:
            yield str(error)


def _object(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_bytes())
    return value
