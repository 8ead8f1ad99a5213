"""A handler's parameters: from a signature to what a request may say, and from texts to values.

In: a function whose parameters are keyword-only, and a request's ``{name: text}``. Out: a tuple of
``Parameter`` at registration, and the keyword arguments of one call. Only this module knows how a
text becomes a ``bool``, a number, a ``Literal``, an ``Enum`` or a list. Annotations are resolved
once, at registration; what cannot be read from a text is refused there and not while answering.
"""

from __future__ import annotations

import enum
import functools
import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from oobdump.errors import ConfigError, ParameterError

__all__ = ["Parameter", "bind", "function_of", "parameters_of"]

_MAX_SHOWN_CHARS = 80
"""A text from outside in a message: enough to recognise it."""

_INT = re.compile(r"[+-]?[0-9]{1,100}")
"""Longer digits take quadratic time before Python 3.11, and no parameter counts that far."""

_NONE = "none"


@dataclass(frozen=True)
class Parameter:
    """One parameter of a handler. ``default`` is the text that would mean the same, None if required."""

    name: str
    type: str
    default: str | None = None
    required: bool = False
    help: str = ""
    values: str = field(default="any text", repr=False)
    read: Callable[[str], Any] = field(default=str, repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.name}: {self.type}" + ("" if self.required else f" = {self.default or repr('')}")


@dataclass(frozen=True)
class _Kind:
    """A type that has a text form; ``read`` raises ``ValueError`` for any other text."""

    label: str
    values: str
    read: Callable[[str], Any]


def bind(parameters: Sequence[Parameter], params: Mapping[str, str]) -> dict[str, Any]:
    """The keyword arguments for one call; ``ParameterError`` says what would be right."""
    known = {parameter.name: parameter for parameter in parameters}
    for name in params:
        if name not in known:
            shown = ascii(name)[:_MAX_SHOWN_CHARS]
            raise ParameterError(f"Invalid parameters - unexpected param passed in: {shown}; {_known(parameters)}")
    for parameter in parameters:
        if parameter.required and parameter.name not in params:
            raise ParameterError(f"Missing parameter {parameter.name}; {_known(parameters)}")
    return {name: _read(known[name], text) for name, text in params.items()}


def parameters_of(fn: Callable[..., Any], signature: inspect.Signature) -> tuple[Parameter, ...]:
    """The parameters of a function that has only keyword-only ones; ``ConfigError`` for what no text can be."""
    hints = _hints(fn, signature)
    return tuple(_parameter(item, hints.get(name)) for name, item in signature.parameters.items())


def function_of(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function below partials, methods, wrappers and callable objects: it has the docstring and the globals."""
    while True:
        if isinstance(fn, functools.partial):
            fn = fn.func
        elif isinstance(fn, types.MethodType):
            fn = fn.__func__
        elif hasattr(fn, "__wrapped__"):
            fn = fn.__wrapped__
        elif isinstance(fn, (type, types.FunctionType, types.BuiltinFunctionType)):
            return fn
        else:
            call = getattr(type(fn), "__call__", None)  # noqa: B004 - the method is wanted, not whether there is one
            return call if isinstance(call, types.FunctionType) else fn


def _known(parameters: Sequence[Parameter]) -> str:
    if not parameters:
        return "this handler has no parameters"
    return "the parameters are " + ", ".join(map(str, parameters))


def _read(parameter: Parameter, text: str) -> Any:
    try:
        return parameter.read(text)
    except (ValueError, OverflowError):
        shown = ascii(text)[:_MAX_SHOWN_CHARS]
        values = f"Invalid value for {parameter.name} valid values are {parameter.values}"
        raise ParameterError(f"{values}; {shown} is none, and the parameter is {parameter}") from None


def _hints(fn: Callable[..., Any], signature: inspect.Signature) -> dict[str, Any]:
    """The parameters' annotations, resolved; the one of the result is nobody's business here."""
    empty = inspect.Parameter.empty
    found = {name: item.annotation for name, item in signature.parameters.items() if item.annotation is not empty}
    holder = types.SimpleNamespace(__annotations__=found)
    space = getattr(function_of(fn), "__globals__", {})
    try:
        return typing.get_type_hints(holder, globalns=space, include_extras=True)
    except Exception as error:
        raise ConfigError(
            f"the parameters' types of {_shown(fn)} cannot be resolved ({type(error).__name__}: {error}): "
            "their annotations must be names of the module that defines it, not of a function or of TYPE_CHECKING"
        ) from error


def _parameter(item: inspect.Parameter, annotation: Any) -> Parameter:
    annotation, text = _without_help(annotation)
    required = item.default is inspect.Parameter.empty
    if annotation is None:
        annotation = str if required else _type_of_default(item.default)
    try:
        kind = _kind(annotation)
    except ConfigError as error:
        raise ConfigError(f"parameter {item.name}: {error}") from None
    default = None if required else _text(item.default)
    return Parameter(item.name, kind.label, default, required, text, kind.values, kind.read)


def _without_help(annotation: Any) -> tuple[Any, str]:
    """``Annotated[int, "help"]`` as the type and the help."""
    if typing.get_origin(annotation) is not typing.Annotated:
        return annotation, ""
    first, *extras = typing.get_args(annotation)
    return first, next((extra for extra in extras if isinstance(extra, str)), "")


def _type_of_default(default: Any) -> Any:
    return typing.Optional[str] if default is None else type(default)  # noqa: UP045 - a value, not an annotation


def _kind(annotation: Any) -> _Kind:
    if isinstance(annotation, type) and annotation in _SCALARS:
        return _SCALARS[annotation]
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return _choice(annotation.__name__, dict(annotation.__members__))
    build = _COMPOUND.get(typing.get_origin(annotation) or annotation)
    if build is None:
        raise _unreadable(annotation)
    return build(typing.get_args(annotation), annotation)


def _optional(arguments: tuple[Any, ...], annotation: Any) -> _Kind:
    inner = [argument for argument in arguments if argument is not types.NoneType]
    if len(inner) != 1 or len(inner) == len(arguments):
        raise _unreadable(annotation)
    kind = _kind(inner[0])

    def read(text: str) -> Any:
        return None if text == _NONE else kind.read(text)

    return _Kind(f"{kind.label} or none", f"{kind.values} or none", read)


def _literal(arguments: tuple[Any, ...], _annotation: Any) -> _Kind:
    choices = {_text(value): value for value in arguments}
    return _choice("|".join(choices), choices)


def _choice(label: str, choices: Mapping[str, Any]) -> _Kind:
    def read(text: str) -> Any:
        if text not in choices:
            raise ValueError(text)
        return choices[text]

    *most, last = choices
    return _Kind(label, f"{', '.join(most)} or {last}" if most else last, read)


def _list(arguments: tuple[Any, ...], annotation: Any) -> _Kind:
    kind = _item_kind(arguments, annotation)
    return _Kind(f"list of {kind.label}", f"{kind.values}, separated by commas", functools.partial(_items, kind.read))


def _tuple(arguments: tuple[Any, ...], annotation: Any) -> _Kind:
    if arguments and (len(arguments) != 2 or arguments[1] is not Ellipsis):  # noqa: PLR2004 - tuple[T, ...]
        raise _unreadable(annotation)
    kind = _list(arguments[:1], annotation)
    return _Kind(kind.label, kind.values, lambda text: tuple(kind.read(text)))


def _item_kind(arguments: tuple[Any, ...], annotation: Any) -> _Kind:
    item = arguments[0] if arguments else str
    if typing.get_origin(item) in (list, tuple) or item in (list, tuple):
        raise _unreadable(annotation)
    return _kind(item)


def _items(read: Callable[[str], Any], text: str) -> list[Any]:
    return [read(word.strip()) for word in text.split(",")] if text else []


def _bool(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


def _int(text: str) -> int:
    if not _INT.fullmatch(text):
        raise ValueError(text)
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number) or "_" in text:
        raise ValueError(text)
    return number


_SCALARS: Mapping[type, _Kind] = {
    str: _Kind("str", "any text", str),
    int: _Kind("int", "whole numbers", _int),
    float: _Kind("float", "finite numbers", _float),
    bool: _Kind("bool", "true or false", _bool),
}

_COMPOUND: Mapping[Any, Callable[[tuple[Any, ...], Any], _Kind]] = {
    typing.Union: _optional,
    types.UnionType: _optional,
    typing.Literal: _literal,
    list: _list,
    tuple: _tuple,
}


def _text(value: Any) -> str:
    """A default or a choice as the text that means it; never the ``str`` of a user's object."""
    if value is None:
        return _NONE
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ",".join(map(_text, value))
    return str(value) if type(value) in (str, int, float) else f"<{type(value).__name__}>"


def _unreadable(annotation: Any) -> ConfigError:
    return ConfigError(
        f"no text can be read as {_shown(annotation)}: use str, int, float, bool, Literal, an Enum, "
        "Optional of one of these, or list[...] or tuple[..., ...] of them"
    )


def _shown(value: Any) -> str:
    name = getattr(value, "__qualname__", None)
    return name if isinstance(name, str) and typing.get_origin(value) is None else repr(value)[:_MAX_SHOWN_CHARS]
