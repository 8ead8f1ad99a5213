"""The bridge to PyTorch: its handlers behind ours, ours in its registry, its own server beside ours.

In: our registry and a path for a socket. Out: one registry with two doors, as soon as torch is in
the process, before or after; until then a hook waits for the program's own import. Nothing here
imports torch. The rule only this module keeps: what can be given back is given back by ``detach``
(the hook, the fallback, the server); what PyTorch cannot take back stays and says so.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

from oobdump.handlers import torch_objects
from oobdump.request import HandlerRequest
from oobdump.response import HandlerResponse
from oobdump.threads import Latch
from oobdump.torch_bridge import trampolines
from oobdump.torch_bridge.hook import ImportHook
from oobdump.torch_bridge.side_door import SideDoor

__all__ = ["Behind", "TorchBridge"]

LEAVES_WITHIN_S = 1.0
"""At exit: how long an answer that PyTorch's server is giving may keep the process."""

_LOOK_EVERY_S = 0.005

_Function = Callable[[Any, Any], None]


class Registry(Protocol):
    """What is needed of our registry here. ``on_register`` is called with each new name."""

    fallback: Any
    on_register: Callable[[str], None] | None

    def names(self) -> list[str]: ...
    def get(self, name: str) -> Any: ...


class Behind:
    """PyTorch's registry as ours asks it: our own trampolines are not in it. Never raises, blocks or imports."""

    def names(self) -> list[str]:
        """The names that PyTorch has and we did not give it."""
        module = torch_objects.control_plane()
        if module is None:
            return []
        return [name for name in module._get_handler_names() if name not in trampolines.KEPT]  # noqa: SLF001 - PyTorch names it so

    def find(self, name: str) -> _Function | None:
        """A function of our request and response that runs PyTorch's handler, or None."""
        module = torch_objects.control_plane()
        if module is None or name in trampolines.KEPT:
            return None
        try:
            fn = module._get_handler(name)  # noqa: SLF001 - see above
        except (ValueError, RuntimeError):
            return None

        def run(request: HandlerRequest, response: HandlerResponse) -> None:
            torch_objects.call(module, fn, request, response)

        return run


class TorchBridge:
    """One for a worker. ``problems`` is in words for the roster; ``on_change`` is called when torch has come."""

    def __init__(self, server: str = "auto") -> None:
        self._wants_server = server != "off"
        self.problems: list[str] = []
        self.on_change: Callable[[], None] = lambda: None
        self._registry: Registry | None = None
        self._path: str | None = None
        self._door: SideDoor | None = None
        self._arrived = Latch()
        self._hook = ImportHook(self._arrive)

    def attach(self, registry: Registry, socket_path: str | None) -> None:
        """Joins the two registries, now or when torch is imported; ``socket_path`` None: no server beside ours."""
        self._registry, self._path = registry, socket_path
        trampolines.serve(registry)
        registry.fallback = Behind()
        registry.on_register = self._offer
        self._hook.install()  # before the look: an import that ends in between is seen by one of the two
        if torch_objects.control_plane() is not None:
            self._arrive()

    def detach(self) -> None:
        """Gives back the hook, the fallback and the server. PyTorch's registry keeps our names."""
        self._hook.remove()
        registry, self._registry = self._registry, None
        if registry is not None:
            registry.fallback = registry.on_register = None
        if self._door is not None:
            self._door.close()
            self._note(self._door.trouble)

    def leave(self) -> None:
        """At exit: nobody new comes in by PyTorch's server, and who is being answered is, but not for long."""
        self._hook.remove()
        if self._door is not None:
            self._door.hide()
        deadline = time.monotonic() + LEAVES_WITHIN_S
        while trampolines.answering() and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY_S)

    def forget(self) -> None:
        """In a forked child, on the parent's bridge: lets go of the parent's hook and socket."""
        self._hook.remove()
        self._registry = None
        trampolines.forget_after_fork()
        if self._door is not None:
            self._door.forget()

    def describe(self) -> dict[str, Any]:
        """What the roster says of it."""
        found = sys.modules.get("torch")
        if torch_objects.control_plane() is None:
            return {"off": "torch is not loaded" if found is None else "this PyTorch has no control plane"}
        version = str(getattr(found, "__version__", ""))
        if self._door is not None and self._door.is_open:
            return {"version": version, "path": self._door.path}
        return {"version": version, "off": self._why_no_server()}

    def _why_no_server(self) -> str:
        if not self._wants_server:
            return "by setting"
        if self._path is None:
            return "no directory for its socket"
        return self._door.trouble if self._door is not None else "not started"

    def _arrive(self) -> None:
        """The control plane is there: once, in the thread that imported it or that called ``attach``."""
        module, registry = torch_objects.control_plane(), self._registry
        if module is None or registry is None or not self._arrived.trip():
            return
        self._hook.remove()
        try:
            torch_objects.prepare(module)
            trampolines.offer(module, registry.names())
            if self._wants_server and self._path is not None:
                self._door = SideDoor(self._path)
                self._door.open(module)
                self._note(self._door.trouble)
        except Exception as error:  # noqa: BLE001 - another release of PyTorch may raise anything
            self._note(f"the bridge to PyTorch is not whole: {type(error).__name__}: {error}"[:1000])
        self.on_change()

    def _offer(self, name: str) -> None:
        """A handler of ours is new: PyTorch's registry gets its name too."""
        module = torch_objects.control_plane()
        if module is not None:
            trampolines.offer(module, [name])

    def _note(self, problem: str) -> None:
        if problem:
            self.problems.append(problem)
