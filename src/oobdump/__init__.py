"""Ask a worker what it is doing, whatever it is doing.

``oobdump.start()`` arms this process: dropped request files and the request signal are then
answered by the handlers of one registry, into a dump directory. Importing starts nothing, and
loads nothing before a name is used.
"""

from __future__ import annotations

from oobdump._version import __version__

TYPE_CHECKING = False  # as in `typing`, which would be loaded before the request signal is safe (early)
if TYPE_CHECKING:
    from typing import Any as _Any

    from oobdump.control_plane import WorkerServer, worker_main
    from oobdump.registry import get_handler, get_handler_names, handler, register_handler
    from oobdump.request import HandlerRequest, Request
    from oobdump.response import HandlerResponse, Response
    from oobdump.worker import Worker, dump, start, stop

__all__ = [
    "HandlerRequest",
    "HandlerResponse",
    "Request",
    "Response",
    "Worker",
    "WorkerServer",
    "__version__",
    "dump",
    "get_handler",
    "get_handler_names",
    "handler",
    "register_handler",
    "start",
    "stop",
    "worker_main",
]

_HOMES = {
    "HandlerRequest": "oobdump.request",
    "HandlerResponse": "oobdump.response",
    "Request": "oobdump.request",
    "Response": "oobdump.response",
    "Worker": "oobdump.worker",
    "WorkerServer": "oobdump.control_plane",
    "dump": "oobdump.worker",
    "get_handler": "oobdump.registry",
    "get_handler_names": "oobdump.registry",
    "handler": "oobdump.registry",
    "register_handler": "oobdump.registry",
    "start": "oobdump.worker",
    "stop": "oobdump.worker",
    "worker_main": "oobdump.control_plane",
}


def __getattr__(name: str) -> _Any:
    """A public name, from the module that has it; found here from then on."""
    if name not in _HOMES:
        raise AttributeError(f"module 'oobdump' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - not before a name is used

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
