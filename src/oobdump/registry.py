"""The one table of handlers that every channel uses.

In: functions with a name. Out: ``Handler``, or ``UnknownHandler``. Only this module knows the two
shapes of a handler, what a name may be (file names are made of it), and the order of look-up: our
table, then ``fallback`` (PyTorch's own registry). Each look-up and each registration is one atomic
dict operation: nothing on the answering path waits for a lock.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, overload

from oobdump.errors import ConfigError, UnknownHandler
from oobdump.parameters import Parameter, bind, function_of, parameters_of
from oobdump.request import HANDLER_NAME

__all__ = [
    "Fallback",
    "Handler",
    "NameTaken",
    "Registry",
    "get_handler",
    "get_handler_names",
    "handler",
    "register_handler",
    "registry",
]

ENTRY_POINT_GROUP = "oobdump.handlers"

"""Safe as a file name everywhere, and short enough to leave room for a suffix."""

_Fn = TypeVar("_Fn", bound=Callable[..., Any])


class NameTaken(ConfigError, ValueError):
    """A handler of that name is registered already; a ``ValueError`` too, as PyTorch's is."""


class Fallback(Protocol):
    """Another registry behind ours. Its methods must not raise, block or import."""

    def names(self) -> list[str]:
        """The names that it has."""
        ...

    def find(self, name: str) -> Callable[[Any, Any], Any] | None:
        """A function of request and response, or None."""
        ...


@dataclass(frozen=True)
class Handler:
    """A named function in the registry.

    ``returns_value``: called with the bound parameters, its result goes to a codec; otherwise it is
    called with request and response. ``quick``: free of side effects, so that it may be run a second
    time if the first try is caught in something. ``suffix``: of the part's file, if not by media type.
    """

    name: str
    fn: Callable[..., Any]
    returns_value: bool
    parameters: tuple[Parameter, ...] = ()
    help: str = ""
    quick: bool = False
    suffix: str | None = None

    def bind(self, params: Mapping[str, str]) -> dict[str, Any]:
        """The keyword arguments of one call; ``ParameterError`` (400) says what would be right.

        A handler of request and response reads its parameters itself: they are passed on as they are.
        """
        return bind(self.parameters, params) if self.returns_value else dict(params)


class Registry:
    """Handlers by name. Every method may be called from any thread."""

    def __init__(self, fallback: Fallback | None = None) -> None:
        self._handlers: dict[str, Handler] = {}
        self.fallback = fallback
        self.on_register: Callable[[str], None] | None = None

    def register(
        self,
        name: str,
        fn: Callable[..., Any],
        *,
        replace: bool = False,
        quick: bool = False,
        suffix: str | None = None,
    ) -> None:
        """Adds a handler; ``NameTaken`` if there is one, ``ConfigError`` if name or signature cannot be one."""
        new = _handler(name, fn, quick=quick, suffix=suffix)
        if replace:
            self._handlers[name] = new
        elif self._handlers.setdefault(name, new) is not new:
            raise NameTaken(f"Handler {name} already registered")
        if self.on_register is not None:
            self.on_register(name)

    def get(self, name: str) -> Handler:
        """The handler of that name, ours before the fallback's; else ``UnknownHandler``."""
        found = self._handlers.get(name)
        if found is not None:
            return found
        fn = None if self.fallback is None else self.fallback.find(name)
        if fn is None:
            raise UnknownHandler(f"Failed to find handler {name}")
        return Handler(name, fn, returns_value=False)

    def names(self) -> list[str]:
        """All names, sorted, the fallback's too."""
        behind = [] if self.fallback is None else self.fallback.names()
        return sorted({*list(self._handlers), *behind})

    def load_entry_points(self, group: str = ENTRY_POINT_GROUP) -> list[str]:
        """Registers what installed packages offer; gives a line for each one that could not be.

        Called by ``start()`` and never while answering: it reads package metadata and imports. What
        is registered already under its name is left alone, so that it may be called again.
        """
        import importlib.metadata  # noqa: PLC0415 - 15 ms, and only programs that call start() need it

        problems = (self._load(entry) for entry in importlib.metadata.entry_points(group=group))
        return [problem for problem in problems if problem]

    def _load(self, entry: Any) -> str:
        """Registers one entry point; what went wrong, or nothing."""
        try:
            fn = entry.load()
            there = self._handlers.get(entry.name)
            if there is None or there.fn is not fn:
                self.register(entry.name, fn)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - another package's import may raise anything
            return f"handler {entry.name} ({entry.value}) is left out: {type(error).__name__}: {error}"
        return ""


def _handler(name: str, fn: Callable[..., Any], *, quick: bool, suffix: str | None) -> Handler:
    if not HANDLER_NAME.fullmatch(name):
        raise ConfigError(
            f"{ascii(name)[:120]} is no handler name: "
            "use up to 100 letters, digits, '_' and '-', starting with a letter or '_'"
        )
    if not callable(fn):
        raise ConfigError(f"handler {name} is of type {type(fn).__name__}: give a function")
    below = function_of(fn)
    if inspect.iscoroutinefunction(below) or inspect.isasyncgenfunction(below):
        raise ConfigError(f"handler {name} is a coroutine function: nobody awaits it while the program hangs")
    signature = _signature(fn)
    returns_value = signature is not None and _returns_value(name, signature)
    parameters = parameters_of(fn, signature) if returns_value and signature is not None else ()
    return Handler(name, fn, returns_value, parameters, _help(below), quick, suffix)


def _signature(fn: Callable[..., Any]) -> inspect.Signature | None:
    """The signature; None for callables that do not tell (PyTorch's C++ handlers, for example)."""
    try:
        return inspect.signature(fn)
    except (ValueError, TypeError):
        return None


def _returns_value(name: str, signature: inspect.Signature) -> bool:
    """Which of the two shapes a signature is; ``ConfigError`` for any other."""
    items = signature.parameters.values()
    if all(item.kind is inspect.Parameter.KEYWORD_ONLY for item in items):
        return True
    places = [item for item in items if item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)]
    guess = len(places) > 1 and places[0].default is not inspect.Parameter.empty
    if not guess and _takes_two(signature):
        return False
    raise ConfigError(
        f"handler {name} has the signature {signature}: write (request, response), "
        "or keyword-only parameters as in (*, device: int = 0)"
    )


def _takes_two(signature: inspect.Signature) -> bool:
    try:
        signature.bind(None, None)
    except TypeError:
        return False
    return True


def _help(fn: Callable[..., Any]) -> str:
    """The first paragraph of the docstring, on one line."""
    doc = getattr(fn, "__doc__", None)
    return " ".join(inspect.cleandoc(doc).split("\n\n")[0].split()) if isinstance(doc, str) else ""


registry = Registry()
"""The registry that ``start()`` serves; what the functions below work on."""


@overload
def handler(name_or_fn: _Fn, /) -> _Fn: ...
@overload
def handler(name_or_fn: str, /) -> Callable[[_Fn], _Fn]: ...
def handler(name_or_fn: _Fn | str, /) -> _Fn | Callable[[_Fn], _Fn]:
    """Registers the decorated function: ``@handler`` under its own name, ``@handler("name")`` under another.

    The function is returned unchanged. Keyword-only parameters become validated request parameters.
    """
    if not isinstance(name_or_fn, str):
        registry.register(getattr(name_or_fn, "__name__", ""), name_or_fn)
        return name_or_fn
    name: str = name_or_fn

    def register(fn: _Fn) -> _Fn:
        registry.register(name, fn)
        return fn

    return register


def register_handler(name: str, fn: Callable[..., Any]) -> None:
    """Registers ``fn`` under ``name``; ``ValueError`` (``Handler NAME already registered``) if it is taken."""
    registry.register(name, fn)


def get_handler(name: str) -> Callable[..., Any]:
    """The function that is registered under ``name``; ``UnknownHandler`` if there is none."""
    return registry.get(name).fn


def get_handler_names() -> list[str]:
    """The names that a request can ask for, sorted."""
    return registry.names()
