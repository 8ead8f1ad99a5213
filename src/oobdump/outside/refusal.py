"""Why the kernel does not let us read another process's memory, in words.

In: a pid. Out: each reason that can be seen, with what would help. The rule this module keeps: it
guesses nothing; where no reason can be seen it says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from oobdump.process_status import effective_uid, may_ptrace, status, yama_scope

__all__ = ["reasons", "why_refused"]


def why_refused(pid: int) -> str:
    """All reasons on one line."""
    try:
        ours, theirs = status(os.getpid()), status(pid)
        owner = os.stat(f"/proc/{pid}/stat").st_uid
    except OSError:
        return "the reason cannot be seen"
    return (
        "; ".join(reasons(ours, theirs, owner, yama_scope() or 0))
        or "the kernel gives no reason: perhaps a security module"
    )


def reasons(ours: Mapping[str, str], theirs: Mapping[str, str], owner: int, yama: int) -> Iterator[str]:
    """What forbids it, from both ``status`` files, the owner of its ``/proc`` entry and Yama's scope."""
    if ours.get("Seccomp", "0") != "0":
        yield "a seccomp filter is on us, which may forbid it: ask from outside the sandbox"
    if may_ptrace(ours):
        return
    our_uid, their_uid = effective_uid(ours), effective_uid(theirs)
    if our_uid != their_uid:
        yield f"it belongs to uid {their_uid}, we are uid {our_uid}: ask as that user, or as root"
    elif owner != their_uid:
        yield "it is not dumpable (PR_SET_DUMPABLE, or a set-uid program): the capability SYS_PTRACE is needed"
    missing = int(theirs.get("CapPrm", "0"), 16) & ~int(ours.get("CapPrm", "0"), 16)
    if missing:
        yield "it has capabilities that we lack: SYS_PTRACE is needed"
    if yama > 0:
        advice = "" if yama > 1 else ", or have it call prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY)"
        yield f"Yama forbids it (kernel.yama.ptrace_scope is {yama}): set it to 0{advice}"
