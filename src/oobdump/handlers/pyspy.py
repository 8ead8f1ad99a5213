"""``pyspy_dump``: the stacks as another program reads them out of this process's memory.

In: ``native``, ``subprocesses``, ``nonblocking``, as PyTorch's handler takes them. Out: py-spy's text.
The rules only this module keeps: this process is not paused unless that was asked for, and then a
program beside it ends the pause, for no thread of ours runs meanwhile; and each process below this
one is asked for by itself, because py-spy gives up at the first that is no Python.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from oobdump.errors import OobdumpError
from oobdump.handlers.child_process import NOT_FOUND, Run, run
from oobdump.handlers.plain import read_file
from oobdump.request import HandlerRequest
from oobdump.response import HandlerResponse

__all__ = ["NoPySpy", "find_program", "pyspy_dump"]

DEADLINE_S = 8.0
"""Of all runs together: below the default deadline of a request, so that the answer says what happened."""

LONGEST_PAUSE_S = 5.0
"""After it a pause is ended, whatever py-spy waits for (a thread in D state never stops)."""

TRIES = 3
"""A read of a busy process without pausing it fails now and then (2 of 60): again is all it needs."""

MAX_PROCESSES = 64
"""Processes below this one: a node's DataLoader workers."""

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_PARAMETERS = ("native", "subprocesses", "nonblocking")

_PAUSE_ENDED = (-signal.SIGKILL, 128 + signal.SIGKILL)
"""How the program ``timeout`` ends when it had to end py-spy."""

_NATIVE_AND_NONBLOCKING = (
    "native and nonblocking exclude each other: native stacks are read while the process is paused; "
    "leave nonblocking out to pause it"
)


class NoPySpy(OobdumpError):
    """The program py-spy is not there; the message says what to do."""

    code = 501


def pyspy_dump(request: HandlerRequest, response: HandlerResponse) -> None:
    """Stacks of all threads by py-spy, which does not pause the process; ``native`` or ``nonblocking=false`` does."""
    chosen, wrong = _chosen(request)
    if wrong:
        response.set_content(wrong, "text/plain")
        response.set_status(400)
        return
    deadline = time.monotonic() + DEADLINE_S
    program, below = find_program(), _below(os.getpid()) if chosen["subprocesses"] else []
    own = _dump(program, os.getpid(), chosen, deadline)
    pieces = [own.output if _fine(own) else own.output + _advice(own).encode()]
    pieces += [_other(program, pid, chosen, deadline) for pid in below]
    response.set_content(b"\n".join(pieces), "text/plain")
    response.set_status(200 if _fine(own) else 500 if own.ended else 504)


def _chosen(request: HandlerRequest) -> tuple[dict[str, bool], str]:
    """The parameters, and what is wrong with them. Without a word, ``native`` alone decides whether to pause."""
    texts = {name: request.get_param(name) for name in _PARAMETERS}
    for name, given in texts.items():
        if given and given not in _BOOLEANS:
            return {}, f"Invalid value for {name} valid values are true or false"
    values = {name: _BOOLEANS.get(given, False) for name, given in texts.items()}
    if values["native"] and values["nonblocking"]:
        return {}, _NATIVE_AND_NONBLOCKING
    if not texts["nonblocking"]:
        values["nonblocking"] = not values["native"]
    return values, ""


def find_program() -> str:
    """The program: beside this Python, else on PATH."""
    on_path = os.environ.get("PATH", os.defpath).split(os.pathsep)  # os.get_exec_path() imports
    places = [os.path.dirname(sys.executable), *on_path]
    for place in filter(None, places):
        path = os.path.join(place, "py-spy")
        if os.access(path, os.X_OK):
            return path
    raise NoPySpy("py-spy is not beside this Python nor on PATH: install it with `pip install py-spy` and ask again")


def _dump(program: str, pid: int, chosen: dict[str, bool], deadline: float) -> Run:
    """The first run that works, or that was not in time; else the last."""
    flags = [f"--{name}" for name in ("native", "nonblocking") if chosen[name]]
    command = [program, "dump", "--pid", str(pid), *flags]
    if not chosen["nonblocking"]:
        return run(["timeout", "-s", "KILL", f"{LONGEST_PAUSE_S:g}", *command], deadline)
    for _ in range(TRIES):
        found = run(command, deadline)
        if _fine(found) or not found.ended:
            break
    return found


def _other(program: str, pid: int, chosen: dict[str, bool], deadline: float) -> bytes:
    """The stacks of a process below this one, or why there are none."""
    found = _dump(program, pid, chosen, deadline)
    if _fine(found):
        return found.output
    last = next(
        (row for row in found.output.splitlines() if row.startswith(b"Error")), b"py-spy gave no answer in time"
    )
    return b"Process %d: %s\n" % (pid, last)


def _below(pid: int) -> list[int]:
    """The processes below one, nearest first, as far as /proc tells."""
    found: list[int] = []
    waiting = [pid]
    while waiting and len(found) < MAX_PROCESSES:
        children = _children(waiting.pop(0))
        found += children
        waiting += children
    return found[:MAX_PROCESSES]


def _children(pid: int) -> list[int]:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
        return sorted(int(word) for tid in threads for word in read_file(f"/proc/{pid}/task/{tid}/children").split())
    except (OSError, ValueError):
        return []


def _fine(found: Run) -> bool:
    """Whether the output is what was asked for; a status that somebody else took counts by the output."""
    return found.ended and (found.code == 0 or (found.code is None and b"\nThread" in found.output))


def _advice(found: Run) -> str:
    if not found.ended:
        return f"\npy-spy did not end within {DEADLINE_S:g} s and was ended\n"
    if found.code in _PAUSE_ENDED:
        return f"\nthe pause was ended after {LONGEST_PAUSE_S:g} s; ask without native and nonblocking=false\n"
    if found.code == NOT_FOUND:
        return "\npausing the process needs the program `timeout` (coreutils), so that a pause surely ends\n"
    if b"ermission" in found.output:
        return (
            "\npy-spy may not look at this process: `sysctl kernel.yama.ptrace_scope=0`, the capability "
            "SYS_PTRACE, or the handler `stacks`, which needs neither\n"
        )
    return f"\npy-spy ended with status {found.code}\n"
