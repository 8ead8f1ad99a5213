"""What other parts of a dump say, as values: the process, waits in the store, members of groups.

In: decoded parts, which others may have damaged. Out: values, or nothing where a part does not say.
The rule only this module keeps: no value raises, whatever it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from oobdump.job.evidence import Facts

__all__ = ["read_process", "read_process_groups", "read_store_waits", "taken_at"]

_STORE = "TCPStore__"
_NOT_WAITS = ("init",)
"""Of the store's calls: to make one is no wait for a key."""

_MAX_NAME_CHARS = 200


def taken_at(value: object) -> float | None:
    """When a part was made, in seconds since 1970."""
    text = value.get("taken_at") if isinstance(value, dict) else None
    if not isinstance(text, str):
        return None
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def read_process(value: object) -> Facts | None:
    """The ``process`` part."""
    if not isinstance(value, dict):
        return None
    cpu, threads, descriptors = (_table(value, name) for name in ("cpu", "threads", "descriptors"))
    listed = threads.get("threads")
    states = [each.get("state") for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    user, system = _number(cpu.get("user_s")), _number(cpu.get("system_s"))
    load = value.get("load_average")
    return Facts(
        cpu_s=None if user is None or system is None else user + system,
        main_state=states[0] if states and isinstance(states[0], str) else None,
        rss_bytes=_whole(_table(value, "memory").get("rss")),
        threads=_whole(threads.get("count")),
        descriptors=_whole(descriptors.get("open")),
        descriptors_limit=_whole(descriptors.get("limit")),
        load=_number(load[0]) if isinstance(load, list) and load else None,
        cgroup_memory=_memory(_table(value, "cgroup")),
    )


def read_store_waits(value: object) -> tuple[str, ...]:
    """The store's calls that somebody was waiting in, from ``wait_counter_values``."""
    if not isinstance(value, dict):
        return ()
    found = []
    for name, counts in value.items():
        if isinstance(name, str) and _STORE in name and isinstance(counts, dict):
            call = name.rpartition(_STORE)[2]
            if call not in _NOT_WAITS and (_whole(counts.get("active_count")) or 0) > 0:
                found.append(call[:_MAX_NAME_CHARS])
    return tuple(sorted(found))


def read_process_groups(value: object) -> Iterator[tuple[str, str]]:
    """Name and folded ranks of each group, from ``process_groups``."""
    groups = value.get("groups") if isinstance(value, dict) else None
    for group in groups if isinstance(groups, list) else ():
        if isinstance(group, dict):
            name, ranks = group.get("name"), group.get("ranks")
            if isinstance(name, str) and isinstance(ranks, str):
                yield name, ranks


def _memory(cgroup: Mapping[str, Any]) -> tuple[int, int] | None:
    memory = _table(cgroup, "memory")
    used, allowed = _whole(memory.get("current")), _whole(memory.get("max"))
    return None if used is None or allowed is None else (used, allowed)


def _table(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
