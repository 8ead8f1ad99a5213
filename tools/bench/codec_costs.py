"""What the codecs cost beside the libraries underneath and their fastest rivals: ratios and memory of one run.

In: four payloads: the stacks of 200 threads, a recorder's trace of 2,000 entries, a configuration of
100,000 items, and tensors. Out: for each codec the time as a ratio to its own library, on plain data
and with one odd object in a hundred, beside orjson and msgspec where they are installed; and for the
tensors the time as a ratio to a plain write, and the memory that was needed beyond the data.
Timings of ours and of the library alternate, so that a load on the machine meets both.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import os
import pickle
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgpack
from gauge import parser, show

from oobdump import codecs

GOALS = {"plain": 1.3, "odd": 2.5, "tensors": 1.1, "memory": 0.02}
ODD_OF = 100
"""One leaf in so many is an object that the libraries do not know."""

_ODD = ((1, 2), datetime(2026, 1, 2, tzinfo=timezone.utc), Decimal("1.5"), frozenset({3}), 1j)
_MIB = 2**20
_Encode = Callable[[Any], object]


# -- payloads


def stacks(scale: float) -> Any:
    """200 threads, 31 frames each."""
    chance = random.Random(1)  # noqa: S311 - chance, not secrecy
    frames = [
        {"file": f"/usr/lib/python3/site-packages/package/module{n}.py", "name": f"function_{n}"} for n in range(31)
    ]
    return {
        "threads": [
            {
                "name": f"Thread-{n}",
                "native_id": 100_000 + n,
                "ident": 140_000_000_000_000 + 4096 * n,
                "daemon": bool(n % 2),
                "frames": [{**frame, "line": chance.randrange(2000)} for frame in frames],
            }
            for n in range(max(1, int(200 * scale)))
        ]
    }


def trace(scale: float) -> Any:
    """A flight recorder's."""
    chance = random.Random(2)  # noqa: S311
    began = 1_700_000_000_000_000_000
    return {
        "version": "2.10",
        "entries": [
            {
                "frames": [{"name": f"f{n}", "filename": f"/job/train{n}.py", "line": n} for n in range(5)],
                "record_id": at,
                "process_group": ["0", "default_pg"],
                "collective_seq_id": at,
                "profiling_name": "gloo:all_reduce",
                "time_created_ns": began + chance.randrange(10**15),
                "input_sizes": [[chance.randrange(4096), 1024]],
                "input_dtypes": ["Float"],
                "state": "scheduled",
                "time_discovered_started_ns": None,
                "retired": True,
                "timeout_ms": 600_000,
                "is_p2p": False,
            }
            for at in range(max(1, int(2000 * scale)))
        ],
    }


def config(scale: float) -> Any:
    """100,000 settings of all plain types."""
    chance = random.Random(3)  # noqa: S311
    kinds: tuple[Callable[[int], object], ...] = (
        int,
        lambda n: n * 0.001,
        lambda n: f"value {n}",
        bool,
        lambda _: None,
    )
    return {
        f"section{n}": {f"key{m}": chance.choice(kinds)(m) for m in range(100)}
        for n in range(max(1, int(1000 * scale)))
    }


PAYLOADS: Mapping[str, Callable[[float], Any]] = {"stacks": stacks, "trace": trace, "config": config}


def with_odd_objects(value: Any, count: Iterator[int]) -> Any:
    """The same with one leaf in ``ODD_OF`` an object that no library knows."""
    if type(value) is dict:
        return {key: with_odd_objects(item, count) for key, item in value.items()}
    if type(value) is list:
        return [with_odd_objects(item, count) for item in value]
    at = next(count)
    return value if at % ODD_OF else _ODD[at // ODD_OF % len(_ODD)]


# -- time


def _library(name: str) -> _Encode:
    table: dict[str, _Encode] = {"json": json.dumps, "msgpack": msgpack.packb, "pickle": pickle.dumps}
    return table[name]


def rivals() -> dict[str, dict[str, _Encode]]:
    """The fast ones that are installed, by the format that they write."""
    found: dict[str, dict[str, _Encode]] = {"json": {}, "msgpack": {}, "pickle": {}}
    try:
        import orjson  # noqa: PLC0415 - of the group `bench`

        found["json"]["orjson"] = orjson.dumps
    except ImportError:
        pass
    try:
        import msgspec  # noqa: PLC0415

        found["json"]["msgspec"] = msgspec.json.encode
        found["msgpack"]["msgspec"] = msgspec.msgpack.encode
    except ImportError:
        pass
    return found


def ratio(ours: Callable[[], object], others: Callable[[], object], rounds: int) -> tuple[float, float]:
    """The median ratio of processor times taken in turn, and the median of the others' milliseconds."""
    ratios, base = [], []
    for _ in range(rounds):
        gc.collect()
        began = time.thread_time()
        others()
        middle = time.thread_time()
        ours()
        ratios.append((time.thread_time() - middle) / max(middle - began, 1e-9))
        base.append(middle - began)
    return statistics.median(ratios), statistics.median(base) * 1e3


def of_plain_data(scale: float, rounds: int) -> Iterator[dict[str, Any]]:
    """A row for each payload and codec."""
    fast = rivals()
    for payload, make in PAYLOADS.items():
        plain = make(scale)
        odd = with_odd_objects(plain, iter(range(1, 10**9)))
        for name in codecs.names():
            encode, library = codecs.get(name).encode, _library(name)
            on_plain, base = ratio(lambda e=encode, p=plain: e(p), lambda f=library, p=plain: f(p), rounds)  # type: ignore[misc]
            on_odd, _ = ratio(lambda e=encode, p=odd: e(p), lambda f=library, p=plain: f(p), rounds)  # type: ignore[misc]
            row: dict[str, Any] = {
                "payload": payload,
                "codec": name,
                "library ms": base,
                "plain": on_plain,
                "odd": on_odd,
            }
            for rival in ("orjson", "msgspec"):
                there = fast[name].get(rival)
                row[rival] = there and ratio(lambda f=there, p=plain: f(p), lambda f=library, p=plain: f(p), rounds)[0]  # type: ignore[misc]
            yield row


# -- tensors: each way in a process of its own, so that its peak is its own


def of_tensors(mebibytes: int, rounds: int) -> Iterator[dict[str, Any]]:
    """A row for each way to write so many MiB of tensors, as a ratio to a plain write."""
    ways = ("plain write", "msgpack", "pickle", "json + side part", "torch.save", "pickle.dumps")
    measured = {way: _measured(way, mebibytes, rounds) for way in ways}
    base = measured["plain write"]["seconds"]
    for way, found in measured.items():
        yield {
            "payload": f"{mebibytes} MiB of tensors",
            "way": way,
            "seconds": found["seconds"],
            "to a plain write": found["seconds"] / base,
            "more memory": found["more_bytes"] / (mebibytes * _MIB),
        }


def _measured(way: str, mebibytes: int, rounds: int) -> dict[str, float]:
    words = [sys.executable, __file__, "--way", way, "--mebibytes", str(mebibytes), "--rounds", str(rounds)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _write_one_way(way: str, mebibytes: int, rounds: int) -> dict[str, float]:
    import torch  # noqa: PLC0415 - only these processes need it

    codecs.load_all()
    tensors = {f"layer{n}": torch.ones(mebibytes * _MIB // 16, dtype=torch.float32) for n in range(4)}
    codecs.get("pickle").encode({"warm": torch.ones(4)})
    torch.save(torch.ones(4), io.BytesIO())
    place = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108 - a private directory in it
    with tempfile.TemporaryDirectory(dir=place) as directory:
        path = Path(directory) / "tensors"
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seconds = min(_timed(_WAYS[way], tensors, path) for _ in range(rounds))
        more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"seconds": seconds, "more_bytes": more * 1024.0}


def _timed(write: Callable[[Any, Path], None], tensors: Any, path: Path) -> float:
    path.unlink(missing_ok=True)
    began = time.monotonic()
    write(tensors, path)
    return time.monotonic() - began


def _plain_write(tensors: Any, path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for tensor in tensors.values():
            _write_all(file, memoryview(tensor.numpy()).cast("B"))


def _write_all(file: Any, piece: Any) -> None:
    view = memoryview(piece)
    while view:
        view = view[file.write(view) :]


def _by_codec(name: str) -> Callable[[Any, Path], None]:
    def write(tensors: Any, path: Path) -> None:
        found = codecs.get(name).encode_parts(tensors)
        with path.open("wb", buffering=0) as file:
            for piece in (*found.pieces, *found.bulk):
                _write_all(file, piece)

    return write


def _torch_save(tensors: Any, path: Path) -> None:
    import torch  # noqa: PLC0415

    torch.save(tensors, path)


_WAYS: Mapping[str, Callable[[Any, Path], None]] = {
    "plain write": _plain_write,
    "msgpack": _by_codec("msgpack"),
    "pickle": _by_codec("pickle"),
    "json + side part": _by_codec("json"),
    "torch.save": _torch_save,
    "pickle.dumps": lambda tensors, path: _write_all(path.open("wb", buffering=0), pickle.dumps(tensors, 5)),
}


# -- the command line


def findings(plain: list[dict[str, Any]], tensors: list[dict[str, Any]]) -> Iterator[str]:
    """Where a goal is missed."""
    for row in plain:
        for what in ("plain", "odd"):
            if row[what] > GOALS[what]:
                yield f"{row['payload']} as {row['codec']}, {what}: {row[what]:.2f} times, not {GOALS[what]}"
    for row in tensors:
        if row["way"] in ("msgpack", "pickle", "json + side part"):
            if row["to a plain write"] > GOALS["tensors"]:
                yield f"tensors as {row['way']}: {row['to a plain write']:.2f} times, not {GOALS['tensors']}"
            if row["more memory"] > GOALS["memory"]:
                yield f"tensors as {row['way']}: {row['more memory']:.1%} more memory, not {GOALS['memory']:.0%}"


def main(argv: list[str] | None = None) -> int:
    """Measure and say; 1 where a goal is missed."""
    made = parser(__doc__)
    made.add_argument("--scale", type=float, default=1.0, help="of the plain payloads")
    made.add_argument("--mebibytes", type=int, default=1024, help="of tensors; 0 for none")
    made.add_argument("--rounds", type=int, default=15)
    made.add_argument("--way", help=argparse.SUPPRESS)
    asked = made.parse_args(argv)
    if asked.way:
        print(json.dumps(_write_one_way(asked.way, asked.mebibytes, asked.rounds)))
        return 0
    codecs.load_all()
    plain = list(of_plain_data(asked.scale, asked.rounds))
    tensors = list(of_tensors(asked.mebibytes, max(1, asked.rounds // 3))) if asked.mebibytes else []
    rows = [{**dict.fromkeys(_COLUMNS), **row} for row in (*plain, *tensors)]
    return show("codecs", rows, list(findings(plain, tensors)), as_json=asked.json)


_COLUMNS = (
    *("payload", "codec", "way", "library ms", "plain", "odd", "orjson", "msgspec"),
    *("seconds", "to a plain write", "more memory"),
)

if __name__ == "__main__":
    sys.exit(main())
