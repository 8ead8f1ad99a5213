"""One worker: its signal as the kernel shows it, its bell rung for real, its answer, what it says itself.

In: its roster entry, and what became of the doctor's own request. Out: findings. The rule only this
module keeps: a worker that cannot be seen from this machine is said to be so, and not called dead.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Mapping

from oobdump.channels.bell import ring
from oobdump.doctor.model import Check, Finding, Kind, Subject
from oobdump.process_status import has_signal, status, takes
from oobdump.store.roster import Entry, armed_signals

__all__ = ["CHECKS", "NOT_ARMED", "seen_from_here"]

_STAYS_PENDING_S = 1.0
"""A worker that runs takes a signal in milliseconds; a busy machine may take longer."""

_LOOK_EVERY_S = 0.05
_OURS = "oobdump."

GONE = Kind(
    "worker-gone", "error", "nobody answers for it", "`oobdump ps --all` shows how it ended; its dumps are still there"
)
ELSEWHERE = Kind(
    "worker-elsewhere",
    "note",
    "it runs on another machine: only its answer was looked at",
    "run the doctor there, with the same --dir and --job, to look at its signal, its bell and its memory",
)
PROBLEM = Kind(
    "worker-problem",
    "warning",
    "start() could not set something up, or somebody took a signal over since",
    "what the worker said names the next step",
)
SIGNAL_OFF = Kind(
    "signal-off",
    "note",
    "`kill` asks it for nothing; files and HTTP do",
    "OOBDUMP_SIGNALS names a signal that nobody else uses; `oobdump request` needs none",
)
SIGNAL_KILLS = Kind(
    "signal-not-armed",
    "error",
    "the request signal would end it: something in it gave the signal back to the default",
    "use `oobdump request`; call oobdump.start() after whatever resets signal handlers",
)
SIGNAL_PENDING = Kind(
    "signal-pending",
    "warning",
    "a request signal waits unread: the process is stopped, or its GIL is held",
    "the handler runs when the GIL is free again; meanwhile look from outside (`py-spy dump --nonblocking`)",
)
SIGNAL_TAKEN = Kind(
    "signal-taken",
    "warning",
    "the signal is somebody else's: it asks us for nothing",
    "give oobdump another signal (OOBDUMP_SIGNALS='SIGUSR2=stacks,process'), or use `oobdump request`",
)
STOPPED = Kind(
    "worker-stopped",
    "error",
    "none of its threads runs, so it cannot answer",
    "`kill -CONT` if it was stopped; a debugger that traces it has to let go",
)
BELL_LOST = Kind(
    "bell-lost",
    "warning",
    "a request from this machine does not wake it: it answers when it looks by itself, or not at all",
    "the runtime directory was cleaned, or the worker could not make its FIFO: set OOBDUMP_RUNTIME_DIR",
)
NO_ANSWER = Kind(
    "no-answer",
    "error",
    "the doctor's own request was not answered: no other will be",
    "see the other findings of this worker; `py-spy dump --nonblocking` shows where it stands",
)
BAD_ANSWER = Kind(
    "bad-answer",
    "warning",
    "the doctor's own request was answered with an error, or late",
    "`oobdump show latest` has the answer",
)


NOT_ARMED = Kind(
    "not-armed",
    "error",
    "nobody answers in this process, and a request signal may end it",
    "start the program under `oobdump run`, or call oobdump.start() in it; --dir if its dumps go elsewhere",
)


def seen_from_here(entry: Entry) -> bool:
    """Whether it runs on this machine and is alive."""
    return entry.alive() is True


def _there(subject: Subject) -> Iterator[Finding]:
    entry, alive = subject.worker, subject.worker.alive()
    if alive is None:
        yield ELSEWHERE.found(f"it runs on {entry.identity.host}", worker=entry.worker, host=entry.identity.host)
    elif not alive:
        ended = "it ended" if entry.ended is None else f"it ended: {entry.ended.get('how')}"
        yield GONE.found(f"process {entry.identity.pid}: {ended}", worker=entry.worker)
    for problem in entry.problems if alive is not False else ():
        yield PROBLEM.found(problem, worker=entry.worker)


def _signal(subject: Subject) -> Iterator[Finding]:
    entry = subject.worker
    if not seen_from_here(entry):
        return
    armed = armed_signals(entry)
    if not armed:
        about = entry.channels.get("signal")
        why = about.get("off") if isinstance(about, Mapping) else None
        yield SIGNAL_OFF.found(f"its signal channel is off: {why or 'it says nothing of it'}", worker=entry.worker)
    for name, signum in armed.items():
        yield from _one_signal(entry, name, signum)


def _one_signal(entry: Entry, name: str, signum: int) -> Iterator[Finding]:
    pid = entry.identity.pid
    fields = status(pid)
    masks = {mask: fields.get(mask, "") for mask in ("SigCgt", "SigIgn", "SigBlk", "ShdPnd")}
    if fields and not takes(pid, signum):
        how = "ignored" if has_signal(fields, "SigIgn", signum) else "neither caught nor blocked in all threads"
        yield SIGNAL_KILLS.found(f"{name} is {how}", worker=entry.worker, signal=name, **masks)
    elif _stays_pending(pid, signum):
        yield SIGNAL_PENDING.found(
            f"{name} has been pending for {_STAYS_PENDING_S:g} s", worker=entry.worker, signal=name, **masks
        )


def _stays_pending(pid: int, signum: int) -> bool:
    deadline = time.monotonic() + _STAYS_PENDING_S
    while has_signal(status(pid), "ShdPnd", signum):
        if time.monotonic() > deadline:
            return True
        time.sleep(_LOOK_EVERY_S)
    return False


def _taken(subject: Subject) -> Iterator[Finding]:
    """By its own answer: only the process itself knows which Python function handles a signal."""
    entry = subject.worker
    handlers = _answered(subject, "process").get("signal_handlers")
    for name, signum in armed_signals(entry).items():
        who = handlers.get(str(signum)) if isinstance(handlers, Mapping) else None
        if who and not str(who).startswith(_OURS):
            yield SIGNAL_TAKEN.found(f"{name} is handled by {who}", worker=entry.worker, signal=name, owner=who)


def _answered(subject: Subject, handler: str) -> Mapping[str, object]:
    found = subject.answers.get(handler)
    return found if isinstance(found, Mapping) else {}


def _stopped(subject: Subject) -> Iterator[Finding]:
    entry = subject.worker
    state = status(entry.identity.pid).get("State", "") if seen_from_here(entry) else ""
    if state[:1] in ("T", "t"):
        tracer = status(entry.identity.pid).get("TracerPid", "0")
        yield STOPPED.found(f"its state is {state}", worker=entry.worker, state=state, tracer=int(tracer))


def _bell(subject: Subject) -> Iterator[Finding]:
    entry = subject.worker
    if not seen_from_here(entry):
        return
    about = entry.channels.get("bell")
    path = about.get("path") if isinstance(about, Mapping) else None
    why = _why_silent(path) if isinstance(path, str) else "it has none"
    if why:
        yield BELL_LOST.found(f"its bell cannot be rung: {why}", worker=entry.worker, path=path)


def _why_silent(path: str) -> str:
    """Rings it; why nobody heard, "" if somebody did. A ring asks for nothing: the worker looks at the requests."""
    if ring(path):
        return ""
    try:
        found = os.lstat(path)
    except OSError as error:
        return f"{path}: {error.strerror}"
    return f"nobody has {path} open" if stat.S_ISFIFO(found.st_mode) else f"{path} is no FIFO"


def _answer(subject: Subject) -> Iterator[Finding]:
    entry, outcome = subject.worker, subject.outcome
    if outcome is None:
        if subject.not_asked and entry.alive() is not False:
            yield NO_ANSWER.found(f"it could not be asked: {subject.not_asked}", worker=entry.worker)
    elif outcome.status == "no_answer" or outcome.answered_by != "worker":
        seen = outcome.why or f"only {outcome.answered_by} answered, from outside (its state: {outcome.state})"
        yield NO_ANSWER.found(seen, worker=entry.worker, state=outcome.state, answered_by=outcome.answered_by)
    elif outcome.status != "ok":
        yield BAD_ANSWER.found(f"it answered: {outcome.status}", worker=entry.worker, seconds=outcome.seconds)


CHECKS = (
    Check("worker", "worker", "whether it is there, and what it says itself", (GONE, ELSEWHERE, PROBLEM), _there),
    Check("state", "worker", "whether it is stopped", (STOPPED,), _stopped),
    Check(
        "signal",
        "worker",
        "SigCgt, SigIgn, SigBlk of each thread, ShdPnd",
        (SIGNAL_OFF, SIGNAL_KILLS, SIGNAL_PENDING),
        _signal,
    ),
    Check("signal-owner", "worker", "who handles the signal, as it answers", (SIGNAL_TAKEN,), _taken),
    Check("bell", "worker", "its FIFO is rung", (BELL_LOST,), _bell),
    Check("answer", "worker", "`ping` and `process` are asked for by file and bell", (NO_ANSWER, BAD_ANSWER), _answer),
)
