"""What handlers share: plain texts, names of types, readings that may fail one by one.

In: objects of the program under inspection. Out: exact ``str``, ``int`` and so on, which every
codec writes. The rule this module keeps: none of the user's code runs for a description, neither
``repr`` nor ``len`` nor an attribute look-up of a user's class, for any of them may hang or raise.
"""

from __future__ import annotations

import os
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["Readings", "dict_of", "literal", "read_file", "text", "text_of", "type_name"]

_MAX_TEXT_CHARS = 4096
"""A thread's name, a path, a variable of the environment: a longer one is cut, and says so."""

_MAX_LITERAL_CHARS = 200
"""A local variable: enough to recognise it."""

_MAX_LITERAL_BITS = 256
"""Above it the text of an int costs more than it tells (and quadratic time)."""

_MAX_FILE_BYTES = 2**18
"""The longest files of /proc that are read here are well below."""

_READ_BYTES = 2**14

_SIZED = (list, tuple, dict, set, frozenset, bytearray, deque, defaultdict, OrderedDict)
"""Built-in types whose ``len`` is one field."""

_qualname_of = type.__dict__["__qualname__"].__get__
_module_of = type.__dict__["__module__"].__get__

_T = TypeVar("_T")


class Readings:
    """Readings that are taken one by one: what fails becomes an entry of ``problems``."""

    def __init__(self) -> None:
        self.problems: dict[str, Any] = {}

    def take(self, name: str, read: Callable[[], _T]) -> _T | None:
        """The reading; None if it failed."""
        try:
            return read()
        except Exception as error:  # noqa: BLE001 - whatever a reading meets, the others are taken
            self.problems[name] = {"error": text(f"{type(error).__name__}: {error}")}
            return None


def text(value: str, limit_chars: int = _MAX_TEXT_CHARS) -> str:
    """The same characters as an exact ``str`` that has a UTF-8 form; a long one is cut."""
    if type(value) is str and len(value) <= limit_chars and value.isascii():
        return value
    plain = str.__str__(value)
    cut = "" if len(plain) <= limit_chars else f"… ({len(plain)} characters)"
    return plain[:limit_chars].encode("utf-8", "backslashreplace").decode("utf-8") + cut


def text_of(value: object) -> str | None:
    """A text of any ``str`` type, else None. No ``isinstance``: it would ask a user's object for its ``__class__``."""
    return text(value) if issubclass(type(value), str) else None  # type: ignore[arg-type]


def type_name(kind: type) -> str:
    """The type's qualified name, past its metaclass."""
    module, name = text_of(_module_of(kind)), text(_qualname_of(kind))
    return name if module is None or module == "builtins" else f"{module}.{name}"


def dict_of(value: object) -> dict[str, Any]:
    """An object's own attributes, past any ``__getattribute__``; empty if it has no dict."""
    try:
        found = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return found if type(found) is dict else {}


def literal(value: object) -> str:
    """A local variable as a short text: a literal for built-in scalars, else the type and, if cheap, its length."""
    if value is None or type(value) is bool or type(value) is float:
        return repr(value)
    if type(value) is int:
        bits = value.bit_length()
        return repr(value) if bits <= _MAX_LITERAL_BITS else f"<int of {bits} bits>"
    if type(value) is str or type(value) is bytes:
        shown = text(repr(value[:_MAX_LITERAL_CHARS]), 10 * _MAX_LITERAL_CHARS)
        return shown if len(value) <= _MAX_LITERAL_CHARS else f"{shown}… ({len(value)})"
    sized = any(type(value) is each for each in _SIZED)  # not ``in``: that would ask a metaclass's ``__eq__``
    size = f" of {len(value)}" if sized else ""  # type: ignore[arg-type]
    return f"<{type_name(type(value))}{size}>"


def read_file(path: str) -> str:
    """A small file of /proc or of cgroups, whole; ``OSError`` if it cannot be read."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunks: list[bytes] = []
        while (chunk := os.read(descriptor, _READ_BYTES)) and len(chunks) * _READ_BYTES < _MAX_FILE_BYTES:
            chunks.append(chunk)
    finally:
        os.close(descriptor)
    return b"".join(chunks).decode("utf-8", "backslashreplace")
