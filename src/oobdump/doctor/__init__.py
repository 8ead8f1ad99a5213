"""What would make a dump fail: checks of this machine and of workers, each finding with its mend.

In: a root, a job if there is one, workers. Out: a ``Report``. The rules only this package keeps: a check
that raises or hangs is a finding itself and hides no other; nothing is changed, but that one request is
asked of the workers (it is in the list of dumps as any other).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from oobdump.doctor import directories, events, here, sight, torch, worker
from oobdump.doctor.model import Check, Finding, Kind, Severity, Subject

__all__ = ["CHECKS", "KINDS", "Check", "Done", "Finding", "Kind", "Severity", "Subject", "do", "examine"]

CHECK_FAILED = Kind(
    "check-failed",
    "warning",
    "the check itself could not be done, so nothing is known of what it looks at",
    "read what it says; if it makes no sense, report it",
)
CHECK_HANGS = Kind(
    "check-hangs",
    "error",
    "the kernel does not answer, as with a file system that hangs: a dump would not come through either",
    "`mount` and `df` on the directory tell more; set OOBDUMP_DIR to another file system",
)

CHECKS: tuple[Check, ...] = (
    *here.CHECKS,
    *directories.CHECKS,
    *events.CHECKS,
    *sight.CHECKS,
    *torch.CHECKS,
    *worker.CHECKS,
)
"""In the order in which they are done and shown. A check of workers is done for each worker."""

_OF_CHECKS = dict.fromkeys(kind for check in CHECKS for kind in check.kinds)
KINDS: tuple[Kind, ...] = (*_OF_CHECKS, worker.NOT_ARMED, CHECK_FAILED, CHECK_HANGS)
"""Every kind of finding, each once."""


@dataclass(frozen=True)
class Done:
    """One check that was done: of what, what it found, how long it took."""

    check: Check
    worker: str | None
    findings: tuple[Finding, ...]
    seconds: float


def examine(machine: Subject, workers: Sequence[Subject] = (), names: Collection[str] = ()) -> Iterator[Done]:
    """Does every check, or those of these names, the machine's once and the workers' for each."""
    for check in CHECKS:
        if check.name in names or not names:
            for subject in (machine,) if check.about == "machine" else workers:
                yield do(check, subject)


def do(check: Check, subject: Subject) -> Done:
    """One check, on a thread that may be lost to a file system that hangs."""
    found: list[Finding] = []
    name = None if subject.entry is None else subject.entry.worker
    began = time.monotonic()

    def run() -> None:
        try:
            found.extend(check.run(subject))
        except Exception as error:  # noqa: BLE001 - a finding, not an end
            found.append(CHECK_FAILED.found(f"{check.name}: {type(error).__name__}: {error}", check=check.name))

    thread = threading.Thread(target=run, name=f"doctor {check.name}", daemon=True)
    thread.start()
    thread.join(check.deadline_s)
    if thread.is_alive():
        found = [*found, CHECK_HANGS.found(f"{check.name}: no end within {check.deadline_s:g} s", check=check.name)]
    about = [replace(finding, worker=finding.worker or name) for finding in found]
    return Done(check, name, tuple(about), time.monotonic() - began)
