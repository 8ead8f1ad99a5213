"""Another Python for a task of ours, started without anything that could arm, alter or slow it.

In: a module of ours with a ``main``, and words for it. Out: a command line, an environment, and what the
child sets first: its limits. The rule only this module keeps: no startup file runs there, no variable
configures it, and the directory that the caller happens to be in is not looked into.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys

__all__ = ["command", "environment", "limit"]

_PACKAGES = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
"""Where this package is: the child finds it first."""

_KEPT = ("PATH", "LD_LIBRARY_PATH")
"""All of the environment that an interpreter may need to start."""


def command(module: str, *words: str) -> list[str]:
    """Runs ``module.main(*words)``, with the caller's libraries to import from."""
    program = f"import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {module} import main; main(*sys.argv[2:])"
    places = [_PACKAGES, *filter(None, sys.path)]
    return [sys.executable, "-I", "-S", "-c", program, json.dumps(places), *words]


def environment() -> dict[str, str]:
    """What of the caller's environment goes on to the child."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ}


def limit(what: int, most: int) -> None:
    """In the child: bounds a resource (``resource.RLIMIT_…``), unless a lower bound holds already."""
    hard = resource.getrlimit(what)[1]
    least = most if hard == resource.RLIM_INFINITY else min(most, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(what, (least, least))
