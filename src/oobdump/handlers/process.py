"""What the kernel knows about this process: memory, CPU, threads, descriptors, limits, cgroup.

In: system calls and ``/proc/self``. Out: plain data. The rule this module keeps: each reading stands
alone. One that fails (no descriptor left, no ``/proc``, another platform) is null, with its error
under ``problems``, and the others are there. No other process is looked at.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from oobdump.handlers.cgroup import cgroup
from oobdump.handlers.plain import Readings, read_file, text, text_of
from oobdump.handlers.redaction import redact_arguments
from oobdump.handlers.stacks import python_threads
from oobdump.identity import iso, now_iso

__all__ = ["function_name", "is_function", "memory_sizes", "process"]

_MAX_THREADS = 1000
"""Two files each at 10 µs: the first thousand cost 20 ms."""

_MAX_ARGUMENTS = 200

_MEMORY_FIELDS = {
    "rss": "VmRSS",
    "vms": "VmSize",
    "swap": "VmSwap",
    "peak_rss": "VmHWM",
    "peak_vms": "VmPeak",
    "rss_anonymous": "RssAnon",
    "rss_file": "RssFile",
    "rss_shared": "RssShmem",
    "locked": "VmLck",
}
"""Our names, in bytes, and those of ``/proc/self/status``, in KiB."""

_SIGNAL_FIELDS = {
    "pending": "SigPnd",
    "shared_pending": "ShdPnd",
    "blocked": "SigBlk",
    "ignored": "SigIgn",
    "caught": "SigCgt",
}

_LIMITS = {name[7:].lower(): getattr(resource, name) for name in sorted(dir(resource)) if name.startswith("RLIMIT_")}

_STATE_FIELD, _USER_FIELD, _SYSTEM_FIELD, _START_FIELD = 0, 11, 12, 19
"""Of ``/proc/self/stat``, counted from the state on, which is the first after the name."""


def process() -> dict[str, Any]:
    """Memory, CPU time, threads, descriptors, limits and cgroup of this process."""
    readings = Readings()
    facts = {name: readings.take(name, read) for name, read in _READINGS.items()}
    return {"schema_version": 1, "taken_at": now_iso(), **facts, "problems": readings.problems}


def memory_sizes() -> dict[str, int]:
    """Sizes in bytes, by our names."""
    status = _status()
    return {ours: int(status[field].split()[0]) * 1024 for ours, field in _MEMORY_FIELDS.items() if field in status}


def _status() -> dict[str, str]:
    lines = read_file("/proc/self/status").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _stat(path: str) -> tuple[str, list[str]]:
    """Name, and the fields from the state on; the name may hold any character, ``)`` too."""
    name, _, rest = read_file(path).rpartition(")")
    return text(name.partition("(")[2]), rest.split()


def _ticks_to_seconds(ticks: str) -> float:
    return int(ticks) / os.sysconf("SC_CLK_TCK")


def _arguments() -> list[str]:
    return redact_arguments(text(argument) for argument in sys.orig_argv[:_MAX_ARGUMENTS])


def _exe() -> str:
    return text(os.readlink("/proc/self/exe") if sys.platform == "linux" else sys.executable)


def _python() -> dict[str, str]:
    version = ".".join(map(str, sys.version_info[:3]))
    return {"version": version, "implementation": sys.implementation.name, "executable": text(sys.executable)}


def _ids() -> dict[str, Any]:
    ids = {"uid": os.getuid(), "euid": os.geteuid(), "gid": os.getgid(), "egid": os.getegid()}
    return ids | {"groups": os.getgroups()}


def _times() -> dict[str, Any]:
    """When this process started, by the clock that goes on while the machine sleeps."""
    _, fields = _stat("/proc/self/stat")
    uptime = time.clock_gettime(time.CLOCK_BOOTTIME) - _ticks_to_seconds(fields[_START_FIELD])
    return {"started_at": iso(time.time() - uptime), "uptime_s": round(uptime, 2)}


def _cpu() -> dict[str, float]:
    times = os.times()
    usage = {"user_s": times.user, "system_s": times.system}
    return usage | {"children_user_s": times.children_user, "children_system_s": times.children_system}


def _usage() -> dict[str, int]:
    """Counters that need no descriptor."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    kib = 1 if sys.platform == "darwin" else 1024
    return {
        "peak_rss": usage.ru_maxrss * kib,
        "minor_faults": usage.ru_minflt,
        "major_faults": usage.ru_majflt,
        "voluntary_switches": usage.ru_nvcsw,
        "involuntary_switches": usage.ru_nivcsw,
    }


def _descriptors() -> dict[str, Any]:
    """How many are open (the one that counts them left out), and how many may be."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = os.listdir("/proc/self/fd" if sys.platform == "linux" else "/dev/fd")
    return {"open": len(found) - 1, "limit": _limit(soft)}


def _limit(value: int) -> int | None:
    return None if value == resource.RLIM_INFINITY else value


def _limits() -> dict[str, Any]:
    found = {name: resource.getrlimit(number) for name, number in _LIMITS.items()}
    return {name: {"soft": _limit(soft), "hard": _limit(hard)} for name, (soft, hard) in found.items()}


def _threads() -> dict[str, Any]:
    """Each native thread, those without Python too; a state of D waits in the kernel and cannot be interrupted."""
    tids = sorted(map(int, os.listdir("/proc/self/task")))
    known = ((facts.get("_native_id"), facts.get("_name")) for facts in python_threads().values())
    names = {native: name for native, name in known if type(native) is int}
    entries = [_thread(tid, names.get(tid)) for tid in tids[:_MAX_THREADS]]
    return {"count": len(tids), "omitted": max(0, len(tids) - _MAX_THREADS), "threads": [*filter(None, entries)]}


def _thread(tid: int, python_name: object) -> dict[str, Any] | None:
    try:
        name, fields = _stat(f"/proc/self/task/{tid}/stat")
    except (FileNotFoundError, ProcessLookupError):
        return None  # it ended meanwhile
    return {
        "native_id": tid,
        "name": name,
        "python_name": text_of(python_name),
        "state": fields[_STATE_FIELD],
        "user_s": _ticks_to_seconds(fields[_USER_FIELD]),
        "system_s": _ticks_to_seconds(fields[_SYSTEM_FIELD]),
    }


def _signals() -> dict[str, list[int]]:
    """Signal numbers of the main thread's masks."""
    status = _status()
    masks = {ours: int(status[field], 16) for ours, field in _SIGNAL_FIELDS.items() if field in status}
    return {name: [bit + 1 for bit in range(mask.bit_length()) if mask >> bit & 1] for name, mask in masks.items()}


def _signal_handlers() -> dict[str, str]:
    """Who handles a signal, by its number: the Python functions, and C functions that Python did not install."""
    found = {str(int(number)): signal.getsignal(number) for number in signal.valid_signals()}
    return {number: text(function_name(handler)) for number, handler in found.items() if is_function(handler)}


def is_function(handler: object) -> bool:
    """Whether what ``getsignal`` gave is a function, Python's or (None) C's."""
    return handler is None or (callable(handler) and not isinstance(handler, signal.Handlers))


def function_name(handler: object) -> str:
    """Module and name of a function that handles a signal."""
    if handler is None:
        return "a handler in C"
    kind = type(handler)
    module = getattr(handler, "__module__", None) or kind.__module__
    return f"{module}.{getattr(handler, '__qualname__', None) or kind.__qualname__}"


def _oom() -> dict[str, int]:
    return {name: int(read_file(f"/proc/self/{name}")) for name in ("oom_score", "oom_score_adj")}


_READINGS: Mapping[str, Callable[[], Any]] = {
    "pid": os.getpid,
    "ppid": os.getppid,
    "process_group": os.getpgrp,
    "session": lambda: os.getsid(0),
    "argv": _arguments,
    "cwd": lambda: text(os.getcwd()),
    "exe": _exe,
    "python": _python,
    "ids": _ids,
    "times": _times,
    "memory": memory_sizes,
    "usage": _usage,
    "cpu": _cpu,
    "descriptors": _descriptors,
    "limits": _limits,
    "threads": _threads,
    "signals": _signals,
    "signal_handlers": _signal_handlers,
    "cgroup": cgroup,
    "load_average": lambda: [*os.getloadavg()],
    "cpu_affinity": lambda: sorted(os.sched_getaffinity(0)),
    "nice": lambda: os.getpriority(os.PRIO_PROCESS, 0),
    "oom": _oom,
}
"""What is read, by the name it has in the answer."""
