"""A worker with handlers of its own, most of which behave badly; its main thread waits: ``wait_to_be_asked``.

``raises``, ``hangs`` (in ``hang_for_ever``), ``exits``, ``unencodable``,
``with_parameters`` (``count``, ``ratio``, ``text``, ``flag``) and ``two_arguments``.
Bare, it registers nothing.
"""

from __future__ import annotations

import threading
from typing import Any

from _program import BARE, arm, ready


class NoCodecKnowsThis:
    """A value that is neither JSON nor msgpack, and that refuses to be pickled."""

    def __reduce__(self) -> str:
        raise TypeError("this value stays here")


def raises() -> None:
    """Fail with a message and a traceback."""
    raise ValueError("the handler's own message")


def hang_for_ever() -> None:
    """Wait for an event that nobody sets."""
    threading.Event().wait()


def hangs() -> None:
    """Never return."""
    hang_for_ever()


def exits() -> None:
    """Try to end the process."""
    raise SystemExit(3)


def unencodable() -> dict[str, object]:
    """Return what no codec can write."""
    return {"value": NoCodecKnowsThis()}


def with_parameters(*, count: int = 1, ratio: float = 0.5, text: str = "", flag: bool = False) -> dict[str, object]:
    """Return the parameters as they arrived, with their types."""
    values = {"count": count, "ratio": ratio, "text": text, "flag": flag}
    return {name: [type(value).__name__, value] for name, value in values.items()}


def two_arguments(request: Any, response: Any) -> None:
    """Answer in the shape of PyTorch's handlers."""
    response.set_status(202)
    response.set_content(f"text={request.get_param('text')} body={len(request.body())}", "text/plain")


HANDLERS = (raises, hangs, exits, unencodable, with_parameters, two_arguments)


def register() -> None:
    """Register all of them, before the worker starts."""
    import oobdump  # a bare program runs without it

    for function in HANDLERS:
        oobdump.register_handler(function.__name__, function)


def wait_to_be_asked() -> None:
    """Wait for ever."""
    event = threading.Event()
    ready()
    event.wait()


if __name__ == "__main__":
    if not BARE:
        register()
    arm()
    wait_to_be_asked()
