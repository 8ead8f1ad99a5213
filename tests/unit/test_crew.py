"""The answering threads: whatever becomes of a task, another thread takes the next one."""

from __future__ import annotations

import signal
import sys
import threading
import time

import pytest

from oobdump.crew import IDLE_THREADS, MAX_THREADS, STARVED_S, Crew
from oobdump.threads import thread_names

WITHIN_S = 10.0


@pytest.fixture
def crew():
    """A crew, stopped afterwards; its stuck tasks must be released by the test."""
    made = Crew()
    made.start()
    wait_for(lambda: made.members == IDLE_THREADS)
    yield made
    made.stop()
    wait_for(lambda: made.members == 0)


@pytest.fixture
def held():
    """A lock that stuck tasks wait for, released at the end whatever happened."""
    lock = threading.Lock()
    lock.acquire()
    yield lock
    if lock.locked():
        lock.release()


def wait_for(condition):
    """Until it holds; the deadline is the machine's trouble."""
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def soon(crew):
    """Whether a task that is given now runs."""
    done = threading.Event()
    crew.give(done.set)
    return done.wait(WITHIN_S)


def get_stuck(crew, held, count=1):
    """That many threads that wait for a lock that nobody releases."""
    inside = threading.Semaphore(0)

    def hang():
        inside.release()
        with held:
            pass

    for _ in range(count):
        crew.give(hang)
    for _ in range(count):
        assert inside.acquire(timeout=WITHIN_S)


def test_every_task_runs_once(crew):
    """In whatever thread; giving never waits."""
    ran = []
    for number in range(1000):
        crew.give(lambda number=number: ran.append(number))
    wait_for(lambda: len(ran) == 1000)
    assert sorted(ran) == list(range(1000))
    assert crew.queued == 0


def test_a_burst_leaves_few_threads(crew):
    """What was started for it goes again, one with each further task, until there are the next one and the spare."""
    threads, lock = set(), threading.Lock()

    def note():
        with lock:
            threads.add(threading.get_ident())

    for _ in range(200):
        crew.give(note)
    wait_for(lambda: soon(crew) and crew.members <= IDLE_THREADS + 1)
    assert len(threads) <= MAX_THREADS


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_a_task_raises_ends_no_thread(crew, error):
    """It is lost; the next task runs."""

    def fail():
        raise error

    for _ in range(5):
        crew.give(fail)
    assert soon(crew)
    assert crew.members >= IDLE_THREADS


@pytest.mark.parametrize("count", [1, 2, 3, MAX_THREADS - 1])
def test_stuck_tasks_hold_up_nobody(crew, held, count):
    """However many never come back, below the limit, one thread waits for the next task."""
    get_stuck(crew, held, count)
    assert soon(crew)
    assert soon(crew)
    assert crew.members > count


def test_there_is_a_limit(crew, held):
    """Threads that never come back stay; beyond so many tasks wait, and run when one comes back."""
    get_stuck(crew, held, MAX_THREADS)
    ran = threading.Event()
    crew.give(ran.set)
    crew.tick()
    assert crew.members == MAX_THREADS
    assert not ran.wait(0.05)
    assert crew.queued == 1
    held.release()
    assert ran.wait(WITHIN_S)


def test_after_a_jam_the_crew_shrinks(crew, held):
    """Threads that do come back are not kept for ever."""
    get_stuck(crew, held, 10)
    held.release()
    wait_for(lambda: soon(crew) and crew.members <= IDLE_THREADS + 1)


def test_a_queue_that_stands_still_gets_a_thread(crew):
    """The idle threads seem to wait, but were lost between two tasks: a look now and then mends it."""
    lost = {object(): True for _ in range(IDLE_THREADS)}
    crew.stop()
    wait_for(lambda: crew.members == 0)
    crew._stopping = False
    while crew.queued:
        crew._tasks.get()
    crew._members.update(lost)
    crew._waiting.update(lost)
    ran = threading.Event()
    crew.give(ran.set)
    crew._last_taken = time.monotonic() - 2 * STARVED_S
    crew.tick()
    assert ran.wait(WITHIN_S)
    for ghost in lost:
        crew._members.pop(ghost)
        crew._waiting.pop(ghost)


def test_signals_are_not_for_these_threads(crew):
    """Whatever blocks can be blocked: a handler of the program never runs here."""
    masks = []
    crew.give(lambda: masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, ())))
    wait_for(lambda: masks)
    assert {signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGRTMIN + 3} <= masks[0]
    assert signal.SIGSEGV not in masks[0]


def test_the_threads_have_names_of_ours(crew):
    """A stack of all threads can leave them out; ``threading`` does not know them."""
    idents = []
    crew.give(lambda: idents.append(threading.get_ident()))
    wait_for(lambda: idents)
    assert thread_names[idents[0]] == "oobdump answer"
    assert idents[0] not in {thread.ident for thread in threading.enumerate()}


def test_stop_ends_idle_threads_and_waits(held):
    """After ``stop()`` none of the idle ones is left; a stuck one stays until it comes back."""
    crew = Crew()
    crew.start()
    get_stuck(crew, held)
    crew.stop(wait_s=0.2)
    wait_for(lambda: crew.members == 1)
    held.release()
    wait_for(lambda: crew.members == 0)
    assert not [ident for ident, name in thread_names.items() if name == "oobdump answer" and is_running(ident)]


def is_running(ident):
    """Whether that thread has a frame."""
    return ident in sys._current_frames()


def test_a_stopped_crew_starts_no_thread(held):
    """Tasks that come too late are not run, and nothing is started for them."""
    crew = Crew()
    crew.start()
    crew.stop()
    ran = threading.Event()
    crew.give(ran.set)
    crew.tick()
    assert not ran.wait(0.05)
    assert crew.members == 0
