"""What the flight recorder of one rank said, as frozen values.

In: nothing. Out: ``RankTrace`` and what it is made of. The rule only this module keeps: an
``Op`` holds what equal calls on different ranks have in common and nothing else, so that
equal calls are equal values (and, read with one ``Pool``, one object); what is a rank's own,
such as times and frames, is kept for its open calls only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from oobdump.job.stacks import Stack

__all__ = ["Call", "GroupConfig", "GroupStatus", "Lane", "Op", "OpenCall", "RankTrace", "State"]

State = Literal["scheduled", "started", "completed"]
"""As PyTorch says it. Gloo never says more than ``scheduled``: there ``retired`` alone tells completion."""

Sizes = tuple[tuple[int, ...], ...]
"""The shape of each tensor."""


class Op(NamedTuple):
    """One call of a collective or of a send or receive, as every rank that made it would write it."""

    backend: str
    name: str
    input_sizes: Sizes
    input_dtypes: tuple[str, ...]
    output_sizes: Sizes
    output_dtypes: tuple[str, ...]
    source: int | None = None
    """Of a send or receive: who sends, as a rank of the group (not of the job)."""
    target: int | None = None
    """And who receives."""

    @property
    def is_p2p(self) -> bool:
        """Whether it is a send or receive."""
        return self.target is not None


class Call(NamedTuple):
    """One entry of the recorder: which operation, the how manieth of its group, and how far it came.

    ``seq`` counts the group's collectives (or the rank's own sends and receives); ``nth`` tells
    apart several entries of one ``seq``, which a coalesced call makes.
    """

    seq: int
    nth: int
    p2p: bool
    op: Op
    state: State
    retired: bool

    @property
    def done(self) -> bool:
        """Whether it came to its end, as far as the recorder tells."""
        return self.retired or self.state == "completed"


@dataclass(frozen=True)
class OpenCall:
    """A call that has not come to its end, with what is the rank's own. Frames outermost first; times in ns."""

    call: Call
    created_ns: int | None
    started_ns: int | None
    timeout_ms: int | None
    frames: Stack
    thread_name: str


@dataclass(frozen=True)
class GroupConfig:
    """A process group as the recorder was told of it; ``ranks`` is None where it was not told (Gloo)."""

    name: str
    desc: str
    ranks: tuple[int, ...] | None


@dataclass(frozen=True)
class GroupStatus:
    """The counters of a group; they count sends and receives too, so they compare only with each other."""

    last_enqueued: int
    last_started: int
    last_completed: int

    @property
    def never_entered(self) -> bool:
        """Nothing that was enqueued is open: if others wait in this group, this rank never entered."""
        return self.last_enqueued == self.last_completed


@dataclass(frozen=True)
class Lane:
    """One rank's calls in one group, in order. ``open`` are those of ``calls`` that have not come to their end."""

    group: GroupConfig
    calls: tuple[Call, ...]
    open: tuple[OpenCall, ...] = ()
    status: GroupStatus | None = None
    last_frames: Stack = ()
    """Where the last call was made, outermost frame first."""


@dataclass(frozen=True)
class RankTrace:
    """Everything that is kept of one rank's recorder.

    ``configs`` are the groups the recorder knows, with calls or without; ``statuses`` their
    counters by PyTorch's number of the group, which only a lane ties to a name; ``wrapped``: older
    entries were overwritten; ``source`` is the form it was read from.
    """

    rank: int
    version: str
    source: Literal["pickle", "json"]
    lanes: tuple[Lane, ...]
    configs: tuple[GroupConfig, ...] = ()
    statuses: tuple[tuple[str, GroupStatus], ...] = ()
    entries: int = 0
    wrapped: bool = False
    last_record_id: int | None = None
    comm_lib_version: str = ""
    where: str = ""
    """The file or worker it came from, for messages."""
