"""Whether one process may look into another, tried for real; and whether py-spy is there and works.

In: a child of ours, or a worker's pid. Out: findings. The rules only this module keeps: one byte of the
other's memory is read, and it is never stopped for it; the cause is looked for only after the try failed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from oobdump.doctor import proc
from oobdump.doctor.model import Check, Finding, Kind, Subject
from oobdump.handlers.child_process import NOT_FOUND, Run, run
from oobdump.handlers.pyspy import TRIES, NoPySpy, find_program
from oobdump.process_status import effective_uid, may_ptrace, status, yama_scope

__all__ = ["CHECKS", "cause_of"]

_PY_SPY_WITHIN_S = 10.0

_WAITS = "import sys; sys.stdout.write('ready\\n'); sys.stdout.flush(); sys.stdin.read()"

CHILD_UNREADABLE = Kind(
    "ptrace-refused",
    "warning",
    "a process here may not even read its own child: a worker that cannot answer for itself shows no stack",
    "allow ptrace (capability SYS_PTRACE, or a seccomp profile that lets process_vm_readv through)",
)
YAMA = Kind(
    "ptrace-restricted",
    "warning",
    "only a worker's ancestors may read it: a sentinel shows no stack of a worker that cannot answer for itself",
    "`sysctl kernel.yama.ptrace_scope=0`, or the capability SYS_PTRACE for the sentinel",
)
WORKER_UNREADABLE = Kind(
    "worker-unreadable",
    "warning",
    "when this worker cannot answer for itself (its GIL is stuck), nobody here can show its stack",
    "run as its user or as root, in its container",
)
NO_PY_SPY = Kind(
    "pyspy-missing",
    "warning",
    "the handler pyspy_dump, and a stack from outside, need the program py-spy",
    "`pip install py-spy` beside the worker's Python",
)
PY_SPY_FAILS = Kind(
    "pyspy-fails",
    "warning",
    "py-spy is there and shows no stack",
    "read what it says; a py-spy older than this Python cannot read it: `pip install --upgrade py-spy`",
)


@contextmanager
def _child() -> Iterator[subprocess.Popen[bytes]]:
    """A Python that waits, as a worker would."""
    with subprocess.Popen(  # noqa: S603 - this Python, with a program of ours
        [sys.executable, "-S", "-c", _WAITS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            if process.stdout is not None:
                process.stdout.readline()
            yield process
        finally:
            process.kill()


def _ptrace(_subject: Subject) -> Iterator[Finding]:
    if not os.path.isdir("/proc/self"):
        return
    with _child() as child:
        error = proc.read_memory(child.pid)
    scope = yama_scope()
    if error is not None:
        cause = cause_of(os.getpid())
        yield CHILD_UNREADABLE.found(f"reading a child's memory fails: {error.strerror}; {_words(cause)}", **cause)
    elif scope and not may_ptrace(status(os.getpid())):
        yield YAMA.found(f"kernel.yama.ptrace_scope is {scope}, without SYS_PTRACE", yama_scope=scope)


def _worker(subject: Subject) -> Iterator[Finding]:
    entry = subject.worker
    error = proc.read_memory(entry.identity.pid)
    if error is not None and not isinstance(error, (FileNotFoundError, ProcessLookupError)):
        cause = cause_of(entry.identity.pid)
        yield WORKER_UNREADABLE.found(
            f"reading its memory fails: {error.strerror}; {_words(cause)}", worker=entry.worker, **cause
        )


def cause_of(pid: int) -> dict[str, Any]:
    """What may forbid it, as far as /proc tells: users, dumpable, Yama, capabilities, seccomp."""
    ours = status(os.getpid())
    return {
        "our_uid": os.geteuid(),
        "its_uid": effective_uid(status(pid)),
        "dumpable": proc.dumpable(pid),
        "yama_scope": yama_scope(),
        "sys_ptrace": may_ptrace(ours),
        "seccomp": ours.get("Seccomp") not in ("0", None),
    }


def _words(cause: Mapping[str, object]) -> str:
    """The likeliest cause, in words."""
    if not cause["sys_ptrace"] and cause["its_uid"] != cause["our_uid"]:
        return f"it runs as uid {cause['its_uid']}, and we are uid {cause['our_uid']}"
    if cause["yama_scope"]:
        return f"kernel.yama.ptrace_scope is {cause['yama_scope']}"
    if cause["seccomp"]:
        return "a seccomp filter is set"
    maybe = "is" if cause["dumpable"] is False else "may be"
    return f"it {maybe} not dumpable (PR_SET_DUMPABLE, or a program file that may not be read)"


def _py_spy(_subject: Subject) -> Iterator[Finding]:
    try:
        program = find_program()
    except NoPySpy:
        yield NO_PY_SPY.found(f"py-spy is neither beside {sys.executable} nor on PATH")
        return
    with _child() as child:
        if proc.read_memory(child.pid) is not None:
            return  # the check of ptrace says so
        ended = _look(program, child.pid)
    if ended.code != 0:
        said = ended.output.decode("utf-8", "replace").strip()[-500:]
        how = "cannot be started" if ended.code == NOT_FOUND else "shows no stack of a child of ours"
        yield PY_SPY_FAILS.found(f"{program} {how}: {said or 'it says nothing'}", path=program, code=ended.code)


def _look(program: str, pid: int) -> Run:
    """The first look that works: reading a process without pausing it fails now and then."""
    deadline = time.monotonic() + _PY_SPY_WITHIN_S
    for _ in range(TRIES):
        ended = run([program, "dump", "--nonblocking", "--pid", str(pid)], deadline)
        if ended.code == 0 or not ended.ended:
            break
    return ended


CHECKS = (
    Check("ptrace", "machine", "a child's memory is read; Yama", (CHILD_UNREADABLE, YAMA), _ptrace),
    Check("py-spy", "machine", "py-spy shows the stack of a child", (NO_PY_SPY, PY_SPY_FAILS), _py_spy),
    Check("worker-ptrace", "worker", "the worker's memory is read", (WORKER_UNREADABLE,), _worker),
)
