"""Puts one exhibit on show: start it, do what its keeper does, ask, and judge the answer.

In: an ``Exhibit``. Out: a ``Shown``: the states said, the frames found, how long it took, and the findings: what the
promises of the project would have been, and was not. The rule only this module keeps: who asks
knows nothing but the job directory or a pid, as a person would.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import dumps, programs
from support.programs import OOBDUMP, Running, client_environment
from zoo.exhibits import Exhibit
from zoo.keepers import KEEPERS, MEMORY_CGROUP

__all__ = ["GRACE_S", "WITHIN_S", "Shown", "lacks", "show"]

GRACE_S = 2.5
"""The default: so long a worker may take before somebody else answers for it."""

WITHIN_S = GRACE_S + 3.0
"""The promise, from the question to the last answer."""

ANSWER_WITHIN_S = 60.0
"""After that the command is ended: on a loaded machine it may take longer than promised, which the table says."""

BY_SIGNAL = frozenset({"fill_disk", "remount_read_only", "freeze_disk"})
"""Where no request file can be dropped."""


@dataclass(frozen=True)
class Shown:
    """What was seen. ``answered_by`` and ``states`` have one entry for each worker that was asked."""

    exhibit: Exhibit
    states: tuple[str, ...]
    answered_by: tuple[str, ...]
    missing: tuple[str, ...]
    seconds: float
    findings: tuple[str, ...]


def lacks(exhibit: Exhibit) -> str:
    """What this machine lacks for it; "" for nothing."""
    if "torch" in exhibit.needs and not _has_torch():
        return "torch is not installed"
    if {"root", "cgroup"} & {*exhibit.needs} and os.geteuid():
        return "only root can mount"
    if "cgroup" in exhibit.needs and not _can_limit():
        return "no memory cgroup can be made here"
    return ""


def _has_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


def _can_limit() -> bool:
    base = MEMORY_CGROUP if MEMORY_CGROUP.is_dir() else MEMORY_CGROUP.parent
    return os.access(base, os.W_OK)


def show(exhibit: Exhibit, directory: Path) -> Shown:
    """Runs it once. Raises ``ProgramError`` if the program itself does not do what it promises."""
    keeper, place = KEEPERS[exhibit.keeper], directory / "p"
    with ExitStack() as stack:
        keeper.before(place)
        stack.callback(keeper.after, place)
        env = {
            **exhibit.env,
            "OOBDUMP_RUNTIME_DIR": str(directory / "run"),
            "OOBDUMP_FALLBACK_DIR": str(directory / "f"),
        }
        program = stack.enter_context(programs.running(exhibit.program, place, env=env))
        dumps.wait_for_roster(program.job_dir, program.pids)
        dumps.until(lambda: [*program.job_dir.glob("sentinels/*.json")], "a sentinel, as any job has after its start")
        keeper.when_hung(program)
        stack.callback(keeper.undo, program)
        began = time.monotonic()
        outcomes = _asked(exhibit, program, env)
        seconds = time.monotonic() - began
        findings = tuple(_wrong(exhibit, program, outcomes))
    found = set().union(*(functions(outcome) for outcome in outcomes)) if outcomes else set()
    missing = tuple(frame for frame in exhibit.frames if frame not in found)
    states = tuple(str(outcome["state"]) for outcome in outcomes)
    return Shown(
        exhibit,
        states,
        tuple(str(outcome["answered_by"]) for outcome in outcomes),
        missing,
        seconds,
        (*findings, *_judged(exhibit, states, missing)),
    )


def _asked(exhibit: Exhibit, program: Running, env: dict[str, str]) -> list[dict[str, Any]]:
    """The outcomes of one question."""
    where = ("--dir", str(program.root), "--json")
    words: tuple[str, ...] = ("request", "stacks", *where)
    if exhibit.keeper in BY_SIGNAL:
        words = ("signal", str(program.pid), *where)
    if exhibit.keeper == "kill_when_claimed":
        words = ("request", "hangs", "stacks", *where)
    asking = subprocess.Popen(
        [*OOBDUMP, *words], env=client_environment(**env), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        if exhibit.keeper == "kill_when_claimed":
            _kill_when_claimed(program)
        out, err = asking.communicate(timeout=ANSWER_WITHIN_S)
    except subprocess.TimeoutExpired:
        asking.kill()
        out, err = asking.communicate()
    try:
        return list(json.loads(out)["outcomes"])
    except (ValueError, KeyError, TypeError):
        raise programs.ProgramError(f"{exhibit.name}: no outcomes, but {out!r} {err!r}") from None


def _kill_when_claimed(program: Running) -> None:
    dumps.until(lambda: [*program.job_dir.glob("dumps/*/*/*claim*")], "a claim")
    os.kill(program.pid, signal.SIGKILL)


def functions(outcome: dict[str, Any]) -> set[str]:
    """The names of the functions on all stacks of one worker's answer, without their classes."""
    found: set[str] = set()
    for part in outcome["parts"]:
        if part["path"] and part["handler"] == "stacks" and part["path"].endswith(".json"):
            document = json.loads(Path(part["path"]).read_bytes())
            for thread in document["threads"]:
                found |= {frame["function"].rpartition(".")[2] for frame in thread["frames"]}
    return found


def _wrong(exhibit: Exhibit, program: Running, outcomes: list[dict[str, Any]]) -> Iterator[str]:
    """What is wrong with the answer, or with the program after it."""
    silent = [outcome["worker"] for outcome in outcomes if outcome["status"] == "no_answer"]
    if not outcomes:
        yield "no outcome at all"
    if silent:
        yield f"no answer for {', '.join(silent)}"
    gone = [pid for pid in program.pids if not Path(f"/proc/{pid}").exists()]
    if gone and not exhibit.ends:
        yield f"harmed: {gone} ended"


def _judged(exhibit: Exhibit, states: tuple[str, ...], missing: tuple[str, ...]) -> Iterator[str]:
    strange = [state for state in states if state not in exhibit.states]
    if strange:
        yield f"said to be {', '.join(strange)} instead of {' or '.join(exhibit.states)}"
    if missing:
        yield f"not found: {', '.join(missing)}"
