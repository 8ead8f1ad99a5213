"""Forks, by hook and without: the child is a worker of its own or none, and nothing of its parent's is touched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.programs import SOURCES

COMMON = """
import ctypes, glob, json, os, signal, sys, threading, time
import oobdump, oobdump.errors
BELLS = os.environ["OOBDUMP_RUNTIME_DIR"] + "/job"
def bells(): return sorted(name for name in os.listdir(BELLS) if name.endswith(".fifo"))
def links():
    there = []
    for number in os.listdir("/proc/self/fd"):
        try: there.append(os.readlink("/proc/self/fd/" + number))
        except OSError: pass
    return there
def wakeup():
    fd = signal.set_wakeup_fd(-1); signal.set_wakeup_fd(fd); return fd
def until(check):
    deadline = time.monotonic() + 30
    while not check() and time.monotonic() < deadline: time.sleep(0.01)
    return bool(check())
def switches():
    found = []
    for name in glob.glob("/proc/self/task/*/status"):
        if name.split("/")[4] == str(os.getpid()): continue
        try: found += [line for line in open(name) if "ctxt_switches" in line]
        except OSError: pass
    return found
def quiet():
    def still(): before = switches(); time.sleep(0.3); return switches() == before
    until(still)
def collect(pid): return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
def child(*facts):
    print(*facts, flush=True); os._exit(0)
"""


def run(code: str, tmp_path: Path, **env: str) -> list[str]:
    """What a program of its own said, once it is seen to have ended well."""
    ours = {"PYTHONPATH": str(SOURCES), "OOBDUMP_DIR": str(tmp_path / "root"), "OOBDUMP_JOB": "job"}
    environ = {**os.environ, **ours, "OOBDUMP_RUNTIME_DIR": str(tmp_path / "run"), **env}
    words = [sys.executable, "-c", COMMON + code]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.splitlines()


def test_a_disarmed_child_holds_nothing_and_dies_of_nothing(tmp_path: Path) -> None:
    """With ``follow_fork`` off: no bell, no descriptor, no thread, no mask; a request signal is ignored."""
    code = """
worker = oobdump.start(follow_fork=False)
pid = os.fork()
if pid == 0:
    os.kill(os.getpid(), signal.SIGUSR1)
    words = ("oobdump", "signalfd", "inotify", "socket")
    ours = [link for link in links() if any(word in link for word in words)]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    child(ours, len(os.listdir("/proc/self/task")), wakeup(), set(mask), signal.getsignal(signal.SIGUSR1).name)
print(collect(pid), len(bells()), os.path.basename(oobdump.dump("ping")) == worker.name)
"""
    assert run(code, tmp_path) == ["[] 1 -1 set() SIG_IGN", "0 1 True"]


def test_a_disarmed_child_has_the_handler_that_was_there_before(tmp_path: Path) -> None:
    """What the program had installed itself before ``start()`` works in the child as if we had never been."""
    code = """
seen = []
def mine(number, frame): seen.append(number)
signal.signal(signal.SIGUSR1, mine)
oobdump.start(follow_fork=False, share_signals=True)
pid = os.fork()
if pid == 0:
    os.kill(os.getpid(), signal.SIGUSR1)
    child(until(lambda: seen), signal.getsignal(signal.SIGUSR1) is mine)
print(collect(pid))
"""
    assert run(code, tmp_path) == ["True True", "0"]


def test_a_child_of_a_fork_in_c_is_disarmed_when_it_calls_us(tmp_path: Path) -> None:
    """No hook ran: the first call notices, and lets go of what is the parent's, who keeps it.

    It gets no threads: CPython's GIL is copied as it was, with whoever waited for it, and may hang when it changes
    hands. (For the same reason the test forks when no other thread runs.)
    """
    code = """
worker = oobdump.start()
until(lambda: os.path.exists(worker.layout.entry(worker.name)))
quiet()
pid = ctypes.PyDLL(None).fork()
if pid == 0:
    try: oobdump.dump("ping")
    except oobdump.errors.StartError as error: refused = "not armed" in str(error) or "nothing is armed" in str(error)
    words = ("oobdump", "signalfd", "inotify", "socket")
    ours = [link for link in links() if any(word in link for word in words)]
    child(refused, ours, len(os.listdir("/proc/self/task")), bells() == [f"{worker.name}.fifo"])
print(collect(pid), os.path.basename(oobdump.dump("ping")) == worker.name, bells() == [f"{worker.name}.fifo"])
"""
    assert run(code, tmp_path) == ["True [] 1 True", "0 True True"]


def test_a_child_of_a_fork_in_c_that_calls_nothing_harms_nothing(tmp_path: Path) -> None:
    """It ends with Python's exit hooks: the parent's bell, entry and sockets stay."""
    code = """
worker = oobdump.start()
quiet()
pid = ctypes.PyDLL(None).fork()
if pid == 0:
    os.kill(os.getpid(), signal.SIGUSR1)
    sys.exit(0)
entry = lambda: json.load(open(worker.layout.entry(worker.name)))
print(collect(pid), entry()["ended"], bells() == [f"{worker.name}.fifo"])
print(len(glob.glob(worker.layout.dumps + "/*")), os.path.basename(oobdump.dump("ping")) == worker.name)
"""
    assert run(code, tmp_path) == ["0 None True", "0 True"]


def test_a_thread_from_before_start_forks_and_its_child_never_rings_the_parent(tmp_path: Path) -> None:
    """That thread has the signal open; its children are signalled from their first instant."""
    code = """
go, done = threading.Event(), threading.Event()
pids, statuses = [], []
def fork_many():
    go.wait()
    for _ in range(40):
        pid = os.fork()
        if pid == 0:
            time.sleep(0.02); os._exit(0)
        pids.append(pid)
        statuses.append(collect(pid))
    done.set()
thread = threading.Thread(target=fork_many)
thread.start()
worker = oobdump.start()
go.set()
sent = 0
while not done.is_set():
    try: children = open(f"/proc/self/task/{thread.native_id}/children").read().split()
    except FileNotFoundError: break  # the thread has ended meanwhile
    for pid in map(int, children):
        try: os.kill(pid, signal.SIGUSR1); sent += 1
        except ProcessLookupError: pass
thread.join()
masks = signal.pthread_sigmask(signal.SIG_BLOCK, [])
oobdump.dump("ping")
mine = [path for path in glob.glob(worker.layout.dumps + "/*/" + worker.name)]
print(set(statuses), len(statuses), sent > 40, len(mine))
"""
    assert run(code, tmp_path) == ["{0} 40 True 1"]


@pytest.mark.parametrize("who", ["main", "a thread from before"])
def test_the_mask_after_a_fork_is_the_mask_before_it(who: str, tmp_path: Path) -> None:
    """In the parent, in whichever thread forks."""
    code = f"""
def masks_around():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    pid = os.fork()
    if pid == 0: os._exit(0)
    collect(pid)
    print(before == signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.SIGUSR1 in before)
go = threading.Event()
thread = threading.Thread(target=lambda: (go.wait(), masks_around()))
thread.start()
oobdump.start()
if {who!r} == "main": masks_around()
go.set(); thread.join()
"""
    assert run(code, tmp_path)[0 if who == "main" else -1] == ("True True" if who == "main" else "True False")


def test_a_child_of_multiprocessing_says_good_bye(tmp_path: Path) -> None:
    """It ends without Python's exit hooks; asked before, its end is in the roster, and its bell is gone."""
    code = """
import multiprocessing
worker = oobdump.start()
def work(queue):
    queue.put(os.path.basename(oobdump.dump("ping")))
if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=work, args=(queue,))
    process.start(); name = queue.get(); process.join()
    entry = json.load(open(f"{worker.layout.roster}/{name}.json"))
    print(process.exitcode, entry["role"], entry["ended"]["how"], bells() == [f"{worker.name}.fifo"])
"""
    assert run(code, tmp_path) == ["0 child exiting True"]
