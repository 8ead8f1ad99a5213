"""Flight recorder dumps made up: what PyTorch's recorder would write on NCCL. No GPU was near them.

In: a script of calls for each rank. Out: documents as PyTorch 2.13 writes them (version 2.10), and
their pickle or JSON. They are said to be synthetic wherever they are shown; what the recorder
writes on Gloo is not made up: tests dump it from real jobs.
"""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["NCCL", "Recorder", "Team", "as_json", "as_pickle", "write"]

NCCL = "2.27.5"

BEGIN_NS = 1_795_385_646_000_000_000
STEP_NS = 1_000_000
TIMEOUT_MS = 600_000

SITE = "/opt/venv/lib/python3.11/site-packages/torch"
FRAMES = [
    {"name": "all_reduce", "filename": f"{SITE}/distributed/distributed_c10d.py", "line": 3245},
    {"name": "wrapper", "filename": f"{SITE}/distributed/c10d_logger.py", "line": 83},
    {"name": "backward", "filename": f"{SITE}/autograd/graph.py", "line": 829},
    {"name": "_engine_run_backward", "filename": f"{SITE}/autograd/__init__.py", "line": 347},
    {"name": "backward", "filename": f"{SITE}/_tensor.py", "line": 648},
    {"name": "train_step", "filename": "/code/train.py", "line": 71},
    {"name": "main", "filename": "/code/train.py", "line": 112},
    {"name": "<module>", "filename": "/code/train.py", "line": 130},
]
"""Innermost first, as the recorder writes them; shared by all entries, as PyTorch's pickles share them."""


@dataclass(frozen=True)
class Team:
    """A process group: what the recorder calls it, and the ranks of the job in it."""

    name: str
    desc: str
    ranks: tuple[int, ...]

    def place(self, rank: int) -> int:
        """A rank of the job as a rank of this group."""
        return self.ranks.index(rank)


@dataclass
class Recorder:
    """One rank's recorder: call its methods in the order in which the rank would call PyTorch's."""

    rank: int
    teams: Sequence[Team]
    backend: str = "nccl"
    capacity: int = 2_000
    entries: list[dict[str, Any]] = field(default_factory=list)
    _seqs: dict[str, int] = field(default_factory=dict)
    _p2p: dict[str, int] = field(default_factory=dict)
    _ids: int = 0

    def collective(
        self,
        team: Team,
        name: str = "all_reduce",
        sizes: Sequence[Sequence[int]] = ((1024,),),
        *,
        out: Sequence[Sequence[int]] | None = None,
        dtype: str = "Float",
        state: str = "completed",
        line: int = 71,
    ) -> None:
        """One collective; ``out`` is ``sizes`` unless given."""
        self._seqs[team.name] = self._seqs.get(team.name, 0) + 1
        self._add(team, name, sizes, sizes if out is None else out, dtype, state, line, p2p=False)

    def batch(self, team: Team, calls: Iterable[tuple[str, int]], *, size: int = 64, state: str = "completed") -> None:
        """A coalesced batch of sends and receives, each with the other's rank of the job."""
        self._p2p[team.name] = self._p2p.get(team.name, 0) + 1
        for kind, other in calls:
            own, far = team.place(self.rank), team.place(other)
            name = f"send {own}->{far}" if kind == "send" else f"recv {own}<-{far}"
            # PyTorch never updates the entries inside a batch: only the one that closes it
            self._add(team, name, [[size]], [[size]], "Float", "scheduled", 71, p2p=True)
        self._add(team, "coalesced", [], [], "Float", state, 71, p2p=True)

    def document(self) -> dict[str, Any]:
        """The dump."""
        return {
            "version": "2.10",
            "pg_config": {
                team.name: {"name": team.name, "desc": team.desc, "ranks": str([*team.ranks])}
                for team in self.teams
                if self.rank in team.ranks
            },
            "comm_lib_version": NCCL,
            "pg_status": {
                str(number): self._status(team) for number, team in enumerate(self.teams) if self.rank in team.ranks
            },
            "entries": self.entries[-self.capacity :],
        }

    def _status(self, team: Team) -> dict[str, int]:
        own = [entry for entry in self.entries if entry["process_group"][0] == team.name and not entry["is_p2p"]]

        def last(*states: str) -> int:
            return max((entry["collective_seq_id"] for entry in own if entry["state"] in states), default=-1)

        return {
            "last_enqueued_collective": last("scheduled", "started", "completed"),
            "last_started_collective": last("started", "completed"),
            "last_completed_collective": last("completed"),
        }

    def _add(
        self,
        team: Team,
        name: str,
        sizes: Sequence[Sequence[int]],
        out: Sequence[Sequence[int]],
        dtype: str,
        state: str,
        line: int,
        *,
        p2p: bool,
    ) -> None:
        created = BEGIN_NS + STEP_NS * self._ids + self.rank  # no two ranks call at the same moment
        done = state == "completed"
        frames = FRAMES if line == FRAMES[5]["line"] else [*FRAMES[:5], {**FRAMES[5], "line": line}, *FRAMES[6:]]
        self.entries.append(
            {
                "frames": list(frames),
                "record_id": self._ids,
                "pg_id": self.teams.index(team),
                "process_group": (team.name, team.desc),
                "thread_name": "python3",
                "thread_id": sys.intern(str(139718170028928 + self.rank)),
                "collective_seq_id": self._seqs.get(team.name, 0),
                "p2p_seq_id": self._p2p.get(team.name, 0),
                "op_id": self._ids + 1,
                "profiling_name": sys.intern(f"{self.backend}:{name}"),  # PyTorch's pickles hold equal texts once
                "time_created_ns": created,
                "input_sizes": [list(shape) for shape in sizes],
                "input_dtypes": [dtype] * len(sizes),
                "output_sizes": [list(shape) for shape in out],
                "output_dtypes": [dtype] * len(out),
                "state": state,
                "time_discovered_started_ns": created + 1_000 if state != "scheduled" else None,
                "time_discovered_completed_ns": created + 500_000 if done else None,
                "retired": done,
                "timeout_ms": TIMEOUT_MS,
                "is_p2p": p2p,
            }
        )
        self._ids += 1


def as_pickle(document: dict[str, Any]) -> bytes:
    """The dump as PyTorch pickles it: protocol 2."""
    return pickle.dumps(document, protocol=2)


def as_json(document: dict[str, Any]) -> bytes:
    """The dump as PyTorch writes it in JSON: no frames, 0 for no time, counters as texts, no empty ``entries``."""
    entries = [_json_entry(entry) for entry in document.get("entries", [])]
    plain = {key: value for key, value in document.items() if key != "entries"}
    plain["pg_status"] = {
        number: {name: str(count) for name, count in counters.items()}
        for number, counters in document["pg_status"].items()
    }
    return json.dumps(plain | ({"entries": entries} if entries else {}) | {"nccl_comm_state": {}}).encode()


def _json_entry(entry: dict[str, Any]) -> dict[str, Any]:
    times = ("time_discovered_started_ns", "time_discovered_completed_ns")
    without = {key: value for key, value in entry.items() if key != "frames"}
    return without | {name: entry[name] or 0 for name in times} | {"process_group": [*entry["process_group"]]}


def write(directory: Path, recorders: Iterable[Recorder], prefix: str = "nccl_trace_rank_") -> Path:
    """Each rank's pickle as ``<prefix><rank>``, as PyTorch's watchdog leaves them."""
    directory.mkdir(parents=True, exist_ok=True)
    for recorder in recorders:
        (directory / f"{prefix}{recorder.rank}").write_bytes(as_pickle(recorder.document()))
    return directory
