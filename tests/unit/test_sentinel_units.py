"""The sentinel's parts without a process: orders, duties, lines, the lock's seats, and what a listing skips."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oobdump.election.lock import LAUNCH, SEAT, SeatLock, lock_path
from oobdump.election.orders import Orders
from oobdump.identity import Machine
from oobdump.sentinel.climbs import MAX_UNNEEDED, Known
from oobdump.sentinel.duties import AGAIN_S, Duties
from oobdump.sentinel.lines import Lines, say
from oobdump.sentinel.roll import Listing
from oobdump.store import sentinels
from oobdump.store.layout import Layout
from support.programs import SOURCES

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
NUMBERS = st.integers(0, 10**9)
SECONDS = st.floats(0, 10**6, allow_nan=False)


@given(
    st.builds(
        Orders,
        *(TEXTS, TEXTS, TEXTS, st.lists(TEXTS.filter(bool), max_size=3).map(tuple)),
        *(SECONDS, TEXTS, SECONDS, NUMBERS, SECONDS, NUMBERS, NUMBERS, SECONDS, SECONDS),
    )
)
def test_orders_read_what_they_wrote(orders: Orders) -> None:
    """Whatever paths and names hold, the command line gives the same orders again."""
    assert Orders.read(orders.words()) == orders


def test_unknown_orders_are_an_error() -> None:
    """A word that is no order is not passed over."""
    with pytest.raises(ValueError, match="--colour"):
        Orders.read(["--root", "/r", "--job", "j", "--runtime", "/t", "--colour", "red"])


KEYS = st.tuples(st.sampled_from(["r1", "r2"]), st.sampled_from(["w1", "w2"]))
EVENTS = st.lists(
    st.tuples(st.sampled_from(["note", "claimed", "settled", "hurry", "climb", "fail", "tick"]), KEYS, st.floats(0, 5)),
    max_size=40,
)


@given(EVENTS)
def test_a_duty_is_climbed_for_by_one_at_a_time(events: list[tuple[str, tuple[str, str], float]]) -> None:
    """In any order of events: nobody is climbed for twice at once, and nothing that is settled is due."""
    duties, now, climbing, settled = Duties(), 0.0, set(), set()
    for event, key, seconds in events:
        if event in ("note", "claimed"):
            getattr(duties, event)(key, now + seconds, "why")
            settled -= {key} if event == "note" else set()
        elif event == "settled":
            duties.settled(key)
            climbing.discard(key)
            settled.add(key)
        elif event == "hurry":
            duties.hurry(key[1], now, "gone")
        elif event == "fail" and key in climbing:
            duties.climbed(key, now, settled=False)
            climbing.discard(key)
        now += seconds if event == "tick" else 0.0
        due = {duty.key for duty in duties.due(now)}
        assert not due & (climbing | settled)
        for each in due if event == "climb" else ():
            duties.climbing(each)
            climbing.add(each)


def test_a_gone_workers_duties_are_due_at_once() -> None:
    """A claimed request has its handlers' time; when its worker dies it is due now, and others' are not."""
    duties = Duties()
    duties.note(("r", "dies"), 2.0, "no manifest")
    duties.note(("r", "lives"), 2.0, "no manifest")
    duties.claimed(("r", "dies"), 600.0, "claimed")
    assert duties.due(1.0) == []
    duties.hurry("dies", 1.0, "gone")
    (due,) = duties.due(1.0)
    assert (due.worker, due.reason) == ("dies", "gone")


def test_a_climb_that_fails_is_tried_again_a_few_times() -> None:
    """Each time later, and then given up: the reader says what is missing."""
    duties = Duties()
    duties.note(("r", "w"), 0.0, "why")
    now = 0.0
    for pause in AGAIN_S:
        duties.climbing(("r", "w"))
        duties.climbed(("r", "w"), now, settled=False)
        assert duties.next_due() == now + pause
        now += pause
    duties.climbing(("r", "w"))
    duties.climbed(("r", "w"), now, settled=False)
    assert len(duties) == 0


@given(st.lists(st.dictionaries(TEXTS, st.one_of(TEXTS, NUMBERS, st.none()), max_size=4), max_size=6))
def test_lines_arrive_whole(messages: list[dict[str, object]]) -> None:
    """What is said on one end of a pipe is heard on the other, in order, and the end is told."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    lines = Lines(reading)
    try:
        heard = []
        for message in messages:
            assert say(writing, message)
            heard += lines.read()
        os.close(writing)
        heard += lines.read()
        assert heard == messages
        assert lines.ended
    finally:
        os.close(reading)


def test_a_full_pipe_is_no_wait(tmp_path: Path) -> None:
    """Whoever must not wait is told that nobody reads."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while say(writing, {"t": "x" * 1000}):
            pass
    finally:
        os.close(reading)
        os.close(writing)
    assert not say(_broken(), {"t": "gone"})


def _broken() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


HOLD = """
import sys
from oobdump.election.lock import SeatLock
lock = SeatLock(sys.argv[1])
print(lock.take(int(sys.argv[2])), flush=True)
sys.stdin.read()
"""


def holding(path: str, seat: int) -> subprocess.Popen[str]:
    """Another process that has taken a seat."""
    words = [sys.executable, "-c", HOLD, path, str(seat)]
    environ = {**os.environ, "PYTHONPATH": str(SOURCES)}
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ)
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    return process


def test_the_kernel_says_who_has_a_seat(tmp_path: Path) -> None:
    """The holder's pid comes from the lock; seats are apart; the seat is free the moment its process is killed."""
    path = str(tmp_path / "lock")
    lock = SeatLock(path)
    assert lock.holder(SEAT) is None
    with holding(path, SEAT) as process:
        assert lock.holder(SEAT) == process.pid
        assert not lock.take(SEAT)
        assert lock.holder(LAUNCH) is None
        assert lock.take(LAUNCH)
        process.kill()
    assert lock.take(SEAT)
    lock.close()


def test_a_lock_whose_file_was_removed_is_taken_at_the_new_one(tmp_path: Path) -> None:
    """Two processes never have the same seat because one locked a file that is gone."""
    path = str(tmp_path / "lock")
    old = SeatLock(path)
    os.unlink(path)
    with holding(path, SEAT) as process:
        assert not old.stands()
        assert not old.take(SEAT)
        assert old.stands()
        assert old.holder(SEAT) == process.pid
        process.kill()
    old.close()


def test_lock_names_tell_namespaces_and_roots_apart() -> None:
    """One lock for each job directory, host and pid namespace, in a runtime directory that containers may share."""
    one, other = Machine("host", "boot", "pid:[4026531836]"), Machine("host", "boot", "pid:[4026532000]")
    paths = {lock_path("/run", job, machine) for job in ("/a/job", "/b/job") for machine in (one, other)}
    assert len(paths) == 4


def test_a_still_directory_is_not_listed_again(tmp_path: Path) -> None:
    """Names are found as they come; one that stands still is listed a few times and then trusted."""
    listing = Listing(str(tmp_path))
    assert listing.names() == []
    for number in range(8):
        (tmp_path / f"file{number}").touch()
        assert f"file{number}" in listing.names()
    os.utime(tmp_path, (1, 1))
    for _ in range(5):
        assert len(listing.names()) == 8
    (tmp_path / ".hidden").touch()
    assert len(listing.names()) == 8


def test_live_sentinels_are_known_by_machine(tmp_path: Path) -> None:
    """The one that runs counts, a dead one's file does not and is swept; another machine's file is believed."""
    layout, here = Layout(str(tmp_path), "job"), Machine.here()
    Path(layout.job_dir).mkdir(mode=0o700)
    from oobdump.identity import start_ticks

    assert sentinels.live(layout, here) is None
    gone = sentinels.Seat(here, 2**22 - 1, 1, 0.0)
    sentinels.take(layout, gone)
    assert sentinels.live(layout, here) is None
    mine = sentinels.Seat(here, os.getpid(), start_ticks(os.getpid()) or 0, 0.0, "/run/lock")
    sentinels.take(layout, mine)
    assert sentinels.live(layout, here) == mine.name
    far = sentinels.Seat(Machine("far", "b", "n"), 7, 1, 0.0)
    sentinels.take(layout, far)
    assert sentinels.live(layout, far.machine) == far.name
    sentinels.sweep(layout, mine.name)
    assert {seat.name for seat in sentinels.read(layout)} == {mine.name, far.name}
    (Path(layout.sentinels) / "broken.json").write_text("[]")
    assert sentinels.live(layout, here) == mine.name


def test_what_is_known_of_the_gone_is_bounded() -> None:
    """A job that has had thousands of children costs no memory for them; those that are needed stay."""
    known = Known()
    for number in range(5_000):
        known.entries[f"w{number}"] = "entry"
        known.statuses[f"w{number}"] = 0
        known.gone.add(f"w{number}")
        known.forget({"w1", "w2"})
    assert {"w1", "w2"} <= set(known.entries)
    assert max(len(known.entries), len(known.statuses), len(known.gone)) <= 2 + MAX_UNNEEDED
