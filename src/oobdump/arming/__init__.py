"""Arms a program that knows nothing of oobdump, before its first line.

In: ``OOBDUMP_ARM`` in the environment, as ``oobdump run`` sets it; the line of ``zzz_oobdump_arm.pth``, which
the wheel puts beside the package and which every start of that Python runs. Out: an armed process, or one
line on stderr that says why not. The rule only this module keeps: whatever goes wrong here, the program
runs, and no request signal ends it.
"""

from __future__ import annotations

import os
import sys

from oobdump import early

__all__ = ["PROBE", "VARIABLE", "arm"]

VARIABLE = "OOBDUMP_ARM"

PROBE = "probe"
"""Asks only whether the ``.pth`` file acts: ``oobdump run`` asks another Python so."""

_OFF = ("", "0", "no", "off", "false", PROBE)
_TOLD = "told"
"""What the variable becomes once somebody was told that it does not work: a hundred children need not say it again."""

_done: list[int] = []
"""The process that went through this. Some Pythons run a ``.pth`` file twice."""


def arm() -> None:
    """Arms this process, once, if the variable says so. Never raises an ``Exception``."""
    wanted = os.environ.get(VARIABLE, "")
    if wanted.lower() in _OFF or _done or not early.in_main_interpreter():
        return
    _done.append(os.getpid())
    early.guard()  # before the next line, which takes a tenth of a second
    try:
        from oobdump import python_line  # noqa: PLC0415 - a program that is not to be armed must not load it

        if python_line.known_as(python_line.read(sys.orig_argv)) == "oobdump":
            return  # it asks, and is not asked
        from oobdump.worker import start  # noqa: PLC0415 - the same

        start()
        _hush()
    except Exception as error:  # noqa: BLE001 - see the docstring
        os.environ[VARIABLE] = _TOLD
        if wanted != _TOLD:
            _tell(f"oobdump: process {os.getpid()} is not armed, and runs without: {type(error).__name__}: {error}")


def _hush() -> None:
    """From 3.12 on Python warns who forks beside threads: a program that has none must not hear of ours.

    Ours hold no lock that a child needs.
    """
    if sys.version_info >= (3, 12):
        import warnings  # noqa: PLC0415 - before the program's first line, and not to answer

        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)


def _tell(text: str) -> None:
    try:
        sys.stderr.write(" ".join(text.split()) + "\n")
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):
        pass  # no stderr, or one that nobody reads
