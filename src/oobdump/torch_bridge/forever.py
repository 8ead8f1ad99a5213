"""Objects that are never freed, not even when the interpreter ends.

In: an object. Out: the same, with one reference more than anybody holds. The rule only this module
keeps: what PyTorch's C++ half refers to must outlive it. A reference from a module is not enough,
for modules are cleared at exit: the server's destructor then shuts down without the GIL and aborts
the process, and in a forked child it joins a thread that is not there and hangs.
"""

from __future__ import annotations

import ctypes
from typing import TypeVar

__all__ = ["never_freed"]

_Any = TypeVar("_Any")


def never_freed(value: _Any) -> _Any:
    """The value, which is kept for ever."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))
    return value
