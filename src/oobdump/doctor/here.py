"""This Python and this system: what a worker that starts with it would be.

In: the interpreter that runs the doctor. Out: findings. The rule only this module keeps: what was never
tried is called untested, not broken.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator

from oobdump import pth
from oobdump.doctor.model import Check, Finding, Kind, Subject

__all__ = ["CHECKS"]

TESTED = ((3, 10), (3, 13))
"""The oldest and the newest Python that the tests run on."""

UNTESTED = Kind(
    "python-untested",
    "note",
    "everything may work here, but no test has shown it",
    "use CPython 3.10 to 3.13 with a GIL where that matters to you",
)
NOT_LINUX = Kind(
    "not-linux",
    "warning",
    "there is no signalfd and no inotify here: a signal reaches a worker only while it runs Python, files are polled",
    "nothing to do on this system",
)
PTH_SILENT = Kind(
    "run-does-not-arm",
    "warning",
    "`oobdump run` cannot arm programs of this Python: its .pth file is missing, or -S or another site keeps it out",
    "install oobdump with pip into the environment of the program; or call oobdump.start() in it",
)


def _python(_subject: Subject) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.implementation.name != "cpython" or not TESTED[0] <= sys.version_info[:2] <= TESTED[1]:
        yield UNTESTED.found(f"this is {sys.implementation.name} {version}", version=version)
    elif sysconfig.get_config_var("Py_GIL_DISABLED"):
        yield UNTESTED.found(f"this is a free-threaded build of CPython {version}", version=version)
    if sys.platform != "linux":
        yield NOT_LINUX.found(f"this is {sys.platform}", platform=sys.platform)


def _arming(_subject: Subject) -> Iterator[Finding]:
    if pth.here() is None:
        yield PTH_SILENT.found(f"{sys.executable} has no {pth.NAME}", python=sys.executable)


CHECKS = (
    Check("python", "machine", "version and build of this Python; the system", (UNTESTED, NOT_LINUX), _python),
    Check("run", "machine", "whether a fresh Python of this environment can be armed", (PTH_SILENT,), _arming),
)
