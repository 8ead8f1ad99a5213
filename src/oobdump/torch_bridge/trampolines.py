"""Our handlers in PyTorch's registry: one small function a name, which looks ours up when it is called.

In: names, and PyTorch's request and response objects. Out: our handlers' answers in PyTorch's server
and debug pages, each under a deadline. The rules only this module keeps: what PyTorch's registry was
given is referenced here for ever, for it has no unregister, and a process dies at exit if C++ holds
the last reference; a request of PyTorch's is read and its response filled in PyTorch's own thread,
while that waits, for both objects are gone once it goes on.
"""

from __future__ import annotations

import _thread
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from oobdump import codecs
from oobdump.errors import UnknownHandler
from oobdump.request import DEFAULT_TIMEOUT_S, FORMATS, HandlerCall
from oobdump.response import Part
from oobdump.runner import failed, run_call
from oobdump.slots import Slots
from oobdump.threads import start_thread
from oobdump.torch_bridge.forever import never_freed

__all__ = ["KEPT", "LEFT_TO_PYTORCH", "Registry", "answering", "forget_after_fork", "offer", "serve"]

LEFT_TO_PYTORCH = frozenset({"torch_profile"})
"""Names that a module of PyTorch registers when it is imported: taken by us, that import would fail."""

READ_BY_NAME = (
    *("includecollectives", "includestacktraces", "onlyactive"),
    *("native", "subprocesses", "nonblocking", "duration", "cuda"),
)
"""Parameters of handlers of request and response: PyTorch's own objects tell a value by name, and no names."""

_Function = Callable[[Any, Any], None]

KEPT: dict[str, _Function] = {}
"""What PyTorch's registry has of us, by name; never removed from."""

_COUNT = itertools.count(1)


class Registry(Protocol):
    """What is needed of our registry here."""

    def get(self, name: str) -> Any:
        """The handler of that name, or ``UnknownHandler``."""


class _Serving:
    """What the trampolines of this process answer from; one, as PyTorch's registry is one."""

    def __init__(self) -> None:
        self.registry: Registry | None = None
        self.slots = Slots()
        self.running: dict[int, bool] = {}


_serving = _Serving()


def serve(registry: Registry) -> None:
    """Trampolines answer from this registry from now on."""
    _serving.registry = registry


def offer(module: Any, names: Sequence[str]) -> list[str]:
    """Registers trampolines with PyTorch for the names that it does not have; gives those."""
    there = {*module._get_handler_names(), *LEFT_TO_PYTORCH}  # noqa: SLF001 - PyTorch names it so
    return [name for name in names if name not in there and _register(module, name)]


def answering() -> int:
    """How many trampolines run now."""
    return len(_serving.running)


def forget_after_fork() -> None:
    """In a forked child: the threads that held slots are the parent's."""
    _serving.slots = Slots()
    _serving.running = {}


def _register(module: Any, name: str) -> bool:
    def trampoline(request: Any, response: Any) -> None:
        with _counted():
            part = _answer(name, request)
            response.set_content(bytes(part.body), part.media_type)
            response.set_status(part.code)

    KEPT[name] = never_freed(trampoline)  # before PyTorch has it
    try:
        module._register_handler(name, trampoline)  # noqa: SLF001 - PyTorch names it so
    except ValueError:  # somebody registered that name this very moment
        KEPT.pop(name)
        return False
    return True


@contextmanager
def _counted() -> Iterator[None]:
    mine = next(_COUNT)
    _serving.running[mine] = True
    try:
        yield
    finally:
        _serving.running.pop(mine, None)


def _answer(name: str, request: Any) -> Part:
    try:
        handler = None if _serving.registry is None else _serving.registry.get(name)
    except UnknownHandler:
        handler = None
    if handler is None:
        return failed(name, "error", 404, f"Handler {name} not found: Failed to find handler {name}")
    try:
        body, params, form = _read(handler, request)
    except UnicodeDecodeError:
        return failed(name, "error", 400, "PyTorch's server hands a body over as text: send UTF-8")
    if form not in FORMATS:
        return failed(name, "error", 400, f"Invalid value for format valid values are {', '.join(FORMATS)}")
    return _in_time(name, lambda: run_call(handler, HandlerCall(name, params, form), body, codecs.get(form)))


def _read(handler: Any, request: Any) -> tuple[bytes, dict[str, str], str]:
    """Body, parameters and format of a request of PyTorch's; only a Python one can list its parameters."""
    body = request.body()
    content = body.encode("utf-8", "surrogateescape") if isinstance(body, str) else bytes(body)
    known = [parameter.name for parameter in handler.parameters] if handler.returns_value else list(READ_BY_NAME)
    if hasattr(request, "params"):
        params = {str(key): str(value) for key, value in dict(request.params()).items()}
    else:
        asked = {key: request.get_param(key) for key in [*known, "format"]}
        params = {key: value for key, value in asked.items() if value}
    form = "json" if "format" in known else params.pop("format", "json")
    return content, params, form


def _in_time(name: str, run: Callable[[], Part]) -> Part:
    """Runs a handler on a thread of ours, so that PyTorch's, of which there are few, does not wait for ever."""
    slot = _serving.slots.take(name, (next(_COUNT),), DEFAULT_TIMEOUT_S)
    if isinstance(slot, str):
        return failed(name, "refused", 503, slot)
    slots, found, done = _serving.slots, [], _thread.allocate_lock()
    done.acquire()

    def body() -> None:
        try:
            found.append(run())
        finally:
            slots.free(name, slot)
            done.release()

    if not start_thread("oobdump torch", body):
        body()
    if not done.acquire(True, DEFAULT_TIMEOUT_S) or not found:
        text = f"Handler {name} failed: it did not return within {DEFAULT_TIMEOUT_S:g} s and keeps its slot"
        return failed(name, "timeout", 504, text)
    return found[0]
