"""Drop-in for ``torch.distributed.elastic.control_plane`` and its names in ``torch._C._distributed_c10d``.

In: what a program did with PyTorch's worker server. Out: the same names, routes and errors over
our registry, with torch or without. The rules only this module keeps: torch is never imported
for the user; a ``WorkerServer`` needs no ``start()`` and gives back all it took; and a rank whose
socket path another process serves gets one of its own, and says so.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from contextlib import ContextDecorator, ExitStack
from functools import partial
from types import TracebackType
from typing import Any, NoReturn, TypeVar, overload

from oobdump import codecs, handlers
from oobdump import worker as _workers
from oobdump.answer import Ticket
from oobdump.channels.bell import Bell
from oobdump.channels.http_listen import CannotListen, TcpAddress, UnixAddress
from oobdump.channels.http_routes import Routes
from oobdump.channels.http_server import STOP_S, HttpServer
from oobdump.errors import Refused, RequestError, StartError, StoreError
from oobdump.identity import Identity
from oobdump.registry import get_handler_names as _names
from oobdump.registry import register_handler as _register
from oobdump.registry import registry
from oobdump.request import FORMATS
from oobdump.request import Request as _FrozenRequest
from oobdump.slots import Slots
from oobdump.threads import Latch

__all__ = [
    "TORCH_WORKER_SERVER_SOCKET",
    "Request",
    "Response",
    "WorkerServer",
    "_Request",
    "_Response",
    "_WorkerServer",
    "_get_handler",
    "_get_handler_names",
    "_register_handler",
    "get_handler",
    "get_handler_names",
    "register_handler",
    "routes",
    "worker_main",
]

TORCH_WORKER_SERVER_SOCKET = "TORCH_WORKER_SERVER_SOCKET"
"""The variable that names the socket ``worker_main`` serves; each rank wants its own."""

_RECORD = "torch.distributed.elastic.multiprocessing.errors"

_F = TypeVar("_F", bound=Callable[..., Any])

_slots = Slots()
_loading = threading.Lock()
_ready: list[bool] = []
_servers: weakref.WeakSet[_Serving] = weakref.WeakSet()


class Request:
    """What a handler is given: subclass it to run one from ``get_handler``; ``body`` and ``params`` are yours."""

    def body(self) -> bytes:
        """The request's body."""
        return b""

    def params(self) -> dict[str, str]:
        """The parameters, as text."""
        return {}

    def get_param(self, key: str) -> str:
        """One parameter, ``""`` if it is absent."""
        return self.params().get(key, "")


class Response:
    """What a handler fills: subclass it to take the answer as it is given, or read the attributes."""

    def __init__(self) -> None:
        self.content: str | bytes = b""
        self.content_type: str = "text/plain"
        self.status: int = 200

    def set_content(self, content: str | bytes, content_type: str) -> None:
        """The answer's body and its media type."""
        self.content, self.content_type = content, content_type

    def set_status(self, status: int) -> None:
        """The answer's HTTP status."""
        self.status = status


def register_handler(name: str, fn: Callable[..., Any]) -> None:
    """Registers ``fn``; ``ValueError`` (``Handler NAME already registered``) if the name is taken."""
    _load()
    _register(name, fn)


def get_handler(name: str) -> Callable[[Any, Any], None]:
    """A function of request and response; ``ValueError`` (``Failed to find handler NAME``) if there is none.

    It raises what the handler raises. A handler that returns a value fills the response with it: as
    JSON text, or as ``params()["format"]`` says.
    """
    _load()
    try:
        found = registry.get(name)
    except RequestError as error:
        raise ValueError(str(error)) from None
    return partial(_filled, found) if found.returns_value else found.fn


def get_handler_names() -> list[str]:
    """The names of all handlers, sorted."""
    _load()
    return _names()


class WorkerServer:
    """Serves the registry over HTTP: at a Unix socket of that path, or at TCP ``host_or_file`` and ``port``.

    PyTorch's API has no token: a TCP port is open to whoever reaches it, so name the interface that
    should (``127.0.0.1``). Raises ``CannotListen`` (a ``RuntimeError``; ``PATH already exists``) if
    somebody serves the path; one that a dead process left is taken over.
    """

    def __init__(self, host_or_file: str, port: int = -1) -> None:
        _load()
        address = UnixAddress(os.fspath(host_or_file)) if port == -1 else TcpAddress(host_or_file, port)
        serving = _Serving(address)
        self._port = serving.port
        self._stop = weakref.finalize(self, serving.stop, 0.0)
        self._serving = serving

    @property
    def port(self) -> int:
        """The TCP port, also where 0 was asked for; -1 for a Unix socket."""
        return self._port

    @property
    def address(self) -> str:
        """``unix:PATH`` or ``tcp://HOST:PORT``."""
        return str(self._serving.http.address)

    def shutdown(self) -> None:
        """Stops serving, waits a second for handlers that run, and removes the socket file. Any number of times."""
        self._serving.stop(STOP_S)
        self._stop.detach()


@overload
def worker_main(main: _F, /) -> _F: ...
@overload
def worker_main() -> WorkerMain: ...
def worker_main(main: _F | None = None, /) -> _F | WorkerMain:
    """Arms and serves while a program's main function runs: a context manager, or a decorator of it.

    Inside, the process is armed as by ``oobdump.start()``, the socket that ``TORCH_WORKER_SERVER_SOCKET``
    names is served, and an exception is recorded with torch's ``record`` if torch is imported.
    """
    return WorkerMain() if main is None else WorkerMain()(main)


class WorkerMain(ContextDecorator):
    """What ``worker_main`` gives; each use is one of its own, so that a function may be called again."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def _recreate_cm(self) -> WorkerMain:
        return WorkerMain()

    def __enter__(self) -> None:
        with ExitStack() as stack:
            stack.push(_recorded)
            _start(stack)
            path = os.environ.get(TORCH_WORKER_SERVER_SOCKET)
            if path is not None:
                stack.callback(_serve_own(path).shutdown)
            self._stack = stack.pop_all()
        _recording()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)


class _Serving:
    """A server with all that it needs and a worker would have: a bell for its deadlines."""

    def __init__(self, address: UnixAddress | TcpAddress) -> None:
        self._bell = Bell(None, lambda _byte: None)
        try:
            self.http = HttpServer(address, routes().plan, self._bell.at)
        except BaseException:
            self._bell.forget()
            raise
        self._bell.start(lambda: False, lambda _now: None)
        self._ended = Latch()
        _servers.add(self)
        if not self.http.start():
            self.stop(0.0)
            raise CannotListen(f"no thread can be started to serve {address}: raise the limit (ulimit -u)")

    @property
    def port(self) -> int:
        address = self.http.address
        return address.port if isinstance(address, TcpAddress) else -1

    def stop(self, wait_s: float) -> None:
        if self._ended.trip():
            self.http.stop(wait_s)
            self._bell.stop()

    def forget(self) -> None:
        """In a forked child: the parent's server is none of ours, and nothing of it is removed."""
        if self._ended.trip():
            self.http.forget()
            self._bell.forget()


def routes(*, token: str | None = None) -> Routes:
    """The routes over the registry, for a server of your own; ``POST /dump`` works while this process is armed."""
    _load()
    return Routes(registry, {name: codecs.get(name) for name in codecs.names()}, _slots, _submit, token)


def _submit(request: _FrozenRequest) -> Ticket:
    running = _workers.worker()
    if running is None:
        raise Refused("this process stores nothing: POST /dump needs oobdump.start()")
    return running.ask(request, "http")


def _load() -> None:
    """The built-in handlers and codecs, before anything is answered: it imports."""
    if _ready:
        return
    with _loading:
        codecs.load_all()
        handlers.load(registry)
        if not _ready and hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_after_fork)
        _ready.append(True)


def _filled(handler: Any, request: Any, response: Any) -> None:
    """Runs a handler that returns a value, and fills the response as one of two arguments would."""
    params = dict(request.params())
    own_format = any(parameter.name == "format" for parameter in handler.parameters)
    form = FORMATS[0] if own_format else params.pop("format", FORMATS[0])
    codec = codecs.get(form)
    data = codec.encode(handler.fn(**handler.bind(params)))
    response.set_content(data.decode("ascii") if form == FORMATS[0] else data, codec.media_type)
    response.set_status(200)


def _start(stack: ExitStack) -> None:
    """Arms the process, unless it is; what the dump directory cannot do must not keep a job from starting."""
    if _workers.worker() is not None:
        return
    try:
        _workers.start()
    except StoreError as error:
        warnings.warn(f"oobdump is not armed, and only the socket is served: {error}", RuntimeWarning, stacklevel=4)
    else:
        stack.callback(_stop)


def _stop() -> None:
    try:
        _workers.stop()
    except StartError:
        pass  # not in the main thread, where alone signals can be given back: it stays armed until exit


def _serve_own(path: str) -> WorkerServer:
    """The server at that path; at one beside it where another process was first."""
    identity = Identity.here()
    mine = str(identity.pid) if identity.rank is None else f"rank{identity.rank}"
    for candidate in (path, f"{path}.{mine}", f"{path}.{mine}.{identity.pid}"):
        try:
            server = WorkerServer(candidate)
        except CannotListen as error:
            if not error.taken:
                raise
            continue
        if candidate != path:
            warnings.warn(
                f"{path} is served by another process: this one ({mine}) is at {candidate}. "
                f"Give each rank its own {TORCH_WORKER_SERVER_SOCKET}",
                RuntimeWarning,
                stacklevel=5,
            )
        return server
    raise CannotListen(f"{path} already exists, and so do the names beside it: give each rank its own", taken=True)


def _record() -> Callable[[Callable[[], None]], Callable[[], object]] | None:
    """The ``record`` of torch, if torch is imported: then the module that has it may be, too."""
    if "torch" not in sys.modules:
        return None
    try:
        found: Callable[[Callable[[], None]], Callable[[], object]] = importlib.import_module(_RECORD).record
    except Exception:  # noqa: BLE001 - a torch without torch.distributed, or half imported
        return None
    return found


def _recording() -> None:
    """At the start: what ``record`` sets up (torch has ``faulthandler`` write to standard error)."""
    record = _record()
    if record is not None:
        record(lambda: None)()


def _recorded(_kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None) -> None:
    """At the end: an exception goes into the file that torchrun reads (``TORCHELASTIC_ERROR_FILE``)."""
    record = _record() if isinstance(error, Exception) else None
    if record is None or error is None:
        return

    def again(failure: BaseException = error) -> NoReturn:
        raise failure

    try:
        record(again)()
    except Exception as same:
        if same is not error:
            raise


def _after_fork() -> None:
    """In a forked child: none of the parent's servers is here, and nothing of its holds a handler's slot."""
    global _slots, _loading  # what another thread of the parent held, nobody gives back
    _slots, _loading = Slots(), threading.Lock()
    for serving in list(_servers):
        serving.forget()


_Request = Request
_Response = Response
_WorkerServer = WorkerServer
_register_handler = register_handler
_get_handler = get_handler
_get_handler_names = get_handler_names
