"""What was gathered, read into the evidence that verdicts are made of.

In: samples (requests with outcomes), the roster, or what an offline reader found. Out: ``Evidence``,
and ``Notes`` on what could not be read. The rules only this module keeps: nobody is left out, asked
or not, answered or not; and no part of one worker can spoil what another said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from oobdump import codecs
from oobdump.client import Outcome
from oobdump.errors import CodecError, DamagedDump, RequestError
from oobdump.gather import COUNTERS, RECORDER, Sample
from oobdump.job import facts
from oobdump.job.calls import Pool
from oobdump.job.collectives import Collectives, TraceProblem
from oobdump.job.evidence import Evidence, Look, Worker
from oobdump.job.matching import match
from oobdump.job.merge import build
from oobdump.job.ranks import MAX_RANKS, parse_ranks
from oobdump.job.recorder import parse_bytes
from oobdump.job.stacks import Member, Problem, WorkerStacks, parse_stacks
from oobdump.job.trace import RankTrace
from oobdump.offline.recorders import read_recorders
from oobdump.store import reader
from oobdump.store.roster import Entry
from oobdump.store.writer import PartRecord

__all__ = ["START_SPREAD_S", "Reading", "read_files", "read_samples"]

START_SPREAD_S = 120.0
"""Ranks of one attempt start within this; a dead one that is older belongs to an earlier run of the same name."""

_CODECS = {"application/json": "json", "application/msgpack": "msgpack"}

_RECORDERS = (RECORDER, COUNTERS, "fr_trace_json")


@dataclass
class Reading:
    """What is being read: problems and traces so far. One for all workers, so that equal values are shared.

    ``pickles`` are the recorders that were read already, by file: a pickle is opened in a child with limits only.
    """

    pool: Pool = field(default_factory=Pool)
    pickles: dict[str, RankTrace | TraceProblem] = field(default_factory=dict)
    traces: dict[str, RankTrace | TraceProblem] = field(default_factory=dict)
    members: dict[str, frozenset[int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read_samples(samples: Sequence[Sample], entries: Iterable[Entry], every_s: float = 0.0) -> Evidence:
    """The evidence of these samples, and of those in the roster who were not there to be asked."""
    by_name = {entry.worker: entry for entry in entries}
    reading = Reading()
    reading.pickles = _read_pickles([outcome for sample in samples for outcome in sample.outcomes], reading.pool)
    told: dict[str, list[Outcome]] = {}
    for sample in samples:
        for outcome in sample.outcomes:
            told.setdefault(outcome.worker, []).append(outcome)
    workers = [_worker(outcomes, by_name.get(name), reading) for name, outcomes in told.items()]
    workers += [_dead(entry) for entry in _gone(by_name, told)]
    sizes = [entry.identity.world_size or 0 for name, entry in by_name.items() if name in told]
    world = max([*sizes, *map(_world_told, chain.from_iterable(told.values()))], default=0)
    return assemble(workers, reading, world=world, samples=len(samples), every_s=every_s)


def read_files(traces: Sequence[RankTrace | TraceProblem], stacks: Sequence[WorkerStacks | Problem]) -> Evidence:
    """The evidence of recorder files and stack files that belong to no dump: one worker for each rank they tell of."""
    reading = Reading()
    read: dict[int, WorkerStacks] = {}
    for each in stacks:
        if isinstance(each, Problem):
            reading.problems.append(each)
        elif each.rank is not None:
            read[each.rank] = each
    reading.traces = {f"{number}": trace for number, trace in enumerate(traces)}
    ranks = {trace.rank for trace in traces if trace.rank is not None} | {*read}
    return assemble([_of_files(rank, read.get(rank)) for rank in sorted(ranks)], reading)


def _of_files(rank: int, stacks: WorkerStacks | None) -> Worker:
    if stacks is None:
        return Worker(Member(rank, f"rank {rank}"), "", 0, "rank", "responsive")
    look = Look(stacks=stacks)
    return Worker(stacks.member, stacks.host, stacks.pid, "rank", "responsive", "", (look,))


def assemble(
    workers: Sequence[Worker], reading: Reading, *, world: int = 0, samples: int = 1, every_s: float = 0.0
) -> Evidence:
    """Workers and traces as evidence."""
    stacks = [each for each in map(_latest, workers) if each is not None]
    silent = [
        Problem(w.member.worker, w.rank, w.why or f"no stacks of it ({w.state})") for w in workers if _latest(w) is None
    ]
    known = {problem.worker for problem in reading.problems}
    merged = build([*stacks, *reading.problems, *(each for each in silent if each.worker not in known)])
    ranks = frozenset(worker.rank for worker in workers if worker.rank is not None)
    everybody = frozenset(range(world)) | ranks
    traces = [*reading.traces.values()]
    collectives = match(traces, world=everybody or None, members=reading.members or None) if traces else Collectives()
    recorded = any(isinstance(trace, RankTrace) for trace in traces)
    return Evidence(tuple(workers), collectives, merged, world, samples, every_s, recorded)


def _latest(worker: Worker) -> WorkerStacks | None:
    return worker.seen[-1].stacks if worker.seen else None


def _world_told(outcome: Outcome) -> int:
    """How many ranks its job has, as a worker's own dump says: a copy may come without the roster."""
    size = None if outcome.dump is None else outcome.dump.identity.get("world_size")
    return size if isinstance(size, int) and not isinstance(size, bool) and 0 <= size <= MAX_RANKS else 0


def _gone(entries: Mapping[str, Entry], told: Mapping[str, object]) -> list[Entry]:
    """Ranks of this attempt that had ended before anybody was asked."""
    there = [entry for name, entry in entries.items() if name in told]
    attempt = max((entry.identity.attempt or 0 for entry in there), default=0)
    since = min((entry.started_at for entry in there), default=0.0) - START_SPREAD_S
    taken = {entry.identity.rank for entry in there if entry.identity.role == "rank"}
    return [
        entry
        for name, entry in entries.items()
        if name not in told
        and entry.identity.role == "rank"
        and entry.identity.rank not in taken
        and (entry.identity.attempt or 0) == attempt
        and entry.started_at >= since
        and entry.alive() is False
    ]


def _dead(entry: Entry) -> Worker:
    identity, ended = entry.identity, entry.ended or {}
    how = str(ended.get("how") or "found gone")
    why = f"{how}, noted by {ended.get('by', 'nobody')} at {ended.get('at', 'an unknown time')}"
    return Worker(
        Member(identity.rank, entry.worker),
        identity.host,
        identity.pid,
        identity.role,
        "exited",
        why,
        attempt=identity.attempt,
    )


def _worker(outcomes: Sequence[Outcome], entry: Entry | None, reading: Reading) -> Worker:
    """One worker over all samples."""
    last = outcomes[-1]
    rank = last.rank if last.role == "rank" else None
    looks = tuple(_look(outcome, rank, reading) for outcome in outcomes)
    state, why = _state(outcomes, entry)
    return Worker(
        Member(rank, last.worker),
        last.host,
        last.pid,
        last.role,
        state,
        why,
        looks,
        outside=last.answered_by not in ("worker", None),
        attempt=None if entry is None else entry.identity.attempt,
    )


def _state(outcomes: Sequence[Outcome], entry: Entry | None) -> tuple[str, str]:
    """How it was found last: that it answered before says less than that it does not any more."""
    last = outcomes[-1]
    if last.status != "no_answer":
        return last.state or "responsive", last.why
    state = last.state or "unreachable"
    if state == "unreachable" and entry is not None and entry.alive():
        return "gil-held", last.why
    return state, last.why


def _look(outcome: Outcome, rank: int | None, reading: Reading) -> Look:
    """What one worker said in one sample."""
    value = _value(outcome, "stacks")
    stacks = _stacks(outcome, rank, value, reading)
    process = facts.read_process(_value(outcome, "process"))
    trace = _trace(outcome, rank, reading)
    _learn_members(_value(outcome, "process_groups"), reading)
    return Look(
        at=None if stacks is None else facts.taken_at(value),
        stacks=stacks,
        facts=process,
        completed={} if trace is None else _completed(trace),
        store_waits=facts.read_store_waits(_value(outcome, "wait_counter_values")),
    )


def _stacks(outcome: Outcome, rank: int | None, value: object, reading: Reading) -> WorkerStacks | None:
    if value is None:
        return None
    read = parse_stacks(outcome.worker, rank, value)
    if isinstance(read, Problem):
        reading.problems.append(read)
        return None
    return read


def _trace(outcome: Outcome, rank: int | None, reading: Reading) -> RankTrace | None:
    """The recorder's part, if there is one; the one with most entries is kept."""
    for handler in _RECORDERS:
        data = _bytes(outcome, handler)
        if data is None or rank is None:
            continue
        trace = reading.pickles.get(_path(outcome, handler))
        if trace is None:
            trace = parse_bytes(rank, data, where=outcome.worker, pool=reading.pool)
        known = reading.traces.get(outcome.worker)
        if known is None or (isinstance(trace, RankTrace) and _entries(trace) > _entries(known)):
            reading.traces[outcome.worker] = trace
        return trace if isinstance(trace, RankTrace) else None
    return None


def _read_pickles(outcomes: Iterable[Outcome], pool: Pool) -> dict[str, RankTrace | TraceProblem]:
    """The recorders of all ranks, by file."""
    found = [
        (outcome.rank, _path(outcome, RECORDER))
        for outcome in outcomes
        if outcome.rank is not None and outcome.role == "rank" and _bytes(outcome, RECORDER) is not None
    ]
    read = read_recorders(found, pool=pool)
    return {path: trace for (_, path), trace in zip(found, read, strict=True)}


def _path(outcome: Outcome, handler: str) -> str:
    record = _record(outcome, handler)
    return "" if record is None or outcome.dump is None else f"{outcome.dump.directory}/{record.path}"


def _entries(trace: RankTrace | TraceProblem) -> int:
    return trace.entries if isinstance(trace, RankTrace) else -1


def _completed(trace: RankTrace) -> dict[str, int]:
    return {name: max(status.last_completed, 0) for name, status in trace.statuses}


def _learn_members(value: object, reading: Reading) -> None:
    """Who is in which group, from any rank that said it."""
    for name, ranks in facts.read_process_groups(value):
        if name not in reading.members:
            with suppress(RequestError):  # it names no ranks: then nobody is told of this group
                reading.members[name] = parse_ranks(ranks)


def _value(outcome: Outcome, handler: str) -> Any:
    """A part's decoded value; None if it is absent, failed, damaged, or of a format that runs code."""
    data = _bytes(outcome, handler)
    record = _record(outcome, handler)
    codec = None if record is None else _CODECS.get(record.media_type.partition(";")[0].strip().lower())
    if data is None or codec is None:
        return None
    try:
        return codecs.get(codec).decode(data)
    except CodecError:
        return None


def _bytes(outcome: Outcome, handler: str) -> bytes | None:
    record = _record(outcome, handler)
    if record is None or outcome.dump is None:
        return None
    try:
        return reader.part_bytes(outcome.dump, record)
    except DamagedDump:
        return None


def _record(outcome: Outcome, handler: str) -> PartRecord | None:
    """The part of a handler that went well and has a file."""
    found = (each for each in outcome.parts if each.handler == handler and each.status == "ok")
    return next((each for each in found if each.path is not None), None)
