"""The built-in handlers: what they say, what they bear, and what they never do."""

from __future__ import annotations

import asyncio
import builtins
import functools
import gc
import importlib
import json
import os
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oobdump import handlers, threads
from oobdump.errors import ParameterError
from oobdump.handlers.cgroup import cgroup
from oobdump.handlers.plain import literal, text, type_name
from oobdump.handlers.redaction import REDACTED, is_secret_name, redact, redact_arguments, redact_value
from oobdump.handlers.stacks import walk
from oobdump.request import HandlerCall, HandlerRequest
from oobdump.response import HandlerResponse

Registry = importlib.import_module("oobdump.registry").Registry
SRC = str(Path(handlers.__file__).parent.parent.parent)


def loaded() -> Any:
    """A registry with the built-in handlers."""
    registry = Registry()
    assert handlers.load(registry) == []
    return registry


def ask(name: str, **params: str) -> Any:
    """What a request for ``name`` gives: the value, or the text."""
    handler = loaded().get(name)
    if handler.returns_value:
        return handler.fn(**handler.bind(params))
    response = HandlerResponse()
    handler.fn(HandlerRequest(HandlerCall(name, params)), response)
    assert (response.code, response.media_type) == (200, "text/plain")
    return response.content.decode("utf-8", "surrogatepass")


def assert_plain(value: Any, where: str = "") -> None:
    """Nothing but exact JSON types, ``str`` keys, and texts that have a UTF-8 form."""
    if type(value) is dict:
        for key, item in value.items():
            assert type(key) is str, where
            assert_plain(key, where)
            assert_plain(item, f"{where}.{key}")
    elif type(value) is list:
        for index, item in enumerate(value):
            assert_plain(item, f"{where}[{index}]")
    elif type(value) is str:
        value.encode("utf-8")
    else:
        assert value is None or type(value) in (bool, int, float), f"{where}: {type(value)}"


def run(program: str, *arguments: str) -> Any:
    """What a fresh interpreter prints, as JSON."""
    command = [sys.executable, "-c", program, *arguments]
    environ = {**os.environ, "PYTHONPATH": SRC}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environ)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@contextmanager
def waiting(target: Callable[[Callable[[], None]], None], count: int = 1) -> Iterator[list[threading.Thread]]:
    """Threads that run ``target`` and are known to be where it calls its argument; let go at the end."""
    there, release = threading.Semaphore(0), threading.Event()

    def stay() -> None:
        there.release()
        release.wait()

    found = [threading.Thread(target=target, args=(stay,), name=f"waiting-{n}", daemon=True) for n in range(count)]
    for thread in found:
        thread.start()
    for _ in found:
        assert there.acquire(timeout=30)
    try:
        yield found
    finally:
        release.set()
        for thread in found:
            thread.join(30)


def functions(entry: Any) -> list[str]:
    """The last word of each frame's function, outermost first."""
    return [frame["function"].rpartition(".")[2] for frame in entry["frames"]]


def of_thread(value: Any, ident: int | None) -> Any:
    """One thread's entry in ``stacks``."""
    (entry,) = [each for each in value["threads"] if each["ident"] == ident]
    return entry


# -- all of them -----------------------------------------------------------------------------------------------------

NAMES = sorted(handlers.BUILT_INS)
ANYWHERE = [
    name for name in NAMES if "torch" not in handlers.BUILT_INS[name] and "trace_" not in name and name != "pyspy_dump"
]
"""Those that need nothing but this process; tests/pytorch has the others."""


def test_the_table_is_what_is_registered() -> None:
    """Each line of the table is a handler with help; the quick ones are marked; loading twice changes nothing."""
    registry = loaded()
    assert registry.names() == NAMES
    assert all(registry.get(name).help for name in NAMES)
    assert {name for name in NAMES if registry.get(name).quick} == handlers.QUICK
    assert handlers.load(registry) == []


def test_a_users_handler_of_the_same_name_stays() -> None:
    """Built-ins are added where the name is free."""
    registry = Registry()
    registry.register("process", lambda: "mine")
    assert handlers.load(registry) == []
    assert registry.get("process").fn() == "mine"


def test_a_built_in_that_cannot_be_loaded_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that does not import on some platform costs its handlers only."""
    monkeypatch.setitem(handlers.BUILT_INS, "process", "oobdump.handlers.nowhere:process")
    registry = Registry()
    (problem,) = handlers.load(registry)
    assert "handler process" in problem
    assert "nowhere" in problem
    assert registry.names() == [name for name in NAMES if name != "process"]


@pytest.mark.parametrize("name", ANYWHERE)
def test_every_value_is_plain_data(name: str) -> None:
    """What a handler returns is written by every codec."""
    assert_plain(ask(name))


ALL = {name: {} for name in NAMES} | {"stacks": {"locals": "true"}, "memory": {"objects": "true"}}


@pytest.mark.parametrize("name", ANYWHERE)
def test_no_handler_imports(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No ``import`` runs during a call, not even of what is loaded: the import lock may be held for ever."""
    handler = loaded().get(name)
    kwargs = handler.bind(ALL[name]) if handler.returns_value else {}
    pair = () if handler.returns_value else (HandlerRequest(HandlerCall(name)), HandlerResponse())
    imported: list[object] = []

    def refuse(*arguments: object, **_: object) -> None:
        imported.append(arguments[0])
        raise ImportError("not while answering")

    tracemalloc.start()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(builtins, "__import__", refuse)
            value = handler.fn(*pair, **kwargs)
    finally:
        tracemalloc.stop()
    assert not imported
    assert not (value or {}).get("problems")


@pytest.mark.parametrize("name", ANYWHERE)
def test_no_handler_needs_the_lock_of_threading(name: str) -> None:
    """Each answers while another thread holds the lock that ``threading.enumerate()`` takes."""
    with threading._active_limbo_lock:
        thread = threads.start_thread("asks", (answered := Answered(name)).run)
        assert thread
        assert answered.done.acquire(timeout=10), f"{name} waits for the lock"
    assert answered.error is None


class Answered:
    """Asks in a thread of ours and says when it has the answer."""

    def __init__(self, name: str) -> None:
        self.handler = loaded().get(name)
        self.done = threading.Lock()
        self.done.acquire()
        self.error: BaseException | None = None

    def run(self) -> None:
        """Ask, and note what went wrong."""
        try:
            if self.handler.returns_value:
                self.handler.fn()
            else:
                self.handler.fn(HandlerRequest(HandlerCall("it")), HandlerResponse())
        except BaseException as error:  # noqa: BLE001 - the test tells it
            self.error = error
        self.done.release()


# -- ping, dump_traceback, handlers ----------------------------------------------------------------------------------


def test_ping_says_pong() -> None:
    """As PyTorch's."""
    assert ask("ping") == "pong"


def test_dump_traceback_is_faulthandlers_text() -> None:
    """Every thread with its frames, innermost first, in ``faulthandler``'s words."""
    with waiting(lambda stay: stay(), 2) as two:
        said = ask("dump_traceback")
    for thread in two:
        assert f"Thread 0x{thread.ident:016x}" in said
    assert f"Current thread 0x{threading.get_ident():016x}" in said
    assert "in test_dump_traceback_is_faulthandlers_text" in said


def test_dump_traceback_without_memfd_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no file in memory the text is made by hand: the same threads and frames."""

    def lines(said: str) -> list[str]:
        kept = said.partition("Current thread")[0]
        return [line.split(" [")[0] for line in kept.splitlines() if line]

    with waiting(lambda stay: stay(), 3):
        theirs = ask("dump_traceback")
        monkeypatch.delattr(os, "memfd_create")
        ours = ask("dump_traceback")
    assert lines(ours) == lines(theirs)
    assert len(lines(ours)) > 3 * 5


def test_handlers_lists_what_can_be_asked() -> None:
    """Names, help, shape and parameters with defaults, of the registry it is bound to."""
    registry = loaded()
    registry.register("mine", lambda *, needed, count=1: (needed, count))
    entries = {each["name"]: each for each in registry.get("handlers").fn()["handlers"]}
    assert [*entries] == sorted([*NAMES, "mine"])
    assert entries["ping"]["shape"] == "response"
    assert entries["stacks"]["parameters"][0] == {
        "name": "locals",
        "type": "bool",
        "default": "false",
        "required": False,
        "help": "",
    }
    assert [each["required"] for each in entries["mine"]["parameters"]] == [True, False]


# -- stacks ----------------------------------------------------------------------------------------------------------


def test_stacks_shows_each_thread_with_its_name() -> None:
    """Main first, then by age; name, native id, daemon; frames outermost first, ending where the thread waits."""
    with waiting(lambda stay: stay(), 3) as three:
        value = ask("stacks")
        facts = [(each.ident, each.native_id, each.name) for each in three]
    first, *others = value["threads"]
    assert first["main"]
    assert first["ident"] == threading.main_thread().ident
    assert first["native_id"] == os.getpid()
    assert "test_stacks_shows_each_thread_with_its_name" in functions(first)
    mine = [each for each in others if each["ident"] in {ident for ident, _, _ in facts}]
    assert [(each["ident"], each["native_id"], each["name"]) for each in mine] == facts
    assert all(each["daemon"] and not each["main"] and not each["ours"] for each in mine)
    assert functions(mine[0])[0] == "_bootstrap"
    assert functions(mine[0])[-4:] == ["<lambda>", "stay", "wait", "wait"]
    assert (value["schema_version"], value["pid"]) == (1, os.getpid())
    assert value["python"] == ".".join(map(str, sys.version_info[:3]))
    assert value["taken_at"].endswith("Z")
    assert set(mine[0]) == {"name", "ident", "native_id", "daemon", "main", "ours", "frames", "omitted_frames"}
    assert set(mine[0]["frames"][0]) == {"file", "line", "function"}


def test_stacks_marks_our_own_threads_and_leaves_them_out() -> None:
    """A thread of ours has our name and ``ours``; ``ours=false`` leaves it out and nobody else."""
    release, there = threading.Event(), threading.Event()

    def stay() -> None:
        there.set()
        release.wait()

    assert threads.start_thread("oobdump-test", stay)
    assert there.wait(10)
    (ident,) = [ident for ident, name in threads.thread_names.items() if name == "oobdump-test"]
    entry = of_thread(ask("stacks"), ident)
    without = {each["ident"] for each in ask("stacks", ours="false")["threads"]}
    release.set()
    assert (entry["name"], entry["ours"], entry["daemon"]) == ("oobdump-test", True, None)
    assert threading.get_ident() in without
    assert ident not in without


def test_stacks_of_500_threads() -> None:
    """Every one of 500 threads is there, in far less than a second."""
    with waiting(lambda stay: stay(), 500) as many:
        began = time.perf_counter()
        value = ask("stacks")
        seconds = time.perf_counter() - began
        idents = {each.ident for each in many}
    found = [each for each in value["threads"] if each["ident"] in idents]
    assert len(found) == 500
    assert all("stay" in functions(each) for each in found)
    assert seconds < 1


def recurse(depth: int, then: Callable[[], None]) -> None:
    """Call itself ``depth`` times, then ``then``."""
    if depth:
        recurse(depth - 1, then)
    else:
        then()


DEEP = """
import json, sys, threading, time
from oobdump.handlers.stacks import stacks
threading.stack_size(2**29)
sys.setrecursionlimit(2**20)
there, release = threading.Event(), threading.Event()
def recurse(depth):
    if depth:
        recurse(depth - 1)
    else:
        bottom()
def bottom():
    there.set()
    release.wait()
thread = threading.Thread(target=recurse, args=(100_000,), daemon=True)
thread.start()
there.wait()
began = time.perf_counter()
value = stacks()
seconds = time.perf_counter() - began
(entry,) = [each for each in value["threads"] if each["ident"] == thread.ident]
names = [frame["function"] for frame in entry["frames"]]
print(json.dumps([seconds, names, entry["omitted_frames"], entry["omitted_after"]]))
sys.stdout.flush()
import os
os._exit(0)
"""


def test_stacks_of_100_000_frames_keeps_both_ends() -> None:
    """Of a runaway recursion the outermost 100 and innermost 900 frames are kept, and it takes no second."""
    seconds, names, omitted, after = run(DEEP)
    assert (len(names), after) == (1000, 100)
    assert names[0].endswith("_bootstrap")
    assert set(names[5:990]) == {"recurse"}
    assert names[-3] == "bottom"
    assert 99_000 <= omitted <= 99_020
    assert seconds < 2


def test_no_frame_is_lost_up_to_the_cap() -> None:
    """1,000 frames are whole; one more loses exactly one, and the count says so."""
    seen: dict[int, Any] = {}

    def look(depth: int) -> None:
        seen[depth] = walk(sys._getframe())

    here = len(walk(sys._getframe()).codes)
    for depth in (1000, 1001):
        runner = threading.Thread(target=lambda depth=depth: recurse_to(depth, look))
        runner.start()
        runner.join()
    assert here
    assert (len(seen[1000].codes), seen[1000].omitted) == (1000, 0)
    assert (len(seen[1001].codes), seen[1001].omitted) == (1000, 1)


def recurse_to(depth: int, then: Callable[[int], None]) -> None:
    """Recurse until the stack has ``depth`` frames, the one of ``then`` included."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(5000)
    try:
        deeper(depth - len(walk(sys._getframe()).codes) - 2, depth, then)
    finally:
        sys.setrecursionlimit(limit)


def deeper(more: int, depth: int, then: Callable[[int], None]) -> None:
    """Recurse ``more`` times."""
    if more:
        deeper(more - 1, depth, then)
    else:
        then(depth)


class Hostile:
    """Whoever looks into it is noted."""

    looked: list[str] = []  # noqa: RUF012 - shared on purpose

    def __getattribute__(self, name: str) -> Any:
        Hostile.looked.append(name)
        raise RuntimeError("hands off")

    def __repr__(self) -> str:
        Hostile.looked.append("repr")
        return "secret"

    __str__ = __repr__

    def __len__(self) -> int:
        Hostile.looked.append("len")
        return 3

    def __hash__(self) -> int:
        Hostile.looked.append("hash")
        return 3

    def __eq__(self, other: object) -> bool:
        Hostile.looked.append("eq")
        return False


class HostileMeta(type):
    """The same for a type."""

    def __hash__(cls) -> int:
        Hostile.looked.append("metahash")
        return 1

    def __eq__(cls, other: object) -> bool:
        Hostile.looked.append("metaeq")
        return False


def test_locals_are_described_without_running_the_users_code() -> None:
    """Scalars as literals, everything else as its type; no repr, no len, no attribute of a user's object."""
    odd = HostileMeta("Odd", (), {"__module__": "m"})

    def target(stay: Callable[[], None]) -> None:
        thing, other, number, huge, word, rows = Hostile(), odd(), 7, 1 << 4000, "é" * 500, [1, 2, 3]  # noqa: F841
        api_token, url = "abcdef", "https://me:pass@host/"  # noqa: F841
        stay()

    with waiting(target) as (thread,):
        Hostile.looked.clear()
        shown = of_thread(ask("stacks", locals="true"), thread.ident)
        looked = [*Hostile.looked]
        bare = of_thread(ask("stacks"), thread.ident)
    assert looked == []
    (variables,) = [frame["locals"] for frame in shown["frames"] if frame["function"].endswith("target")]
    assert variables["thing"] == f"<{__name__}.Hostile>"
    assert (variables["other"], variables["number"], variables["huge"]) == ("<m.Odd>", "7", "<int of 4001 bits>")
    assert (len(variables["word"]), variables["rows"]) == (209, "<list of 3>")
    assert (variables["api_token"], variables["url"]) == (REDACTED, f"'https://{REDACTED}@host/'")
    assert "locals" not in bare["frames"][0]


def test_stacks_keeps_no_frame() -> None:
    """After the call nothing of ours refers to a frame: an object in one dies with its function."""

    class Kept:
        """Dies when its last frame does."""

    died = threading.Event()

    def target(stay: Callable[[], None]) -> None:
        kept = Kept()
        weak.append(__import__("weakref").ref(kept, lambda _: died.set()))
        stay()

    weak: list[Any] = []
    gc.disable()
    try:
        with waiting(target):
            value = ask("stacks", locals="true")
        assert died.wait(10)
    finally:
        gc.enable()
    assert value["threads"]


def test_the_name_of_a_thread_may_be_anything() -> None:
    """Lone surrogates, ``str`` subclasses and no text at all: the answer stays plain."""

    class Loud(str):
        """A text of a user's."""

        __slots__ = ()

    with waiting(lambda stay: stay(), 3) as (first, second, third):
        first._name, second._name, third._name = "\udc80\0", Loud("loud"), 17  # type: ignore[attr-defined]
        value = ask("stacks")
        names = [of_thread(value, each.ident)["name"] for each in (first, second, third)]
    assert names == ["\\udc80\0", "loud", None]
    assert_plain(value)


def test_after_a_fork_the_main_thread_has_the_childs_native_id() -> None:
    """In a forked child only the threads that live there are shown, the main one with the child's own id."""
    value = run(
        "import json, os, sys, threading\n"
        "from oobdump.handlers.stacks import stacks\n"
        "stop = threading.Event()\n"
        "threading.Thread(target=stop.wait, daemon=True).start()\n"
        "if os.fork() == 0:\n"
        "    print(json.dumps([os.getpid(), stacks()]), flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "os._exit(0)\n"
    )
    pid, said = value
    assert [each["main"] for each in said["threads"]] == [True]
    assert said["threads"][0]["native_id"] == pid == said["pid"]


# -- process ---------------------------------------------------------------------------------------------------------


def test_process_says_what_the_kernel_knows() -> None:
    """The figures are this process's, and nothing is missing on Linux."""
    with waiting(lambda stay: stay()) as (thread,):
        value = ask("process")
    assert value["problems"] == {}
    assert (value["pid"], value["ppid"], value["cwd"]) == (os.getpid(), os.getppid(), os.getcwd())
    assert value["memory"]["rss"] > 10 * 2**20
    assert value["memory"]["peak_vms"] >= value["memory"]["vms"] > value["memory"]["rss"]
    assert value["exe"] == str(Path("/proc/self/exe").readlink())
    assert value["limits"]["nofile"]["soft"] == value["descriptors"]["limit"]
    assert value["descriptors"]["open"] == len(os.listdir("/proc/self/fd")) - 1
    assert 0 < value["times"]["uptime_s"] < 24 * 3600
    assert value["cpu"]["user_s"] > 0
    assert value["cpu_affinity"] == sorted(os.sched_getaffinity(0))
    by_id = {each["native_id"]: each for each in value["threads"]["threads"]}
    assert by_id[thread.native_id]["python_name"] == thread.name
    assert by_id[os.getpid()]["state"] == "R"


def test_a_thread_that_ends_while_it_is_read_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that was listed and is gone when its file is opened is no problem, and hides no other."""
    real, gone = os.listdir, str(2**31 - 1)
    listed: Callable[[str], list[str]] = lambda path: [*real(path), *([gone] if path.endswith("/task") else [])]  # noqa: E731
    monkeypatch.setattr(os, "listdir", listed)
    value = ask("process")
    assert value["problems"] == {}
    assert os.getpid() in [each["native_id"] for each in value["threads"]["threads"]]
    assert int(gone) not in [each["native_id"] for each in value["threads"]["threads"]]


NO_DESCRIPTORS = """
import json, os, resource, sys
import importlib
from oobdump import handlers
from oobdump.request import HandlerCall, HandlerRequest
from oobdump.response import HandlerResponse
registry = importlib.import_module("oobdump.registry").Registry()
handlers.load(registry)
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
taken = []
try:
    while True:
        taken.append(os.dup(0))
except OSError:
    pass
found = {}
for name in sys.argv[1:]:
    handler, response = registry.get(name), HandlerResponse()
    if handler.returns_value:
        found[name] = handler.fn()
    else:
        handler.fn(HandlerRequest(HandlerCall(name)), response)
        found[name] = response.content.decode()
print(json.dumps(found))
"""


def test_without_a_free_descriptor_every_handler_answers() -> None:
    """With no descriptor left each handler answers; what needs one is told under ``problems``."""
    found = run(NO_DESCRIPTORS, *ANYWHERE)
    process = found["process"]
    assert process["problems"]["memory"]["error"].startswith("OSError: [Errno 24]")
    assert process["memory"] is None
    assert (process["limits"]["nofile"]["soft"], process["pid"] > 0, process["cwd"]) == (40, True, os.getcwd())
    assert process["usage"]["peak_rss"] > 0
    assert process["cpu"]["user_s"] > 0
    assert found["memory"]["collector"]["counts"]
    assert "in <module>" in found["dump_traceback"]
    assert found["stacks"]["threads"][0]["frames"]
    assert found["environment"]["variables"]


def test_cgroup_reads_both_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 2 at its path, else at the mount's top (a container); version 1 under ``memory``; else nothing."""
    package = "oobdump.handlers.cgroup"
    monkeypatch.setattr(f"{package}._MOUNT", str(tmp_path))
    real = importlib.import_module(package).read_file
    line = ["0::/job/step"]
    monkeypatch.setattr(f"{package}.read_file", lambda path: line[0] if path == "/proc/self/cgroup" else real(path))
    assert cgroup()["memory"] is None
    (tmp_path / "memory.current").write_text("10\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert cgroup()["memory"] == {"current": 10, "max": None}
    step = tmp_path / "job/step"
    step.mkdir(parents=True)
    for name, content in {
        "memory.current": "4096\n",
        "memory.max": "8192\n",
        "memory.events": "oom 1\noom_kill 2\n",
        "memory.pressure": "some avg10=0.50 total=7\nfull avg10=0.00 total=1\n",
    }.items():
        (step / name).write_text(content)
    entry = cgroup()
    assert (entry["version"], entry["path"], entry["directory"]) == (2, "/job/step", str(step))
    assert entry["memory"] == {"current": 4096, "max": 8192}
    assert entry["events"] == {"oom": 1, "oom_kill": 2}
    assert entry["pressure"] == {"some": {"avg10": 0.5, "total": 7.0}, "full": {"avg10": 0.0, "total": 1.0}}
    line[0] = "4:memory:/a\n3:cpu,cpuacct:/b\n0::/\n"
    (tmp_path / "memory/a").mkdir(parents=True)
    (tmp_path / "memory/a/memory.usage_in_bytes").write_text("1\n")
    (tmp_path / "memory/a/memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert cgroup()["version"] == 1
    assert cgroup()["memory"] == {"current": 1, "max": None}


# -- environment and redaction ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "WANDB_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"),
        *("GITHUB_TOKEN", "PGPASSWORD", "MYSQL_PWD", "DB_PASS", "SENTRY_DSN", "SSH_AUTH_SOCK", "MY_COOKIE"),
        *("GOOGLE_APPLICATION_CREDENTIALS", "private_key", "apiKey", "accessToken", "NPM_AUTH", "OPENAI_APIKEY"),
        *("DATABASE_PASSWD", "JWT", "TOKEN", "KEY", "ssh-key", "AZURE_STORAGE_SAS", "API_KEYS"),
    ],
)
def test_a_secrets_name_hides_its_value(name: str) -> None:
    """Names that hold secrets are known; the value is hidden whatever it looks like."""
    assert is_secret_name(name)
    assert redact_value(name, "harmless") == REDACTED
    assert redact_value(name, "") == ""


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "HOME", "PWD", "OLDPWD", "RANK", "WORLD_SIZE", "MASTER_ADDR", "TOKENIZERS_PARALLELISM"),
        *("GIT_AUTHOR_NAME", "CUDA_VISIBLE_DEVICES", "NCCL_DEBUG", "LD_LIBRARY_PATH", "SLURM_JOB_ID", "PYTHONPATH"),
        *("KEYBOARD_LAYOUT", "XAUTHORITY", "COMPASS_HOME", "OMP_NUM_THREADS", "OOBDUMP_DIR", "TORCH_FR_BUFFER_SIZE"),
    ],
)
def test_what_explains_a_hang_stays_readable(name: str) -> None:
    """Names of everyday variables are shown."""
    assert not is_secret_name(name)
    assert redact_value(name, "/some/value") == "/some/value"


SECRET = "S3cr3tS3cr3tS3cr3tS3cr3t"


@pytest.mark.parametrize(
    "value",
    [
        *(f"ghp_{SECRET}", f"github_pat_{SECRET}", f"hf_{SECRET}", f"sk-proj-{SECRET}", f"glpat-{SECRET}"),
        *(f"xoxb-1-{SECRET}", "AKIAS3CR3TS3CR3TS3CR3T", f"eyJhbGciOi{SECRET}.eyJz{SECRET}.{SECRET}", f"AIza{SECRET}"),
        *(
            f"postgres://user:{SECRET}@host/db",
            f"redis://:{SECRET}@host",
            f"https://{SECRET}@host/x",
            f"a://u:p/{SECRET}@h",
        ),
        *(f"https://h/?a=1&token={SECRET}&b=2", f"Server=x;Password={SECRET};", f'{{"api_key": "{SECRET}"}}'),
        *(f"Authorization: Bearer {SECRET}", f"--header=Basic {SECRET}", f"AccountKey={SECRET}=="),
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END",
    ],
)
def test_what_looks_like_a_secret_is_hidden(value: str) -> None:
    """A secret is hidden by its look under any name, and the text around it stays."""
    for before, after in (("", ""), ("before ", ""), ("x=", " after")):
        shown = redact_value("SETTING", before + value + after)
        assert SECRET not in shown
        assert "S3CR3T" not in shown
        assert REDACTED in shown
        assert shown.startswith(before)
    assert "host" in redact(value) or "host" not in value


@pytest.mark.parametrize(
    "value",
    ["https://host:8080/path?a=1", "tcp://10.0.0.1:29500", "git@host:repo", "/a/b:/c/d", "a=b", "NCCL_DEBUG=INFO"],
)
def test_what_is_no_secret_is_shown(value: str) -> None:
    """Addresses, paths and settings come through unchanged."""
    assert redact(value) == value


def test_a_command_line_hides_its_secrets() -> None:
    """``--token=x`` and ``--token x`` are hidden; everything else of the command line is shown."""
    given_ = ["python", "train.py", "--api-key=abc", "--hub-token", "abc", "--lr", "0.1", "--password", "--flag", "x"]
    shown = [
        "python",
        "train.py",
        f"--api-key={REDACTED}",
        "--hub-token",
        REDACTED,
        "--lr",
        "0.1",
        "--password",
        "--flag",
        "x",
    ]
    assert redact_arguments(given_) == shown


@given(st.text(alphabet="key:=@/ tokenS-.\"'", max_size=300))
def test_redaction_takes_any_text(value: str) -> None:
    """Any text is redacted without an error, and redacting is done after the first time or only hides more."""
    assert isinstance(redact(value), str)
    assert is_secret_name(value) in (True, False)


@pytest.mark.parametrize(
    "unit", ["a", "://", "://a:", "key", "key ", "token=", "eyJ", "sk-", "@", "a:b", "-----BEGIN "]
)
def test_redaction_is_not_slow_on_hostile_texts(unit: str) -> None:
    """4,096 repeated characters, the most that a value has here, take milliseconds."""
    value = unit * (4096 // len(unit))
    began = time.perf_counter()
    redact(value)
    is_secret_name(value)
    assert time.perf_counter() - began < 0.5


def test_environment_shows_variables_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables, path and versions are there; a secret is nowhere in the answer; ``values=false`` gives names only."""
    monkeypatch.setenv("MY_TOKEN", SECRET)
    monkeypatch.setenv("PLAIN", f"see https://u:{SECRET}@host/")
    monkeypatch.setenv("RANK", "3")
    os.environb[b"ODD\xff"] = b"\xfe"
    try:
        value, names = ask("environment"), ask("environment", values="false")
    finally:
        del os.environb[b"ODD\xff"]
    assert SECRET not in json.dumps([value, names])
    assert value["variables"]["MY_TOKEN"] == REDACTED
    assert value["variables"]["RANK"] == "3"
    assert value["variables"]["ODD\\udcff"] == "\\udcfe"
    assert "MY_TOKEN" in names["variables"]
    assert value["modules"]["oobdump"]
    assert value["uname"]["node"] == os.uname().nodename
    assert value["problems"] == {}


def test_versions_are_read_past_lazy_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that imports on attribute access, or an object in its place, is not woken."""
    module = type(sys)

    class Lazy(module):  # type: ignore[misc, valid-type]
        """Loads itself when looked at."""

        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"woken for {name}")

    monkeypatch.setitem(sys.modules, "jax", Lazy("jax"))
    monkeypatch.setitem(sys.modules, "ray", Hostile())
    Hostile.looked.clear()
    versions = ask("environment")["modules"]
    assert "jax" not in versions
    assert "ray" not in versions
    assert Hostile.looked == []


# -- memory ----------------------------------------------------------------------------------------------------------


def test_memory_counts_objects_only_when_asked() -> None:
    """The collector's figures are always there, objects by type when asked, of which ``top`` are listed."""

    class Counted:
        """Counted."""

    kept = [Counted() for _ in range(50_000)]
    value = ask("memory", objects="true", top="3")
    assert ask("memory")["objects"] is None
    assert len(value["objects"]["by_type"]) == 3
    counts = {each["type"]: each["count"] for each in value["objects"]["by_type"]}
    assert counts[type_name(Counted)] == len(kept)
    assert value["collector"]["thresholds"] == [*gc.get_threshold()]
    assert value["sizes"]["rss"] > 0
    with pytest.raises(ParameterError, match="valid values are 0 to 1000"):
        ask("memory", top="-1")


def test_memory_shows_where_was_allocated() -> None:
    """While tracemalloc traces, the largest lines are listed; it is never switched on."""
    assert ask("memory")["tracemalloc"] == {"tracing": False, "top": []}
    tracemalloc.start()
    try:
        kept = bytearray(5_000_000)
        traced = ask("memory", top="1")["tracemalloc"]
    finally:
        tracemalloc.stop()
    assert traced["top"][0]["file"] == __file__
    assert traced["top"][0]["bytes"] >= len(kept)


# -- asyncio_tasks ---------------------------------------------------------------------------------------------------


def test_without_asyncio_there_are_no_tasks() -> None:
    """A program that does not use asyncio gets an empty answer, and no asyncio."""
    value, loaded_after = run(
        "import json, sys\nfrom oobdump.handlers.asyncio_tasks import asyncio_tasks\n"
        "print(json.dumps([asyncio_tasks(), 'asyncio' in sys.modules]))"
    )
    assert (value["loaded"], value["tasks"], value["problems"]) == (False, [], [])
    assert not loaded_after


async def sleeper(started: Callable[[], None]) -> None:
    """Await something that takes long, two coroutines deep."""

    async def nap() -> None:
        started()
        await asyncio.sleep(3600)

    await nap()


async def awaiter(task: Any) -> None:
    """Await another task."""
    await task


async def blocker(stay: Callable[[], None]) -> None:
    """Block the loop, two coroutines deep."""

    async def hold() -> None:
        stay()

    await hold()


def run_loop(stay: Callable[[], None]) -> None:
    """A loop with a sleeping, an awaiting, a finished and a blocking task."""

    async def main() -> None:
        napping = asyncio.Event()
        nap = asyncio.create_task(sleeper(napping.set), name="nap")
        waits = asyncio.create_task(awaiter(nap), name="waits")
        done = asyncio.create_task(asyncio.sleep(0), name="done")
        await napping.wait()
        await done
        blocks = asyncio.create_task(blocker(stay), name="blocks")
        await blocks
        nap.cancel()
        await asyncio.gather(nap, waits, return_exceptions=True)

    asyncio.run(main())


def test_asyncio_tasks_of_another_threads_loop() -> None:
    """Each unfinished task with its coroutines, what it awaits, and which one blocks the loop."""
    with waiting(run_loop, 2) as two:
        value = ask("asyncio_tasks")
        idents = {each.ident for each in two}
    loops = {each["id"]: each for each in value["loops"] if each["thread"] in idents}
    assert len(loops) == 2
    assert {each["current_task"] for each in loops.values()} == {"blocks"}
    one = next(iter(loops))
    tasks = {each["name"]: each for each in value["tasks"] if each["loop"] == one}
    assert "done" not in tasks
    assert functions(tasks["nap"]) == ["sleeper", "nap", "sleep"]
    assert tasks["nap"]["awaits"].endswith("Future")
    assert tasks["nap"]["coroutine"] == "sleeper"
    assert (functions(tasks["waits"]), tasks["waits"]["awaits_task"]) == (["awaiter"], "nap")
    assert functions(tasks["blocks"]) == ["blocker", "hold", "stay", "wait", "wait"]
    assert (tasks["blocks"]["state"], tasks["blocks"]["current"]) == ("running", True)
    assert (tasks["nap"]["state"], tasks["nap"]["current"]) == ("pending", False)
    assert value["problems"] == []
    assert_plain(value)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_eager_tasks_are_seen() -> None:
    """A task that runs eagerly, in the step that makes it, is listed while it blocks."""

    def eager(stay: Callable[[], None]) -> None:
        async def main() -> None:
            asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
            await asyncio.create_task(blocker(stay))

        asyncio.run(main())

    with waiting(eager):
        value = ask("asyncio_tasks")
    (task,) = [each for each in value["tasks"] if each["coroutine"] == "blocker"]
    assert task["current"]
    assert "hold" in functions(task)


def test_tasks_that_come_and_go_do_not_disturb() -> None:
    """While a loop makes and drops tasks as fast as it can, every call answers, without a problem."""
    stop = threading.Event()

    async def churn() -> None:
        while not stop.is_set():
            await asyncio.gather(*(asyncio.sleep(0) for _ in range(100)))

    handler = loaded().get("asyncio_tasks").fn
    thread = threading.Thread(target=lambda: asyncio.run(churn()))
    thread.start()
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        problems = [handler()["problems"] for _ in range(1000)]
    finally:
        sys.setswitchinterval(before)
        stop.set()
        thread.join(30)
    assert not any(problems)


class Growing:
    """A table of tasks, as a WeakSet is one inside, that grows whenever one of its members is looked at."""

    def __init__(self) -> None:
        self.data: set[Callable[[], object]] = set()
        self.data |= {functools.partial(self.look), functools.partial(self.look)}

    def look(self) -> object:
        """Another thread adds a member just now."""
        self.data.add(functools.partial(self.look))
        return object()


def test_a_table_that_changes_meanwhile_is_read_as_it_was() -> None:
    """A table is copied at once and not iterated, so that a member that comes in between does not matter."""
    problems: list[str] = []
    members = importlib.import_module("oobdump.handlers.asyncio_tasks")._members
    assert len(members(Growing(), problems)) == 2
    assert problems == []


# -- plain -----------------------------------------------------------------------------------------------------------


@given(st.text() | st.text(alphabet=st.characters(categories=["Cs", "Lu"])))
def test_text_is_exact_and_has_a_utf8_form(value: str) -> None:
    """Any text comes out as one that can be written; one that can be written is unchanged."""
    shown = text(value)
    assert type(shown) is str
    shown.encode("utf-8")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return
    assert shown == value


@given(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=99)
    | st.binary(max_size=99)
)
def test_a_literal_of_a_scalar_can_be_read_back(value: object) -> None:
    """Short built-in scalars are shown as Python writes them."""
    shown = literal(value)
    assert shown == text(repr(value), 2000)
