"""How a program arms itself for another tool: ``PROGRAM_PEER`` names which, in a program that runs bare.

In: the name. Out: the tool's own way to be asked, with its files beside ``READY_FIFO``. Used by the hang
zoo, which asks oobdump's peers about the same programs.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["arm_for"]

_kept: list[Any] = []
"""Files and servers that must not be collected."""


def _directory() -> Path:
    return Path(os.environ["READY_FIFO"]).parent


def _out() -> Any:
    file = (_directory() / f"peer.{os.getpid()}").open("w", encoding="utf-8")
    _kept.append(file)
    return file


def _torch() -> None:
    from torch._C._distributed_c10d import _WorkerServer

    _kept.append(_WorkerServer(str(_directory() / f"s{os.getpid()}")))


def _faulthandler() -> None:
    faulthandler.register(signal.SIGUSR1, file=_out(), all_threads=True)


def _handler() -> None:
    out = _out()

    def write(_signum: int, _frame: object) -> None:
        for ident, frame in sys._current_frames().items():
            print(f"thread {ident}", file=out)
            traceback.print_stack(frame, file=out)
        out.flush()

    signal.signal(signal.SIGUSR1, write)


def _manhole() -> None:
    import manhole

    manhole.install(verbose=False)


_ARMS: dict[str, Callable[[], None]] = {
    "torch": _torch,
    "faulthandler": _faulthandler,
    "handler": _handler,
    "manhole": _manhole,
}


def arm_for(peer: str) -> None:
    """Arm this process for that tool."""
    _ARMS[peer]()
