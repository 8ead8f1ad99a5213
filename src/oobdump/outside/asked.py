"""What was asked for, as far as it can be had from outside; the rest is refused with a reason.

In: the handlers of a request, and what the ladder brought. Out: one part for each. ``ANSWERS`` is the
table. The rule only this module keeps: no handler that was asked for is left out, and none pretends to
be the worker's own answer.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from oobdump.identity import now_iso
from oobdump.outside import pyspy
from oobdump.outside.ladder import Climbed
from oobdump.request import HandlerCall
from oobdump.response import ErrorInfo, Part

__all__ = ["ANSWERS", "parts_for"]

PAUSE_S = 5.0
"""How long a process may be paused for ``native``, which somebody asked for."""

_Answer = Callable[[HandlerCall, int, Climbed], "Part | None"]


def parts_for(calls: Iterable[HandlerCall], pid: int, climbed: Climbed) -> tuple[Part, ...]:
    """A part for each handler that was asked for, each once, and then what else the ladder brought."""
    by_name = {call.name: call for call in reversed(tuple(calls))}
    asked = [_answer(call, pid, climbed) for call in reversed(tuple(by_name.values()))]
    names = {part.handler for part in asked}
    return (*asked, *(part for part in climbed.parts if part.handler not in names))


def _answer(call: HandlerCall, pid: int, climbed: Climbed) -> Part:
    if climbed.evidence.ending is not None:
        return _refused(call, "WorkerGone", f"the worker is gone: {climbed.verdict.why}")
    had = next((part for part in climbed.parts if part.handler == call.name and call.name in _BROUGHT), None)
    if had is not None:
        return had
    answer = ANSWERS.get(call.name)
    part = None if answer is None else answer(call, pid, climbed)
    return part or _refused(call, "NotFromOutside", _why_not(call, climbed))


def _stacks(call: HandlerCall, _pid: int, climbed: Climbed) -> Part | None:
    return None if climbed.stacks is None else _json(call.name, climbed.stacks, _seconds(climbed, "py-spy"))


def _dump_traceback(call: HandlerCall, _pid: int, climbed: Climbed) -> Part | None:
    return None if climbed.stacks is None else _text(call.name, _rendered(climbed.stacks).encode())


def _pyspy_dump(call: HandlerCall, pid: int, climbed: Climbed) -> Part | None:
    """With ``native`` the process is paused: whoever asked for it has read so."""
    if call.params.get("native") not in ("true", "1"):
        return _dump_traceback(call, pid, climbed)
    try:
        return _text(call.name, pyspy.native(pid, time.monotonic() + PAUSE_S))
    except pyspy.NotRead as error:
        return _refused(call, "NotRead", str(error))


def _process(call: HandlerCall, _pid: int, climbed: Climbed) -> Part | None:
    if not climbed.evidence.looks:
        return None
    found = climbed.evidence.looks[-1]
    wanted = ("arguments", "cwd", "exe", "limits", "descriptors", "cgroup", "oom", "children")
    document = {
        "schema_version": 1,
        "taken_at": now_iso(),
        "read_from": "outside",
        "pid": found.pid,
        "ppid": found.ppid,
        "status": dict(found.status),
        **{name: climbed.details.get(name) for name in wanted},
        "threads": {"count": len(found.threads) + found.omitted_threads},
    }
    return _json(call.name, document)


def _environment(call: HandlerCall, _pid: int, climbed: Climbed) -> Part | None:
    variables = climbed.details.get("environment")
    if variables is None:
        return None
    document = {"schema_version": 1, "taken_at": now_iso(), "read_from": "outside", "variables": variables}
    return _json(call.name, {**document, "note": "as it was when the program started"})


ANSWERS: Mapping[str, _Answer] = {
    "dump_traceback": _dump_traceback,
    "environment": _environment,
    "process": _process,
    "pyspy_dump": _pyspy_dump,
    "stacks": _stacks,
}
"""Handlers that have an answer from outside, beside those of PyTorch's server."""

_BROUGHT = frozenset({"fr_trace_json", "wait_counter_values"})
"""Parts of PyTorch's server that are the answer; its ``ping`` is none: it does not say that the worker answers."""

_NEEDS = {"process": "proc", "environment": "details"} | dict.fromkeys(_BROUGHT, "torch-server")
"""The rung that would have brought it; for the other answers py-spy's."""


def _why_not(call: HandlerCall, climbed: Climbed) -> str:
    """Why there is no such part."""
    if call.name not in ANSWERS and call.name not in _BROUGHT:
        return (
            f"only the worker itself can answer {call.name}, and it is {climbed.verdict.state}: {climbed.verdict.why}"
        )
    rung = climbed.rung(_NEEDS.get(call.name, "py-spy"))
    return f"not to be had from outside: {rung.why or rung.status if rung is not None else 'its rung was not climbed'}"


def _rendered(stacks: Mapping[str, Any]) -> str:
    """As ``faulthandler`` writes it, with names."""
    lines: list[str] = []
    for thread in stacks["threads"]:
        lines.append(f"Thread {thread['native_id']} {thread['name'] or '(unnamed)'} (most recent call first):")
        frames = reversed(thread["frames"])
        lines += [f'  File "{frame["file"]}", line {frame["line"]} in {frame["function"]}' for frame in frames]
        lines.append("")
    return "\n".join(lines)


def _seconds(climbed: Climbed, name: str) -> float:
    rung = climbed.rung(name)
    return 0.0 if rung is None else rung.seconds


def _json(handler: str, value: Any, seconds: float = 0.0) -> Part:
    body = json.dumps(value, ensure_ascii=True, indent=1).encode("ascii") + b"\n"
    return Part(handler, "ok", 200, "application/json", "json", body, seconds)


def _text(handler: str, body: bytes) -> Part:
    return Part(handler, "ok", 200, "text/plain", "txt", body)


def _refused(call: HandlerCall, kind: str, why: str) -> Part:
    return Part(call.name, "refused", 503, error=ErrorInfo(kind, why))
