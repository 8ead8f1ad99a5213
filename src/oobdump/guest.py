"""A request signal that somebody else wants: given back in time, and said.

In: the signal channel. Out: SIGUSR1 given back as soon as PyTorch Lightning's module for signals is
imported in a Slurm job, for Lightning requeues the job on it and must find it free; one warning for each
signal that ``start()`` left alone. The rules only this module keeps: nothing is looked for outside a
Slurm job, and a warning is never an error.
"""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable

from oobdump.channels import claims
from oobdump.channels.signals import Signals, signal_name
from oobdump.torch_bridge.hook import ImportHook

__all__ = ["Guest"]

_STACK_LEVEL = 3
"""The line that is shown is the one that called ``start()``."""


class Guest:
    """One for a worker. ``open`` after the signals were armed, in the main thread; ``note`` tells the roster."""

    def __init__(self, signals: Signals, note: Callable[[str], None]) -> None:
        self._signals = signals
        signals.on_left = note
        self._hook = ImportHook(self._lightning_came, claims.LIGHTNING)

    def open(self) -> None:
        """Waits for the import, where there is something to give back."""
        if claims.in_slurm(os.environ) and signal.SIGUSR1 in self._signals.armed:
            self._hook.install()

    def close(self) -> None:
        """Waits no longer."""
        self._hook.remove()

    def warn(self, rank: int | None) -> None:
        """Says in the program's own thread which signals were left to others; one rank speaks for the job."""
        for why in self._signals.left if rank in (None, 0) else ():
            try:
                warnings.warn(f"oobdump: {why}", RuntimeWarning, stacklevel=_STACK_LEVEL)
            except Warning:
                pass  # the program makes warnings errors, but this one must not end it

    def _lightning_came(self) -> None:
        self._hook.remove()
        self._signals.release(signal.SIGUSR1, claims.requeue_text(signal_name(signal.SIGUSR1)))
