"""Drop requests into a job directory and read what comes out, with the standard library only.

In: a job directory (``Running.job_dir``). Out: ``Dump`` values for what is committed, roster
entries, rejects. It is deliberately a second reading of the layout that users are promised:
a test that reads with it does not share a mistake with ``oobdump.store``.

Rule kept here: nothing waits without a deadline, and what did not come is named.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

WITHIN_S = 20.0
"""An answer takes milliseconds; this is what two busy cores may make of it."""

LOOK_EVERY_S = 0.01

T = TypeVar("T")


@dataclass(frozen=True)
class Dump:
    """One committed dump: the manifest, and the parts beside it."""

    request_id: str
    worker: str
    directory: Path
    manifest: dict[str, Any]

    @property
    def pid(self) -> int:
        """The process that the dump is about, from the worker's name."""
        return int(self.worker.rpartition(".")[2])

    def record(self, handler: str) -> dict[str, Any]:
        """What the manifest says of one handler's part."""
        records = [record for record in self.manifest["parts"] if record["handler"] == handler]
        if not records:
            raise AssertionError(f"{self.directory} has no part {handler}: {self.manifest['parts']}")
        return dict(records[0])

    def content(self, handler: str) -> bytes:
        """One handler's part as it is on disk; empty if it has no file."""
        path = self.record(handler)["path"]
        return b"" if path is None else (self.directory / path).read_bytes()

    def value(self, handler: str) -> Any:
        """One handler's part, decoded from JSON."""
        return json.loads(self.content(handler))


def until(check: Callable[[], T], what: str, within_s: float = WITHIN_S) -> T:
    """The first true value of ``check``, looked at again and again; ``AssertionError`` at the deadline."""
    deadline = time.monotonic() + within_s
    while not (value := check()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:g} s: {what}; last seen: {value!r}")
        time.sleep(LOOK_EVERY_S)
    return value


def drop(job_dir: Path, name: str, content: bytes = b"") -> Path:
    """Drop a request file once the inbox exists; an empty one as ``touch`` does, any other by rename."""
    path = job_dir / "requests" / name
    until(path.parent.is_dir, f"an inbox at {path.parent}")
    if not content:
        path.touch()
        return path
    hidden = path.with_name(f".{name}.tmp")
    hidden.write_bytes(content)
    return hidden.rename(path)


def drop_json(job_dir: Path, name: str, **request: Any) -> Path:
    """Drop a JSON request with these fields, as ``NAME.json``."""
    return drop(job_dir, f"{name}.json", json.dumps(request).encode())


def request_ids(job_dir: Path) -> list[str]:
    """The requests accepted so far, oldest first."""
    return sorted(path.parent.name for path in (job_dir / "dumps").glob("*/request.json"))


def accepted(job_dir: Path, request_id: str) -> dict[str, Any]:
    """A request as it was accepted."""
    return _object(job_dir / "dumps" / request_id / "request.json")


def committed(job_dir: Path, request_id: str = "*") -> list[Dump]:
    """The committed dumps of one request or, by default, of all; by request and worker."""
    return [
        Dump(path.parent.parent.name, path.parent.name, path.parent, _object(path))
        for path in sorted((job_dir / "dumps").glob(f"{request_id}/*/manifest.json"))
    ]


def wait_for_dumps(job_dir: Path, count: int = 1, request_id: str = "*", within_s: float = WITHIN_S) -> list[Dump]:
    """At least ``count`` committed dumps."""

    def enough() -> list[Dump]:
        found = committed(job_dir, request_id)
        return found if len(found) >= count else []

    return until(enough, f"{count} committed dumps in {job_dir}, which has {tree(job_dir)}", within_s)


def ask(
    job_dir: Path, name: str = "stacks", count: int = 1, within_s: float = WITHIN_S, *, pids: Collection[int] = ()
) -> list[Dump]:
    """Drop an empty request file and wait for ``count`` dumps of that request alone, by worker.

    With ``pids`` it first waits until each of them is in the roster, and then for as many dumps.
    """
    wait_for_roster(job_dir, pids, within_s)
    before = set(request_ids(job_dir))
    drop(job_dir, name)
    new = until(lambda: set(request_ids(job_dir)) - before, f"request {name} accepted in {job_dir}", within_s)
    return wait_for_dumps(job_dir, max(count, len(pids)), min(new), within_s)


def roster(job_dir: Path) -> dict[str, dict[str, Any]]:
    """The roster's entries by worker name."""
    return {path.stem: _object(path) for path in sorted((job_dir / "roster").glob("[!.]*.json"))}


def wait_for_roster(job_dir: Path, pids: Collection[int], within_s: float = WITHIN_S) -> dict[str, dict[str, Any]]:
    """The roster, once each of these pids is in it."""

    def all_there() -> bool:
        return {*pids} <= {entry["pid"] for entry in roster(job_dir).values()}

    until(all_there, f"pids {sorted(pids)} in the roster of {job_dir}", within_s)
    return roster(job_dir)


def rejected(job_dir: Path) -> dict[str, dict[str, Any]]:
    """What was said about each rejected request file, by the file's name."""
    suffix = ".error.json"
    found = sorted((job_dir / "rejected").glob(f"*{suffix}"))
    return {path.name.removesuffix(suffix): _object(path) for path in found}


def words(value: Any) -> Iterator[str]:
    """Every text in a decoded part, keys included; a frame's function name is one of them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from words(key)
            yield from words(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from words(item)


def tree(directory: Path) -> list[str]:
    """Every file below a directory, for messages."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def _object(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_bytes())
    if not isinstance(value, dict):
        raise AssertionError(f"{path} is no object: {value!r}")
    return value
