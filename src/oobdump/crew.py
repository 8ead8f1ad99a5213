"""The answering threads: a few of ours, one of them always idle.

In: tasks. Out: nothing; a task runs soon, on some thread. The rule only this module keeps:
no thread is irreplaceable. A task may never come back (a hung file system, a handler, a
garbage collection that runs a user's ``__del__``), so a thread that goes to work first sees
to it that another one waits, and no lock of ours is held meanwhile. The queue is a
``SimpleQueue``, whose lock no Python code runs under.
"""

from __future__ import annotations

import _thread
import time
from collections.abc import Callable
from queue import SimpleQueue

from oobdump.threads import start_thread

__all__ = ["MAX_THREADS", "Crew"]

MAX_THREADS = 16
"""Threads that never come back stay; beyond so many only a sentinel can answer."""

IDLE_THREADS = 2
"""At rest: one for the next task, and the spare."""

STARVED_S = 0.2
"""A task that nobody took for this long wants another thread, whatever the idle ones seem to do."""

_Task = Callable[[], object]


class Crew:
    """Runs tasks. Thread-safe without locks; ``give`` never blocks."""

    def __init__(self) -> None:
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._members: dict[object, bool] = {}
        self._waiting: dict[object, bool] = {}
        self._last_taken = time.monotonic()
        self._stopping = False

    def start(self) -> None:
        """Starts the first threads."""
        for _ in range(IDLE_THREADS):
            self._add()

    def stop(self, wait_s: float = 1.0) -> None:
        """Lets every thread end as soon as it is idle, and waits for that. A stuck one stays: nothing can end it."""
        self._stopping = True
        for _ in range(len(self._members)):
            self._tasks.put(None)
        deadline = time.monotonic() + wait_s
        while self._members and time.monotonic() < deadline:
            time.sleep(0.001)

    def give(self, task: _Task) -> None:
        """Runs ``task`` soon; what it raises is lost, so it must not."""
        self._tasks.put(task)

    def within(self, task: _Task, wait_s: float) -> Exception | None:
        """Runs ``task`` here and waits; what it raised, or a ``TimeoutError`` if it is not done in time."""
        done = _thread.allocate_lock()
        done.acquire()
        raised: list[Exception] = []

        def run() -> None:
            try:
                task()
            except Exception as error:  # noqa: BLE001 - handed to whoever waits
                raised.append(error)
            finally:
                done.release()

        self.give(run)
        if not done.acquire(timeout=wait_s):
            return TimeoutError(f"no answer within {wait_s:g} s")
        return raised[0] if raised else None

    @property
    def queued(self) -> int:
        """Tasks that no thread has taken yet."""
        return self._tasks.qsize()

    @property
    def members(self) -> int:
        """Threads that run, stuck ones included."""
        return len(self._members)

    def tick(self) -> None:
        """Called now and then while anything is under way: a queue that stands still gets a new thread."""
        if self._tasks.qsize() and time.monotonic() - self._last_taken > STARVED_S:
            self._last_taken = time.monotonic()
            self._add()

    def _add(self) -> None:
        if len(self._members) < MAX_THREADS and not self._stopping:
            start_thread("oobdump answer", self._loop)

    def _loop(self) -> None:
        me = object()  # not the thread's ident: the system gives that to the next thread
        self._members[me] = True
        try:
            while not self._stopping:
                self._waiting[me] = True
                task = self._tasks.get()
                self._waiting.pop(me, None)
                self._last_taken = time.monotonic()
                if task is None:
                    break
                if not self._waiting:
                    self._add()
                _run(task)
                if len(self._waiting) >= IDLE_THREADS:
                    break
        finally:
            self._members.pop(me, None)
            self._waiting.pop(me, None)


def _run(task: _Task) -> None:
    try:
        task()
    except BaseException:  # noqa: BLE001, S110 - a handler may raise SystemExit; whoever waits has a deadline
        pass
