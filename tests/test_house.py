"""The rules that hold the house up: who may import whom, who may write, what a worker never does.

In: the sources, read with ``ast`` and never run (but for one fresh interpreter). Out: one
finding a line, with file, line and rule. The tables below are the rules; an exception is an
entry with its reason, and an exception that nothing needs any more fails too.
"""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parent.parent / "src"

MAX_MODULE_LINES = 400
"""What a reader can hold: above it, a module has two jobs."""

MAX_DOCSTRING_LINES = 15

# -- the layers, lowest first: a module imports from lower layers and from its own package only ----------------------

LAYERS: tuple[tuple[str, ...], ...] = (
    ("_version", "errors", "early", "python_line"),
    ("identity",),
    ("request", "response", "config", "roles"),
    ("wire", "targets", "parameters", "linux", "threads", "forks", "process_status", "bare_python"),
    ("registry", "handlers", "codecs", "store", "watch", "inbox", "runner", "crew", "slots"),
    ("answer",),
    ("channels", "dispatcher"),
    ("homecoming", "torch_bridge", "election"),
    ("guest",),
    ("doors", "registration", "last_words", "outside"),
    ("worker", "client", "job", "reading"),
    ("http_client", "control_plane", "sentinel", "report", "arming", "offline", "gather"),
    ("gathered",),
    ("pth",),
    ("doctor",),
    ("http_apps",),
    ("__init__",),
    ("cli",),
    ("__main__",),
)

SIDEWAYS: dict[tuple[str, str], str] = {
    ("config", "request"): "the settings of the signal's request have a request's defaults and formats",
    ("threads", "linux"): "the kernel's name of a thread is its only one for who looks from outside",
    ("inbox", "store"): "to accept a request is to write it into the store",
    ("channels", "dispatcher"): "a channel hands over what arrived; it sees no handler",
}
"""Who may import a neighbour of the same layer, and why."""

# -- what only some may do -----------------------------------------------------------------------------------------

TOOL_SIDE = (
    *("cli", "client", "doctor", "gather", "gathered", "http_client", "job", "offline", "outside", "reading", "report"),
    *("pth", "sentinel", "__main__"),
)
"""Runs beside workers or after them; everything else may run in a worker that answers."""

WRITES: dict[str, str] = {
    "store": "the only one that writes under the root",
    "channels.bell": "makes and opens its FIFO in the node-local runtime directory",
    "channels.runtime": "removes the FIFOs and sockets of dead workers from that directory",
    "last_words": "makes and removes the file for a worker's last words there: faulthandler wants a descriptor",
    "election.lock": "makes and opens the lock's file in that directory",
    "election.launch": "has a started sentinel's standard descriptors opened on /dev/null",
    "channels.http_listen": "makes and removes its socket, in that directory unless the user names a path",
    "torch_bridge.side_door": "closes PyTorch's socket there to others, and removes it",
    "handlers.torch_profile": "PyTorch writes a trace to a file: one in a private temporary directory, removed at once",
}
"""Who may make, change or remove files, and why."""

CTYPES: dict[str, str] = {
    "linux": "the few kernel calls that the standard library does not have",
    "torch_bridge.forever": "a reference that outlives the interpreter's modules",
}

NEVER_IN_A_WORKER = ("logging", "traceback", "linecache", "socket", "warnings", "torch", "click", "rich", "jinja2")
"""Takes locks that a hung thread may hold, reads sources, resolves names, or is not the worker's to import."""

IMPORTS_ANYWAY: dict[tuple[str, str], str] = {
    ("guest", "warnings"): "start() warns in the program's own thread, before it returns",
    ("arming", "warnings"): "sets one filter before the program's first line; nothing is answered yet",
    ("control_plane", "warnings"): "worker_main() warns in the program's own thread, before anything is answered",
    ("torch_bridge.side_door", "socket"): "pings a Unix socket when torch comes and at stop(); no name is resolved",
}
"""(module, what it imports) and why that is safe there."""

NEVER_CALLED = (
    *("threading.enumerate", "threading.current_thread", "threading.active_count"),  # locks that user code can hold
    *("print", "sys.stdout", "sys.stderr"),  # a full pipe, and the lock of its buffer
    "__import__",
    "sys._current_frames",  # on 3.11 a collection inside it can stop the process: threads.current_frames() cannot
)

CALLS_ANYWAY: dict[tuple[str, str], str] = {
    ("arming", "sys.stderr"): "says before the program's first line that it is not armed; nothing runs yet",
    ("threads", "sys._current_frames"): "the one place, with the collector off where that is needed",
    ("worker", "threading.current_thread"): "stop() runs in the program's own thread, and not to answer",
}
"""(module, what it calls) and why that is safe there."""

IMPORTS_LATE: dict[str, str] = {
    "__init__": "a public name is loaded when it is first used, in the program's own thread",
    "arming": "runs once, before the program's first line; a program that is not armed must not load the worker",
    "control_plane": "worker_main() imports torch's `record`, where torch is loaded already, and not to answer",
    "codecs": "start() loads every codec, so that get() finds it loaded",
    "handlers": "start() loads the table of built-in handlers before anything is answered",
    "registry": "start() loads entry points before anything is answered",
}
"""Worker-side modules with an import inside a function, and why it never runs while answering."""

# -- reading the sources ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Module:
    """One source file."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def name(self) -> str:
        """Its dotted name inside oobdump: ``store.writer``; a package is ``store``, the top ``__init__``."""
        words = self.path.relative_to(SRC / "oobdump").with_suffix("").parts
        return ".".join(words[:-1] if words[-1] == "__init__" and len(words) > 1 else words)

    def at(self, node: ast.AST, what: str) -> str:
        """A finding."""
        return f"{self.path.relative_to(SRC)}:{getattr(node, 'lineno', 1)}: {what}"


@functools.cache
def modules() -> tuple[Module, ...]:
    """All modules of the package."""
    paths = sorted((SRC / "oobdump").rglob("*.py"))
    texts = ((path, path.read_text(encoding="utf-8")) for path in paths)
    return tuple(Module(path, text, ast.parse(text, str(path))) for path, text in texts)


def worker_side() -> Iterator[Module]:
    """The modules that may run in a worker that answers."""
    return (module for module in modules() if not inside(module.name, TOOL_SIDE))


def inside(name: str, places: object) -> bool:
    """Whether a module is one of ``places`` or in one of them."""
    words = name.split(".")
    return any(".".join(words[: count + 1]) in places for count in range(len(words)))  # type: ignore[operator]


def imports(module: Module) -> Iterator[tuple[ast.stmt, str]]:
    """Every module that is imported, anywhere in the file, by its full name."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(module, node)
            known = {f"oobdump.{other.name}" for other in modules()}
            yield from ((node, full if (full := f"{base}.{alias.name}") in known else base) for alias in node.names)


def absolute(module: Module, node: ast.ImportFrom) -> str:
    """What ``from … import`` names, with the dots resolved."""
    if not node.level:
        return node.module or ""
    package = ["oobdump", *module.path.relative_to(SRC / "oobdump").parts[:-1]]
    return ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])


def dotted(node: ast.AST) -> str:
    """``os.path.join`` for such an expression; nothing for any other."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (left := dotted(node.value)):
        return f"{left}.{node.attr}"
    return ""


def unused(exceptions: object, needed: set[object]) -> list[str]:
    """Exceptions that no module needs any more (modules that do not exist yet may wait)."""
    there = {module.name.split(".")[0] for module in modules()}

    def exists(entry: object) -> bool:
        return str(entry[0] if isinstance(entry, tuple) else entry).split(".")[0] in there

    return [f"the exception for {entry} is not needed" for entry in exceptions if exists(entry) and entry not in needed]  # type: ignore[attr-defined]


# -- layers ----------------------------------------------------------------------------------------------------------


def layer(top: str) -> int:
    """The layer of a top-level module or package; ``LookupError`` if the table does not have it."""
    for number, names in enumerate(LAYERS):
        if top in names:
            return number
    raise LookupError(f"{top} has no layer: add it to LAYERS in {Path(__file__).name}")


def may_import(importer: str, imported: str) -> bool:
    """Whether the table lets one top-level module import another."""
    lower = layer(imported) < layer(importer)
    return importer == imported or lower or (importer, imported) in SIDEWAYS


def own_imports(module: Module) -> Iterator[tuple[ast.stmt, str, str]]:
    """Imports of oobdump's own modules, as (node, importing top, imported top)."""
    for node, name in imports(module):
        words = name.split(".")
        if words[0] == "oobdump":
            yield node, module.name.split(".")[0], words[1] if len(words) > 1 else "__init__"


def test_every_module_has_a_layer() -> None:
    """No module is outside the table of layers."""
    for module in modules():
        layer(module.name.split(".")[0])


def test_imports_go_down() -> None:
    """A module imports from lower layers and its own package only; each sideways import has a reason."""
    found = [
        module.at(node, f"{importer} must not import {imported}")
        for module in modules()
        for node, importer, imported in own_imports(module)
        if not may_import(importer, imported)
    ]
    assert not found, "\n".join(found)
    used = {(importer, imported) for module in modules() for _, importer, imported in own_imports(module)}
    assert not unused(SIDEWAYS, {*used})


def test_the_table_would_catch_a_high_import() -> None:
    """The layers forbid what they should: an error importing the tool, a handler its channel, neighbours each other."""
    assert may_import("cli", "errors")
    assert may_import("inbox", "store")
    assert not may_import("errors", "cli")
    assert not may_import("handlers", "channels")
    assert not may_import("store", "inbox")
    assert not may_import("worker", "client")


# -- size and docstrings ---------------------------------------------------------------------------------------------


def test_no_module_is_too_long() -> None:
    """400 lines are the ceiling."""
    found = {module.name: module.text.count("\n") for module in modules() if module.text.count("\n") > MAX_MODULE_LINES}
    assert not found


def test_every_module_says_its_job() -> None:
    """Each module opens with a docstring of at most 15 lines."""
    for module in modules():
        lines = (ast.get_docstring(module.tree) or "").splitlines()
        assert 1 <= len(lines) <= MAX_DOCSTRING_LINES, f"{module.name}: {len(lines)} lines"


# -- public names ----------------------------------------------------------------------------------------------------


def has_code(module: Module) -> bool:
    """Whether there is more than a docstring."""
    return len(module.tree.body) > 1


def listed(module: Module) -> list[str] | None:
    """The literal value of ``__all__``, or None."""
    for node in module.tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return list(ast.literal_eval(node.value))  # type: ignore[attr-defined]
    return None


def bound(module: Module) -> set[str]:
    """Every name that the module's top level binds."""
    names: set[str] = set()
    for node in module.tree.body:
        for inner in ast.walk(node) if isinstance(node, (ast.If, ast.Try)) else (node,):
            names |= bound_by(inner)
    return names


def bound_by(node: ast.AST) -> set[str]:
    """The names that one statement binds."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {node.name}
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {alias.asname or alias.name.split(".")[0] for alias in node.names}
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return {name.id for target in targets if target for name in ast.walk(target) if isinstance(name, ast.Name)}


def test_all_names_exist() -> None:
    """Each module lists its public names, each once, and has each of them."""
    for module in filter(has_code, modules()):
        names = listed(module)
        assert names is not None, f"{module.name} has no __all__"
        assert len(names) == len(set(names)), f"{module.name}: a name twice in __all__"
        missing = set(names) - bound(module)
        assert not missing, f"{module.name}: {missing} in __all__, but not defined"


def test_the_package_exports_exactly_its_public_names() -> None:
    """``oobdump.__all__`` is what ``oobdump`` binds without an underscore, submodules aside."""
    top = next(module for module in modules() if module.name == "__init__")
    submodules = {module.name.split(".")[0] for module in modules()}
    public = {name for name in bound(top) if not name.startswith("_")} - submodules - {"annotations", "TYPE_CHECKING"}
    assert set(listed(top) or ()) - {"__version__"} == public


# -- writing ---------------------------------------------------------------------------------------------------------

WRITING_OS_CALLS = {
    *("os.link", "os.symlink", "os.mkdir", "os.makedirs", "os.mkfifo", "os.mknod", "os.truncate"),
    *("os.rename", "os.renames", "os.replace", "os.remove", "os.unlink", "os.rmdir", "os.removedirs"),
    *("os.chmod", "os.fchmod", "os.chown", "os.fchown", "os.utime"),
}
WRITING_OS_FLAGS = {"os.O_APPEND", "os.O_CREAT", "os.O_RDWR", "os.O_TMPFILE", "os.O_TRUNC", "os.O_WRONLY"}
WRITING_METHODS = {
    *("hardlink_to", "mkdir", "rename", "rmdir", "symlink_to", "touch", "unlink", "write_bytes", "write_text"),
}
"""Methods of ``Path`` whose names nothing else has; ``replace`` is also a method of texts."""


def writes(module: Module) -> Iterator[tuple[ast.AST, str]]:
    """Every expression that makes, changes or removes a file, as far as its spelling tells."""
    for node in ast.walk(module.tree):
        name = dotted(node)
        if name in WRITING_OS_CALLS | WRITING_OS_FLAGS:
            yield node, name
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            yield from ((node, alias.name) for alias in node.names if f"os.{alias.name}" in WRITING_OS_CALLS)
        if isinstance(node, ast.Call) and (what := writing_call(node)):
            yield node, what


def writing_call(node: ast.Call) -> str:
    """What a call writes with; nothing if it does not write."""
    name = dotted(node.func)
    method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    if name.split(".")[0] in ("shutil", "tempfile"):
        return name
    if method in WRITING_METHODS and name not in WRITING_OS_CALLS:
        return f".{method}()"
    if (name or method).split(".")[-1] in ("open", "fdopen") and name != "os.open" and mode_writes(node):
        return "open() for writing"
    return ""


def mode_writes(node: ast.Call) -> bool:
    """Whether an ``open`` has a mode that is not for reading only."""
    given = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "mode")]
    texts = (word.value for word in given if isinstance(word, ast.Constant) and isinstance(word.value, str))
    return any(text and set(text) <= set("rwaxbt+") and set(text) & set("wax+") for text in texts)


def test_only_the_store_writes() -> None:
    """Nothing outside ``store/`` makes, changes or removes files; each exception has a reason."""
    found = [(module, node, what) for module in modules() for node, what in writes(module)]
    bad = [module.at(node, what) for module, node, what in found if not inside(module.name, WRITES)]
    assert not bad, "\n".join(bad)
    assert not unused(WRITES, {entry for module, _, _ in found for entry in WRITES if inside(module.name, (entry,))})


@pytest.mark.parametrize(
    "line",
    [
        "os.open(path, os.O_CREAT | os.O_EXCL)",
        "os.replace(a, b)",
        "from os import rename",
        "open(path, 'wb')",
        "open(path, mode='a')",
        "Path(path).open('w')",
        "Path(path).write_text(text)",
        "(directory / name).mkdir()",
        "shutil.rmtree(path)",
        "tempfile.mkstemp()",
        "os.fdopen(fd, 'w')",
    ],
)
def test_a_write_is_seen(line: str) -> None:
    """The search finds each way to write a file."""
    assert [*writes(Module(SRC / "oobdump/x.py", line, ast.parse(line)))]


@pytest.mark.parametrize(
    "line",
    [
        "os.open(path, os.O_RDONLY)",
        "open(path)",
        "open(path, 'rb')",
        "text.replace('a', 'w')",
        "os.write(fd, b'')",
    ],
)
def test_a_read_is_no_write(line: str) -> None:
    """Reading a file, a method of a text and a write to a descriptor are none."""
    assert not [*writes(Module(SRC / "oobdump/x.py", line, ast.parse(line)))]


# -- what a worker never does ----------------------------------------------------------------------------------------


def test_only_linux_uses_ctypes() -> None:
    """``ctypes`` has one user."""
    users = {module.name for module in modules() for _, name in imports(module) if name.split(".")[0] == "ctypes"}
    assert users <= set(CTYPES)


def test_a_worker_imports_nothing_that_could_hang_it() -> None:
    """No worker-side module imports what locks, logs, reads sources, resolves names or belongs to the tool."""
    found = [(module, node, name) for module in worker_side() for node, name in imports(module)]
    bad = [
        module.at(node, f"imports {name}")
        for module, node, name in found
        if name.split(".")[0] in NEVER_IN_A_WORKER and (module.name, name) not in IMPORTS_ANYWAY
    ]
    assert not bad, "\n".join(bad)
    assert not unused(IMPORTS_ANYWAY, {(module.name, name) for module, _, name in found})


def test_a_worker_calls_nothing_that_could_hang_it() -> None:
    """No worker-side module prints, enumerates threads or touches the standard streams."""
    named = ((module, node, dotted(node)) for module in worker_side() for node in ast.walk(module.tree))
    found = [(module, node, name) for module, node, name in named if name in NEVER_CALLED]
    bad = [module.at(node, name) for module, node, name in found if (module.name, name) not in CALLS_ANYWAY]
    assert not bad, "\n".join(bad)
    assert not unused(CALLS_ANYWAY, {(module.name, name) for module, _, name in found})


def test_a_worker_imports_at_the_top() -> None:
    """No worker-side module imports inside a function: the import lock may be held by a hung thread."""
    found = [
        (module, node)
        for module in worker_side()
        for function in ast.walk(module.tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for node in ast.walk(function)
        if isinstance(node, (ast.Import, ast.ImportFrom)) or dotted(node) == "importlib.import_module"
    ]
    bad = [module.at(node, "import inside a function") for module, node in found if module.name not in IMPORTS_LATE]
    assert not bad, "\n".join(bad)
    assert not unused(IMPORTS_LATE, {module.name for module, _ in found})


IMPORT_QUIETLY = """
import os, signal, sys
import threading
def state():
    return {
        "threads": len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else threading.active_count(),
        "handlers": [repr(signal.getsignal(s)) for s in sorted(signal.valid_signals())],
        "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "descriptors": sorted(os.listdir("/dev/fd")),
    }
before = state()
import oobdump
after = state()
assert before == after, (before, after)
unwanted = {name.split(".")[0] for name in sys.modules} & {"torch", "click", "rich", "jinja2"}
unwanted |= {name for name in sys.modules if name.startswith(("oobdump.cli", "oobdump.report"))}
assert not unwanted, unwanted
"""


def test_importing_starts_nothing() -> None:
    """A fresh ``import oobdump`` starts no thread, opens nothing, handles no signal and imports no tool library."""
    done = subprocess.run([sys.executable, "-c", IMPORT_QUIETLY], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_each_rule_has_something_to_look_at() -> None:
    """The searches are not empty: they would pass on nothing."""
    counts: tuple[Callable[[], Iterator[object]], ...] = (
        worker_side,
        lambda: (found for module in modules() for found in own_imports(module)),
        lambda: (found for module in modules() for found in writes(module)),
    )
    assert all(sum(1 for _ in count()) for count in counts)
