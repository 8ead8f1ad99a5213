"""What state a worker is in, from what was seen: a pure function.

In: ``Evidence``, of which any part may be missing. Out: ``Verdict``: one of ``STATES`` and the
reason in words. The rule only this module keeps: a state is said only where something that was
seen says so, and the strongest evidence wins; what nothing explains is ``unreachable`` while the
process is there, and ``gone`` when it is not.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from oobdump.outside.look import Look, ThreadLook

__all__ = ["STATES", "Ending", "Evidence", "Gil", "Verdict", "state_of"]

STATES: Mapping[str, str] = MappingProxyType(
    {
        "responsive": "the worker answered for itself, in time",
        "busy": "it answered late, or it runs on a processor and has not answered yet",
        "gil-held": "one thread keeps the GIL and waits or computes in C: no Python code of the worker can run",
        "stopped": "a signal (SIGSTOP, SIGTSTP) or a frozen cgroup stopped it",
        "traced": "a debugger or tracer holds it",
        "uninterruptible": "a thread waits in the kernel in D state, for a device or a file system",
        "crashed": "it died of a fault of its own: SIGSEGV, SIGABRT and the like",
        "killed": "it died of a signal that somebody sent; the reason says whether the kernel was out of memory",
        "exited": "it ended by itself; the exit code is there if anybody was told",
        "gone": "it ended, and nothing that is left says how",
        "unreachable": "nothing that was seen says why it does not answer, or it cannot be seen from here",
    }
)
"""Every state and its meaning: the reference page is made from this."""

CRASHES = frozenset(
    int(getattr(signal, name))
    for name in ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP", "SIGSYS")
    if hasattr(signal, name)
)
"""Signals of the process's own making; any other was sent."""

WANTS_GIL_SWITCHES = 5
"""Between two looks. Who waits for the GIL wakes up every switch interval (5 ms): 50 times in 0.25 s."""

WANTS_GIL_TICKS = 2
"""Who gets the GIL now and then has used some processor time (10 ms a tick); who starves has used none."""

OURS = "oobdump "
"""How the kernel's names of our threads begin (``threads.start_thread``)."""

BELL = "oobdump bell"
"""The kernel's name of the thread that hears requests (``channels.bell``)."""

_FREEZERS = ("do_freezer_trap", "__refrigerator", "refrigerator", "get_signal_freeze")


@dataclass(frozen=True)
class Gil:
    """Whose the GIL was, in successive samples; ``tids`` has None where nobody had it. ``place`` is where."""

    tids: tuple[int | None, ...]
    place: str = ""

    @property
    def keeper(self) -> int | None:
        """The thread that had it in every sample of at least two."""
        return self.tids[0] if len(self.tids) > 1 and len({*self.tids}) == 1 else None


@dataclass(frozen=True)
class Ending:
    """What is left of a process that is gone. ``wait_status`` is as ``waitpid`` gives it; ``told_by`` says who did.

    ``kernel_log`` is the kernel's line about it, ``oom_line`` whether that is of the OOM killer; ``oom_kills`` counts
    those in its cgroup since it started; ``last_words`` is the first line of what faulthandler wrote.
    """

    wait_status: int | None = None
    told_by: str = ""
    exit_mark: str = ""
    last_words: str = ""
    kernel_log: str = ""
    oom_line: bool = False
    oom_kills: int = 0


@dataclass(frozen=True)
class Evidence:
    """What was seen. ``visible`` is False for another machine; ``ending`` is there if the process is gone.

    ``obstacles`` are what keeps it from answering although it runs, in words: no descriptor left, and the like.
    """

    visible: bool = True
    armed: bool = True
    answered_after_s: float | None = None
    grace_s: float = 2.5
    looks: tuple[Look, ...] = ()
    gil: Gil | None = None
    ending: Ending | None = None
    obstacles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """A state and the reason for it."""

    state: str
    why: str


def state_of(seen: Evidence) -> Verdict:
    """The state. Every evidence has one."""
    if seen.answered_after_s is not None:
        late = seen.answered_after_s > seen.grace_s
        return Verdict("busy" if late else "responsive", f"it answered after {seen.answered_after_s:.1f} s")
    if not seen.visible:
        return Verdict("unreachable", "it runs where it cannot be seen from here")
    if seen.ending is not None:
        return next(_endings(seen.ending))
    if not seen.looks:
        return Verdict("unreachable", "it could not be looked at")
    found = (rule(seen) for rule in _RULES)
    return next((verdict for verdict in found if verdict is not None), _unexplained(seen))


# -- it is gone --------------------------------------------------------------------------------------------------------


def _endings(left: Ending) -> Iterator[Verdict]:
    """Verdicts from the strongest evidence to the weakest; at least one."""
    if left.wait_status is not None:
        yield _by_status(left, left.wait_status)
    if left.oom_line:
        yield Verdict("killed", f"the kernel was out of memory: {left.kernel_log}")
    if left.last_words:
        yield Verdict("crashed", f"its last words: {left.last_words}")
    if left.kernel_log:
        yield Verdict("crashed", f"the kernel says: {left.kernel_log}")
    if left.exit_mark == "exiting":
        yield Verdict("exited", "it had begun to exit; nobody was told its exit code")
    if left.oom_kills:
        yield Verdict("killed", f"{_oom(left)}; nobody was told how this process ended")
    disarmed = "; oobdump.stop() had disarmed it" if left.exit_mark == "stopped" else ""
    yield Verdict("gone", f"cause unknown: nobody was told how it ended, and it left no sign{disarmed}")


def _by_status(left: Ending, status: int) -> Verdict:
    code = os.waitstatus_to_exitcode(status)
    by = f" (told by {left.told_by})" if left.told_by else ""
    if code >= 0:
        return Verdict("exited", f"exit code {code}{by}")
    name = _signal_name(-code)
    core = ", core dumped" if os.WCOREDUMP(status) else ""
    if -code in CRASHES:
        return Verdict("crashed", f"{name}{core}{by}" + (f": {left.last_words}" if left.last_words else ""))
    if left.oom_line:
        return Verdict("killed", f"{name}{by}; the kernel was out of memory: {left.kernel_log}")
    if -code == signal.SIGKILL and left.oom_kills:
        return Verdict("killed", f"{name}{by}; {_oom(left)}")
    return Verdict("killed", f"{name}{by}; no sign that memory ran out")


def _oom(left: Ending) -> str:
    times = "process" if left.oom_kills == 1 else "processes"
    return f"out of memory: the kernel killed {left.oom_kills} {times} of its cgroup since it started"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


# -- it is there -------------------------------------------------------------------------------------------------------


def _traced(seen: Evidence) -> Verdict | None:
    look = seen.looks[-1]
    held = _always(seen, "t")
    if not held:
        return None
    return Verdict("traced", f"process {look.tracer or '?'} traces it and holds {_threads(held)}")


def _stopped(seen: Evidence) -> Verdict | None:
    look = seen.looks[-1]
    if all(each.state == "T" for each in seen.looks):
        return Verdict(
            "stopped", f"a signal stopped it (State: {look.status.get('State', 'T')}); SIGCONT lets it go on"
        )
    frozen = [any(t.tid == each.pid and t.wchan in _FREEZERS for t in each.threads) for each in seen.looks]
    if all(frozen):
        return Verdict("stopped", "its cgroup is frozen")
    return None


def _gil_held(seen: Evidence) -> Verdict | None:
    waiting = _starving(seen)
    if seen.gil is not None and any(seen.gil.tids):
        pair = None if seen.gil.keeper is None else _pairs(seen, seen.gil.keeper)
        return None if pair is None else _kept(pair, waiting, f" in {seen.gil.place}" if seen.gil.place else "")
    if any(thread.name == BELL for thread in waiting):
        return Verdict("gil-held", f"{_threads(waiting)} {_get(waiting)} no GIL; who keeps it could not be read")
    return None


def _kept(pair: tuple[ThreadLook, ThreadLook], waiting: list[ThreadLook], place: str) -> Verdict | None:
    """What one thread does that had the GIL in every sample."""
    before, after = pair
    keeper = f"{_threads([after])} keeps the GIL"
    if before.state == after.state == "D":
        return Verdict("uninterruptible", f"{keeper} and waits in the kernel{_where(after)}{place}")
    if before.state == after.state == "S" and before.switches == after.switches:
        return Verdict("gil-held", f"{keeper} and waits{_where(after)}{place}")
    if not waiting:
        return None
    doing = "computes" if after.ticks > before.ticks else "runs"
    return Verdict("gil-held", f"{keeper} and {doing}{place}; {_threads(waiting)} {_get(waiting)} none")


def _uninterruptible(seen: Evidence) -> Verdict | None:
    held = [thread for thread in _always(seen, "D") if not thread.name.startswith(OURS)]
    if not held:
        return None  # our own threads write dumps: one that hangs there is left behind, and another store is tried
    return Verdict("uninterruptible", f"{_threads(held)} in the kernel{_where(held[0])} in D state")


def _under_a_tracer(seen: Evidence) -> Verdict | None:
    tracer = seen.looks[-1].tracer
    return Verdict("traced", f"process {tracer} traces it") if tracer else None


def _busy(seen: Evidence) -> Verdict | None:
    if not seen.armed or len(seen.looks) < 2:  # noqa: PLR2004 - a difference takes two
        return None
    first, last = seen.looks[0], seen.looks[-1]
    spent = sum(thread.ticks for thread in last.threads) - sum(thread.ticks for thread in first.threads)
    running = [thread for thread in last.threads if thread.state == "R"]
    if spent <= 0 or not running:
        return None
    return Verdict("busy", f"{_threads(running)} runs on a processor; it has not answered yet")


_RULES: tuple[Callable[[Evidence], Verdict | None], ...] = (
    _traced,
    _stopped,
    _gil_held,
    _uninterruptible,
    _under_a_tracer,
    _busy,
)
"""In the order in which they count."""


def _unexplained(seen: Evidence) -> Verdict:
    if not seen.armed:
        return Verdict("unreachable", "it is not armed by oobdump: nobody in it can answer; it was only looked at")
    state = seen.looks[-1].status.get("State", seen.looks[-1].state)
    writing = [thread for thread in _always(seen, "D") if thread.name.startswith(OURS)]
    slow = (
        (f"its dump directory does not answer: {_threads(writing)} in the kernel{_where(writing[0])}",)
        if writing
        else ()
    )
    if known := (*seen.obstacles, *slow):
        return Verdict("unreachable", f"its process is there (State: {state}), but {'; '.join(known)}")
    return Verdict(
        "unreachable", f"its process is there (State: {state}), and nothing that was seen says why it is silent"
    )


def _always(seen: Evidence, state: str) -> list[ThreadLook]:
    """The threads that were in this state in every look, the main thread first."""
    ids = [{thread.tid for thread in each.threads if thread.state == state} for each in seen.looks]
    return [thread for thread in seen.looks[-1].threads if all(thread.tid in each for each in ids)]


def _starving(seen: Evidence) -> list[ThreadLook]:
    """Threads that wake up again and again and get nowhere, as one does that waits for the GIL."""
    if len(seen.looks) < 2:  # noqa: PLR2004 - a difference takes two
        return []
    found = (_pairs(seen, thread.tid) for thread in seen.looks[-1].threads)
    return [pair[1] for pair in found if pair and _starves(*pair)]


def _starves(before: ThreadLook, after: ThreadLook) -> bool:
    awake, spent = after.switches - before.switches, after.ticks - before.ticks
    return (
        awake >= WANTS_GIL_SWITCHES
        and spent <= WANTS_GIL_TICKS
        and (_on_lock(before) or _on_lock(after) or _bell_awake(after))
    )


def _on_lock(thread: ThreadLook) -> bool:
    """Whether it waits on a lock in user space; on a loaded machine it may just have woken up, in one look of two."""
    return thread.state == "S" and ("futex" in thread.wchan or not thread.wchan)


def _bell_awake(thread: ThreadLook) -> bool:
    """A bell sleeps until it is rung, and then hands over at once: one that wakes up again and again gets no GIL."""
    return thread.name == BELL and thread.state == "R"


def _pairs(seen: Evidence, tid: int) -> tuple[ThreadLook, ThreadLook] | None:
    """One thread in the first and the last look."""
    first, last = ({thread.tid: thread for thread in each.threads} for each in (seen.looks[0], seen.looks[-1]))
    return (first[tid], last[tid]) if tid in first and tid in last and len(seen.looks) > 1 else None


def _where(thread: ThreadLook) -> str:
    return f" ({thread.wchan})" if thread.wchan else ""


def _threads(threads: list[ThreadLook]) -> str:
    named = ", ".join(f"{thread.tid} ({thread.name})" for thread in threads[:3])
    more = f" and {len(threads) - 3} more" if len(threads) > 3 else ""  # noqa: PLR2004 - as many as are shown
    return f"thread{'s' if len(threads) > 1 else ''} {named}{more}"


def _get(threads: list[ThreadLook]) -> str:
    return "gets" if len(threads) == 1 else "get"


def plain(seen: Evidence) -> dict[str, Any]:
    """The evidence as it stands in a manifest, without the looks: those are a part of their own."""
    left = seen.ending
    return {
        "visible": seen.visible,
        "armed": seen.armed,
        "obstacles": list(seen.obstacles),
        "gil": None if seen.gil is None else {"owners": list(seen.gil.tids), "place": seen.gil.place},
        "ending": None if left is None else {**vars(left), "exit_code": _code(left.wait_status)},
    }


def _code(status: int | None) -> int | None:
    return None if status is None else os.waitstatus_to_exitcode(status)
