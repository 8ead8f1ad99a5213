"""The one place that decides: who is answered, by which thread, until when, into which store.

In: accepted requests from any channel. Out: for each a committed dump and a ``Response``,
whatever hangs. An answer is a list of steps: claim, one run per handler, one write per part,
commit. Each has a deadline that ``tick`` watches; a step that overruns is settled as lost and
another thread goes on, in the next store if it was a store that did not answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from oobdump.answer import Answer, Outcome, StepKey, Ticket, Turn
from oobdump.crew import MAX_THREADS, Crew
from oobdump.errors import Refused, UnknownHandler
from oobdump.identity import Identity
from oobdump.registry import Registry
from oobdump.request import AcceptedRequest
from oobdump.response import Part, Response
from oobdump.runner import Codec, failed, format_stack, in_pieces, run_call
from oobdump.slots import Slots
from oobdump.store.layout import Layout
from oobdump.store.writer import DumpWriter, PartRecord
from oobdump.threads import current_frames

__all__ = ["MAX_QUEUED", "Dispatcher"]

MAX_QUEUED = 64
"""Requests that wait for a thread; file requests wait on disk instead and are never refused for this."""

QUICK_RETRY_S = 1.0
"""A side-effect-free handler that should take milliseconds and has not returned by then was caught in
something that is not its own (a garbage collection that runs a user's ``__del__``): run it once more."""

MAX_IN_STORE = MAX_THREADS // 2
"""Threads in one store at a time: if all of them are lost in it, as many are left to go on elsewhere."""

START_S = 2.0
"""A thread that took a request and has not begun by then is lost."""

SLOWEST_STORE_BYTES_PER_S = 10e6
"""A large part may take its time: a store's deadline grows by its size over this."""


@dataclass(frozen=True)
class _Step:
    key: StepKey
    limits_s: Sequence[float]
    run: Callable[[], Outcome]


class Dispatcher:
    """Answers requests. Every method may be called from any thread; ``submit`` and ``tick`` never block."""

    def __init__(
        self,
        identity: Identity,
        registry: Registry,
        codecs: Mapping[str, Codec],
        stores: Sequence[Layout],
        crew: Crew,
        *,
        store_timeout_s: float = 5.0,
        durable: bool = False,
    ) -> None:
        self._registry = registry
        self._codecs = codecs
        self._crew = crew
        self._store_timeout_s = store_timeout_s
        self._stores = list(stores)
        self._durable = durable
        self._pending: dict[int, Answer] = {}
        self._active: dict[int, Answer] = {}
        self.slots = Slots()
        self._stuck: list[dict[Turn, bool]] = [{} for _ in stores]
        self._inside: list[dict[Turn, bool]] = [{} for _ in stores]
        self._parked: dict[int, Answer] = {}
        self.identity = identity
        self.on_finish: Callable[[Ticket, int | None], None] = lambda _ticket, _store: None

    @property
    def busy(self) -> bool:
        """Whether any request is under way, so that ``tick`` is needed."""
        return bool(self._pending or self._active)

    @property
    def room(self) -> int:
        """How many more requests can be handed in now."""
        return max(0, MAX_QUEUED - len(self._pending))

    def submit(self, accepted: AcceptedRequest) -> Ticket:
        """Hands a request in. Raises ``Refused`` at once when too many wait already."""
        ticket = Ticket(accepted)
        if self._join(ticket):
            return ticket
        if not self.room:
            raise Refused(f"{MAX_QUEUED} requests wait already: ask again when they are answered")
        answer = Answer(ticket)
        self._pending[id(answer)] = answer
        self._crew.give(partial(self._start, answer))
        return ticket

    def tick(self, now: float) -> None:
        """Called every now and then while ``busy``: moves on what overran its deadline."""
        for answer in list(self._active.values()):
            turn = answer.turn
            if now > turn.ends_at and turn.expired.trip():
                self._crew.give(partial(self._overrun, answer, turn))
        for answer in list(self._pending.values()):
            if not self._crew.queued and now - answer.began > START_S and answer.rescued.trip():
                self._crew.give(partial(self._start, answer))
        self._unpark()
        self._crew.tick()

    def _join(self, ticket: Ticket) -> bool:
        """Joins an equal request that has not started."""
        for answer in list(self._pending.values()):
            if answer.request.same_question(ticket.accepted.request):
                answer.waiting.append(ticket)
                return id(answer) in self._pending or not answer.leave(ticket)
        return False

    def _start(self, answer: Answer) -> None:
        if self._pending.pop(id(answer), None) is None:
            return  # a second thread was sent because the first seemed lost, and was not
        answer.turn.ends_at = time.monotonic() + START_S
        self._active[id(answer)] = answer
        answer.close()
        self._work(answer)

    def _work(self, answer: Answer) -> None:
        """Takes step after step, until the answer is complete or another thread took over."""
        while (step := self._next(answer)) is not None:
            if not self._may_begin(answer, step):
                if step.key[0] != "run" and self._stuck[step.key[2]]:  # nobody may ever come out again
                    answer.settle(step.key, Outcome(lost="the file system holds all the threads that it may have"))
                    continue
                self._park(answer)
                return
            if not self._turn(answer, step, tries=0):
                return
            self._unpark()
        if answer.finished.trip():
            self._finish(answer)

    def _turn(self, answer: Answer, step: _Step, tries: int) -> bool:
        """One go at one step; False if another thread settled it first."""
        last = tries + 1 >= len(step.limits_s)
        answer.turn = turn = Turn(step.key, time.monotonic() + step.limits_s[tries], last)
        if step.key[0] != "run":
            self._inside[step.key[2]][turn] = True
        outcome = step.run()
        turn.returned = True
        for turns in (*self._stuck, *self._inside):
            turns.pop(turn, None)  # a store that was given up has answered after all
        return answer.settle(step.key, outcome)

    def _overrun(self, answer: Answer, turn: Turn) -> None:
        """A step's time is up: give it a second thread, or settle it as lost, and go on."""
        if answer.turn is not turn:
            return
        step = self._next(answer)
        if step is None or step.key != turn.key:  # the thread was lost between two steps
            self._work(answer)
        elif not turn.last:
            if self._turn(answer, step, tries=1):
                self._work(answer)
        elif answer.settle(turn.key, self._lost(answer, turn)):
            self._unpark()
            self._work(answer)

    def _may_begin(self, answer: Answer, step: _Step) -> bool:
        """Whether a step would run at once. One that had to wait would hold a thread meanwhile, and there are few."""
        if step.key[0] != "run":
            return len(self._inside[step.key[2]]) < MAX_IN_STORE
        waited_s = time.monotonic() - answer.waits.setdefault(step.key, time.monotonic())
        name = answer.request.calls[step.key[1]].name
        return waited_s > answer.request.timeout_s or self.slots.at_once(name, (answer, step.key[1]))

    def _park(self, answer: Answer) -> None:
        """Sets an answer aside, with no thread; whatever ends elsewhere, and every ``tick``, lets it try again."""
        answer.turn = Turn(("parked",), float("inf"))
        self._parked[id(answer)] = answer

    def _unpark(self) -> None:
        for key in list(self._parked):
            answer = self._parked.pop(key, None)
            if answer is not None:
                self._crew.give(partial(self._work, answer))

    def _lost(self, answer: Answer, turn: Turn) -> Outcome:
        if turn.key[0] == "run":
            return Outcome(self._timed_out(answer, turn))
        stuck = self._stuck[turn.key[2]]
        stuck[turn] = True
        if turn.returned:
            stuck.pop(turn, None)
        return Outcome(lost=f"{turn.key[0]}: no answer from the file system in time")

    def _next(self, answer: Answer) -> _Step | None:
        """The first step without an outcome: all that is decided about an answer's order."""
        tickets = range(len(answer.tickets))
        stores = [self._store(answer, nth) for nth in tickets]
        for nth, store in zip(tickets, stores, strict=True):
            if store is not None and ("claim", nth, store) not in answer.outcomes:
                return self._claim(answer, nth, store)
        for call in range(len(answer.request.calls)):
            if ("run", call) not in answer.outcomes:
                return self._run(answer, call)
        for nth, store in zip(tickets, stores, strict=True):
            if store is not None and (step := self._write(answer, nth, store)) is not None:
                return step
        return None

    def _write(self, answer: Answer, nth: int, store: int) -> _Step | None:
        for call in range(len(answer.request.calls)):
            if ("part", nth, store, call) not in answer.outcomes:
                return self._part(answer, nth, store, call)
        return None if ("commit", nth, store) in answer.outcomes else self._commit(answer, nth, store)

    def _store(self, answer: Answer, nth: int) -> int | None:
        """The first store that has not failed for this ticket; one that is stuck now is passed over at once."""
        calls = range(len(answer.request.calls))
        for store, stuck in enumerate(self._stuck):
            claim: StepKey = ("claim", nth, store)
            keys = [claim, ("commit", nth, store), *(("part", nth, store, call) for call in calls)]
            found = [answer.outcomes[key] for key in keys if key in answer.outcomes]
            if any(outcome.lost for outcome in found):
                continue
            if not found and stuck:
                answer.settle(claim, Outcome(lost="the file system still holds an earlier dump"))
                continue
            return store
        return None

    def _writer(self, answer: Answer, nth: int, store: int) -> DumpWriter:
        accepted = answer.tickets[nth].accepted
        return DumpWriter(self._stores[store], accepted.id, self.identity, self._durable)

    def _claim(self, answer: Answer, nth: int, store: int) -> _Step:
        writer = self._writer(answer, nth, store)
        names = tuple(call.name for call in answer.request.calls)

        def claim() -> None:
            writer.publish(answer.tickets[nth].accepted)
            writer.claim(names, time.time())

        return self._stored(("claim", nth, store), 0, claim)

    def _part(self, answer: Answer, nth: int, store: int, call: int) -> _Step:
        writer, part = self._writer(answer, nth, store), answer.part(call)
        count = sum(earlier.name == part.handler for earlier in answer.request.calls[: call + 1])
        size = part.size
        return self._stored(("part", nth, store, call), size, lambda: writer.write_part(part, count))

    def _commit(self, answer: Answer, nth: int, store: int) -> _Step:
        writer = self._writer(answer, nth, store)
        found = [answer.outcomes["part", nth, store, call].value for call in range(len(answer.request.calls))]
        records = tuple(value for value in found if isinstance(value, PartRecord))
        evidence = self._evidence(answer, nth, store)
        return self._stored(
            ("commit", nth, store), 0, lambda: writer.commit(records, "responsive", evidence, time.time())
        )

    def _evidence(self, answer: Answer, nth: int, store: int) -> dict[str, object]:
        accepted = answer.tickets[nth].accepted
        evidence: dict[str, object] = {
            "channel": accepted.source.get("channel", "call"),
            "seconds": round(time.monotonic() - answer.began, 6),
        }
        lost = {
            key[2]: outcome.lost for key, outcome in list(answer.outcomes.items()) if outcome.lost and key[1] == nth
        }
        if store:
            evidence["not_in"] = [{"root": self._stores[n].root, "why": why} for n, why in sorted(lost.items())]
        return evidence

    def _stored(self, key: StepKey, size: int, write: Callable[[], PartRecord | bool | None]) -> _Step:
        def run() -> Outcome:
            try:
                return Outcome(write())
            except Exception as error:  # noqa: BLE001 - whatever a store does, the next one is tried
                return Outcome(lost=f"{key[0]}: {type(error).__name__}: {error}")

        return _Step(key, (self._store_timeout_s + size / SLOWEST_STORE_BYTES_PER_S,), run)

    def _run(self, answer: Answer, call: int) -> _Step:
        timeout_s = answer.request.timeout_s
        twice = timeout_s > 2 * QUICK_RETRY_S and self._is_quick(answer.request.calls[call].name)
        limits = (QUICK_RETRY_S, timeout_s - QUICK_RETRY_S) if twice else (timeout_s,)
        return _Step(("run", call), limits, lambda: Outcome(self._part_of(answer, call)))

    def _is_quick(self, name: str) -> bool:
        try:
            return self._registry.get(name).quick
        except UnknownHandler:
            return False

    def _part_of(self, answer: Answer, call: int) -> Part:
        asked, request = answer.request.calls[call], answer.request
        if all(time.time() > ticket.accepted.expires_at for ticket in answer.tickets):
            return failed(
                asked.name, "refused", 410, f"the request expired {request.expires_in_s:g} s after it was accepted"
            )
        try:
            handler = self._registry.get(asked.name)
        except UnknownHandler as error:
            return failed(asked.name, "error", 404, f"Handler {asked.name} not found: {error}")
        waited_s = time.monotonic() - answer.waits.get(("run", call), time.monotonic())
        slot = self.slots.take(asked.name, (answer, call), max(0.0, request.timeout_s - waited_s))
        if isinstance(slot, str):
            return failed(asked.name, "refused", 503, slot)
        try:
            return run_call(handler, asked, request.body, self._codecs[request.format_of(asked)], in_pieces)
        finally:
            self.slots.free(asked.name, slot)

    def _timed_out(self, answer: Answer, turn: Turn) -> Part:
        name = answer.request.calls[turn.key[1]].name
        text = f"Handler {name} failed: it did not return in time and keeps its slot; this is where it stands"
        part = failed(name, "timeout", 504, text)
        stack = format_stack(current_frames().get(turn.thread))
        body = f"{text}\n{stack}\n".encode("utf-8", "backslashreplace")
        error = part.error and type(part.error)(part.error.type, part.error.message, stack)
        return Part(name, "timeout", 504, "text/plain", "txt", body, answer.request.timeout_s, error)

    def _finish(self, answer: Answer) -> None:
        self._active.pop(id(answer), None)
        parts = tuple(answer.part(call) for call in range(len(answer.request.calls)))
        stores = [self._store(answer, nth) for nth in range(len(answer.tickets))]
        for nth, (ticket, store) in enumerate(zip(answer.tickets, stores, strict=True)):
            directory = None if store is None else self._writer(answer, nth, store).directory
            ticket.finish(Response(ticket.accepted.id, self.identity.worker, parts), directory)
        for ticket, store in zip(answer.tickets, stores, strict=True):
            self._crew.give(
                partial(self.on_finish, ticket, store)
            )  # of its own: what it raises or waits for is its own
