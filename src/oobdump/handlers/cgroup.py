"""This process's memory limit and pressure, as its cgroup has them (versions 2 and 1).

In: ``/proc/self/cgroup`` and the files of the cgroup itself. Out: plain data. The rule this module
keeps: a container sees its cgroup's files at the mount's top while ``/proc`` may name the path as
the host sees it, so both places are tried, the named one first, and the answer says which was read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from oobdump.handlers.plain import read_file, text

__all__ = ["cgroup", "oom_baseline", "oom_kills"]

_MOUNT = "/sys/fs/cgroup"

_UNLIMITED_FROM_BYTES = 2**60
"""Version 1 says "no limit" with a number of pages just below 2**63."""

_FILES_V2: Mapping[str, str] = {
    "current": "memory.current",
    "max": "memory.max",
    "high": "memory.high",
    "swap_current": "memory.swap.current",
}
_FILES_V1: Mapping[str, str] = {
    "current": "memory.usage_in_bytes",
    "max": "memory.limit_in_bytes",
    "failures": "memory.failcnt",
}


def cgroup() -> dict[str, Any]:
    """Path, version, and memory use, limit, events and pressure; what the kernel does not offer is left out."""
    paths = _paths()
    version, path = (1, paths["memory"]) if "memory" in paths else (2, paths.get("", "/"))
    mount, files = (f"{_MOUNT}/memory", _FILES_V1) if version == 1 else (_MOUNT, _FILES_V2)
    directory = _directory(mount, path, files["current"])
    entry: dict[str, Any] = {"version": version, "path": text(path), "directory": directory}
    if directory is None:
        return entry | {"memory": None}
    there = {name: f"{directory}/{file}" for name, file in files.items() if os.path.exists(f"{directory}/{file}")}
    sizes = {name: _size(path) for name, path in there.items()}
    return entry | {"memory": sizes, "events": _pairs(f"{directory}/memory.events"), "pressure": _pressure(directory)}


def oom_baseline() -> dict[str, Any]:
    """Where this process's cgroup is and how often the kernel has killed in it: noted at start, compared at the end."""
    try:
        directory = cgroup()["directory"]
        return {} if directory is None else {"directory": directory, "oom_kills": oom_kills(directory)}
    except (OSError, ValueError):
        return {}


def oom_kills(directory: str) -> int | None:
    """How often the kernel has killed in a cgroup for want of memory; None if it cannot be known."""
    for name in ("memory.events", "memory.oom_control"):
        try:
            return _counts(f"{directory}/{name}").get("oom_kill")
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            return None
    return None


def _paths() -> dict[str, str]:
    """The path by controller; version 2's has the empty name."""
    paths: dict[str, str] = {}
    for line in read_file("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        paths.update(dict.fromkeys(controllers.split(","), path))
    return paths


def _directory(mount: str, path: str, file: str) -> str | None:
    """Where the cgroup's files are; None if they cannot be seen from here."""
    inside = "" if ".." in path.split("/") else path.rstrip("/")
    found = (mount + inside, mount)
    return next((text(directory) for directory in found if os.path.exists(f"{directory}/{file}")), None)


def _size(path: str) -> int | None:
    """A size in bytes; None for no limit."""
    word = read_file(path).strip()
    return None if word == "max" or int(word) >= _UNLIMITED_FROM_BYTES else int(word)


def _pairs(path: str) -> dict[str, int]:
    """``oom_kill 1`` and the like, a line each."""
    if not os.path.exists(path):
        return {}
    return _counts(path)


def _counts(path: str) -> dict[str, int]:
    return {name: int(value) for name, value in (line.split() for line in read_file(path).splitlines())}


def _pressure(directory: str) -> dict[str, dict[str, float]]:
    """``some`` and ``full``: the share of time that tasks waited for memory, in percent, and in all."""
    path = f"{directory}/memory.pressure"
    if not os.path.exists(path):
        return {}
    lines = (line.split() for line in read_file(path).splitlines())
    return {kind: dict(map(_share, words)) for kind, *words in lines}


def _share(word: str) -> tuple[str, float]:
    name, _, value = word.partition("=")
    return name, float(value)
