"""Start and stop: the only module that wires a worker.

In: settings. Out: a running ``Worker`` (a bell, an answering crew, the channels, a roster
entry), or an error that says why not. The rules only this module keeps: nothing starts on
import; what touches the dump root runs on an answering thread under a deadline, so that a
hung file system does not hang ``start()``; a forked child gets its own of everything.
"""

from __future__ import annotations

import atexit
import itertools
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from oobdump import codecs, handlers
from oobdump.answer import Ticket
from oobdump.channels.bell import LOOK, SEATED
from oobdump.channels.quiet import asks
from oobdump.channels.request_file import RequestFiles
from oobdump.channels.runtime import open_bell
from oobdump.channels.signals import Signals
from oobdump.config import Settings, default_root, fallback_dirs, settings, signal_number
from oobdump.crew import Crew
from oobdump.dispatcher import Dispatcher
from oobdump.doors import Doors, check
from oobdump.election.tie import Tie
from oobdump.errors import StartError, StoreError
from oobdump.forks import ForkGuard, at_end_of_child
from oobdump.guest import Guest
from oobdump.homecoming import Homecoming
from oobdump.identity import Identity
from oobdump.last_words import LastWords
from oobdump.registration import LEAVE_S, Registration, identity_after_fork, own_identity
from oobdump.registry import registry
from oobdump.request import AcceptedRequest, HandlerCall, Request
from oobdump.store import atomic, retention
from oobdump.store.layout import Layout, made_id
from oobdump.threads import Latch, forget_after_fork
from oobdump.watch import Watch

__all__ = ["Worker", "dump", "start", "stop", "worker"]

STAND_S = 1.0
"""To find out who is above: local and instant, but where a rank is in doubt, which takes a look into the roster."""


class Worker:
    """One armed process. Made by ``start()``; its attributes are for reading."""

    def __init__(self, given: Settings, identity: Identity, signals: Signals | None = None) -> None:
        self.settings = given
        self.identity = identity
        self.layout = Layout(given.dir or default_root(), identity.job)
        self._bell, self.problems = open_bell(given.runtime_dir, identity, self._heard)
        self.started_at = time.time()
        self._crew = Crew()
        self._within = self._crew.within
        self._fallbacks = [Layout(root, identity.job) for root in fallback_dirs(given.fallback_dir)]
        self._codecs = {name: codecs.get(name) for name in codecs.names()}
        self._dispatcher = Dispatcher(
            identity,
            registry,
            self._codecs,
            [self.layout, *self._fallbacks],
            self._crew,
            store_timeout_s=given.store_timeout_s,
            durable=given.durable,
        )
        self._dispatcher.on_finish = self._on_finish
        self._watch = Watch(given.watch, given.poll_s)
        self._files = RequestFiles(self.layout, self._dispatcher, self._crew, self._bell, self._watch)
        self._files.on_home = self._write_entry
        self._files.on_accepted = self._tidy_soon
        self._home = Homecoming(self._bell, self._crew, self.layout, self._fallbacks, identity.worker)
        self._inherited = signals is not None
        self._tie = Tie.of(given, identity, self._bell, self._crew, inherited=self._inherited)
        self._tie.on_problem, self._tie.on_change = self.problems.append, self._files.look_soon
        self._files.relayed = lambda: self._tie.alive
        self._asks = partial(asks, given, self._bell, self._crew, self.ask)
        self._signals = signals or Signals(self._bell, self._asks(), share=given.share_signals)
        self.guest = Guest(self._signals, self._note)
        self._doors: Doors | None = None
        self._words = LastWords(self._bell.path)
        self._registration = Registration(self.layout, identity, self.started_at, self._bell.path)
        _guard.on_many = partial(self._crew.give, self._registration.sweep)
        self._count = itertools.count(1)
        self._tidy = retention.Tidy(self.layout, retention.Bounds(given.keep, given.keep_s, given.keep_bytes))

    @property
    def name(self) -> str:
        """The worker's name in the roster."""
        return self.identity.worker

    @property
    def signals(self) -> list[int]:
        """The signals that are answered; none if the signal channel is off."""
        return self._signals.armed

    def open(self) -> None:
        """Starts everything. Raises ``StoreError`` if the directory must not be used."""
        if self._inherited:
            self._signals.rearm_after_fork(self._bell, self._asks())
        else:
            self._signals.arm()
            self.guest.open()
        self.problems += [*self._signals.problems, *self._signals.left]
        self._crew.start()
        if not self._inherited:
            self._within(self._stand, STAND_S)
        if self._registration.stands_back:
            self._watch.mode = "off"
        self._watch.open()
        if self._watch.descriptor >= 0:
            self._bell.listen(self._watch.descriptor, lambda _data: self._files.look_soon())
        self._tie.open()
        if self._bell.start(lambda: self._dispatcher.busy, self._dispatcher.tick) == 0:
            self.problems.append("no thread can be started: nothing can answer; raise the limit (ulimit -u)")
        self._tie.look_soon()
        self._open_doors()
        self._words.open()
        self._register(wait_s=0.0 if self._inherited else self.settings.store_timeout_s)

    def close(self) -> None:
        """Gives everything back, and says in the roster that the worker stopped."""
        self._within(lambda: self._registration.note_end("stopped"), self.settings.store_timeout_s)
        self._tie.close()
        self.guest.close()
        self._signals.disarm()
        if self._doors is not None:
            self._doors.close()
        self._crew.stop()
        self._bell.stop()
        self._watch.close()
        self._words.close()

    def leave(self) -> None:
        """At exit: no request signal may kill from here on, while what still runs may still be asked."""
        self._signals.ignore()
        if self.identity.pid != os.getpid():
            return  # the child of a fork in C: all else is its parent's
        if self._within(self._registration.leave, LEAVE_S) is None:
            self._bell.remove()  # else the FIFO stays: whoever sweeps knows that an entry stayed, too
        if self._doors is not None:
            self._doors.leave()

    def in_forked_child(self, *, follow: bool) -> Worker | None:
        """In a forked child, called on its parent's: its own, or None. The parent keeps all, but for descriptors."""
        self._signals.let_go()
        self._bell.forget()
        self._watch.close()
        self._tie.forget()
        self._words.in_forked_child()
        if self._doors is not None:
            self._doors.forget()
        try:
            if follow and self.settings.follow_fork:
                child = Worker(self.settings, identity_after_fork(self.identity), self._signals)
                child.open()
                return child
        except Exception:  # noqa: BLE001 - a child that cannot be armed must still run
            self._signals.let_go()
        self._signals.disarm_after_fork()
        return None

    def ask(self, request: Request, channel: str) -> Ticket:
        """Hands in a request for this worker alone. Raises ``Refused``."""
        now = time.time()
        request_id = request.id or made_id(time.time_ns(), self.name, next(self._count))
        ticket = self._dispatcher.submit(
            AcceptedRequest(request_id, request, (self.name,), now, self.name, {"channel": channel})
        )
        self._bell.write(LOOK + 1)  # wakes the listeners, so that they watch the deadlines
        return ticket

    def describe(self) -> dict[str, Any]:
        """The channels as the roster shows them."""
        sockets = {} if self._doors is None else self._doors.describe()
        ours = {
            "request_file": self._watch.describe(),
            "signal": self._signals.describe() | self._asked_by_signals(),
            "bell": {"path": self._bell.path},
            "sentinel": self._tie.describe(),
        }
        return {**ours, **sockets, **self._words.describe()}

    def _asked_by_signals(self) -> dict[str, Any]:
        """What each signal that is ours asks for: whoever finds one pending asks it in our place."""
        table = self.settings.signals
        asks = {name: [*run] for name, run in table.items() if signal_number(name) in self._signals.armed}
        return {"asks": asks} if asks else {}

    def _runtime(self) -> tuple[str, str, str] | None:
        """Where this worker's sockets may be: beside its bell."""
        if self._bell.path is None:
            return None
        return os.path.dirname(os.path.dirname(self._bell.path)), self.identity.job, self.name

    def _open_doors(self) -> None:
        """Sockets, but not in a child: it is asked by files and signals, and may be one of many."""
        if not self._inherited:
            shut = replace(self.settings, http="off", torch_server="off")
            self._doors = Doors(shut if self._registration.stands_back else self.settings, self._runtime())
            ask = partial(self.ask, channel="http")
            change = partial(self._crew.give, self._write_entry)
            self._doors.problems = self.problems  # one list: torch may come later, with problems of its own
            self._doors.open(registry, self._codecs, self._dispatcher.slots, ask, self._bell.at, change)

    def _heard(self, byte: int) -> None:
        if byte == SEATED:
            self._tie.look_soon()
        elif byte >= LOOK:
            self._files.look_soon()
        else:
            self._signals.heard(byte)

    def _register(self, wait_s: float) -> None:
        """Enters the roster. A directory that must not be used stops ``start()``; a slow one only delays it."""
        trouble = self._within(self._enter, wait_s)
        if isinstance(trouble, StoreError):
            raise trouble
        if trouble is not None and wait_s:
            self.problems.append(f"{self.layout.job_dir} is not usable now: {trouble}")
            self._bell.at(time.monotonic() + self.settings.poll_s, self._files.look_soon)

    def _enter(self) -> None:
        layout = self.layout
        atomic.make_tree(layout.root, layout.job_dir, layout.roster, layout.inbox, layout.dumps)
        self._watch.renew(layout.inbox)
        self._write_entry()
        self._files.look_soon()
        self._registration.sweep()

    def _write_entry(self) -> None:
        self._registration.write(self.identity, self.describe(), self.problems)

    def _stand(self) -> None:
        self.identity = self._dispatcher.identity = self._registration.role()

    def _note(self, problem: str) -> None:
        self.problems.append(problem)
        self._crew.give(self._write_entry)

    def _on_finish(self, ticket: Ticket, store: int | None) -> None:
        self._registration.was_asked = True
        self._files.finished()
        if store:
            self._home.expect(ticket.accepted.id, store - 1)

    def _tidy_soon(self) -> None:
        if self._tidy.due():
            self._crew.give(self._tidy.run)


_worker: Worker | None = None
_lock = threading.Lock()
_hooks = Latch()
_guard = ForkGuard()


def start(  # noqa: PLR0913 - the settings by name, for completion and type checkers
    dir: str | os.PathLike[str] | None = None,  # noqa: A002 - the name users know from the command line
    *,
    job: str | None = None,
    signals: Mapping[str, str | tuple[str, ...] | list[str]] | str | bool | None = None,
    share_signals: bool | None = None,
    format: str | None = None,  # noqa: A002 - as in a request
    timeout_s: float | None = None,
    grace_s: float | None = None,
    watch: str | None = None,
    poll_s: float | None = None,
    store_timeout_s: float | None = None,
    runtime_dir: str | os.PathLike[str] | None = None,
    fallback_dir: str | os.PathLike[str] | None = None,
    http: bool | str | None = None,
    http_token: str | None = None,
    torch_server: str | None = None,
    keep: int | None = None,
    keep_s: float | None = None,
    keep_bytes: int | None = None,
    sentinel: str | None = None,
    follow_fork: bool | None = None,
    durable: bool | None = None,
) -> Worker:
    """Arms this process: from now on it answers dropped request files and the request signal.

    Every argument that is left out comes from its ``OOBDUMP_*`` variable, else from its default; the
    reference lists them. Call it in the main thread, before other libraries start threads; elsewhere
    it works, but the signal channel stays off, and the returned worker's ``problems`` say so. A second
    call changes nothing and returns the running worker. Thread-safe.

    Raises ``ConfigError`` for a setting that makes no sense, ``ForeignDirectory`` if the dump directory
    belongs to somebody else.
    """
    global _worker  # noqa: PLW0603 - one worker per process is the design
    given = {name: value for name, value in locals().items() if name != "_worker"}
    _notice_fork()
    with _lock:
        if _worker is not None:
            return _worker
        chosen = settings(**given)
        check(chosen)
        codecs.load_all()
        problems = [*codecs.load_entry_points(), *registry.load_entry_points(), *handlers.load(registry)]
        made = Worker(chosen, own_identity(chosen.job))
        made.problems += problems
        try:
            made.open()
        except BaseException:
            made.close()
            raise
        if _hooks.trip():
            os.register_at_fork(before=_before_fork, after_in_parent=_guard.in_parent, after_in_child=_after_fork)
        atexit.register(_at_exit)
        _worker = made
    made.guest.warn(made.identity.rank)
    return made


def stop() -> None:
    """Disarms this process: handlers, masks, descriptors and threads are as ``start()`` found them.

    A handler that never returned keeps its thread. Does nothing if nothing was started. Raises
    ``StartError`` off the main thread while signals are armed: only the main thread can give them back.
    """
    global _worker  # noqa: PLW0603 - see start
    _notice_fork()
    with _lock:
        if _worker is None:
            return
        if _worker.signals and threading.current_thread() is not threading.main_thread():
            raise StartError("call oobdump.stop() in the main thread: only there can signal handlers be given back")
        _worker.close()
        atexit.unregister(_at_exit)
        _worker = None


def worker() -> Worker | None:
    """The running worker of this process, None before ``start()`` and after ``stop()``."""
    _notice_fork()
    return _worker


def dump(*names: str, format: str | None = None, timeout_s: float | None = None) -> str:  # noqa: A002 - as in a request
    """Runs handlers from inside and returns the directory of the committed dump.

    Without names: what the request signal asks for. Blocks until the dump is committed; every handler
    has ``timeout_s`` seconds. Raises ``StartError`` before ``start()``, ``Refused`` if too many requests
    wait, ``StoreError`` if no directory takes the dump. Thread-safe.
    """
    running = worker()
    if running is None:
        raise StartError("nothing is armed in this process: call oobdump.start() first")
    chosen = running.settings
    default = next(iter(chosen.signals.values()), ("stacks", "process"))
    calls = tuple(HandlerCall(name) for name in names or default)
    request = Request(calls, format or chosen.format, timeout_s=timeout_s or chosen.timeout_s)
    ticket = running.ask(request, "call")
    ticket.wait(request.timeout_s * len(calls) + 4 * chosen.store_timeout_s)
    if ticket.directory is None:
        raise StoreError(f"no directory took the dump: tried {running.layout.root} and the fallback directories")
    return ticket.directory


def _at_exit() -> None:
    if _worker is not None:
        _worker.leave()


def _before_fork() -> None:
    if _worker is not None:
        _guard.before(_worker.signals)


def _after_fork(*, follow: bool = True) -> None:
    """In a forked child: its own identity, bell and threads, or none."""
    global _worker, _lock  # noqa: PLW0603 - see start
    _lock = threading.Lock()
    _guard.in_child()
    forget_after_fork()
    parent, _worker = _worker, None
    if parent is None:
        return
    _worker = parent.in_forked_child(follow=follow)
    if _worker is not None:
        at_end_of_child(_worker, _at_exit)


def _notice_fork() -> None:
    """A fork in C runs no hook: a child that calls us after all is disarmed now.

    It is given no threads: CPython did not put its GIL in order either, and can hang when it changes hands.
    """
    if _worker is not None and _worker.identity.pid != os.getpid():
        _after_fork(follow=False)
