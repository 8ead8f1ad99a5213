"""Who must be answered for, and when; pure: the clock is the caller's.

In: what the I/O child sees (a request names a worker, it claimed, it committed) and who died.
Out: the duties that are due. The rule only this module keeps: a duty ends only with an outcome
on disk, or after the last of a few tries; whatever is heard twice changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["AGAIN_S", "Duties", "Duty", "Key"]

Key = tuple[str, str]
"""Request id and worker."""

AGAIN_S = (2.0, 10.0, 60.0)
"""After a climb that brought nothing home, a hung root perhaps; after the last the reader says `unreachable`."""


@dataclass(frozen=True)
class Duty:
    """One worker's outcome of one request, still to come.

    ``due`` is on the monotonic clock; ``request`` is the request as accepted, empty if it is large.
    """

    request_id: str
    worker: str
    due: float
    reason: str
    request: str = ""
    tries: int = 0
    climbing: bool = False
    claimed: bool = False

    @property
    def key(self) -> Key:
        """What it is known by."""
        return (self.request_id, self.worker)


class Duties:
    """All that is open."""

    def __init__(self) -> None:
        self._open: dict[Key, Duty] = {}

    def __len__(self) -> int:
        return len(self._open)

    def workers(self) -> set[str]:
        """Whose outcome is open."""
        return {worker for _, worker in self._open}

    def note(self, key: Key, due: float, reason: str, request: str = "") -> None:
        """A request names a worker; one that is known already stays as it is."""
        self._open.setdefault(key, Duty(*key, due, reason, request))

    def claimed(self, key: Key, due: float, reason: str) -> None:
        """The worker took the request: it has until its own deadline."""
        known = self._open.get(key)
        if known is not None and not known.claimed and not known.climbing:
            self._open[key] = replace(known, due=due, reason=reason, claimed=True)

    def settled(self, key: Key) -> None:
        """There is an outcome."""
        self._open.pop(key, None)

    def hurry(self, worker: str, now: float, reason: str) -> None:
        """The worker is gone: what is open of it will not come by itself."""
        for key, duty in self._open.items():
            if duty.worker == worker and duty.due > now and not duty.tries:
                self._open[key] = replace(duty, due=now, reason=reason)

    def due(self, now: float) -> list[Duty]:
        """Those whose time has come and for whom nobody climbs, the longest due first."""
        return sorted(
            (duty for duty in self._open.values() if duty.due <= now and not duty.climbing),
            key=lambda duty: (duty.due, duty.key),
        )

    def climbing(self, key: Key) -> None:
        """Somebody climbs the ladder for it."""
        if key in self._open:
            self._open[key] = replace(self._open[key], climbing=True)

    def climbed(self, key: Key, now: float, *, settled: bool) -> None:
        """The climb ended, with an outcome or without."""
        known = self._open.pop(key, None)
        if known is not None and not settled and known.tries < len(AGAIN_S):
            due = now + AGAIN_S[known.tries]
            self._open[key] = replace(known, due=due, tries=known.tries + 1, climbing=False)

    def next_due(self) -> float | None:
        """When to think again."""
        return min((duty.due for duty in self._open.values() if not duty.climbing), default=None)
