"""The claims of ``channels/http_deadlines.py``, with alarms that a test sets off."""

from __future__ import annotations

import time
from collections.abc import Callable

from oobdump.channels.http_deadlines import Deadlines


class Alarms:
    """Alarms as they were set; ``ring`` sets off those whose time has come, as a bell would."""

    def __init__(self) -> None:
        self.pending: list[tuple[float, Callable[[], None]]] = []

    def at(self, when: float, alarm: Callable[[], None]) -> None:
        """Notes one."""
        self.pending.append((when, alarm))

    def ring(self) -> None:
        """As the clock is now."""
        due = [entry for entry in self.pending if entry[0] <= time.monotonic()]
        self.pending = [entry for entry in self.pending if entry not in due]
        for _, alarm in due:
            alarm()


def test_what_is_late_is_told_so_and_lost() -> None:
    """Once; who finishes it afterwards learns that it is too late."""
    alarms, told = Alarms(), list[str]()
    deadlines = Deadlines(alarms.at)
    late = deadlines.begin(-1, lambda: told.append("late"))
    in_time = deadlines.begin(60, lambda: told.append("never"))
    for _ in range(3):
        alarms.ring()
    assert told == ["late"]
    assert not deadlines.end(late)
    assert deadlines.end(in_time)


def test_what_is_won_as_its_time_passes_is_not_late() -> None:
    """The watch and the thread that finishes are one too many: whoever is first."""
    alarms, told = Alarms(), list[str]()
    deadlines = Deadlines(alarms.at)
    turn = deadlines.begin(-1, lambda: told.append("late"))
    assert turn.win()
    alarms.ring()
    assert told == []


def test_one_alarm_serves_all_that_end_later() -> None:
    """A thousand requests while an alarm is pending set no other; an earlier end does; at rest none is left."""
    alarms = Alarms()
    deadlines = Deadlines(alarms.at)
    deadlines.begin(0.0, lambda: None)
    for _ in range(1000):
        deadlines.end(deadlines.begin(60, lambda: None))
    assert len(alarms.pending) == 1
    deadlines.end(deadlines.begin(-5, lambda: None))
    assert len(alarms.pending) == 2
    while any(when <= time.monotonic() for when, _ in alarms.pending):
        alarms.ring()
    time.sleep(0.6)  # the look after one that was late
    alarms.ring()
    assert alarms.pending == []


def test_patience_is_asked_for_before_it_is_late() -> None:
    """More seconds are more seconds; then it is late all the same."""
    alarms, told, more = Alarms(), list[str](), [60.0]
    deadlines = Deadlines(alarms.at)
    turn = deadlines.begin(-1, lambda: told.append("late"), lambda: more[0])
    alarms.ring()
    assert told == []
    assert turn.ends_at > time.monotonic() + 50
    deadlines.extend(turn, -1, lambda: told.append("later"))
    alarms.ring()
    assert told == ["later"]


def test_a_thread_that_is_lost_in_telling_leaves_the_rest_to_another() -> None:
    """The alarm for that is set before anybody is told."""
    alarms, told = Alarms(), list[str]()
    deadlines = Deadlines(alarms.at)

    def caught() -> None:
        told.append("caught")
        raise SystemExit

    deadlines.begin(-1, caught)
    deadlines.begin(-1, lambda: told.append("second"))
    for _ in range(2):
        try:
            alarms.ring()
        except SystemExit:
            time.sleep(0.6)
    assert told == ["caught", "second"]
