"""The workers that a sentinel watches: adopted from the roster, held by a pidfd, seen to die.

In: what the roster says of the workers of this machine. Out: who lives, who died and how, and
whose request signal stays pending. Only ``/proc`` is read here, and only files of it that never
wait for the process: ``stat`` and ``status``. The rule only this module keeps: a pid is trusted
only if its start time is the roster's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from oobdump.identity import start_ticks
from oobdump.process_status import signals, status

__all__ = ["STATUS_WITHIN_S", "Ward", "Wards"]

STATUS_WITHIN_S = 2.0
"""The kernel tells how a process ended only once its parent has taken its end: a hung parent never does."""

_PENDING_LOOKS = 2
"""A worker that runs takes its signal in milliseconds; one look a second may meet it just before that."""


@dataclass
class Ward:
    """One worker that runs, or whose end was just seen (``died``, on the monotonic clock)."""

    worker: str
    pid: int
    pidfd: int
    signals: Mapping[str, int] = field(default_factory=dict)
    died: float | None = None
    wait_status: int | None = None
    pending: dict[str, int] = field(default_factory=dict)


class Wards:
    """All workers of this machine that have not ended, by name."""

    def __init__(self) -> None:
        self._wards: dict[str, Ward] = {}

    def __len__(self) -> int:
        return len(self._wards)

    def __iter__(self) -> Iterator[Ward]:
        return iter(list(self._wards.values()))

    def get(self, worker: str) -> Ward | None:
        """The one of that name."""
        return self._wards.get(worker)

    def adopt(self, worker: str, pid: int, ticks: int, signals: Mapping[str, int]) -> Ward | None:
        """Watches a worker, or notes what is new of it; None if that incarnation is gone already."""
        known = self._wards.get(worker)
        if known is not None:
            known.signals = dict(signals)
            return known
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            return None
        if start_ticks(pid) != ticks:
            os.close(descriptor)
            return None
        self._wards[worker] = made = Ward(worker, pid, descriptor, dict(signals))
        return made

    def drop(self, worker: str) -> None:
        """It need not be watched any more."""
        ward = self._wards.pop(worker, None)
        if ward is not None:
            os.close(ward.pidfd)

    def close(self) -> None:
        """Lets go of all."""
        for worker in [*self._wards]:
            self.drop(worker)

    def any_signals(self) -> bool:
        """Whether there is anything to look for once a second."""
        return any(ward.signals and ward.died is None for ward in self)

    def stuck_signals(self) -> Iterator[tuple[Ward, str]]:
        """Request signals that have been pending at ``_PENDING_LOOKS`` looks, each once until it is taken."""
        for ward in self:
            if ward.died is None and ward.signals:
                mask = signals(status(ward.pid), "ShdPnd", "SigPnd")
                for name, number in ward.signals.items():
                    ward.pending[name] = ward.pending.get(name, 0) + 1 if mask >> (number - 1) & 1 else 0
                    if ward.pending[name] == _PENDING_LOOKS:
                        yield ward, name
