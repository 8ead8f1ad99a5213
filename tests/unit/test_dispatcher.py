"""Who is answered, until when, into which store: with a real crew and real files, whatever hangs.

Stores that hang or refuse are layouts that do so when they are asked for a path; ``tick`` is called by
a small thread, as the bell does. Nothing sleeps: what hangs waits for a gate that the test opens.
"""

from __future__ import annotations

import errno
import itertools
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import strategies
from oobdump import codecs, dispatcher
from oobdump.channels.bell import Bell
from oobdump.channels.request_file import RequestFiles
from oobdump.crew import IDLE_THREADS, MAX_THREADS, Crew
from oobdump.dispatcher import MAX_QUEUED, Dispatcher
from oobdump.errors import Refused
from oobdump.registry import Registry
from oobdump.request import FORMATS, AcceptedRequest, HandlerCall, Request
from oobdump.store import reader, roster
from oobdump.store.layout import CLAIM, Layout
from oobdump.watch import Watch

ME = strategies.identity_of(os.getpid(), 0)

WITHIN_S = 20.0
"""Until something that must happen is given up; two busy cores make everything slow."""

SHORT_S = 0.15
"""A deadline that a test waits out."""

TICK_S = 0.005

numbers = itertools.count()


# -- what answers ----------------------------------------------------------------------------------------------------


class Gate:
    """What hangs waits here until the test lets it go."""

    def __init__(self):
        self._open = threading.Event()
        self.inside = 0

    def __call__(self):
        """Hangs."""
        self.inside += 1
        assert self._open.wait(WITHIN_S)

    def open(self):
        """Lets everybody go, now and later."""
        self._open.set()


@dataclass(frozen=True)
class OddLayout(Layout):
    """A store that misbehaves from the ``first`` time on that it is asked for a request's directory."""

    misbehave: Callable[[], None] = lambda: None
    first: int = 1
    asked: list[str] = field(default_factory=list)

    def request_dir(self, request):
        """As every step of a writer asks for it."""
        self.asked.append(request)
        if len(self.asked) >= self.first:
            self.misbehave()
        return super().request_dir(request)


def refuse():
    """A full disk."""
    raise OSError(errno.ENOSPC, "No space left on device")


class Bench:
    """A dispatcher with its crew, its stores and something that ticks."""

    def __init__(self, stores, store_timeout_s=WITHIN_S):
        self.stores = stores
        self.registry = Registry()
        self.crew = Crew()
        table = {name: codecs.get(name) for name in codecs.names()}
        self.dispatcher = Dispatcher(ME, self.registry, table, stores, self.crew, store_timeout_s=store_timeout_s)
        self.gate = Gate()
        self.ran = []
        self._stop = threading.Event()
        self._ticker = threading.Thread(target=self._tick)
        for fn in (self.ping, self.other, self.hang, self.where_it_hangs, self.fail, self.leave, self.rubbish):
            self.registry.register(fn.__name__, fn)

    def ping(self):
        """A handler that answers."""
        self.ran.append("ping")
        return "pong"

    def other(self, *, number=0):
        """Another one, with a parameter that makes questions differ."""
        self.ran.append(f"other{number}")
        return number

    def hang(self, *, how=""):
        """Comes back when the gate opens."""
        self.ran.append(f"hang{how}")
        self.gate()
        return "late"

    def where_it_hangs(self):
        """The same, with a name to look for in a stack."""
        self.gate()

    def fail(self):
        """Raises."""
        raise ValueError("no luck")

    def leave(self):
        """Exits."""
        raise SystemExit(3)

    def rubbish(self, _request, response):
        """Fills the response with what it cannot carry."""
        response.content = "no bytes"

    def start(self):
        """The crew and the ticker."""
        self.crew.start()
        self._ticker.start()

    def _tick(self):
        while not self._stop.wait(TICK_S):
            self.dispatcher.tick(time.monotonic())

    def stop(self):
        """Everything that hung is let go, and ends."""
        self.gate.open()
        self._stop.set()
        if self._ticker.is_alive():
            self._ticker.join()
        self.crew.stop()

    def submit(self, *handlers, timeout_s=WITHIN_S, form="json", request_id=None, age_s=0.0, **params):
        """A request for these handlers; parameters go to each."""
        calls = tuple(HandlerCall(name, params) for name in handlers)
        request = Request(calls, form, timeout_s=timeout_s)
        made = request_id or f"r{next(numbers)}"
        accepted = AcceptedRequest(made, request, (ME.worker,), time.time() - age_s, "client", {"channel": "signal"})
        return self.dispatcher.submit(accepted)

    def ask(self, *handlers, **how):
        """The parts of an answer, by handler."""
        ticket = self.submit(*handlers, **how)
        assert ticket.wait(WITHIN_S)
        return {part.handler: part for part in ticket.response.parts}

    def dump(self, ticket, store=0):
        """What is on disk of a ticket's answer."""
        layout = Layout(self.stores[store].root, self.stores[store].job)
        return reader.read_dump(layout, ticket.accepted.id, ME.worker)


@pytest.fixture
def benches():
    """Makes benches, and ends them all."""
    made = []

    def make(*stores, **how):
        made.append(Bench(stores, **how))
        return made[-1]

    yield make
    for bench in made:
        bench.stop()


@pytest.fixture
def root(tmp_path):
    """A store that works."""
    return strategies.job_at(tmp_path / "root")


@pytest.fixture
def spare(tmp_path):
    """A second one."""
    return Layout(f"{tmp_path}/spare", "job")


@pytest.fixture
def bench(benches, root):
    """One dispatcher with one store, running."""
    made = benches(root)
    made.start()
    return made


def wait_for(condition):
    """Until it holds."""
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


# -- answers ---------------------------------------------------------------------------------------------------------


def test_an_answer_is_a_committed_dump_and_a_response(bench):
    """The ticket ends with the parts, and with where they stand."""
    ticket = bench.submit("ping", "other", form="msgpack")
    assert ticket.wait(WITHIN_S)
    assert ticket.wait(0)
    assert (ticket.response.status, ticket.response.worker) == ("ok", ME.worker)
    dump = bench.dump(ticket)
    assert (dump.found, dump.status, dump.directory) == ("committed", "ok", ticket.directory)
    assert [record.path for record in dump.parts] == ["ping.msgpack", "other.msgpack"]
    assert codecs.get("msgpack").decode(reader.part_bytes(dump, dump.parts[0])) == "pong"
    assert dump.evidence["channel"] == "signal"
    assert bench.dispatcher.busy is False


def test_the_claim_and_the_request_are_on_disk_before_a_handler_runs(bench, root):
    """Whatever the handler does to the process, it is known that this worker took the request."""
    found = []

    def look():
        directory = Path(root.dump("mine", ME.worker))
        found.extend([sorted(os.listdir(directory)), reader.open_request(root, "mine").id])

    bench.registry.register("look", look)
    bench.ask("look", request_id="mine")
    assert found == [[CLAIM], "mine"]


def test_the_same_handler_twice_in_one_request(bench):
    """Two calls are two runs and two parts."""
    ticket = bench.submit("ping", "ping")
    assert ticket.wait(WITHIN_S)
    assert bench.ran == ["ping", "ping"]
    assert [record.path for record in bench.dump(ticket).parts] == ["ping.json", "ping.2.json"]


@pytest.mark.parametrize(
    ("handler", "status", "code", "says"),
    [
        ("fail", "error", 500, "ValueError"),
        ("leave", "error", 500, "SystemExit"),
        ("rubbish", "error", 500, "TypeError"),
        ("nobody", "error", 404, "error"),
    ],
)
def test_a_handler_that_fails_costs_only_its_own_part(bench, handler, status, code, says):
    """The others of the same request answer, and the part says what happened."""
    ticket = bench.submit("ping", handler, "other")
    assert ticket.wait(WITHIN_S)
    parts = {part.handler: part for part in ticket.response.parts}
    assert (parts[handler].status, parts[handler].code, parts[handler].error.type) == (status, code, says)
    assert (parts["ping"].status, parts["other"].status) == ("ok", "ok")
    dump = bench.dump(ticket)
    assert (dump.found, dump.status) == ("committed", "error")
    assert dump.parts[1].error.type == says
    assert bench.ask("ping")["ping"].status == "ok"


def test_a_wrong_parameter_is_a_400(bench):
    """It goes to the asker in the part."""
    assert bench.ask("other", number="many")["other"].code == 400


def test_an_expired_request_runs_nothing(bench):
    """Nobody wants the answer any more; that is said."""
    part = bench.ask("ping", age_s=700)["ping"]
    assert (part.status, part.code) == ("refused", 410)
    assert bench.ran == []


# -- deadlines -------------------------------------------------------------------------------------------------------


def test_a_handler_that_hangs_is_left_behind(bench):
    """At its deadline its part says where it stands, and the next handler of the request runs."""
    began = time.monotonic()
    ticket = bench.submit("where_it_hangs", "ping", timeout_s=SHORT_S)
    assert ticket.wait(WITHIN_S)
    assert SHORT_S <= time.monotonic() - began < WITHIN_S / 2
    hung, pinged = ticket.response.parts
    assert (hung.status, hung.code, hung.seconds) == ("timeout", 504, SHORT_S)
    assert b"in where_it_hangs" in bytes(hung.body)
    assert "in where_it_hangs" in hung.error.traceback
    assert pinged.status == "ok"
    assert bench.dump(ticket).status == "timeout"


def test_a_stuck_handler_keeps_its_slot_and_is_refused_at_once(bench):
    """After its deadline nobody waits for it any more; it is not started again, and others answer."""
    assert bench.ask("hang", timeout_s=SHORT_S)["hang"].status == "timeout"
    for _ in range(5):
        began = time.monotonic()
        part = bench.ask("hang")["hang"]
        assert time.monotonic() - began < WITHIN_S / 2
        assert (part.status, part.code) == ("refused", 503)
        assert "keeps its slot" in part.error.message
        assert bench.ask("ping")["ping"].status == "ok"
    assert bench.ran.count("hang") == 1


def test_a_handler_that_comes_back_late_can_be_asked_again(bench):
    """Its late result is nobody's, and its slot is free."""
    assert bench.ask("hang", timeout_s=SHORT_S)["hang"].status == "timeout"
    bench.gate.open()
    wait_for(lambda: bench.ask("hang")["hang"].status == "ok")


def test_a_stuck_handler_costs_one_thread(bench):
    """However often it is asked for."""
    bench.ask("hang", timeout_s=SHORT_S)
    tickets = [bench.submit("hang", how=str(number)) for number in range(40)]
    assert all(ticket.wait(WITHIN_S) for ticket in tickets)
    wait_for(lambda: bench.ask("ping") and bench.crew.members <= IDLE_THREADS + 2)
    assert {ticket.response.status for ticket in tickets} == {"refused"}


def test_a_request_waits_for_a_run_that_may_still_be_in_time(bench):
    """One run of a handler at a time: the second begins when the first is done."""
    first = bench.submit("hang", how="1")
    wait_for(lambda: bench.gate.inside == 1)
    second = bench.submit("hang", how="2")
    assert not second.wait(SHORT_S)
    assert bench.ran == ["hang1"]
    bench.gate.open()
    assert first.wait(WITHIN_S)
    assert second.wait(WITHIN_S)
    assert bench.ran == ["hang1", "hang2"]
    assert first.response.status == second.response.status == "ok"


def test_a_quick_handler_gets_a_second_thread(bench, monkeypatch):
    """Ours may be caught in something that is not theirs; the second run answers, long before the deadline."""
    monkeypatch.setattr(dispatcher, "QUICK_RETRY_S", SHORT_S)
    runs = []

    def caught_once():
        runs.append(1)
        if len(runs) == 1:
            bench.gate()
        return "fine"

    bench.registry.register("caught_once", caught_once, quick=True)
    part = bench.ask("caught_once")["caught_once"]
    assert (part.status, len(runs)) == ("ok", 2)


def test_a_quick_handler_that_hangs_twice_is_left_behind(bench, monkeypatch):
    """The request's own deadline still holds."""
    monkeypatch.setattr(dispatcher, "QUICK_RETRY_S", SHORT_S / 4)
    bench.registry.register("always", bench.gate.__call__, quick=True)
    assert bench.ask("always", timeout_s=SHORT_S)["always"].status == "timeout"
    wait_for(lambda: bench.gate.inside == 2)


def test_a_lost_thread_is_replaced(benches, root, monkeypatch):
    """One that took a request and never began it: another one is sent, and the request is answered once."""
    monkeypatch.setattr(dispatcher, "START_S", SHORT_S)
    bench = benches(root)
    real, lost = bench.crew.give, []

    def lose_the_first(task):
        if not lost:
            lost.append(task)
        else:
            real(task)

    bench.crew.give = lose_the_first
    bench.start()
    ticket = bench.submit("ping")
    assert ticket.wait(WITHIN_S)
    lost[0]()
    assert bench.ran == ["ping"]


def test_a_thread_that_is_lost_between_two_steps_is_replaced(benches, root, monkeypatch):
    """A collection that runs a user's ``__del__`` may hold it anywhere; the answer goes on."""
    monkeypatch.setattr(dispatcher, "START_S", SHORT_S)
    bench = benches(root, store_timeout_s=SHORT_S)
    real, calls = bench.dispatcher._next, []

    def hang_once(answer):
        calls.append(answer)
        if len(calls) == 3:
            bench.gate()
        return real(answer)

    bench.dispatcher._next = hang_once
    bench.start()
    ticket = bench.submit("ping", "other", timeout_s=SHORT_S)
    assert ticket.wait(WITHIN_S)
    assert ticket.response.status == "ok"
    bench.gate.open()
    assert bench.ask("ping")["ping"].status == "ok"
    assert bench.ran.count("other0") == 1


# -- joining and refusing --------------------------------------------------------------------------------------------


def test_identical_requests_that_have_not_started_are_answered_together(benches, root):
    """One run, and a dump of its own for each: a storm of signals costs one answer."""
    bench = benches(root)
    tickets = [bench.submit("ping", "other") for _ in range(5)]
    assert bench.dispatcher.room == MAX_QUEUED - 1
    bench.start()
    assert all(ticket.wait(WITHIN_S) for ticket in tickets)
    assert bench.ran == ["ping", "other0"]
    assert len({ticket.directory for ticket in tickets}) == 5
    for ticket in tickets:
        dump = bench.dump(ticket)
        assert (dump.found, dump.request_id) == ("committed", ticket.accepted.id)
        assert [reader.part_bytes(dump, record) for record in dump.parts] == [b'"pong"', b"0"]


@pytest.mark.parametrize(
    "second",
    [{"form": "msgpack"}, {"timeout_s": 5.0}, {"number": "1"}],
    ids=["format", "timeout", "parameter"],
)
def test_another_question_is_not_joined(benches, root, second):
    """Format, deadline and parameters make another answer."""
    bench = benches(root)
    tickets = [bench.submit("other"), bench.submit("other", **second)]
    bench.start()
    assert all(ticket.wait(WITHIN_S) for ticket in tickets)
    assert len(bench.ran) == 2


def test_a_request_that_has_started_is_not_joined(bench):
    """Its answer would be older than the question."""
    first = bench.submit("hang")
    wait_for(lambda: bench.gate.inside)
    second = bench.submit("hang")
    bench.gate.open()
    assert first.wait(WITHIN_S)
    assert second.wait(WITHIN_S)
    assert bench.ran == ["hang", "hang"]


def test_a_full_queue_refuses_at_once(benches, root):
    """With the reason; what waits already is answered, an equal question still joins, and then there is room."""
    bench = benches(root)
    tickets = [bench.submit("other", number=str(number)) for number in range(MAX_QUEUED)]
    assert bench.dispatcher.room == 0
    with pytest.raises(Refused, match=f"{MAX_QUEUED} requests wait"):
        bench.submit("ping")
    tickets.append(bench.submit("other", number="0"))
    bench.start()
    assert all(ticket.wait(WITHIN_S) for ticket in tickets)
    assert sorted(bench.ran) == sorted(f"other{number}" for number in range(MAX_QUEUED))
    assert bench.dispatcher.room == MAX_QUEUED
    assert bench.ask("ping")["ping"].status == "ok"


def test_busy_while_anything_is_under_way(bench):
    """The bell need not wake up for deadlines otherwise."""
    assert bench.dispatcher.busy is False
    ticket = bench.submit("hang")
    assert bench.dispatcher.busy is True
    wait_for(lambda: bench.gate.inside)
    assert bench.dispatcher.busy is True
    bench.gate.open()
    assert ticket.wait(WITHIN_S)
    wait_for(lambda: not bench.dispatcher.busy)


def test_whoever_waits_is_told(bench):
    """``on_finish`` hears of each ticket, and of the store that has its dump."""
    told = []
    bench.dispatcher.on_finish = lambda ticket, store: told.append((ticket.accepted.id, store))
    bench.ask("ping", request_id="a")
    bench.ask("fail", request_id="b")
    wait_for(lambda: len(told) == 2)
    assert told == [("a", 0), ("b", 0)]


# -- stores ----------------------------------------------------------------------------------------------------------

STEPS = 8
"""More than a request of two parts asks its store for: publish, claim, two parts, commit."""


@pytest.mark.parametrize("first", range(1, STEPS))
def test_a_store_that_refuses_hands_over_to_the_next(benches, root, spare, first):
    """At whichever step: the next store has a whole dump, and says why it is there."""
    full = OddLayout(root.root, root.job, refuse, first)
    bench = benches(full, spare)
    bench.start()
    ticket = bench.submit("ping", "fail")
    assert ticket.wait(WITHIN_S)
    assert [part.handler for part in ticket.response.parts] == ["ping", "fail"]
    assert bench.ran == ["ping"]
    if len(full.asked) < first:
        assert bench.dump(ticket).found == "committed"
        return
    assert bench.dump(ticket).found != "committed"
    dump = bench.dump(ticket, 1)
    assert (dump.found, ticket.directory) == ("committed", dump.directory)
    assert [reader.part_bytes(dump, record) for record in dump.parts] == [b'"pong"', b"Handler fail failed: no luck"]
    ((said,),) = [dump.evidence["not_in"]]
    assert said["root"] == root.root
    assert "No space left on device" in said["why"]


@pytest.mark.parametrize("first", range(1, STEPS - 2))
def test_a_store_that_hangs_hands_over_in_time(benches, root, spare, first):
    """At whichever step: after its deadline the next store has a whole dump."""
    gate = Gate()
    bench = benches(OddLayout(root.root, root.job, gate, first), spare, store_timeout_s=SHORT_S)
    bench.start()
    try:
        began = time.monotonic()
        ticket = bench.submit("ping", "other")
        assert ticket.wait(WITHIN_S)
        assert time.monotonic() - began >= SHORT_S
        assert gate.inside == 1
        assert bench.dump(ticket, 1).found == "committed"
        assert bench.ran == ["ping", "other0"]
    finally:
        gate.open()


def test_a_store_that_still_hangs_is_passed_over_at_once(benches, root, spare):
    """Only the first answer waits for it; when it has answered after all, it is used again."""
    gate = Gate()
    bench = benches(OddLayout(root.root, root.job, gate), spare, store_timeout_s=SHORT_S)
    bench.start()
    try:
        bench.ask("ping")
        ticket = bench.submit("ping")
        assert ticket.wait(WITHIN_S)
        assert gate.inside == 1
        assert ticket.directory.startswith(spare.root)
        assert "still holds" in bench.dump(ticket, 1).evidence["not_in"][0]["why"]
    finally:
        gate.open()

    def at_home():
        again = bench.submit("ping")
        return again.wait(WITHIN_S) and again.directory.startswith(f"{root.root}/")

    wait_for(at_home)


def test_without_any_store_the_answer_still_ends(benches, root, spare):
    """The response is there for who asked through a channel that takes it; it is nowhere on disk."""
    bench = benches(OddLayout(root.root, root.job, refuse), OddLayout(spare.root, spare.job, refuse))
    bench.start()
    told = []
    bench.dispatcher.on_finish = lambda _ticket, store: told.append(store)
    ticket = bench.submit("ping")
    assert ticket.wait(WITHIN_S)
    assert (ticket.response.status, ticket.directory) == ("ok", None)
    wait_for(lambda: told == [None])


def test_a_squatted_store_is_not_used(benches, root, spare):
    """Somebody put a link in the place of the request's directory: the dump goes to the next store."""
    os.symlink("/tmp", root.request_dir("mine"))
    bench = benches(root, spare)
    bench.start()
    ticket = bench.submit("ping", request_id="mine")
    assert ticket.wait(WITHIN_S)
    assert ticket.directory.startswith(spare.root)
    assert not os.path.exists(f"/tmp/{ME.worker}")


def test_joined_requests_each_find_their_store(benches, root, spare):
    """A store that refuses one of them at its claim refuses only that one."""

    class OneIsForeign(Layout):
        def request_dir(self, request):
            if request == "bad":
                refuse()
            return super().request_dir(request)

    bench = benches(OneIsForeign(root.root, root.job), spare)
    tickets = [bench.submit("ping", request_id=name) for name in ("good", "bad", "fine")]
    bench.start()
    assert all(ticket.wait(WITHIN_S) for ticket in tickets)
    assert [ticket.directory.startswith(f"{root.root}/") for ticket in tickets] == [True, False, True]
    assert bench.ran == ["ping"]


# -- everything at once ----------------------------------------------------------------------------------------------

asks = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["ping", "other", "fail", "leave", "rubbish", "nobody"]), min_size=1, max_size=3),
        st.sampled_from(FORMATS),
    ),
    min_size=1,
    max_size=10,
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One dispatcher for many examples; its first store refuses every third step."""
    base = tmp_path_factory.mktemp("shared")
    counter = itertools.count()

    def sometimes():
        if next(counter) % 7 == 0:
            refuse()

    stores = (OddLayout(f"{base}/root", "job", sometimes), Layout(f"{base}/spare", "job"))
    bench = Bench(stores)
    bench.start()
    yield bench
    bench.stop()


@strategies.FEW
@given(asks)
def test_every_ticket_ends_with_a_whole_dump(shared, asks):
    """Any requests at once, joined or not, into stores that refuse now and then: one part for each call, in order."""
    tickets = [shared.submit(*handlers, form=form) for handlers, form in asks]
    for ticket, (handlers, _) in zip(tickets, asks, strict=True):
        assert ticket.wait(WITHIN_S)
        assert [part.handler for part in ticket.response.parts] == handlers
        store = 1 if ticket.directory.startswith(shared.stores[1].root) else 0
        dump = shared.dump(ticket, store)
        assert (dump.found, dump.directory) == ("committed", ticket.directory)
        assert [record.handler for record in dump.parts] == handlers
        assert all(reader.part_bytes(dump, record) for record in dump.parts)


# -- limits ----------------------------------------------------------------------------------------------------------


LONG_ENOUGH_S = 1.0
"""For what should take milliseconds, and does not happen while the test below is expected to fail."""


def test_a_burst_into_a_hung_store_is_answered_from_the_next(benches, root, spare):
    """More requests at once than there are threads: the hung store may hold some of them, not all."""
    gate = Gate()
    bench = benches(OddLayout(root.root, root.job, gate), spare, store_timeout_s=SHORT_S)
    tickets = [bench.submit("other", number=str(number)) for number in range(2 * MAX_THREADS)]
    bench.start()
    try:
        deadline = time.monotonic() + LONG_ENOUGH_S
        ended = [ticket.wait(max(0.0, deadline - time.monotonic())) for ticket in tickets]
    finally:
        gate.open()
    assert all(ended)


@dataclass(frozen=True)
class HangsLate(OddLayout):
    """A store that takes claims and hangs at the third thing of each request: its first part."""

    def request_dir(self, request):
        """As ``OddLayout``, but the requests are counted one by one."""
        self.asked.append(request)
        if self.asked.count(request) >= self.first:
            self.misbehave()
        return Layout.request_dir(self, request)


def test_a_store_that_hangs_after_a_burst_of_claims_keeps_nobody(benches, root, spare):
    """All requests are claimed there when it stops answering: those that never got in go elsewhere too."""
    gate = Gate()
    bench = benches(HangsLate(root.root, root.job, gate, first=3), spare, store_timeout_s=SHORT_S)
    tickets = [bench.submit("hang", how=str(number)) for number in range(2 * MAX_THREADS)]
    claims = [Path(root.dump(ticket.accepted.id, ME.worker), CLAIM) for ticket in tickets]
    bench.start()
    try:
        wait_for(lambda: all(claim.exists() for claim in claims))
        bench.gate.open()
        deadline = time.monotonic() + LONG_ENOUGH_S
        ended = [ticket.wait(max(0.0, deadline - time.monotonic())) for ticket in tickets]
    finally:
        gate.open()
    assert all(ended)


def test_a_burst_for_a_hung_handler_delays_nobody_else(bench):
    """More requests at once than there are threads, all for one handler that hangs: the next ``ping`` is answered."""
    tickets = [bench.submit("hang", how=str(number)) for number in range(2 * MAX_THREADS)]
    ping = bench.submit("ping")
    in_time = ping.wait(LONG_ENOUGH_S)
    bench.gate.open()
    assert all(ticket.wait(WITHIN_S) for ticket in tickets)
    assert in_time


def test_a_hook_that_fails_ends_no_other_ticket(benches, root):
    """Whoever is told of one ticket cannot keep the others of the same answer."""
    bench = benches(root)

    def fail(_ticket, _store):
        raise OSError

    bench.dispatcher.on_finish = fail
    tickets = [bench.submit("ping") for _ in range(2)]
    bench.start()
    assert [ticket.wait(LONG_ENOUGH_S) for ticket in tickets] == [True, True]


def test_a_squatted_inbox_is_looked_at_again(benches, root):
    """Nobody rings when a directory is ours again: the channel tries by itself, and finds what was dropped."""
    bench = benches(root)
    bench.start()
    roster.write(root, roster.Entry(ME, 0))
    bell = Bell(None, lambda _byte: None)
    bell.start(lambda: False, lambda _now: None)
    files = RequestFiles(root, bench.dispatcher, bench.crew, bell, Watch("off", TICK_S))
    os.rename(root.inbox, f"{root.root}/away")
    os.symlink(f"{root.root}/away", root.inbox)
    try:
        files.look_soon()
        wait_for(lambda: not files._again and files._lease is None)
        os.unlink(root.inbox)
        os.rename(f"{root.root}/away", root.inbox)
        Path(root.inbox, "ping").touch()
        deadline = time.monotonic() + LONG_ENOUGH_S
        while "ping" not in bench.ran and time.monotonic() < deadline:
            time.sleep(TICK_S)
    finally:
        bell.stop()
    assert bench.ran == ["ping"]


def test_a_request_that_is_handed_in_twice_has_one_dump(bench, root):
    """Two looks may find the same request: whoever commits first wins, and the dump stays whole."""
    first = bench.submit("hang", request_id="mine", how="1")
    wait_for(lambda: bench.gate.inside)
    second = bench.submit("ping", request_id="mine")
    assert second.wait(WITHIN_S)
    bench.gate.open()
    assert first.wait(WITHIN_S)
    dump = reader.read_dump(root, "mine", ME.worker)
    assert dump.found == "committed"
    assert [reader.part_bytes(dump, record) for record in dump.parts] == [b'"pong"']


def test_tickets_are_plain(bench):
    """A channel holds nothing of the dispatcher's."""
    ticket = bench.submit("ping")
    assert ticket.wait(WITHIN_S)
    assert vars(ticket).keys() == {"accepted", "response", "directory", "_done"}
    assert isinstance(SimpleNamespace(**vars(ticket)).accepted, AcceptedRequest)
