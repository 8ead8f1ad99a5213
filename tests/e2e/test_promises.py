"""DESIGN's promises on real processes: what an answer must not need, and what it must not leave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support import dumps, programs
from support.programs import SOURCES

HANDLERS = ["ping", "stacks", "dump_traceback", "process", "environment", "memory", "asyncio_tasks", "handlers"]


@pytest.mark.parametrize("form", ["json", "msgpack", "pickle"])
def test_an_answer_imports_logs_prints_and_resolves_nothing(form: str, tmp_path: Path) -> None:
    """With every such call broken, each built-in handler answers in each format, by file and by signal."""
    env = {"OOBDUMP_SIGNALS": f"SIGUSR1={','.join(HANDLERS)}", "OOBDUMP_FORMAT": form}
    with programs.running("no_imports", tmp_path, env=env) as program:
        dumps.wait_for_roster(program.job_dir, program.pids)
        dumps.drop_json(program.job_dir, "all", handlers=HANDLERS, format=form)
        by_file = dumps.wait_for_dumps(program.job_dir)[0]
        os.kill(program.pids[0], signal.SIGUSR1)
        by_signal = dumps.wait_for_dumps(program.job_dir, 2)[-1]
        for dump in (by_file, by_signal):
            assert {part["handler"]: part["error"] for part in dump.manifest["parts"]} == dict.fromkeys(HANDLERS)
        tried = program.handler_file.read_text() if program.handler_file.exists() else ""
        assert tried == ""


def test_without_sockets_files_and_signals_answer(tmp_path: Path) -> None:
    """With ``socket()`` forbidden ``start()`` succeeds and says what is missing; files and signals answer."""
    with programs.running("no_sockets", tmp_path) as program:
        entry = next(iter(dumps.wait_for_roster(program.job_dir, program.pids).values()))
        (problem,) = entry["problems"]
        assert problem.startswith("no HTTP: ")
        assert "Operation not permitted" in problem
        assert "Operation not permitted" in entry["channels"]["http"]["off"]
        assert entry["channels"]["signal"]["armed"] == ["SIGUSR1"]
        dumps.ask(program.job_dir)
        os.kill(program.pids[0], signal.SIGUSR1)
        dumps.wait_for_dumps(program.job_dir, 2)


def run(code: str, tmp_path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """A short program of its own, with its dumps under ``tmp_path``."""
    ours = {"PYTHONPATH": str(SOURCES), "OOBDUMP_DIR": str(tmp_path / "root"), "OOBDUMP_JOB": "job"}
    environ = {**os.environ, **ours, "OOBDUMP_RUNTIME_DIR": str(tmp_path / "run"), **env}
    return subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=60, check=False
    )


RESTORED = """
import os, signal, sys, threading, time
import oobdump
from oobdump import linux

def files(top):
    return sorted(os.path.join(at, name) for at, _, names in os.walk(top) for name in names)

def link(number):
    path = f"/proc/self/fd/{number}"
    return os.readlink(path) if os.path.exists(path) else ""

def state():
    fd = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd)
    return {
        "handlers": [signal.getsignal(s) for s in sorted(signal.valid_signals())],
        "actions": [linux.sigaction_get(s)[:8] for s in sorted(signal.valid_signals()) if s not in (32, 33)],
        "mask": signal.pthread_sigmask(signal.SIG_BLOCK, []),
        "wake-up descriptor": fd,
        "threads": len(os.listdir("/proc/self/task")),
        "descriptors": sorted((n, link(n)) for n in os.listdir("/proc/self/fd") if link(n)),
        "runtime files": files(os.environ["OOBDUMP_RUNTIME_DIR"]),
        "python threads": threading.active_count(),
    }

BEFORE_START
before = state()
for _ in range(3):
    oobdump.start()
    assert state() != before
    oobdump.dump("ping", "stacks")
    oobdump.stop()
    deadline = time.monotonic() + 30  # a sentinel that leaves takes its lock away
    while (after := state()) != before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert after == before, {key: (before[key], after[key]) for key in before if before[key] != after[key]}
print("restored")
"""


@pytest.mark.parametrize(
    "before",
    [
        "",
        "signal.signal(signal.SIGUSR1, lambda *_: None)",
        "signal.signal(signal.SIGUSR1, signal.SIG_IGN)",
        "import faulthandler; faulthandler.register(signal.SIGUSR1, file=sys.stderr)",
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])",
        "import socket; a, b = socket.socketpair(); b.setblocking(False); signal.set_wakeup_fd(b.fileno())",
    ],
    ids=["nothing", "a handler", "ignored", "faulthandler", "blocked", "wake-up descriptor"],
)
def test_stop_leaves_the_process_as_start_found_it(before: str, tmp_path: Path) -> None:
    """Handlers (C ones too), masks, wake-up descriptor, threads, descriptors, runtime files: after three rounds too."""
    done = run(RESTORED.replace("BEFORE_START", before), tmp_path)
    assert done.stdout == "restored\n", done.stderr


def test_the_handler_that_was_there_before_is_called_too(tmp_path: Path) -> None:
    """A signal is answered and passed on: to a Python handler, once."""
    code = """
import os, signal, time, glob
seen = []
signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
import oobdump
worker = oobdump.start(share_signals=True)
os.kill(os.getpid(), signal.SIGUSR1)
deadline = time.monotonic() + 10
while not (seen and glob.glob(worker.layout.dumps + "/*/*/manifest.json")) and time.monotonic() < deadline:
    time.sleep(0.01)
time.sleep(0.3)
print(seen == [signal.SIGUSR1], len(glob.glob(worker.layout.dumps + "/*/*/manifest.json")))
"""
    assert run(code, tmp_path).stdout == "True 1\n"


def test_the_c_handler_that_was_there_before_is_called_too(tmp_path: Path) -> None:
    """``faulthandler.register`` by the user, before us: its traceback still comes, beside our dump."""
    code = """
import os, signal, time, glob, faulthandler, sys
faulthandler.register(signal.SIGUSR1, file=sys.stderr, all_threads=False)
import oobdump
worker = oobdump.start(share_signals=True)
os.kill(os.getpid(), signal.SIGUSR1)
deadline = time.monotonic() + 10
while not glob.glob(worker.layout.dumps + "/*/*/manifest.json") and time.monotonic() < deadline:
    time.sleep(0.01)
time.sleep(0.3)
print(len(glob.glob(worker.layout.dumps + "/*/*/manifest.json")))
"""
    done = run(code, tmp_path)
    assert (done.stdout, done.stderr.count("most recent call first")) == ("1\n", 1), done.stderr


@pytest.mark.parametrize("later", ["signal.SIG_DFL", "signal.SIG_IGN"])
def test_a_signal_that_somebody_reset_kills_nobody(later: str, tmp_path: Path) -> None:
    """Code that resets all handlers (a library's teardown) leaves the signal to nobody: it is still answered."""
    code = f"""
import os, signal, time, glob, oobdump
worker = oobdump.start()
signal.signal(signal.SIGUSR1, {later})
os.kill(os.getpid(), signal.SIGUSR1)
deadline = time.monotonic() + 10
while not glob.glob(worker.layout.dumps + "/*/*/manifest.json") and time.monotonic() < deadline:
    time.sleep(0.01)
print(len(glob.glob(worker.layout.dumps + "/*/*/manifest.json")))
"""
    done = run(code, tmp_path)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_start_off_the_main_thread_says_that_signals_are_off(tmp_path: Path) -> None:
    """Files are answered; the signal's disposition is not touched, and the roster says why."""
    code = """
import json, os, signal, threading, oobdump
made = []
thread = threading.Thread(target=lambda: made.append(oobdump.start()))
thread.start(); thread.join()
worker = made[0]
assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
oobdump.dump("ping")
entry = json.load(open(worker.layout.entry(worker.name)))
print(entry["channels"]["signal"]["off"]); print(entry["problems"])
"""
    done = run(code, tmp_path)
    assert done.stdout.startswith("signals are off: "), done.stderr
    assert "main thread" in done.stdout


def test_start_in_a_subinterpreter_says_that_signals_are_off(tmp_path: Path) -> None:
    """There too: answered or said, never half-working."""
    code = """
import importlib, os
for name in ("_interpreters", "_xxsubinterpreters"):
    try:
        interpreters = importlib.import_module(name); break
    except ImportError: pass
try:
    made = interpreters.create("legacy")
except (TypeError, ValueError):
    made = interpreters.create(isolated=False)
path = os.environ["OOBDUMP_DIR"] + ".said"
code = f'''
import oobdump, os
worker = oobdump.start()
oobdump.dump("stacks")
with open({path!r}, "w") as file: file.write(" ".join(worker.problems))
oobdump.stop()
'''
failed = interpreters.run_string(made, code)
print(failed or open(path).read())
"""
    done = run(code, tmp_path)
    assert done.stdout.startswith("signals are off: "), done.stdout + done.stderr


def test_importing_starts_nothing(tmp_path: Path) -> None:
    """No thread, no descriptor, no handler, no file; neither torch nor a report library."""
    code = """
import os, signal, sys
before = (len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd")), signal.getsignal(signal.SIGUSR1))
import oobdump
after = (len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd")), signal.getsignal(signal.SIGUSR1))
heavy = {"torch", "click", "rich", "jinja2", "logging", "asyncio"}
print(before == after, sorted(heavy & set(sys.modules)), os.path.exists(os.environ["OOBDUMP_DIR"]))
"""
    done = run(code, tmp_path)
    assert done.stdout == "True [] False\n", done.stdout + done.stderr


def test_a_squatted_directory_stops_start(tmp_path: Path) -> None:
    """A job directory that somebody else made first is not used: the error says whose it is and what to do."""
    squatted = tmp_path / "root" / "job"
    squatted.mkdir(parents=True)
    os.chown(squatted, 12345, 12345)
    done = run("import oobdump; oobdump.start()", tmp_path)
    assert done.returncode == 1
    assert "ForeignDirectory" in done.stderr
    assert "12345" in done.stderr
    assert "OOBDUMP_DIR" in done.stderr
