"""The sentinel's event loop: it waits for pidfds, reports and time, and touches no dump root.

In: orders, and the seat that elects. Out: an outcome for every worker of this machine that was
asked, through children that may be lost. The rules only this module keeps: whoever does not get the
seat leaves at once; idle, it wakes up at most once a second, to look for pending signals; it leaves
when its last worker has.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import time
from types import FrameType

from oobdump import linux
from oobdump.election.lock import SEAT, SeatLock, lock_path
from oobdump.election.orders import Orders
from oobdump.identity import Machine, start_ticks
from oobdump.sentinel.climbs import Climbs, Known
from oobdump.sentinel.duties import Duties, Key
from oobdump.sentinel.io_link import IoLink
from oobdump.sentinel.lines import Message
from oobdump.sentinel.wards import STATUS_WITHIN_S, Ward, Wards

__all__ = ["Sentinel", "run"]

TICK_S = 1.0
"""Between two looks at the workers' pending signals; idle, nothing else wakes it."""

HASTE_S = 0.05
"""Between two looks while something is known to come: an exit status, a child's end."""

FLOOR_S = 0.3
"""What a worker has at least, however old the request is by another machine's clock: it was rung just now."""

NOTED_WITHIN_S = 3.0
"""How long an answer for a dead worker waits until its end is noted: the root may hang."""

MARGIN_S = 2.0
"""Beyond the deadlines of a claimed request: for writing it down."""

AWAY_S = 600.0
"""How long a sentinel without workers stays for dumps that the root does not take."""

STANDS_EVERY_TICKS = 60
"""Somebody may clean the directory of the lock: then another sentinel has another lock."""


def run(orders: Orders) -> int:
    """Runs a sentinel if the seat is free. Returns the exit status; 0 also if somebody else has it."""
    try:
        lock = SeatLock(lock_path(orders.runtime, orders.layout.job_dir, Machine.here()))
    except OSError:
        return 1
    if not lock.take(SEAT):
        return 0
    return Sentinel(orders, lock).run()


class _Leave(Exception):
    """SIGTERM: somebody wants it to end."""


def _on_term(_signum: int, _frame: FrameType | None) -> None:
    raise _Leave


class Sentinel:
    """One sentinel. All times are on the monotonic clock."""

    def __init__(self, orders: Orders, lock: SeatLock) -> None:
        self._orders, self._lock = orders, lock
        self._wards, self._duties = Wards(), Duties()
        self._climbs = Climbs(orders)
        self._io = IoLink(orders)
        self._ends: dict[int, tuple[str, float]] = {}
        self._known = Known()
        self._poll = select.poll()
        self._polled: set[int] = set()
        self._starter = _pidfd(orders.worker_pid)
        self._alone_since: float | None = time.monotonic()
        self._had_worker = False
        self._away = 0
        self._ticks = 0
        self._tick_at = time.monotonic() + TICK_S

    def run(self) -> int:
        """Until it is not needed any more."""
        signal.signal(signal.SIGTERM, _on_term)
        signal.signal(signal.SIGINT, _on_term)
        gc.collect()
        gc.freeze()  # what is here now stays: children share it
        try:
            while not self._may_leave(time.monotonic()):
                self._once()
        except _Leave:
            pass
        finally:
            self._climbs.close()
            self._io.close()
            self._wards.close()
            self._lock.remove()
        return 0

    def _once(self) -> None:
        """One turn: sleep, then whatever is ready and whatever is due."""
        now = time.monotonic()
        self._io.keep_going(now)
        self._register()
        self._poll.poll(self._sleep_ms(now))
        now = time.monotonic()
        for message in self._io.read(now):
            self._hear(message, now)
        self._bury(now)
        if now >= self._tick_at:
            self._tick(now)
        for key, outcome in self._climbs.ended(now):
            self._climbed(key, outcome, now)
        self._climb(now)

    # -- what it waits for --------------------------------------------------------------------------------------------

    def _register(self) -> None:
        wanted = {self._starter, *self._io.descriptors, *self._climbs.descriptors}
        wanted |= {ward.pidfd for ward in self._wards if ward.died is None}
        wanted.discard(-1)
        for descriptor in self._polled - wanted:
            self._poll.unregister(descriptor)
        for descriptor in wanted:
            self._poll.register(descriptor, select.POLLIN)  # again is harmless: a number may stand for another file now
        self._polled = wanted

    def _sleep_ms(self, now: float) -> float | None:
        next_due = None if self._climbs.full else self._duties.next_due()
        waits = [due - now for due in (next_due, self._climbs.next_at(), self._io.next_at()) if due is not None]
        waits += [NOTED_WITHIN_S for _ in self._ends if self._duties]
        if self._wards.any_signals() or not self._wards or self._away:
            waits.append(self._tick_at - now)
        if any(ward.died is not None for ward in self._wards):
            waits.append(HASTE_S)
        return max(0.0, min(waits)) * 1000 + 1 if waits else None

    # -- what it hears from its I/O child -----------------------------------------------------------------------------

    def _hear(self, message: Message, now: float) -> None:
        what = message["t"]
        if what == "worker":
            self._meet(message, now)
        elif what == "asked":
            self._asked(message, now)
        elif what == "claimed":
            due = now + message["seconds"] + MARGIN_S
            self._duties.claimed(_key(message), due, "it claimed the request, and has no manifest at its deadline")
        elif what == "settled":
            self._duties.settled(_key(message))
        elif what == "away":
            self._away = message["count"]
        elif what == "ack" and message["n"] in self._ends:
            self._hurry(self._ends.pop(message["n"])[0], now)

    def _meet(self, message: Message, now: float) -> None:
        """A worker as the roster has it now."""
        worker = message["worker"]
        self._known.entries[worker] = message["entry"]
        if message["pid"] == self._orders.worker_pid:
            self._drop_starter()
        ward = self._wards.get(worker)
        if ward is not None and linux.has_ended(ward.pidfd):
            return  # its end is seen to, with its exit status
        if message["ended"]:
            self._wards.drop(worker)
            self._hurry(worker, now)
        elif self._wards.adopt(worker, message["pid"], message["ticks"], message["signals"]) is None:
            self._end(worker, None)
        else:
            self._had_worker = True

    def _asked(self, message: Message, now: float) -> None:
        key, grace = _key(message), self._orders.grace_s
        if "at_once" in message:
            self._duties.note(key, now, message["at_once"], message["request"])
            return
        wait = max(min(FLOOR_S, grace), grace - message["age"])
        self._duties.note(key, now + wait, f"no manifest {grace:g} s after it was asked", message["request"])
        if message["worker"] in self._known.gone:
            self._hurry(message["worker"], now)

    # -- who died -----------------------------------------------------------------------------------------------------

    def _bury(self, now: float) -> None:
        """Sees who is gone, and waits a moment for the kernel to say how."""
        if self._starter >= 0 and linux.has_ended(self._starter):
            self._drop_starter()
        for ward in self._wards:
            if ward.died is None and linux.has_ended(ward.pidfd):
                ward.died = now
            if ward.died is not None and self._knows_how(ward, now):
                self._end(ward.worker, ward.wait_status)
                self._wards.drop(ward.worker)
        for worker, at in self._ends.values():
            if now - at > NOTED_WITHIN_S:
                self._hurry(worker, now)

    def _drop_starter(self) -> None:
        """It is gone, or in the roster by now."""
        if self._starter >= 0:
            os.close(self._starter)
            self._starter = -1

    def _knows_how(self, ward: Ward, now: float) -> bool:
        """Whether the exit status is known, or will not be."""
        if ward.wait_status is None:
            ward.wait_status = linux.pidfd_exit_status(ward.pidfd)
        return ward.wait_status is not None or now - (ward.died or now) > STATUS_WITHIN_S

    def _end(self, worker: str, wait_status: int | None) -> None:
        """Has its end noted; only then is it answered for, so that the answer can say how it ended."""
        now = time.monotonic()
        self._known.statuses[worker] = wait_status
        number = self._io.command({"t": "end", "worker": worker, "wait_status": wait_status}, now)
        self._ends[number] = (worker, now)

    def _hurry(self, worker: str, now: float) -> None:
        """Nothing that is open of it will come by itself."""
        self._known.gone.add(worker)
        self._duties.hurry(worker, now, "its process is gone, or had stopped answering")

    # -- what it does -------------------------------------------------------------------------------------------------

    def _tick(self, now: float) -> None:
        self._tick_at = now + TICK_S
        self._ticks += 1
        ending = {worker for worker, _ in self._ends.values()}
        self._known.forget({ward.worker for ward in self._wards} | self._duties.workers() | ending)
        for ward, name in self._wards.stuck_signals():
            self._io.command({"t": "pending", "worker": ward.worker, "signal": name}, now)
        if self._ticks % STANDS_EVERY_TICKS == 0 and not self._lock.stands():
            raise _Leave

    def _climb(self, now: float) -> None:
        """Starts what is due, as far as there is room."""
        for duty in self._duties.due(now):
            if self._climbs.full:
                return
            if self._climbs.start(duty, self._known, now):
                self._duties.climbing(duty.key)
            else:
                self._duties.climbed(duty.key, now, settled=False)

    def _climbed(self, key: Key, outcome: str, now: float) -> None:
        self._duties.climbed(key, now, settled=outcome != "failed")
        if outcome == "away":
            self._io.command({"t": "home"}, now)
        self._io.command({"t": "settled", "id": key[0], "worker": key[1]}, now)

    def _may_leave(self, now: float) -> bool:
        """Whether nobody needs it: no worker, nothing open, and that for a while."""
        if len(self._wards) or self._starter >= 0 or self._climbs.descriptors:
            self._alone_since = None
            return False
        if self._alone_since is None:
            self._alone_since = now
        alone_s = now - self._alone_since
        if self._duties or self._away or self._ends:
            return alone_s > AWAY_S
        if not self._had_worker and not self._orders.worker_pid:
            return bool(self._orders.first_s) and alone_s > self._orders.first_s
        return alone_s > self._orders.linger_s


def _key(message: Message) -> Key:
    return (message["id"], message["worker"])


def _pidfd(pid: int) -> int:
    """A pidfd of the worker that started this sentinel, or -1: it is not in the roster yet."""
    try:
        return os.pidfd_open(pid) if pid and start_ticks(pid) else -1
    except OSError:
        return -1
