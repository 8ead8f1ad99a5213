"""Rules for ranks that cannot go on: dead, stopped, or holding the GIL in C.

In: the states in which workers were found. Out: ``process-dead``, ``stopped``, ``gil-held``. They come
first: whatever else is seen follows from such a rank.
"""

from __future__ import annotations

from collections.abc import Sequence

from oobdump.job.blame import Picture
from oobdump.job.evidence import Worker
from oobdump.job.ranks import format_ranks
from oobdump.job.rules.finding import Finding
from oobdump.job.wording import ranks_text, user_place, verb

__all__ = ["gil_held", "process_dead", "stopped"]

_SHOWN = 8
"""Workers described one by one; of a crowd the first are enough."""


def process_dead(seen: Picture) -> Finding | None:
    """A rank's process is no more while the others are there and do not advance."""
    dead = [worker for worker in seen.evidence.judged if worker.dead]
    if not dead or seen.advancing or len(dead) == len(seen.evidence.judged):
        return None
    ranks = _ranks(dead)
    left = [worker for worker in seen.evidence.judged if not worker.dead]
    summary = f"{_who(dead)} {verb(dead, 'is', 'are')} dead ({_states(dead)}); {len(left)} others are still there"
    steps = ("Look at the log and the exit status of the dead rank; its launcher knows both.",)
    return Finding("process-dead", ranks, "high", summary, (*_each(dead), *_waiting(seen)), _names(dead), steps)


def stopped(seen: Picture) -> Finding | None:
    """A rank is stopped by a signal or held by a debugger."""
    held = [worker for worker in seen.evidence.judged if worker.state in ("stopped", "traced")]
    if not held:
        return None
    how = "stopped by a signal" if all(worker.state == "stopped" for worker in held) else "held by a tracer"
    summary = f"{_who(held)} {verb(held, 'is', 'are')} {how} and {verb(held, 'does', 'do')} not run"
    steps = tuple(f"kill -CONT {worker.pid}    # on {worker.host}" for worker in held[:_SHOWN])
    return Finding("stopped", _ranks(held), "high", summary, (*_each(held), *_waiting(seen)), _names(held), steps)


def gil_held(seen: Picture) -> Finding | None:
    """A rank's process is there and runs no Python: something in C holds the GIL."""
    held = [worker for worker in seen.evidence.judged if worker.state == "gil-held"]
    if not held:
        return None
    read = [worker for worker in held if worker.main is not None]
    where = f": {user_place(read[0].main)}" if read else ""
    summary = (
        f"{_who(held)} {verb(held, 'holds', 'hold')} the GIL in C and {verb(held, 'runs', 'run')} no Python{where}"
    )
    steps = tuple(f"py-spy dump --native --pid {worker.pid}    # on {worker.host}" for worker in held[:_SHOWN])
    sure = all(worker.outside for worker in held)
    return Finding(
        "gil-held",
        _ranks(held),
        "high" if sure else "medium",
        summary,
        (*_each(held), *_waiting(seen)),
        _names(held),
        steps,
    )


def _each(workers: Sequence[Worker]) -> tuple[str, ...]:
    """One sentence a worker: where it ran, in which state it was found, and where it stood."""
    told = []
    for worker in workers[:_SHOWN]:
        who = f"rank {worker.rank}" if worker.rank is not None else worker.member.worker
        stood = f"; it stands in {user_place(worker.main)}" if worker.main is not None else ""
        told.append(f"{who} (pid {worker.pid} on {worker.host}): {worker.state}: {worker.why or 'seen so'}{stood}")
    return (*told, f"and {len(workers) - _SHOWN} more") if len(workers) > _SHOWN else tuple(told)


def _waiting(seen: Picture) -> tuple[str, ...]:
    if seen.blame is None:
        return ()
    return (f"{ranks_text(seen.blame.waiting)} {verb(seen.blame.waiting, 'waits', 'wait')} (by {seen.blame.source})",)


def _states(workers: Sequence[Worker]) -> str:
    return ", ".join(sorted({worker.state for worker in workers}))


def _ranks(workers: Sequence[Worker]) -> tuple[int, ...]:
    return tuple(sorted(worker.rank for worker in workers if worker.rank is not None))


def _names(workers: Sequence[Worker]) -> tuple[str, ...]:
    return tuple(worker.member.worker for worker in workers if worker.rank is None)


def _who(workers: Sequence[Worker]) -> str:
    ranks, names = _ranks(workers), _names(workers)
    said = [f"rank{'' if len(ranks) == 1 else 's'} {format_ranks(ranks)}"] if ranks else []
    return " and ".join([*said, *names[:_SHOWN]])
