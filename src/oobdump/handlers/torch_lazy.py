"""A shield against PyTorch's lazy modules: looking for one of them would import hundreds of others.

In: nothing. Out: a ``with`` block in which PyTorch's symboliser finds no ``torch._inductor`` unless
that is imported already. It looks for it with ``hasattr``, which imports it (2 s, and every lock of
the import system) in a thread that answers. The rule only this module keeps: for every other thread
``torch._inductor`` is what it ever was, also in that moment.
"""

from __future__ import annotations

import _thread
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from oobdump.handlers.torch_objects import torch

__all__ = ["shielded"]

_LAZY = "_inductor"


class _Absent:
    """Stands in for the module: without attributes for threads that answer, the module itself for others."""

    def __init__(self) -> None:
        self.__dict__["shielded"] = {}

    def __getattr__(self, name: str) -> Any:
        if _thread.get_ident() in self.__dict__["shielded"]:
            raise AttributeError(name)
        return getattr(vars(torch())["__getattr__"](_LAZY), name)  # what torch does for that thread without us


@contextmanager
def shielded() -> Iterator[None]:
    """Within it, this thread imports nothing by looking at torch."""
    names, me = vars(torch()), _thread.get_ident()
    found = names.setdefault(_LAZY, _Absent())
    if not isinstance(found, _Absent):
        yield  # imported already: nothing to shield from
        return
    threads = vars(found)["shielded"]
    threads[me] = True
    try:
        yield
    finally:
        threads.pop(me, None)
        if not threads and names.get(_LAZY) is found:
            names.pop(_LAZY, None)
