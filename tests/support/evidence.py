"""Made-up evidence for the rules of a verdict: a job in a few words.

In: what each rank does. Out: ``Evidence``. The rule kept here: whatever a test does not say is a rank
that answered, stood in a collective, and did not move.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from oobdump.job.collectives import Collectives, Cycle, Finding, Group, GroupKey, Kind, Variant, Wait
from oobdump.job.evidence import Evidence, Facts, Look, Worker
from oobdump.job.merge import build
from oobdump.job.stacks import Frame, Member, Problem, Stack, ThreadStack, WorkerStacks
from oobdump.job.trace import Op

SITE = "/venv/lib/python3.11/site-packages"
MAIN = Frame("/home/me/train.py", 90, "main")
ALL_REDUCE = (
    MAIN,
    Frame("/home/me/train.py", 40, "train_step"),
    Frame(f"{SITE}/torch/distributed/c10d_logger.py", 83, "wrapper"),
    Frame(f"{SITE}/torch/distributed/distributed_c10d.py", 3252, "all_reduce"),
)
INIT = (MAIN, Frame(f"{SITE}/torch/distributed/distributed_c10d.py", 1666, "init_process_group"))
READS = (MAIN, Frame("/home/me/data.py", 72, "load_shard"))
LOADER = (MAIN, Frame(f"{SITE}/torch/utils/data/dataloader.py", 700, "_next_data"))
LOADER_USER = (*LOADER, Frame("/home/me/data.py", 12, "Shards.__getitem__"))
SAVES = (MAIN, Frame("/home/me/train.py", 55, "keep"), Frame(f"{SITE}/torch/serialization.py", 900, "save"))
STORE = (MAIN, Frame("/home/me/train.py", 61, "agree"))
LIBRARY = (Frame("/usr/lib/python3.11/runpy.py", 88, "_run_code"),)

KEY = GroupKey("0", "default_pg", (0, 1, 2, 3))
OP = Op("gloo", "all_reduce", ((4,),), ("Float",), ((4,),), ("Float",))

SPAN_S = 2.0


def worker(
    rank: int | None,
    *stacks: Stack | None,
    state: str = "responsive",
    cpu: float = 0.0,
    completed: Sequence[int] = (),
    waits: Sequence[str] = (),
    host: str = "node1",
    role: str = "rank",
    pid: int | None = None,
) -> Worker:
    """A worker that was seen in these stacks, one a sample; ``cpu`` is its share of a processor meanwhile."""
    pid = 100 + (rank or 0) if pid is None else pid
    name = f"rank{rank:05d}.{host}.{pid}" if rank is not None else f"proc.{host}.{pid}"
    number = rank if role == "rank" else None
    looks = [
        _look(name, number, stack, place, cpu, waits, completed[place] if completed else None)
        for place, stack in enumerate(stacks)
    ]
    why = "" if state == "responsive" else f"seen as {state}"
    return Worker(Member(number, name), host, pid, role, state, why, tuple(looks))


def still(*stacks: Stack) -> list[Worker]:
    """A rank for each stack, in order, which stood there in all of three samples."""
    return [worker(rank, stack, stack, stack) for rank, stack in enumerate(stacks)]


def evidence(workers: Sequence[Worker], collectives: Collectives | None = None, *, world: int = 0) -> Evidence:
    """What was gathered of these workers."""
    stacks = [each.seen[-1].stacks for each in workers if each.seen]
    silent = [Problem(each.member.worker, each.rank, each.why) for each in workers if not each.seen]
    merged = build([*(each for each in stacks if each is not None), *silent])
    samples = max((len(each.looks) for each in workers), default=1)
    recorded = collectives is not None
    return Evidence(tuple(workers), collectives or Collectives(), merged, world, samples, SPAN_S, recorded)


def waits(waiting: Sequence[int], on: Sequence[int], *, unheard: Sequence[int] = (), seq: int = 7) -> Collectives:
    """Recorders that say who waits for whom in the default group."""
    members = frozenset((*waiting, *on, *unheard))
    wait = Wait(KEY, seq, OP, frozenset(waiting), frozenset(on), frozenset(unheard))
    group = Group(KEY, "gloo", members, "world", members - frozenset(unheard), 1, seq, (), frozenset(on))
    return Collectives(members, (group,), (), (wait,), (), (KEY,), frozenset(on) | frozenset(unheard))


def differs(kind: Kind, variants: Mapping[tuple[int, ...], Op], *, ranks: Sequence[int], seq: int = 7) -> Collectives:
    """Recorders that differ in one call, in which all ranks still wait."""
    everybody = frozenset(rank for group in variants for rank in group)
    made = tuple(Variant(op, frozenset(group)) for group, op in variants.items())
    found = Finding(kind, KEY, seq, 0, OP, frozenset(ranks), everybody - frozenset(ranks), made)
    wait = Wait(KEY, seq, OP, everybody, frozenset())
    return Collectives(everybody, (), (found,), (wait,))


def ended(collectives: Collectives) -> Collectives:
    """The same, but nobody waits any more."""
    return replace(collectives, waits=())


def circle() -> Collectives:
    """Rank 0 waits in one group for rank 1, and rank 1 in another for rank 0."""
    rows, columns = GroupKey("1", "rows", (0, 1)), GroupKey("2", "columns", (0, 1))
    one = Wait(rows, 3, OP, frozenset({0}), frozenset({1}))
    other = Wait(columns, 3, OP, frozenset({1}), frozenset({0}))
    cycle = Cycle(frozenset({0, 1}), (one, other))
    return Collectives(frozenset({0, 1}), (), (), (one, other), (cycle,), (rows, columns))


def _look(
    name: str,
    rank: int | None,
    stack: Stack | None,
    place: int,
    cpu: float,
    store: Sequence[str],
    completed: int | None,
) -> Look:
    facts = Facts(cpu_s=place * SPAN_S * cpu, main_state="S", rss_bytes=2**30, threads=9, descriptors=5, load=1.0)
    if stack is None:
        return Look()
    thread = ThreadStack("MainThread", "MainThread", main=True, ours=False, frames=stack)
    stacks = WorkerStacks(name, rank, "node1", 1, (thread,))
    done = {} if completed is None else {"0": completed}
    return Look(1_000.0 + place * SPAN_S, stacks, facts, done, tuple(store))
