"""Which sentinels run: one small file each, so that whoever asks knows whether one will answer.

In: a sentinel's name, machine and pid. Out: ``Seat`` values. The rule only this module keeps: a
file of a sentinel that is gone counts for nothing, and the next sentinel of that machine removes
it. (Who *is* the sentinel is decided by a lock, in ``election``; this says so to other nodes.)
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

from oobdump.identity import Machine, is_alive, iso
from oobdump.store import atomic
from oobdump.store.layout import Layout

__all__ = ["Seat", "leave", "live", "read", "seat_name", "sweep", "take"]

_SCHEMA_VERSION = 1
_MAX_BYTES = 2**16


@dataclass(frozen=True)
class Seat:
    """One sentinel. ``since`` is wall-clock seconds since 1970."""

    machine: Machine
    pid: int
    start_ticks: int
    since: float
    lock: str = ""

    @property
    def name(self) -> str:
        """``sentinel.<host>.<pid>``: what stands in requests that it accepted."""
        return seat_name(self.machine, self.pid)

    def alive(self) -> bool | None:
        """Whether it runs; None if that cannot be seen from here."""
        return is_alive(self.machine, self.pid, self.start_ticks)


def seat_name(machine: Machine, pid: int) -> str:
    """The name of a sentinel."""
    return f"sentinel.{machine.host}.{pid}"


def take(layout: Layout, seat: Seat) -> None:
    """Says that this sentinel runs. Raises ``OSError``, ``StoreError``."""
    document = {
        "schema_version": _SCHEMA_VERSION,
        "sentinel": seat.name,
        "host": seat.machine.host,
        "boot": seat.machine.boot,
        "pid_namespace": seat.machine.pid_namespace,
        "pid": seat.pid,
        "start_ticks": seat.start_ticks,
        "since": iso(seat.since),
        "since_s": seat.since,
        "lock": seat.lock,
    }
    atomic.private_dir(layout.sentinels)
    atomic.replace(_path(layout, seat.name), (json.dumps(document, indent=1).encode("ascii") + b"\n",))


def leave(layout: Layout, name: str) -> None:
    """The sentinel of that name is gone."""
    try:
        os.unlink(_path(layout, name))
    except FileNotFoundError:
        pass


def read(layout: Layout) -> Iterator[Seat]:
    """All files that can be read, by name; of sentinels that are gone too."""
    try:
        names = sorted(os.listdir(layout.sentinels))
    except FileNotFoundError:
        return
    for name in names:
        if not name.startswith(".") and name.endswith(".json"):
            try:
                yield _read(f"{layout.sentinels}/{name}")
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
                continue  # damaged: it is made again with the next sentinel


def live(layout: Layout, machine: Machine) -> str | None:
    """The name of the sentinel that answers for the workers of a machine; None if there is none, as far as is known.

    Of another machine than ours only the file can be seen, not the process.
    """
    for seat in read(layout):
        if seat.machine == machine and seat.alive() is not False:
            return seat.name
    return None


def sweep(layout: Layout, own: str) -> None:
    """Removes what the sentinels of this machine left that are gone."""
    for seat in list(read(layout)):
        if seat.name != own and seat.alive() is False:
            leave(layout, seat.name)


def _read(path: str) -> Seat:
    document = json.loads(atomic.read_bounded(path, _MAX_BYTES))
    words = [document[key] for key in ("host", "boot", "pid_namespace", "lock")]
    if not all(isinstance(word, str) for word in words):
        raise ValueError("not a text")
    machine = Machine(*words[:3])
    return Seat(machine, int(document["pid"]), int(document["start_ticks"]), float(document["since_s"]), words[3])


def _path(layout: Layout, name: str) -> str:
    return f"{layout.sentinels}/{name}.json"
