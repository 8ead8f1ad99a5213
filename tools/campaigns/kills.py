"""``kill -9`` at random instants while dumping: no torn dump is taken for whole, no earlier one is harmed.

In: a number of kills. Out: how many dumps were committed and how many partial, and where the
kills hit; a finding for each dump that the reader takes for what it is not, and for each earlier
dump that changed. Every second worker dumps because it calls ``oobdump.dump``, the others because
request files are dropped (``dumping_worker.py``).
"""

from __future__ import annotations

import collections
import os
import random
import shutil
import signal
import sys
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ground

from oobdump.store import reader
from support import dumps, programs

KILLS = 500

LONGEST_S = {"call": 0.08, "files": 0.25}
"""A dump takes a few ms, and a dropped file some more to be accepted: the kill falls into one of the first dozen."""

FILES = 16
"""Request files per worker, so that one is being answered whenever the kill comes."""

KEPT = 20
"""Earlier requests that stay, and are compared again after each kill."""

STAGES = ("nothing", "a claim", "1 part", "2 parts", "all parts", "a manifest")

Prints = dict[str, int]
"""Checksum by path of all files of a request."""


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; 1 if anything was torn or harmed."""
    parser = ground.parser(__doc__)
    parser.add_argument("--kills", type=int, default=KILLS, help="workers to kill")
    parser.add_argument("--seed", type=int, default=None, help="for the same random instants")
    options = parser.parse_args(argv)
    chance, note = ground.chance(options.seed)
    with ground.workplace("kills") as place:
        rows = campaign(place, options.kills, chance)
    return ground.show("kills", rows, place.findings, [note], as_json=options.json)


def campaign(place: ground.Workplace, kills: int, chance: random.Random) -> list[dict[str, Any]]:
    """All kills; one row for each way of dumping."""
    found: dict[str, collections.Counter[str]] = {way: collections.Counter() for way in LONGEST_S}
    earlier: dict[str, Prints] = {}
    for number in range(kills):
        way = list(LONGEST_S)[number % 2]
        kill_one(place, way, number, chance)
        found[way] += examine(place, earlier)
        forget(place, earlier)
    return [{"way": way, **counted(found[way])} for way in found]


def counted(found: collections.Counter[str]) -> dict[str, int]:
    """The columns of a row, in order."""
    return {name: found[name] for name in ("killed", "committed", "partial", *(f"left {stage}" for stage in STAGES))}


def kill_one(place: ground.Workplace, way: str, number: int, chance: random.Random) -> None:
    """One worker: started, put to work, killed."""
    directory = place.path / f"worker-{number}"
    running = programs.launch(
        ground.Victim("dumping_worker", ""),
        directory,
        env={**place.environment, "OOBDUMP_SENTINEL": "off"},
        arguments=(way,),
    )
    try:
        ground.await_ready(running)
        if way == "files":
            drop_all(Path(place.layout.job_dir), number)
        time.sleep(chance.uniform(0, LONGEST_S[way]))
        if running.popen.poll() is None:
            os.kill(running.pid, signal.SIGKILL)
        else:
            place.findings.append(f"the worker ended by itself: {running.stderr[-500:]}")
    finally:
        running.stop()
    shutil.rmtree(directory)


def drop_all(job_dir: Path, number: int) -> None:
    """One worker's request files: no two ask the same, or one answer would serve both."""
    for count in range(FILES):
        handlers = ["tiny", "middling", "large"]
        dumps.drop_json(job_dir, f"{number}-{count}", handlers=handlers, timeout_s=60 + count)


def examine(place: ground.Workplace, earlier: dict[str, Prints]) -> collections.Counter[str]:
    """What one kill left; notes the checksums of new requests and compares those of earlier ones."""
    for request_id, prints in earlier.items():
        if fingerprints(place, request_id) != prints:
            place.findings.append(f"request {request_id} changed after its worker was gone")
    fresh = [request_id for request_id in reader.request_ids(place.layout) if request_id not in earlier]
    counts, findings = ground.damage(place.layout, fresh)
    place.findings += findings
    earlier.update((request_id, fingerprints(place, request_id)) for request_id in fresh)
    stages = [stage(dump.directory) for request_id in fresh for dump in reader.dumps(place.layout, request_id)]
    return collections.Counter({"killed": 1, **counts}) + collections.Counter(f"left {name}" for name in stages)


def stage(directory: str) -> str:
    """How far a dump came."""
    names = {name for name in os.listdir(directory) if not name.startswith(".")}
    if "manifest.json" in names:
        return "a manifest"
    parts = len(names - {"claim.json"})
    return STAGES[1 + parts] if "claim.json" in names else "nothing"


def fingerprints(place: ground.Workplace, request_id: str) -> Prints:
    """The checksums of all that a request has."""
    directory = Path(place.layout.request_dir(request_id))
    return {str(path): zlib.crc32(path.read_bytes()) for path in sorted(directory.rglob("*")) if path.is_file()}


def forget(place: ground.Workplace, earlier: dict[str, Prints]) -> None:
    """Keep the disk from filling: the oldest requests go."""
    for request_id in sorted(earlier)[:-KEPT]:
        shutil.rmtree(place.layout.request_dir(request_id))
        del earlier[request_id]


if __name__ == "__main__":
    sys.exit(main())
