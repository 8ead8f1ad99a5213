"""Who else wants a request signal: asked before it is taken, and when it turns out to be somebody else's.

In: a signal, what this process and its environment say. Out: the reason to leave it alone, or nothing;
the name of whoever has it. The rule only this module keeps: a signal that is ignored is nobody's
(launchers ignore it so that it does not kill), and one that a parent blocked is not the program's.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Mapping

from oobdump import linux
from oobdump.handlers.process import function_name, is_function
from oobdump.process_status import has_signal, status

__all__ = ["LIGHTNING", "ignored_for_us", "in_slurm", "owner_name", "requeues", "why_not"]

LIGHTNING = (
    "pytorch_lightning.trainer.connectors.signal_connector",
    "lightning.pytorch.trainer.connectors.signal_connector",
)
"""The modules of PyTorch Lightning that take SIGUSR1 in a Slurm job, and leave it if anything handles or ignores it."""

_ANOTHER = "give oobdump another signal (OOBDUMP_SIGNALS='SIGUSR2=stacks,process'), or ask by file"

_DEFAULT, _IGNORED = 0, 1
"""Addresses that are no function: ``SIG_DFL`` and ``SIG_IGN``."""


def why_not(
    signum: int, name: str, *, share: bool, environ: Mapping[str, str], modules: Iterable[str] = sys.modules
) -> str:
    """Why ``start()`` leaves a signal alone; "" if it may take it. ``share``: handlers from before are called too."""
    if requeues(signum, environ) and any(module in modules for module in LIGHTNING):
        return requeue_text(name)
    if share:
        return ""
    if (found := owner_name(signum)) is not None:
        return f"{name} is left to {found}, which had it first: {_ANOTHER}, or set OOBDUMP_SHARE_SIGNALS=1 to have both"
    if _blocked_by_program(signum):
        return f"{name} is left alone, because the program blocks it, perhaps for sigwait(): {_ANOTHER}"
    return ""


def requeues(signum: int, environ: Mapping[str, str]) -> bool:
    """Whether PyTorch Lightning would requeue the job on this signal."""
    return signum == signal.SIGUSR1 and in_slurm(environ)


def requeue_text(name: str) -> str:
    """What is said where Lightning goes first."""
    return f"{name} is left to PyTorch Lightning, which requeues the Slurm job on it: {_ANOTHER}"


def ignored_for_us(previous: object) -> bool:
    """Whether ``oobdump run`` ignored a signal so that it could not kill before it was taken."""
    return previous is signal.SIG_IGN and bool(os.environ.get("OOBDUMP_ARM"))


def in_slurm(environ: Mapping[str, str]) -> bool:
    """Whether this process is part of a Slurm job."""
    return "SLURM_JOB_ID" in environ or "SLURM_NTASKS" in environ


def owner_name(signum: int) -> str | None:
    """Who handles a signal now, in words; None if nobody does."""
    handler = signal.getsignal(signum)
    if is_function(handler) and handler is not None:
        return function_name(handler)
    address = linux.sigaction_handler(signum) if linux.AVAILABLE else _DEFAULT
    if address in (_DEFAULT, _IGNORED) and handler is not None:
        return None
    return "a handler in C (such as faulthandler.register)"


def _blocked_by_program(signum: int) -> bool:
    """Blocked here, and not because whoever started this process blocks it (a mask goes on to children)."""
    blocked = signum in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    return blocked and not has_signal(status(os.getppid()), "SigBlk", signum)
