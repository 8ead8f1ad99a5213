"""The bridge to PyTorch, on the real one: two registries that know each other, and a side door.

Most tests run a short script in a fresh interpreter: whether torch is imported before or after is
what they are about. The directory is not called ``torch``, or ``import torch`` would find it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.programs import SOURCES

CAMPAIGNS = SOURCES.parent / "tools" / "campaigns"

PRELUDE = """
import importlib, importlib.util, os, socket, sys, threading, time
from oobdump import codecs, handlers
from oobdump.registry import Registry
from oobdump.request import HandlerCall
from oobdump.runner import run_call
from oobdump.torch_bridge import TorchBridge, side_door, trampolines

codecs.load_all()
registry = Registry()
assert handlers.load(registry) == []
path = sys.argv[1] + "/torch.sock"
finders = list(sys.meta_path)

def here(name, body=b"", **params):
    return run_call(registry.get(name), HandlerCall(name, params), body, codecs.get("json"))

def there(name, body=b"", keep=False):
    asking = socket.socket(socket.AF_UNIX)
    asking.settimeout(20)
    asking.connect(path)
    fields = (f"POST /handler/{name} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", "Connection: close", "", "")
    asking.sendall("\\r\\n".join(fields).encode() + body)
    if keep:
        return asking
    answer = b""
    while piece := asking.recv(65536):
        answer += piece
    head, _, content = answer.partition(b"\\r\\n\\r\\n")
    return int(head.split()[1]), content

def attach(bridge):
    bridge.attach(registry, path)
    return bridge
"""

TORCH = pytest.mark.torch


def python(script: str, directory: Path, within_s: float = 100) -> str:
    """Runs a script after the prelude; its output, once it has ended well."""
    environ = {**os.environ, "PYTHONPATH": str(SOURCES)}
    command = [sys.executable, "-c", PRELUDE + script, str(directory)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=within_s, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def stub(directory: Path, body: str = "") -> Path:
    """A package ``torch`` with a ``torch.distributed``: what the hook is about, without the seconds."""
    for name, text in (("torch", ""), ("torch/distributed", body)):
        (directory / name).mkdir(parents=True)
        (directory / name / "__init__.py").write_text(text)
    return directory


BOTH_WAYS = """
assert not bridge.problems, bridge.problems
c10d = sys.modules["torch._C._distributed_c10d"]
theirs, ours = set(c10d._get_handler_names()), set(registry.names())
assert {"stacks", "process", "dump_nccl_trace_pickle", "handlers"} <= theirs, theirs
assert {"fr_trace_json", "wait_counter_values"} <= ours
assert theirs | {"torch_profile"} == ours, theirs ^ ours
assert there("stacks")[0] == 200 and b"threads" in there("stacks")[1]
assert there("ping") == (200, b"pong")
assert bridge.describe()["path"] == path
assert os.stat(path).st_mode & 0o777 == 0o600
assert sys.meta_path == finders, "the hook has done its work and is gone"
import torch.distributed
assert type(torch.distributed.__loader__).__name__ == "SourceFileLoader"
assert "exec_module" not in vars(torch.distributed.__loader__)
assert importlib.util.find_spec("torch.distributed") is torch.distributed.__spec__
bridge.detach()
assert not os.path.exists(path) and registry.fallback is None and not bridge.problems
"""


@TORCH
def test_torch_before_the_bridge(tmp_path: Path) -> None:
    """With torch imported first, both registries have all names at once, and both servers answer."""
    python("import torch\nbridge = attach(TorchBridge())\n" + BOTH_WAYS, tmp_path)


@TORCH
def test_torch_after_the_bridge(tmp_path: Path) -> None:
    """Torch imported later, by the program: the same holds once the import is done; nobody else imports it."""
    later = """
changes = []
bridge = TorchBridge()
bridge.on_change = lambda: changes.append("torch" in sys.modules)
attach(bridge)
assert "torch" not in sys.modules and sys.meta_path != finders
assert bridge.describe() == {"off": "torch is not loaded"} and not changes
import torch
assert changes == [True]
"""
    python(later + BOTH_WAYS, tmp_path)


@TORCH
def test_a_debug_module_of_pytorch_can_be_imported_afterwards(tmp_path: Path) -> None:
    """``torch.distributed.debug`` registers ``torch_profile`` itself; its import must not find it taken."""
    python("bridge = attach(TorchBridge())\nimport torch.distributed.debug._handlers\nbridge.leave()", tmp_path)


@TORCH
def test_handlers_of_the_program_in_pytorchs_registry_answer_in_ours(tmp_path: Path) -> None:
    """A Python handler that the program gave to PyTorch sees body and parameters, and answers bytes, through ours."""
    script = """
import torch
c10d = sys.modules["torch._C._distributed_c10d"]
def mine(request, response):
    response.set_content(request.body() + request.get_param("k").encode() + repr(request.params()).encode(), "a/b")
    response.set_status(202)
c10d._register_handler("mine", mine)
attach(TorchBridge(server="off"))
part = here("mine", b"\\xff", k="v")
assert (part.code, part.media_type, bytes(part.body)) == (202, "a/b", b"\\xffv{'k': 'v'}"), part
assert here("wait_counter_values").status == "ok" and here("fr_trace_json").media_type == "application/json"
try:
    registry.get("nobody")
except Exception as error:
    assert str(error) == "Failed to find handler nobody"
"""
    python(script, tmp_path)


@TORCH
def test_a_cpp_handler_that_reads_parameters_says_who_can_answer(tmp_path: Path) -> None:
    """PyTorch's C++ ``pyspy_dump`` cannot read a Python request: 501 with the next step, and no crash."""
    script = """
import torch
from oobdump.torch_bridge import Behind
bridge = attach(TorchBridge(server="off"))
registry.register("theirs", Behind().find("pyspy_dump"))
part = here("theirs")
assert part.code == 501 and "ask PyTorch's own server" in part.error.message, part
"""
    python(script, tmp_path)


@TORCH
def test_our_answers_through_pytorchs_server(tmp_path: Path) -> None:
    """A value is encoded as asked, parameters are bound, a failure is 500 or 400 with PyTorch's words, bytes stay."""
    script = """
import json, torch
def value(*, device: int = 0): return {"device": device}
def echo(request, response): response.set_content(request.body() + b"\\xff", "a/b"); response.set_status(418)
def broken(request, response): raise ValueError("no such thing")
for name, fn in (("value", value), ("echo", echo), ("broken", broken)):
    registry.register(name, fn)
bridge = attach(TorchBridge())
assert json.loads(there("value?device=3")[1]) == {"device": 3}
assert codecs.get("msgpack").decode(there("value?format=msgpack")[1]) == {"device": 0}
assert there("value?device=x")[0] == 400 and there("value?format=xml")[0] == 400
assert there("echo", b"abc") == (418, b"abc\\xff")
assert there("broken") == (500, b"Handler broken failed: no such thing")
wrong = there("dump_nccl_trace_json?onlyactive=True")
assert wrong == (400, b"Invalid value for onlyactive valid values are true or false")
assert there("nobody") == (404, b"Handler nobody not found: Failed to find handler nobody")
bridge.detach()
assert trampolines.answering() == 0
"""
    python(script, tmp_path)


@TORCH
def test_a_handler_that_is_registered_later_is_in_both(tmp_path: Path) -> None:
    """A name that is registered with ours after the bridge is up can be asked for through PyTorch's server at once."""
    script = """
import torch
bridge = attach(TorchBridge())
registry.register("later", lambda request, response: response.set_content("here", "text/plain"))
assert there("later") == (200, b"here")
"""
    python(script, tmp_path)


@TORCH
def test_a_stuck_handler_does_not_stick_pytorchs_server(tmp_path: Path) -> None:
    """Through PyTorch's server a stuck handler of ours is 504, asked again 503; all others go on being answered."""
    script = """
import torch
trampolines.DEFAULT_TIMEOUT_S = 0.2
stuck = threading.Lock(); stuck.acquire()
registry.register("stuck", lambda request, response: stuck.acquire())
bridge = attach(TorchBridge())
assert there("stuck")[0] == 504
assert [there("stuck")[0] for _ in range(40)] == [503] * 40
assert there("ping") == (200, b"pong") and there("stacks")[0] == 200
stuck.release()
bridge.detach()
assert not bridge.problems
"""
    python(script, tmp_path)


@TORCH
def test_detach_beside_a_running_answer_does_not_freeze(tmp_path: Path) -> None:
    """PyTorch's ``shutdown`` holds the GIL while a handler runs: then the server is left, and the process goes on."""
    script = """
import torch
side_door.DRAIN_S = 0.3
stuck = threading.Lock(); stuck.acquire()
registry.register("stuck", lambda request, response: stuck.acquire())
bridge = attach(TorchBridge())
asking = there("stuck", keep=True)
while not trampolines.answering():
    time.sleep(0.01)
began = time.monotonic()
bridge.detach()
assert time.monotonic() - began < 5
assert any("left running" in problem for problem in bridge.problems), bridge.problems
assert not os.path.exists(path)
stuck.release()
assert asking.recv(65536).startswith(b"HTTP/1.1 200")
"""
    python(script, tmp_path)


@TORCH
def test_detach_at_once_after_the_server_started(tmp_path: Path) -> None:
    """``detach`` straight after ``attach`` neither hangs nor leaves the server: it is pinged first. Ten times."""
    script = """
import torch
for _ in range(10):
    bridge = attach(TorchBridge())
    assert os.path.exists(path)
    bridge.detach()
    assert not bridge.problems and not os.path.exists(path)
    path = path[:-5] + "x.sock"
names = [open(f"/proc/self/task/{tid}/comm").read() for tid in os.listdir("/proc/self/task")]
assert "pt_workerserver\\n" not in names, names
"""
    python(script, tmp_path)


@TORCH
def test_a_forked_child_lets_go_of_the_door(tmp_path: Path) -> None:
    """A forked child does not hold its parent's listening socket, and exits; the parent goes on answering."""
    script = """
import torch
bridge = attach(TorchBridge())
there("ping")
inode = bridge._door._inode
child = os.fork()
if child == 0:
    bridge.forget()
    links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    held = [os.readlink(link) for link in links if os.path.lexists(link)]
    sys.exit(f"socket:[{inode}]" in held)
assert inode
assert os.waitpid(child, 0)[1] == 0
assert there("stacks")[0] == 200
bridge.detach()
assert not bridge.problems
"""
    python(script, tmp_path)


@TORCH
def test_the_servers_threads_take_no_signal(tmp_path: Path) -> None:
    """Every thread of PyTorch's server blocks what a thread of ours blocks: a request signal never lands there."""
    script = """
import signal, torch
bridge = attach(TorchBridge())
there("ping")
masks = []
for tid in os.listdir("/proc/self/task"):
    if open(f"/proc/self/task/{tid}/comm").read() == "pt_workerserver\\n":
        status = open(f"/proc/self/task/{tid}/status").read()
        masks.append(int(status.split("SigBlk:")[1].split()[0], 16))
assert len(masks) > 1 and all(mask >> (signal.SIGUSR1 - 1) & 1 for mask in masks), masks
assert signal.SIGUSR1 not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
"""
    python(script, tmp_path)


@TORCH
def test_a_path_that_is_too_long_is_said(tmp_path: Path) -> None:
    """A socket's path of more than 107 bytes: no server, a problem with the way out, and everything else works."""
    script = """
import torch
path = sys.argv[1] + "/" + "x" * 120
bridge = attach(TorchBridge())
assert "OOBDUMP_RUNTIME_DIR" in bridge.problems[0] and "path" not in bridge.describe()
assert "stacks" in sys.modules["torch._C._distributed_c10d"]._get_handler_names()
"""
    python(script, tmp_path)


@TORCH
def test_no_server_is_started_that_nobody_wants(tmp_path: Path) -> None:
    """``off`` starts no thread and no socket, and says so; the registries are joined all the same."""
    script = """
import torch
before = len(os.listdir("/proc/self/task"))
bridge = attach(TorchBridge(server="off"))
assert len(os.listdir("/proc/self/task")) == before and not os.path.exists(path)
assert bridge.describe()["off"] == "by setting"
assert "stacks" in sys.modules["torch._C._distributed_c10d"]._get_handler_names()
"""
    python(script, tmp_path)


# -- the hook, on a package of the same name -------------------------------------------------------------------------


def test_the_hook_is_removed_without_torch(tmp_path: Path) -> None:
    """``detach`` gives ``sys.meta_path`` back if torch never came; ``attach`` imported nothing of it."""
    script = """
bridge = attach(TorchBridge())
assert sys.meta_path[1:] == finders
bridge.detach()
bridge.detach()
assert sys.meta_path == finders and registry.fallback is None
assert not [name for name in sys.modules if name.split(".")[0] == "torch"]
"""
    python(script, tmp_path)


def test_an_import_that_fails_fails_as_ever_and_is_seen_the_next_time(tmp_path: Path) -> None:
    """The error of ``torch.distributed`` itself reaches the program; the import that works later is noticed."""
    stub(tmp_path / "stub", "import os\nif os.environ.get('BROKEN'): raise OSError('torn wheel')")
    script = """
from oobdump.torch_bridge.hook import ImportHook
sys.path.insert(0, sys.argv[1] + "/stub")
seen = []
hook = ImportHook(lambda: seen.append(sys.modules["torch.distributed"].__name__))
hook.install()
os.environ["BROKEN"] = "1"
try:
    import torch.distributed
except OSError as error:
    assert str(error) == "torn wheel"
assert not seen and hook.installed
del os.environ["BROKEN"]
import torch.distributed
assert seen == ["torch.distributed"]
importlib.reload(torch.distributed)
assert seen == ["torch.distributed"], "once is enough"
assert "exec_module" not in vars(torch.distributed.__spec__.loader)
"""
    python(script, tmp_path)


def test_whoever_only_looks_imports_nothing(tmp_path: Path) -> None:
    """``find_spec`` gives the ordinary spec, whose loader is of the ordinary type and can read its source."""
    stub(tmp_path / "stub", "answer = 42")
    script = """
from oobdump.torch_bridge.hook import ImportHook
from importlib.machinery import SourceFileLoader
sys.path.insert(0, sys.argv[1] + "/stub")
seen = []
hook = ImportHook(lambda: seen.append(1))
hook.install()
spec = importlib.util.find_spec("torch.distributed")
assert type(spec.loader) is SourceFileLoader and spec.loader.get_source("torch.distributed") == "answer = 42"
assert "torch.distributed" not in sys.modules and not seen
lazy = importlib.util.LazyLoader(spec.loader)
spec.loader = lazy
module = importlib.util.module_from_spec(spec)
sys.modules["torch.distributed"] = module
lazy.exec_module(module)
assert not seen, "a lazy module has not run yet"
assert module.answer == 42 and seen == [1]
hook.remove()
assert sys.meta_path == finders
"""
    python(script, tmp_path)


def test_nothing_that_the_hook_does_reaches_the_import(tmp_path: Path) -> None:
    """Whatever is raised when torch has come, the program's import succeeds."""
    stub(tmp_path / "stub")
    script = """
from oobdump.torch_bridge.hook import ImportHook
sys.path.insert(0, sys.argv[1] + "/stub")
def fail(): raise SystemExit("ours")
ImportHook(fail).install()
import torch.distributed
"""
    python(script, tmp_path)


def test_imports_in_other_threads_are_not_disturbed(tmp_path: Path) -> None:
    """The hook comes and goes a thousand times while another thread imports: every import finds its module."""
    for number in range(300):
        (tmp_path / f"module_{number}.py").write_text("")
    script = """
from oobdump.torch_bridge.hook import ImportHook
sys.path.insert(0, sys.argv[1])
sys.setswitchinterval(1e-6)
failed = []
def work():
    for number in range(300):
        try:
            importlib.import_module(f"module_{number}")
        except ImportError as error:
            failed.append(error)
thread = threading.Thread(target=work)
thread.start()
while thread.is_alive():
    hook = ImportHook(lambda: None)
    hook.install()
    hook.remove()
thread.join()
assert not failed, failed
assert sys.meta_path == finders
"""
    python(script, tmp_path)


@TORCH
def test_the_process_exits_cleanly(*, campaign: bool) -> None:
    """PyTorch's real C++ server runs our handlers, and the process ends with 0, whichever way (long form: 50 times)."""
    command = [sys.executable, str(CAMPAIGNS / "exits.py"), "--exits", "50" if campaign else "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
