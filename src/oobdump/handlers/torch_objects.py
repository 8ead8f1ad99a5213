"""PyTorch as it is loaded right now, and its request and response objects made from ours.

In: ``sys.modules`` at call time, and our ``HandlerRequest`` and ``HandlerResponse``. Out: PyTorch's
modules, or ``NotInTorch`` (501) that says what is missing; PyTorch's functions called with objects
of its own types. The rules only this module keeps: nothing here imports, so a process that never
imported torch never does because it was asked; and a module that is half imported is not there yet.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from oobdump.errors import OobdumpError
from oobdump.request import HandlerRequest
from oobdump.response import HandlerResponse

__all__ = ["C10D", "CONTROL_PLANE", "NotInTorch", "c10d", "call", "control_plane", "function", "prepare", "torch"]

C10D = "torch._C._distributed_c10d"
"""Where PyTorch keeps its control plane and its flight recorder; it is made by ``torch.distributed``."""

CONTROL_PLANE = ("_Request", "_Response", "_WorkerServer", "_get_handler", "_get_handler_names", "_register_handler")


class NotInTorch(OobdumpError):
    """torch is not loaded in this process, or this torch has not what was asked for; the message says which."""

    code = 501


def torch() -> Any:
    """The module ``torch``. Raises ``NotInTorch``."""
    found = sys.modules.get("torch")
    if found is None or not hasattr(found, "_C"):
        raise NotInTorch("torch is not loaded in this process")
    return found


def c10d() -> Any:
    """PyTorch's C++ module of distributed things. Raises ``NotInTorch``."""
    torch()
    found = sys.modules.get(C10D)
    if found is None:
        raise NotInTorch("torch.distributed is not loaded in this process, or this PyTorch was built without it")
    return found


def control_plane() -> Any | None:
    """The same module if it has a registry of handlers; None if not, or not yet. Never raises."""
    found = sys.modules.get(C10D)
    return found if found is not None and all(hasattr(found, name) for name in CONTROL_PLANE) else None


def function(what: str, *names: str) -> Callable[..., Any]:
    """The first of these functions that this PyTorch has (they move between releases). Raises ``NotInTorch``."""
    module = c10d()
    for name in names:
        found = getattr(module, name, None)
        if found is not None:
            return found  # type: ignore[no-any-return]
    version = getattr(torch(), "__version__", "of unknown version")
    raise NotInTorch(f"this PyTorch ({version}) has no {what}: none of {', '.join(names)} is there")


def call(module: Any, fn: Callable[[Any, Any], Any], request: HandlerRequest, response: HandlerResponse) -> None:
    """Runs a handler of PyTorch's registry on ours. What it raises comes through.

    A C++ handler that reads parameters cannot take them from Python (a dict is no multimap): it is told apart.
    """
    asked, answered = _types(module)
    try:
        fn(asked(request), answered(response))
    except RuntimeError as error:
        if "Unable to cast Python instance" not in str(error):
            raise
        raise NotInTorch(
            "this C++ handler of PyTorch reads parameters, which PyTorch cannot take from Python: "
            "ask PyTorch's own server for it (its socket is in the roster, under channels.torch)"
        ) from error


def prepare(module: Any) -> None:
    """Makes the types below, so that no answer has to."""
    _types(module)


_made: dict[int, tuple[Any, tuple[type, type]]] = {}
"""The two types by the module they were made for; the module is kept, so that its address stays its own."""


def _types(module: Any) -> tuple[type, type]:
    found = _made.get(id(module))
    if found is None:
        found = _made.setdefault(id(module), (module, (_request_type(module), _response_type(module))))
    return found[1]


def _request_type(module: Any) -> type:
    class Request(module._Request):  # type: ignore[misc]  # noqa: SLF001 - PyTorch names it so
        """Our request for PyTorch's handlers. ``get_param`` is ours too: PyTorch's would ask ``params`` from C++."""

        def __init__(self, request: HandlerRequest) -> None:
            super().__init__()
            self._ours = request

        def body(self) -> bytes:
            return self._ours.body()

        def params(self) -> dict[str, str]:
            return self._ours.params()

        def get_param(self, name: str) -> str:
            return self._ours.get_param(name)

    return Request


def _response_type(module: Any) -> type:
    class Response(module._Response):  # type: ignore[misc]  # noqa: SLF001 - PyTorch names it so
        """Our response for PyTorch's handlers."""

        def __init__(self, response: HandlerResponse) -> None:
            super().__init__()
            self._ours = response

        def set_content(self, content: str | bytes, content_type: str) -> None:
            self._ours.set_content(content, content_type)

        def set_status(self, status: int) -> None:
            self._ours.set_status(status)

    return Response
