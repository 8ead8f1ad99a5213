"""Asking from outside: drop, accept, ring, wait, collect. Needs no worker's help and no socket.

In: a job's directory and a request. Out: one ``Outcome`` for every worker that was asked,
whatever became of it: its own answer, or what somebody saw of it from outside, or that nobody
answered. The rule only this module keeps: the worker's own answer counts before any other's, and
waiting for one rank never hides what the others said.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from oobdump.channels.request_file import ring_workers
from oobdump.config import fallback_dirs, settings
from oobdump.errors import RequestError, StoreError
from oobdump.identity import Machine, parse_name
from oobdump.inbox import Inbox, candidates, publish
from oobdump.outside.answer import answer_for
from oobdump.outside.ending import zombie_status
from oobdump.outside.patience import Patience
from oobdump.outside.usable import usable
from oobdump.request import AcceptedRequest, Request
from oobdump.response import Status
from oobdump.store import atomic, drops, reader, roster
from oobdump.store.fallen import fallen
from oobdump.store.layout import OUTSIDE, Layout, made_id
from oobdump.store.writer import PartRecord
from oobdump.targets import select
from oobdump.wire import request_to_bytes

__all__ = ["Client", "Outcome", "find_job", "jobs"]

_FIRST_POLL_S, _LAST_POLL_S = 0.005, 0.2
_counter = itertools.count(1)

_STATES = {"T": "stopped", "t": "traced", "D": "uninterruptible", "Z": "gone", "X": "gone"}
"""``State`` of ``/proc/<pid>/status`` by the words of an outcome (proc(5))."""


@dataclass(frozen=True)
class Outcome:
    """What became of one request at one worker.

    ``state`` and ``why`` say what is known of a worker that did not answer by itself; ``seconds`` is from
    acceptance to commit; ``dump`` is None unless something is on disk; ``outside`` is what somebody else saw
    of it, where both are there.
    """

    worker: str
    rank: int | None
    host: str
    pid: int
    role: str
    status: Status
    answered_by: str | None = None
    state: str | None = None
    seconds: float | None = None
    why: str = ""
    dump: reader.Dump | None = None
    outside: reader.Dump | None = None

    @property
    def parts(self) -> tuple[PartRecord, ...]:
        """The parts that were committed."""
        return self.dump.parts if self.dump is not None else ()


@dataclass(frozen=True)
class Client:
    """Asks the workers of one job. No state of its own: any number may run at once.

    ``home`` is where the roster is, if ``layout`` is a fallback directory.
    """

    layout: Layout
    home: Layout | None = None

    def workers(self) -> tuple[list[roster.Entry], list[str]]:
        """Everybody in the roster; those of this machine that are gone are noted as ended."""
        entries, problems = roster.read(self.layout)
        return [self._noted(entry) for entry in entries], problems

    def reachable(self) -> tuple[list[roster.Entry], list[roster.Entry]]:
        """Who can be asked, and who is gone and is asked all the same, for how it ended."""
        entries = self.workers()[0]
        return [entry for entry in entries if entry.alive() is not False], fallen(entries)

    def ask(self, request: Request) -> AcceptedRequest:
        """Drops the request, accepts it and rings. Raises ``RequestError`` with the reason if it is rejected."""
        layout = self.layout
        if refusal := usable(layout.job_dir):
            raise StoreError(f"{refusal}; on a worker's own machine `oobdump signal PID` asks without it")
        live, gone = self.reachable()
        if gone and not live:
            return self.publish(request, select(request.targets, candidates(live, gone)), {"channel": "outside"})
        atomic.make_tree(layout.root, layout.job_dir, layout.roster, layout.inbox, layout.dumps)
        name = f"client-{os.getpid()}-{time.time_ns()}-{next(_counter)}.json"
        made = drops.drop(layout, name, request_to_bytes(request))
        wanted = request.id or made
        look = Inbox(layout, f"client.{Machine.here().host}.{os.getpid()}").look(whole=(name,))
        accepted = next((found for found in look.accepted if found.id == wanted), None)
        if accepted is None:
            accepted = self._accepted_elsewhere(name, wanted)
        ring_workers(layout, set(accepted.asked))
        return accepted

    def wait(
        self, accepted: AcceptedRequest, progress: Callable[[list[Outcome]], None] = lambda _outcomes: None
    ) -> list[Outcome]:
        """Waits until every asked worker is settled; ``progress`` is called whenever something changed."""
        pause = _FIRST_POLL_S
        patience = self.patience(accepted)
        settled: dict[str, Outcome] = {}
        while True:
            before = len(settled)
            for worker in accepted.asked:
                if worker not in settled and patience.settled(worker):
                    settled[worker] = self._outcome(accepted, worker, patience.failure(worker))
            if len(settled) > before:
                progress([settled[worker] for worker in accepted.asked if worker in settled])
            if len(settled) == len(accepted.asked):
                return [settled[worker] for worker in accepted.asked]
            time.sleep(pause)
            pause = min(pause * 1.5, _LAST_POLL_S)

    def patience(self, accepted: AcceptedRequest) -> Patience:
        """The waiting for one request, with the grace that this process's environment sets."""
        return Patience(self.layout, accepted, settings().grace_s, self.fallbacks, self.home)

    def look_at(self, worker: str, entry: roster.Entry | None, request: Request, reason: str) -> AcceptedRequest:
        """Looks at one worker of this machine from outside, now; it need not be in the roster, and is not asked.

        To be called on what ``writable`` gives. Raises ``OSError``, ``StoreError`` if nothing can be written.
        """
        accepted = self.publish(request, (worker,), {"channel": "outside"})
        grace_s = settings().grace_s
        answer_for(
            self.layout,
            accepted.id,
            worker,
            by="client",
            reason=reason,
            grace_s=grace_s,
            accepted=accepted,
            entry=entry,
        )
        return accepted

    def publish(self, request: Request, asked: tuple[str, ...], source: Mapping[str, str | int]) -> AcceptedRequest:
        """Accepts a request that no file brought. Raises ``OSError``, ``StoreError``."""
        layout, name = self.layout, f"client.{Machine.here().host}.{os.getpid()}"
        atomic.make_tree(layout.root, layout.job_dir, layout.dumps)
        request_id = request.id or made_id(time.time_ns(), name, next(_counter))
        accepted = AcceptedRequest(request_id, request, asked, time.time(), name, source)
        if publish(layout, accepted) is not None:
            raise RequestError(f"the id {request_id} is already used: choose another")
        return accepted

    @property
    def fallbacks(self) -> tuple[Layout, ...]:
        """Where else a dump may be: where workers of this user and machine put what the root does not take."""
        roots = [*([] if self.home is None else [self.home.root]), *fallback_dirs(settings().fallback_dir)]
        return tuple(Layout(root, self.layout.job) for root in roots if root != self.layout.root)

    def writable(self) -> Client:
        """This client, or one of a fallback directory where the root takes nothing. Raises ``StoreError``."""
        reasons = []
        for layout in (self.layout, *self.fallbacks):
            if not (refusal := usable(layout.job_dir)):
                return Client(layout, self.home or self.layout)
            reasons.append(refusal)
        raise StoreError("; ".join(reasons))

    def outcomes(self, accepted: AcceptedRequest) -> list[Outcome]:
        """What is known now of every asked worker, without waiting."""
        return [self._outcome(accepted, worker) for worker in accepted.asked]

    def _accepted_elsewhere(self, name: str, wanted: str) -> AcceptedRequest:
        """Somebody else was faster: the answer is on disk, one way or the other."""
        for _ in range(200):
            if reason := drops.rejection(self.layout, name):
                raise RequestError(reason)
            found = reader.open_request(self.layout, wanted)
            if found is not None and (found.source.get("name") in (name, None)):
                return found
            time.sleep(0.01)
        raise StoreError(
            f"{self.layout.inbox}/{name} was neither accepted nor rejected: is {self.layout.dumps} writable?"
        )

    def _noted(self, entry: roster.Entry) -> roster.Entry:
        """The entry, with its end if it has come: how it ended can be seen only until its parent has waited for it."""
        if entry.alive() is not False:
            return entry
        status = zombie_status(entry)
        if (entry.ended is not None and status is None) or usable(self.layout.job_dir):
            return entry
        try:
            return roster.note_end(
                self.layout, entry, at=time.time(), by="client", how="found gone", wait_status=status
            )
        except OSError:
            return entry

    def _outcome(self, accepted: AcceptedRequest, worker: str, failure: str = "") -> Outcome:
        base, layout = self._base(worker), self.layout
        own, away = self._found(accepted.id, worker)
        other, other_away = self._found(accepted.id, worker + OUTSIDE)
        seen = other if other.found == "committed" else None
        if own.found == "committed":
            late = _late(accepted, own)
            state = "busy" if late and own.state == "responsive" else own.state
            return replace(_from(base, accepted, own), state=state, why=_joined(late, away), outside=seen)
        if seen is not None:
            why = _joined(str(seen.evidence.get("why", "")), other_away)
            return replace(_from(base, accepted, seen), why=why)
        own = reader.read_dump(layout, accepted.id, worker)
        state, why = _seen_from_here(roster.find(self.home or self.layout, worker))
        tried = f"looked at from outside: {failure}" if failure else ""
        partial = own if own.found == "partial" else None
        return replace(base, state=state, why=_joined(own.why, why, tried), dump=partial)

    def _found(self, request_id: str, writer: str) -> tuple[reader.Dump, str]:
        """One writer's dump, and if it has not come home yet, where it is."""
        home = reader.read_dump(self.layout, request_id, writer)
        if home.found == "committed":
            return home, ""
        for layout in self.fallbacks:
            dump = reader.read_dump(layout, request_id, writer)
            if dump.found == "committed":
                return dump, f"not home yet: {dump.directory}"
        return home, ""

    def _base(self, worker: str) -> Outcome:
        rank, host, pid = parse_name(worker) or (None, "", 0)
        entry = roster.find(self.home or self.layout, worker)
        role = entry.identity.role if entry is not None else "rank" if rank is not None else "other"
        return Outcome(worker, rank, host, pid, role, "no_answer")


def jobs(root: str) -> Iterator[Layout]:
    """The jobs that have a directory under a root, by name. Raises ``ForeignDirectory`` for a root not to be used."""
    if not os.path.isdir(root):
        return
    for name in sorted(os.listdir(root)):
        if not name.startswith(".") and os.path.isdir(f"{root}/{name}/roster"):
            yield Layout(root, name)


def find_job(root: str, job: str | None) -> Layout:
    """The job that is meant: the one named, the only one, or the only one with running workers.

    Raises ``StoreError`` that lists the jobs if it cannot be told.
    """
    if job is not None:
        layout = Layout(root, job)
        if os.path.isdir(layout.job_dir):
            return layout
        raise StoreError(f"{layout.job_dir} does not exist: is the job named otherwise, or its root elsewhere (--dir)?")
    found = list(jobs(root))
    if not found:
        raise StoreError(
            f"no job has been here: {root} holds none; give --dir, or set OOBDUMP_DIR as the workers have it"
        )
    if len(found) > 1:
        running = [layout for layout in found if any(entry.alive() is not False for entry in roster.read(layout)[0])]
        if len(running) != 1:
            names = ", ".join(layout.job for layout in running or found)
            raise StoreError(f"{len(running) or len(found)} jobs are in {root}: give --job, one of {names}")
        found = running
    return found[0]


def _from(base: Outcome, accepted: AcceptedRequest, dump: reader.Dump) -> Outcome:
    """What a committed dump says."""
    seconds = None if dump.committed_at is None else round(max(0.0, dump.committed_at - accepted.accepted_at), 6)
    return replace(
        base,
        status=dump.status or "error",
        answered_by=dump.answered_by,
        state=dump.state,
        seconds=seconds,
        role=str(dump.identity.get("role", base.role)),
        dump=dump,
    )


def _joined(*reasons: str) -> str:
    return "; ".join(filter(None, reasons))


def _late(accepted: AcceptedRequest, dump: reader.Dump) -> str:
    """How late the worker took the request, if that was after ``grace``; two machines' clocks are not compared."""
    by_host = accepted.accepted_by.partition(".")[2].rpartition(".")[0]
    if dump.claimed_at is None or by_host != dump.identity.get("host"):
        return ""
    after_s = dump.claimed_at - accepted.accepted_at
    return f"it took the request {after_s:.1f} s late" if after_s > settings().grace_s else ""


def _seen_from_here(entry: roster.Entry | None) -> tuple[str, str]:
    """What this machine can see of a worker of whom nobody has a dump."""
    if entry is None:
        return "unreachable", "it is not in the roster"
    alive = entry.alive()
    if alive is None:
        return "unreachable", f"it runs on {entry.identity.host}, which cannot be seen from here"
    if not alive:
        return "gone", "its process is gone"
    letter = _state_letter(entry.identity.pid)
    state = _STATES.get(letter, "unreachable")
    return state, f"its process is there (state {letter or 'unknown'}) and does not answer"


def _state_letter(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0].decode("ascii")
    except (OSError, IndexError, UnicodeDecodeError):
        return ""
