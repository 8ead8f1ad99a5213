"""What can be asked without writing a line: the built-in handlers.

In: a registry. Out: the same registry with the handlers of the table below, and a line for each
that could not be added. A new built-in is a function in a module here and a line in the table.
The rule they all keep is promise 3: what they need is imported when they are loaded, and none
logs, imports, reads a source file, resolves a name or waits for a lock of the program's.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["BUILT_INS", "QUICK", "load"]

BUILT_INS: dict[str, str] = {
    "asyncio_tasks": "oobdump.handlers.asyncio_tasks:asyncio_tasks",
    "cuda_memory": "oobdump.handlers.torch_state:cuda_memory",
    "dump_nccl_trace_json": "oobdump.handlers.flight_recorder:dump_nccl_trace_json",
    "dump_nccl_trace_pickle": "oobdump.handlers.flight_recorder:dump_nccl_trace_pickle",
    "dump_traceback": "oobdump.handlers.basic:dump_traceback",
    "environment": "oobdump.handlers.environment:environment",
    "fr_trace_json": "oobdump.handlers.flight_recorder:fr_trace_json",
    "handlers": "oobdump.handlers.basic:listing",
    "memory": "oobdump.handlers.memory:memory",
    "ping": "oobdump.handlers.basic:ping",
    "process": "oobdump.handlers.process:process",
    "process_groups": "oobdump.handlers.torch_groups:process_groups",
    "pyspy_dump": "oobdump.handlers.pyspy:pyspy_dump",
    "stacks": "oobdump.handlers.stacks:stacks",
    "torch_profile": "oobdump.handlers.torch_profile:torch_profile",
    "wait_counter_values": "oobdump.handlers.torch_state:wait_counter_values",
}
"""Handlers by name, as "module:attribute"."""

QUICK = frozenset(
    {"asyncio_tasks", "cuda_memory", "environment", "handlers", "ping", "process", "process_groups", "stacks"}
)
"""Free of side effects and done in milliseconds: may be run once more if the first try is caught in something."""

SUFFIXES = {"dump_nccl_trace_pickle": "pkl"}
"""Of the part's file, where the media type (here PyTorch's) does not tell."""

BOUND = frozenset({"handlers"})
"""The attribute is given the registry and makes the handler."""


class _Registry(Protocol):
    """What is needed of a registry here."""

    def register(self, name: str, fn: Callable[..., Any], *, quick: bool, suffix: str | None) -> None: ...
    def names(self) -> list[str]: ...
    def get(self, name: str) -> Any: ...


def load(registry: _Registry) -> list[str]:
    """Adds the built-in handlers that are not there yet; gives a line for each that cannot be added.

    A name that somebody else registered is left to them. May be called again. Called before anything
    is answered, for it imports.
    """
    problems = (_load(registry, name, target) for name, target in BUILT_INS.items())
    return [problem for problem in problems if problem]


def _load(registry: _Registry, name: str, target: str) -> str:
    if name in registry.names():
        return ""
    module, _, attribute = target.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
        fn = found(registry) if name in BOUND else found
        registry.register(name, fn, quick=name in QUICK, suffix=SUFFIXES.get(name))
    except Exception as error:  # noqa: BLE001 - a platform without one handler's needs keeps the others
        return f"handler {name} ({target}) is left out: {type(error).__name__}: {error}"
    return ""
