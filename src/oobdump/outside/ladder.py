"""The ladder: what can be learnt of one process without its help, rung by rung.

In: a worker's identity, its roster entry, a deadline. Out: ``Climbed``: evidence, verdict, the outcome
of each rung, and parts. The order is that of harmlessness: files of ``/proc`` that never wait; then at
once, each with its own deadline, what may hang (in a child), PyTorch's server, and py-spy without a
pause; last, for one that is gone, what is left of it. The rule only this module keeps: two looks with
time between them, for whether a thread stands still or moves is a difference.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from oobdump.handlers.child_process import run
from oobdump.handlers.plain import text
from oobdump.identity import Identity, Machine
from oobdump.outside import details, ending, look, pyspy, state, torch_server
from oobdump.outside.obstacles import obstacles
from oobdump.outside.refusal import why_refused
from oobdump.outside.rungs import Found, Late, Refused, Rung, Skipped, side_by_side
from oobdump.outside.state import Evidence, Gil, Verdict
from oobdump.response import Part
from oobdump.store.roster import Entry

__all__ = ["LADDER_S", "Climbed", "Subject", "climb"]

LADDER_S = 10.0
"""For all rungs together: four times what they take on a loaded machine."""

DETAILS_S, SERVER_S, STACKS_S = 2.5, 2.0, 4.0
"""For one rung each; they run at once."""

BETWEEN_LOOKS_S = 0.25
"""Fifty switch intervals, and 25 ticks of processor time: enough to tell waiting from starving and from computing."""


@dataclass(frozen=True)
class Subject:
    """Whom it is about. ``entry`` is None for a process that never entered a roster: it is not armed."""

    identity: Identity
    entry: Entry | None
    grace_s: float = 2.5

    @property
    def visible(self) -> bool:
        """Whether its pid means here what it means to it."""
        return self.identity.machine == Machine.here()

    @property
    def start_ticks(self) -> int | None:
        """When it started; None if that is not known."""
        return self.identity.start_ticks or None


@dataclass(frozen=True)
class Climbed:
    """What came of it."""

    evidence: Evidence
    verdict: Verdict
    rungs: tuple[Rung, ...]
    parts: tuple[Part, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    stacks: Mapping[str, Any] | None = None

    def rung(self, name: str) -> Rung | None:
        """One rung's outcome, if it was climbed."""
        return next((rung for rung in self.rungs if rung.name == name), None)


def climb(subject: Subject, deadline_s: float = LADDER_S) -> Climbed:
    """Climbs. Never raises for what it finds, and ends within about ``deadline_s``."""
    deadline = time.monotonic() + deadline_s
    armed = subject.entry is not None
    base = Evidence(visible=subject.visible, armed=armed, grace_s=subject.grace_s)
    if not subject.visible:
        why = f"it runs on {subject.identity.host}, in another boot or another pid namespace"
        return Climbed(base, state.state_of(base), (Rung("proc", "skipped", why),))
    began = time.monotonic()
    proc = _climb_proc(subject)
    first = proc.found.value
    if proc.status == "ok" and (first is None or first.dead):
        return _gone(subject, base, (proc,), first)
    rungs = side_by_side(_side(subject), deadline) if first is not None else {}
    time.sleep(max(0.0, min(deadline - time.monotonic(), began + BETWEEN_LOOKS_S - time.monotonic())))
    second, again = _second_looks(subject, rungs, deadline)
    if first is not None and (second is None or second.dead):
        return _gone(subject, base, (proc, *rungs.values()), second)
    looks = tuple(each for each in (first, second) if each is not None)
    samples = [each for each in (_value(rungs, "py-spy"), again) if each is not None]
    found_details = _value(rungs, "details") or {}
    evidence = replace(
        base,
        looks=looks,
        gil=_gil(samples, subject.identity.pid),
        obstacles=obstacles(subject.entry, looks, found_details),
    )
    names = {thread.tid: thread.name for each in looks for thread in each.threads}
    stacks = pyspy.to_stacks(samples[0], subject.identity.pid, names=names) if samples else None
    parts: tuple[Part, ...] = (_json("proc", {"looks": [look.plain(each) for each in looks]}),) if looks else ()
    parts += tuple(part for rung in rungs.values() for part in rung.found.parts)
    return Climbed(evidence, state.state_of(evidence), (proc, *rungs.values()), parts, found_details, stacks)


def _climb_proc(subject: Subject) -> Rung:
    def take(_deadline: float) -> Found:
        found = look.look(subject.identity.pid, subject.start_ticks)
        refused = "" if found is None else "; ".join(f"{name}: {why}" for name, why in found.refused.items())
        return Found(value=found, remark=refused)

    return side_by_side({"proc": (SERVER_S, take)}, time.monotonic() + SERVER_S)["proc"]


def _side(subject: Subject) -> dict[str, tuple[float, Callable[[float], Found]]]:
    pid = subject.identity.pid
    return {
        "details": (DETAILS_S, lambda deadline: _details(pid, deadline)),
        "torch-server": (SERVER_S, lambda deadline: _torch_server(subject.entry, deadline)),
        "py-spy": (STACKS_S, lambda deadline: Found(value=_sample(pid, deadline))),
    }


def _details(pid: int, deadline: float) -> Found:
    """Reads in a child; what it had written when it hung is kept."""
    found = run(details.command(pid), deadline)
    read: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for line in found.output.decode("utf-8", "replace").splitlines():
        try:
            entry = json.loads(line)
            name = entry["name"]
        except (ValueError, KeyError, TypeError):
            continue
        if "value" in entry:
            read[name] = entry["value"]
        else:
            wrong[name] = text(str(entry.get("error")))
    missing = [name for name in details.NAMES if name not in read and name not in wrong]
    if missing and not read and not wrong:
        said = text(found.output.decode("utf-8", "replace").strip()[-300:])
        raise Late("nothing was read in time") if not found.ended else Skipped(f"the reader did not start: {said}")
    wrong |= dict.fromkeys(
        missing, "not read in time: its memory is locked, as in D state" if not found.ended else "lost"
    )
    remark = "; ".join(f"{name}: {why}" for name, why in wrong.items())
    part = _json("details", {"schema_version": 1, **read, "problems": wrong})
    return Found((part,), read, remark)


def _torch_server(entry: Entry | None, deadline: float) -> Found:
    about = entry.channels.get("torch") if entry is not None else None
    path = about.get("path") if isinstance(about, Mapping) else None
    if not isinstance(path, str):
        off = about.get("off") if isinstance(about, Mapping) else None
        raise Skipped(f"the worker has no server of PyTorch's{f': {text(off)}' if isinstance(off, str) else ''}")
    parts: list[Part] = []
    problems: list[str] = []
    for name in torch_server.HANDLERS:
        try:
            parts.append(torch_server.ask(path, name, deadline))
        except torch_server.NoServer as error:
            problems.append(f"{name}: {error}")
            if not parts:
                break  # nobody answers there: not the next one either
    if not parts:
        raise Skipped("; ".join(problems))
    return Found(tuple(parts), None, "; ".join(problems))


def _sample(pid: int, deadline: float) -> pyspy.Sample:
    try:
        return pyspy.sample(pid, deadline)
    except pyspy.NotRead as error:
        if error.refused:
            raise Refused(f"{error}; {why_refused(pid)}") from None
        raise Skipped(str(error)) from None


def _second_looks(
    subject: Subject, rungs: Mapping[str, Rung], deadline: float
) -> tuple[look.Look | None, pyspy.Sample | None]:
    """The GIL's owner once more, and the threads once more."""
    again = None
    if _value(rungs, "py-spy") is not None:
        try:
            again = pyspy.sample(subject.identity.pid, min(deadline, time.monotonic() + STACKS_S))
        except pyspy.NotRead:
            pass
    return look.look(subject.identity.pid, subject.start_ticks), again


def _gone(subject: Subject, base: Evidence, rungs: tuple[Rung, ...], zombie: look.Look | None) -> Climbed:
    """Its process is gone, or nobody has waited for it yet."""
    began = time.monotonic()
    left = ending.ending_of(subject.entry, subject.identity.pid, subject.start_ticks, zombie)
    evidence = replace(base, ending=left)
    verdict = state.state_of(evidence)
    words = ending.last_words(subject.entry)
    document = {
        "schema_version": 1,
        "state": verdict.state,
        "why": verdict.why,
        **(state.plain(evidence)["ending"] or {}),
        "zombie": zombie is not None,
        "faulthandler": ending.points_elsewhere(subject.entry) or "into our file",
        "core_pattern": ending.core_pattern(),
    }
    parts: tuple[Part, ...] = (_json("ending", document),)
    if words:
        parts += (Part("last_words", "ok", 200, "text/plain", "txt", words),)
    seconds = round(time.monotonic() - began, 6)
    rung = Rung("ending", "ok", verdict.why, seconds, Found(parts))
    return Climbed(evidence, verdict, (*rungs, rung), parts)


def _gil(samples: list[pyspy.Sample], pid: int) -> Gil | None:
    if not samples:
        return None
    tids = tuple(None if each.keeper is None else pyspy.native_id_of(each.keeper, pid) for each in samples)
    return Gil(tids, samples[-1].place)


def _value(rungs: Mapping[str, Rung], name: str) -> Any:
    return rungs[name].found.value if name in rungs and rungs[name].status == "ok" else None


def _json(handler: str, value: Any) -> Part:
    body = json.dumps(value, ensure_ascii=True, indent=1).encode("ascii") + b"\n"
    return Part(handler, "ok", 200, "application/json", "json", body)
