"""Rules for ranks that others wait for: why they do not come.

In: the ranks to blame, and what their own stacks say. Out: ``dataloader-stuck``, ``checkpoint-io``,
``store-wait``, and ``missing-rank`` where none of these explains it. The rule only this module keeps:
a rank's own stack explains its absence; where nobody could read it, or it has no frame of the
user's, that is said.
"""

from __future__ import annotations

from collections.abc import Collection

from oobdump.job.activity import Kind, user_frame
from oobdump.job.blame import Blame, Picture
from oobdump.job.evidence import Worker
from oobdump.job.rules.finding import Confidence, Finding
from oobdump.job.stacks import Frame, Stack
from oobdump.job.wording import op_text, place, ranks_text, seconds, user_place, verb

__all__ = ["checkpoint_io", "dataloader_stuck", "missing_rank", "shared_by", "store_wait", "waiting_text"]

_SHOWN = 6

_MANY_HOSTS = 2


def dataloader_stuck(seen: Picture) -> Finding | None:
    """The ranks that others wait for are in a DataLoader, or a process of theirs that loads is."""
    ranks = _blamed_in(seen, "dataloader")
    if not ranks:
        return None
    frame, whose = _loader_frame(seen, min(ranks))
    where = f"{whose}: {place(frame)}" if frame is not None else user_place(seen.worker(min(ranks)).main)
    summary = f"{ranks_text(ranks)} {verb(ranks, 'waits', 'wait')} for data{_others(seen, ranks)}: {where}"
    steps = (
        "Look at what the dataset reads there: its file system, its service, or a worker process of the DataLoader.",
    )
    return _finding("dataloader-stuck", seen, ranks, "high", summary, steps)


def checkpoint_io(seen: Picture) -> Finding | None:
    """The ranks that others wait for save or load a checkpoint."""
    by_library, by_name = _blamed_in(seen, "checkpoint"), _blamed_in(seen, "checkpoint-name")
    ranks = by_library or by_name
    if not ranks:
        return None
    summary = (
        f"{ranks_text(ranks)} {verb(ranks, 'is', 'are')} in checkpoint I/O{_others(seen, ranks)}: "
        f"{user_place(seen.worker(min(ranks)).main)}"
    )
    steps = ("Look at the file system of the checkpoint from that host: is it full, slow, or hung?",)
    return _finding("checkpoint-io", seen, ranks, "high" if by_library else "medium", summary, steps)


def store_wait(seen: Picture) -> Finding | None:
    """Ranks wait in the key-value store for what nobody writes, and nobody else explains it."""
    held = frozenset(rank for rank, worker in seen.evidence.ranks.items() if _in_store(worker)) & seen.stuck
    rendezvous = frozenset(rank for rank in seen.stuck if rank in seen.activities and _is(seen, rank, "init"))
    blamed = frozenset[int]() if seen.blame is None else seen.blame.ranks
    ranks = blamed & (held | rendezvous) if blamed else held | rendezvous
    if not ranks or blamed - ranks:
        return None
    first = min(ranks)
    what = "the rendezvous" if ranks & rendezvous else "the key-value store"
    summary = (
        f"{ranks_text(ranks)} {verb(ranks, 'waits', 'wait')} in {what}{_others(seen, ranks)}: "
        f"{user_place(seen.worker(first).main)}"
    )
    steps = ("Find who should set that key, or who should join: is the number of ranks right, is the store's host up?",)
    sure: Confidence = "high" if ranks & held else "medium"
    return _finding("store-wait", seen, ranks, sure, summary, steps)


def missing_rank(seen: Picture) -> Finding | None:
    """Ranks did not enter what the others wait in; their own stacks say where they are instead."""
    if seen.blame is None:
        return None
    ranks = seen.blame.ranks
    first = min(ranks)
    absent = ranks & frozenset(seen.evidence.absent)
    where = f": {_where(seen, first)}"
    summary = f"{ranks_text(ranks)} did not enter {_what(seen.blame, seen)}{where}"
    steps = ("Start that rank, or arm it (oobdump run): it is not in the roster.",) if absent else ()
    return _finding("missing-rank", seen, ranks, _confidence(seen, seen.blame), summary, steps)


def shared_by(seen: Picture, ranks: Collection[int]) -> tuple[str, ...]:
    """What these ranks have in common and the others have not: a host, or a process group."""
    told = []
    there = [seen.worker(rank) for rank in ranks if rank in seen.evidence.ranks]
    hosts = {worker.host for worker in there}
    if len(there) > 1 and len(hosts) == 1 and len(seen.evidence.hosts) >= _MANY_HOSTS:
        told.append(f"all of them run on {hosts.pop()}")
    wanted = frozenset(ranks)
    same = (group for group in seen.evidence.collectives.groups if group.members == wanted and len(wanted) > 1)
    return (*told, *(f"they are exactly the members of {group.key.label}" for group in same))


def waiting_text(blame: Blame) -> tuple[str, ...]:
    """Who waits, in what, and who said so."""
    told = [
        f"{ranks_text(wait.waiting)} {verb(wait.waiting, 'waits', 'wait')} in {wait.group.label}, call {wait.seq} "
        f"({op_text(wait.op)}), for {ranks_text(wait.on | wait.unheard)} (flight recorder)"
        for wait in blame.waits[:_SHOWN]
    ]
    if not told:
        told = [f"{ranks_text(blame.waiting)} {verb(blame.waiting, 'waits', 'wait')} for others, by the stacks"]
    return tuple(told)


def _finding(
    rule: str, seen: Picture, ranks: frozenset[int], confidence: Confidence, summary: str, steps: tuple[str, ...]
) -> Finding:
    waits = () if seen.blame is None else waiting_text(seen.blame)
    evidence = (*_each(seen, ranks), *waits, *shared_by(seen, ranks))
    return Finding(rule, tuple(sorted(ranks)), confidence, summary, evidence, (), steps)


def _each(seen: Picture, ranks: frozenset[int]) -> tuple[str, ...]:
    """Where each rank stands, and whether it moved."""
    told = [f"rank {rank} stands in {_where(seen, rank)}{_moved(seen, rank)}" for rank in sorted(ranks)[:_SHOWN]]
    return (*told, f"and {len(ranks) - _SHOWN} more") if len(ranks) > _SHOWN else tuple(told)


def _where(seen: Picture, rank: int) -> str:
    worker = seen.evidence.ranks.get(rank)
    if worker is None:
        return "nowhere that is known: it has no worker"
    if worker.main is None and worker.answered:
        return "a place that is not known: no stacks of it were given"
    if worker.main is None:
        return f"a place that nobody could read ({worker.state}{': ' if worker.why else ''}{worker.why})"
    return user_place(worker.main)


def _moved(seen: Picture, rank: int) -> str:
    found = seen.motions.get(rank)
    if found is None or found.pace in ("once", "unseen"):
        return ""
    used = "" if found.cpu_s is None else f", {seconds(found.cpu_s)} of processor time"
    how = {"still": "it did not move", "computes": "it computes in the same functions"}.get(found.pace, "it moved")
    return f"; {how} in {seconds(found.span_s)}{used}"


def _what(blame: Blame, seen: Picture) -> str:
    """``call 7 (all_reduce) of default_pg, in which ranks 0-2 wait``."""
    who = f"{ranks_text(blame.waiting)} {verb(blame.waiting, 'waits', 'wait')}"
    if blame.waits:
        wait = blame.waits[0]
        return f"call {wait.seq} ({op_text(wait.op)}) of {wait.group.label}, in which {who}"
    found = (seen.activities[rank].frame for rank in sorted(blame.waiting) if rank in seen.activities)
    frame = next((frame for frame in found if frame is not None), None)
    return f"{'what' if frame is None else frame.function}, in which {who}"


def _confidence(seen: Picture, blame: Blame) -> Confidence:
    """High if the recorder says it and the stack was read; a rank that computes may yet come."""
    read = [rank for rank in blame.ranks if rank in seen.activities]
    if len(read) < len(blame.ranks):
        none_given = not any(worker.main for worker in seen.evidence.workers)
        return "medium" if read or none_given else "low"
    computes = any(seen.motions[rank].pace == "computes" for rank in read)
    return "high" if blame.source.startswith("recorder") and not computes and seen.evidence.samples > 1 else "medium"


def _blamed_in(seen: Picture, kind: Kind) -> frozenset[int]:
    """The ranks to blame, if all that can be read are in this."""
    if seen.blame is None:
        return frozenset()
    read = frozenset(rank for rank in seen.blame.ranks if rank in seen.activities)
    return read if read and all(_is(seen, rank, kind) for rank in read) else frozenset()


def _is(seen: Picture, rank: int, kind: Kind) -> bool:
    return seen.activities[rank].kind == kind


def _in_store(worker: Worker) -> bool:
    """Whether it waited in the store in every look that counted such waits."""
    return bool(worker.seen) and all(look.store_waits for look in worker.seen)


def _loader_frame(seen: Picture, rank: int) -> tuple[Frame | None, str]:
    """Where the data is stuck: in a loading child of the rank if one was read, else in the rank itself."""
    for child in seen.evidence.children(rank):
        frame = user_frame(child.main or ())
        if frame is not None and _loads(child.main or ()):
            return frame, f"its process {child.pid}"
    main = seen.worker(rank).main or ()
    inside = _inside_loader(main)
    return (inside, "its dataset") if inside is not None else (user_frame(main), "its loop")


def _loads(stack: Stack) -> bool:
    return any("torch/utils/data/" in frame.file for frame in stack)


def _inside_loader(stack: Stack) -> Frame | None:
    """The user's innermost frame that the DataLoader called."""
    places = [number for number, frame in enumerate(stack) if "torch/utils/data/" in frame.file]
    return user_frame(stack[places[-1] + 1 :]) if places else None


def _others(seen: Picture, ranks: frozenset[int]) -> str:
    if seen.blame is None or not seen.blame.waiting - ranks:
        return ""
    others = seen.blame.waiting - ranks
    return f" while {ranks_text(others)} {verb(others, 'waits', 'wait')}"
