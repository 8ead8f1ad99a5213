"""Whether a Python arms what it is told to arm: whether our ``.pth`` file is there and acts.

In: a path of a Python. Out: yes or no, or where the file is. The rule only this module keeps: of the Python
that runs us we know; another one is asked by running it, which arms nothing.
"""

from __future__ import annotations

import os
import site
import subprocess
import sys
from collections.abc import Mapping

from oobdump import arming

__all__ = ["NAME", "acts_in", "here"]

NAME = "zzz_oobdump_arm.pth"
"""Late in the alphabet: the paths that other ``.pth`` files add are there before it is read."""

_PROBE = "import sys; sys.exit(0 if 'oobdump.arming' in sys.modules else 3)"
_PROBE_WITHIN_S = 10.0
"""A Python starts in 20 ms; from a cold network file system it may take seconds."""


def acts_in(python: str, environ: Mapping[str, str]) -> bool:
    """Whether that Python runs our ``.pth`` file. Of this one we know; another is asked."""
    if _same_place(python, sys.executable):
        return here() is not None
    try:
        asked = subprocess.run(  # noqa: S603 - the very program that the user wants to run
            [python, "-c", _PROBE],
            env={**environ, arming.VARIABLE: arming.PROBE},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_PROBE_WITHIN_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return True  # not known: no reason to warn
    return asked.returncode == 0


def _same_place(one: str, other: str) -> bool:
    """Whether two paths are Pythons of one environment: a virtual one is known by its directory alone."""
    return os.path.realpath(os.path.dirname(one)) == os.path.realpath(os.path.dirname(other)) and os.path.samefile(
        one, other
    )


def here() -> str | None:
    """Where the file is in this Python; None if it is nowhere that counts. A source tree's on PYTHONPATH does not."""
    user = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    paths = (os.path.join(place, NAME) for place in (*site.getsitepackages(), *user))
    return next(filter(os.path.isfile, paths), None)
