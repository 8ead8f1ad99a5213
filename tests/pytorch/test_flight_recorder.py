"""The flight recorder through every way of asking, on real ranks under torchrun, and its parameters."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oobdump import codecs
from oobdump.handlers import load
from oobdump.registry import Registry
from oobdump.request import HandlerCall
from oobdump.response import Part
from oobdump.runner import run_call
from support import dumps, programs
from support.programs import Running

PICKLE, JSON = "dump_nccl_trace_pickle", "dump_nccl_trace_json"
OF_TORCH = ["cuda_memory", PICKLE, JSON, "fr_trace_json", "torch_profile", "wait_counter_values"]


class Refusing(pickle.Unpickler):
    """Loads builtins only: whatever wants a global is refused."""

    def find_class(self, module: str, name: str) -> Any:
        """The refusal."""
        raise AssertionError(f"the pickle wants {module}.{name}")


def ask(name: str, **params: str) -> Part:
    """One call of a built-in handler in this process."""
    registry = Registry()
    assert load(registry) == []
    return run_call(registry.get(name), HandlerCall(name, params), b"", codecs.get("json"))


# -- parameters: PyTorch's texts, with and without torch -------------------------------------------------------------


@pytest.mark.parametrize("name", [PICKLE, JSON])
@pytest.mark.parametrize("value", ["True", "1", "notabool", "", " true"])
@pytest.mark.parametrize("key", ["includecollectives", "onlyactive"])
def test_a_value_is_exactly_true_or_false(name: str, key: str, value: str) -> None:
    """Any other text is 400 with PyTorch's words, whatever else is wrong with the request."""
    part = ask(name, **{key: value, "unknown": "true"})
    assert (part.code, part.media_type) == (400, "text/plain")
    assert part.body == f"Invalid value for {key} valid values are true or false".encode()


@pytest.mark.parametrize(
    ("name", "key"),
    [(PICKLE, "includeCollectives"), (PICKLE, "unknown"), (JSON, "unknown"), (JSON, "includestacktraces")],
)
def test_an_unknown_parameter_is_refused(name: str, key: str) -> None:
    """Another name, another case, and stack traces in JSON are 400 with PyTorch's words."""
    part = ask(name, **{key: "true"})
    assert part.code == 400
    assert part.body == b"Invalid parameters - unexpected param passed in"


WITHOUT = """
import sys
sys.path.insert(0, {tests!r})
from oobdump import codecs, handlers
from oobdump.registry import Registry
from oobdump.request import HandlerCall
from oobdump.runner import run_call
registry = Registry()
handlers.load(registry)
for name in {names!r}:
    part = run_call(registry.get(name), HandlerCall(name), b"", codecs.get("json"))
    assert (part.status, part.code) == ("error", 501), part
    assert bytes(part.body).decode() == f"Handler {{name}} failed: torch is not loaded in this process"
assert not [name for name in sys.modules if name.split(".")[0] == "torch"]
"""


def test_without_torch_each_says_so(tmp_path: Path) -> None:
    """In a process without torch each of these handlers is 501 with the reason, and none imports it."""
    script = WITHOUT.format(tests=str(tmp_path), names=OF_TORCH)
    done = subprocess.run([sys.executable, "-c", script], env=programs.client_environment(), check=False)
    assert done.returncode == 0


# -- on two ranks, one of which never enters the second collective ----------------------------------------------------


def touch(program: Running, name: str) -> list[dumps.Dump]:
    """`touch requests/NAME`."""
    return dumps.ask(program.job_dir, name, pids=program.pids, within_s=60)


def request(program: Running, name: str) -> list[dumps.Dump]:
    """`oobdump request NAME`."""
    command = [*programs.OOBDUMP, "request", name, "--dir", str(program.root), "--json"]
    done = subprocess.run(command, env=programs.client_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return dumps.committed(program.job_dir, json.loads(done.stdout)["request_id"])


def kill(program: Running, name: str) -> list[dumps.Dump]:
    """`kill -N` to each rank, with the signal that ``OOBDUMP_SIGNALS`` gives to that handler."""
    before = len(dumps.committed(program.job_dir))
    for pid in program.pids:
        os.kill(pid, SIGNALS[name])
    return dumps.wait_for_dumps(program.job_dir, before + len(program.pids), within_s=60)[before:]


def post(program: Running, name: str) -> list[dumps.Dump]:
    """`oobdump request --via http NAME`."""
    before = set(dumps.request_ids(program.job_dir))
    command = [*programs.OOBDUMP, "request", name, "--via", "http", "--dir", str(program.root), "--timeout", "60"]
    done = subprocess.run(command, env=programs.client_environment(), capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    new = set(dumps.request_ids(program.job_dir)) - before
    return sorted((dumps.committed(program.job_dir, one)[0] for one in new), key=lambda dump: dump.worker)


NAMES = [*OF_TORCH, "pyspy_dump"]
SIGNALS = {name: signal.SIGRTMIN + 3 + nth for nth, name in enumerate(NAMES)}
OF_SIGNALS = ";".join(f"SIGRTMIN+{number - signal.SIGRTMIN}={name}" for name, number in SIGNALS.items())
HANG = {"ODD_RANK": "1", "OOBDUMP_SIGNALS": OF_SIGNALS, "OOBDUMP_TIMEOUT_S": "60"}


@pytest.mark.torch
@pytest.mark.parametrize("way", [touch, request, kill, post])
def test_a_hung_job_leaves_pickles(way: Callable[[Running, str], list[dumps.Dump]], tmp_path: Path) -> None:
    """Each way of asking leaves, for each rank, a ``.pkl`` of builtins only, as PyTorch's recorder made it."""
    with programs.running("gloo_all_reduce", tmp_path, env=HANG) as program:
        dumps.wait_for_roster(program.job_dir, program.pids)
        found = way(program, PICKLE)
        by_pid = {pid: rank for rank, pid in program.ranks.items()}
        entered = {}
        for dump in found:
            record = dump.record(PICKLE)
            assert (record["status"], record["code"], record["path"]) == ("ok", 200, f"{PICKLE}.pkl")
            assert record["media_type"] == "application/octet-stream"
            trace = Refusing(io.BytesIO(dump.content(PICKLE))).load()
            assert trace["version"]
            assert trace["entries"][0]["frames"]
            entered[by_pid[dump.pid]] = [entry["profiling_name"] for entry in trace["entries"]]
        assert sorted(entered) == [0, 1]
        assert len(entered[0]) == len(entered[1]) + 1, "rank 1 never entered the second collective"
        assert program.popen.poll() is None


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize("way", [touch, kill, post])
def test_each_handler_of_torch_answers_through_each_channel(
    way: Callable[[Running, str], list[dumps.Dump]], tmp_path: Path
) -> None:
    """Request file, signal and HTTP: the same part of each rank. A CPU build's allocator says that it has none."""
    with programs.running("gloo_all_reduce", tmp_path, env=HANG) as program:
        dumps.wait_for_roster(program.job_dir, program.pids)
        for name in NAMES:
            found = way(program, name)
            assert sorted(dump.pid for dump in found) == sorted(program.pids), name
            for dump in found:
                record = dump.record(name)
                assert (record["status"], record["code"]) == ("ok", 200), record
                content = dump.content(name)
                assert content
                if name == "cuda_memory":
                    assert b"without CUDA" in content, content
        assert program.popen.poll() is None


@pytest.mark.torch
def test_pytorchs_own_tool_reads_them(tmp_path: Path) -> None:
    """torchfrtrace's loader reads the parts as they are; the tool itself, too, unless it trips over Gloo's groups."""
    with programs.running("gloo_all_reduce", tmp_path, env=HANG) as program:
        found = touch(program, PICKLE)
        by_pid = {pid: rank for rank, pid in program.ranks.items()}
        traces = tmp_path / "traces"
        traces.mkdir()
        for dump in found:
            shutil.copy(dump.directory / f"{PICKLE}.pkl", traces / f"trace_{by_pid[dump.pid]}")
    script = (
        "import sys\n"
        "from torch.distributed.flight_recorder.components.loader import read_dir\n"
        "from torch.distributed.flight_recorder.components.config_manager import JobConfig\n"
        "details, version = read_dir(JobConfig().parse_args([sys.argv[1], '-p', 'trace_']))\n"
        "assert sorted(details) == ['trace_0', 'trace_1'] and version, details.keys()\n"
        "assert len(details['trace_0']['entries']) == len(details['trace_1']['entries']) + 1\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(traces)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    tool = [sys.executable, "-m", "torch.distributed.flight_recorder.fr_trace", str(traces), "-p", "trace_"]
    done = subprocess.run(tool, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or "KeyError: ('0', 0)" in done.stderr, done.stderr


@pytest.mark.torch
def test_parameters_reach_the_recorder(tmp_path: Path) -> None:
    """Stacks and collectives are left out when asked; JSON has what the pickle has; the others answer as well."""
    calls = [
        {"name": PICKLE, "params": {"includestacktraces": "false"}},
        {"name": PICKLE, "params": {"includecollectives": "false"}},
        {"name": JSON},
        {"name": JSON, "params": {"onlyactive": "yes"}},
        "fr_trace_json",
        "wait_counter_values",
        "cuda_memory",
    ]
    with programs.running("gloo_all_reduce", tmp_path, env=HANG) as program:
        dumps.wait_for_roster(program.job_dir, program.pids)
        dumps.drop_json(program.job_dir, "all", handlers=calls, targets=["0"])
        dump = dumps.wait_for_dumps(program.job_dir, within_s=60)[0]
    parts = [
        (part["code"], part["path"] and (dump.directory / part["path"]).read_bytes()) for part in dump.manifest["parts"]
    ]
    assert [code for code, _ in parts] == [200, 200, 200, 400, 200, 200, 200]
    no_stacks, no_collectives = (Refusing(io.BytesIO(content)).load() for _, content in parts[:2])
    assert no_stacks["entries"]
    assert not any(entry.get("frames") for entry in no_stacks["entries"])
    assert not no_collectives.get("entries")
    names = [entry["profiling_name"] for entry in json.loads(parts[2][1])["entries"]]
    assert names == [entry["profiling_name"] for entry in no_stacks["entries"]]
    assert json.loads(parts[4][1])["version"] == no_stacks["version"]
    assert "pytorch.wait_counter.FlightRecorder__dump" in json.loads(parts[5][1])
    assert "without CUDA" in json.loads(parts[6][1])["note"]


SHIELDED = """
import sys, threading, time
from oobdump import codecs, handlers
from oobdump.handlers.torch_lazy import shielded
from oobdump.registry import Registry
from oobdump.request import HandlerCall
from oobdump.runner import run_call
codecs.load_all()
registry = Registry()
handlers.load(registry)
import torch, torch.distributed as dist
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
dist.all_reduce(torch.ones(2))
names, modules = dict(vars(torch)), set(sys.modules)
part = run_call(registry.get("dump_nccl_trace_pickle"), HandlerCall("x"), b"", codecs.get("json"))
assert part.status == "ok" and b"frames" in bytes(part.body) and b"<string>" in bytes(part.body)
assert set(sys.modules) == modules, set(sys.modules) - modules
assert dict(vars(torch)) == names
inside = []
with shielded():
    assert not hasattr(torch._inductor, "config"), "this thread is shielded"
    thread = threading.Thread(target=lambda: inside.append(torch._inductor.config))
    thread.start()
    thread.join()
assert inside == [sys.modules["torch._inductor.config"]], "another thread is not"
assert torch._inductor is sys.modules["torch._inductor"]
with shielded():
    assert torch._inductor is sys.modules["torch._inductor"]
"""


NO_LOCKS = (
    SHIELDED.partition("names, modules")[0]
    + """
import builtins
ours, imported = builtins.__import__, []
def note(name, *rest, **more):
    imported.append(name)
    return ours(name, *rest, **more)
for name, params in {"torch_profile": {"duration": "0.1"}, **dict.fromkeys(sys.argv[1:], {})}.items():
    builtins.__import__ = note
    with threading._active_limbo_lock:
        part = run_call(registry.get(name), HandlerCall(name, params), b"", codecs.get("json"))
    builtins.__import__ = ours
    assert part.status == "ok", part
assert {*imported} <= {"torch"}, imported
"""
)


@pytest.mark.torch
def test_no_handler_imports_or_takes_the_lock_of_threading() -> None:
    """Each answers while ``threading``'s lock is held and asks for no module (PyTorch's C++ for torch itself)."""
    others = [name for name in OF_TORCH if name != "torch_profile"]
    command = [sys.executable, "-c", NO_LOCKS, *others]
    done = subprocess.run(
        command, env=programs.client_environment(), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.torch
def test_nothing_is_imported_for_stack_traces() -> None:
    """PyTorch's symboliser would import torch._inductor: it does not here; another thread that wants it gets it."""
    command = [sys.executable, "-c", SHIELDED]
    done = subprocess.run(command, env=programs.client_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# -- PyTorch's profiler ------------------------------------------------------------------------------------------------

PROFILE = """
import json, sys, threading, time
from oobdump import codecs, handlers
from oobdump.registry import Registry
from oobdump.request import HandlerCall
from oobdump.runner import run_call
registry = Registry()
handlers.load(registry)
codecs.load_all()
import torch
def ask(**params):
    return run_call(registry.get("torch_profile"), HandlerCall("torch_profile", params), b"", codecs.get("json"))
class NoImports:
    def find_spec(self, name, path=None, target=None):
        raise AssertionError(f"imports {name} while answering")
"""


def profile(script: str) -> None:
    """Runs a script after ``PROFILE``."""
    command = [sys.executable, "-c", PROFILE + script]
    done = subprocess.run(command, env=programs.client_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.torch
def test_a_profile_shows_what_other_threads_compute() -> None:
    """The trace has the operators of a thread that was running already; nothing is imported for it."""
    script = """
stop = threading.Event()
def work():
    numbers = torch.ones(64, 64)
    while not stop.wait(0.001):
        numbers @ numbers
thread = threading.Thread(target=work, daemon=True)
thread.start()
sys.meta_path.insert(0, NoImports())
part = ask(duration="0.3")
assert (part.status, part.media_type) == ("ok", "application/json"), part
del sys.meta_path[0]
assert "aten::matmul" in {event.get("name") for event in json.loads(bytes(part.body))["traceEvents"]}
assert ask(duration="0").code == ask(duration="x").code == ask(duration="nan").code == ask(cuda="yes").code == 400
stop.set()
thread.join()
"""
    profile(script)


@pytest.mark.torch
def test_the_programs_own_profiler_is_left_alone() -> None:
    """While the program profiles, ``torch_profile`` is refused (409), and the program's profile is whole."""
    script = """
with torch.autograd.profiler.profile() as found:
    torch.ones(3) + 1
    part = ask(duration="0.1")
    torch.ones(3) * 2
assert part.code == 409 and "profiler of the program's own" in part.error.message, part
names = {event.name for event in found.function_events}
assert {"aten::add", "aten::mul"} <= names, names
assert ask(duration="0.1").status == "ok"
"""
    profile(script)
