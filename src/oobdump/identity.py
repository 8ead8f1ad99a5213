"""Who a worker is: host, pid and, as attributes, rank, job, attempt and role.

In: the environment and ``/proc``. Out: ``Identity`` and the worker's name, which is unique
per incarnation; ``alive`` tells whether an incarnation still runs, as far as this machine
can see. Only this module knows which variable of which launcher means what.
"""

from __future__ import annotations

import functools
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "VARIABLES",
    "Identity",
    "Machine",
    "Role",
    "ancestors",
    "is_alive",
    "iso",
    "name_of",
    "now_iso",
    "parse_name",
    "safe",
    "start_ticks",
]

Role = Literal["rank", "child", "other"]

VARIABLES: Mapping[str, tuple[str, ...]] = {
    "rank": ("OOBDUMP_RANK", "RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"),
    "local_rank": ("LOCAL_RANK", "SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK"),
    "world_size": ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"),
    "node": ("GROUP_RANK", "NODE_RANK", "SLURM_NODEID", "JOB_COMPLETION_INDEX"),
    "attempt": ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"),
}
"""Numbers by the variables that may hold them: the first that is set and a number wins."""

_RANK_WIDTH = 5
_MAX_DIGITS = 9
_MAX_ANCESTORS = 64

_MAX_SAFE_CHARS = 100
"""Of a host or a job: leaves room for rank, pid and suffixes in a file name of 255 bytes."""

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_NAME = re.compile(
    r"(?:rank(?P<rank>[0-9]{5,9})|proc)\.(?P<host>[A-Za-z0-9_-][A-Za-z0-9._-]*)\.(?P<pid>[1-9][0-9]{0,9})"
)


@dataclass(frozen=True)
class Machine:
    """Where a pid means something: host name, this boot of it, and its pid namespace."""

    host: str
    boot: str = ""
    pid_namespace: str = ""

    @classmethod
    @functools.lru_cache(maxsize=1)
    def here(cls) -> Machine:
        """The machine this process runs on; read once, since none of it changes under a process."""
        try:
            boot = _read("/proc/sys/kernel/random/boot_id").strip()
            namespace = os.readlink("/proc/self/ns/pid")
        except OSError:
            boot = namespace = ""
        return cls(safe(os.uname().nodename), boot, namespace)


@dataclass(frozen=True)
class Identity:
    """One incarnation of a process that answers requests.

    ``start_ticks`` is the process's start in clock ticks since boot (``/proc/<pid>/stat``,
    field 22), 0 where there is no ``/proc``. ``sources`` says which variable gave which value.
    """

    machine: Machine
    pid: int
    start_ticks: int
    job: str
    rank: int | None = None
    local_rank: int | None = None
    world_size: int | None = None
    node: int | None = None
    attempt: int | None = None
    role: Role = "other"
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def host(self) -> str:
        """The machine's host name, made safe for a file name."""
        return self.machine.host

    @property
    def worker(self) -> str:
        """The worker's name: ``rank00003.host.pid``, or ``proc.host.pid`` without a rank."""
        return name_of(self.rank, self.host, self.pid)

    @classmethod
    def here(cls, environ: Mapping[str, str] | None = None, *, job: str | None = None) -> Identity:
        """The identity of this process, from ``environ`` (default: ``os.environ``)."""
        environ = os.environ if environ is None else environ
        machine = Machine.here()
        sources: dict[str, str] = {}
        numbers = {name: _first_number(name, environ, sources) for name in VARIABLES}
        if job is None:
            job, sources["job"] = _job(environ, machine, launched=numbers["rank"] is not None)
        return cls(
            machine=machine,
            pid=os.getpid(),
            start_ticks=start_ticks(os.getpid()) or 0,
            job=safe(job),
            role="other" if numbers["rank"] is None else "rank",
            sources=sources,
            **numbers,
        )


def name_of(rank: int | None, host: str, pid: int) -> str:
    """The worker's name as it stands in file names."""
    return f"proc.{host}.{pid}" if rank is None else f"rank{rank:0{_RANK_WIDTH}d}.{host}.{pid}"


def parse_name(worker: str) -> tuple[int | None, str, int] | None:
    """Rank, host and pid of a worker's name; None if it is not one."""
    match = _NAME.fullmatch(worker)
    if match is None:
        return None
    rank = match["rank"]
    parsed = (None if rank is None else int(rank), match["host"], int(match["pid"]))
    return parsed if name_of(*parsed) == worker else None


def safe(text: str) -> str:
    """``text`` as one file name: other characters than letters, digits, ``._-`` become ``_``."""
    return _UNSAFE.sub("_", text).lstrip(".")[:_MAX_SAFE_CHARS].rstrip(".") or "_"


def start_ticks(pid: int) -> int | None:
    """When ``pid`` started, in ticks since boot; None if there is no such process (or no ``/proc``)."""
    fields = _stat(pid)
    return None if fields is None else int(fields[19])


def is_alive(machine: Machine, pid: int, ticks: int | None) -> bool | None:
    """Whether that incarnation runs; None if this process cannot tell (another host, boot or namespace).

    ``ticks`` is when it started; None asks for any process with that pid.
    """
    here = Machine.here()
    if machine.host == here.host and machine.boot != here.boot:
        return False
    if machine != here:
        return None
    try:
        fields = _stat(pid)
    except OSError:
        return None  # out of descriptors, say: not knowing is not the same as gone
    if fields is None:
        return False if os.path.isdir("/proc/self") else _kill_0(pid)
    return ticks in (None, int(fields[19])) and fields[0] not in ("Z", "X")


def ancestors(pid: int) -> list[int]:
    """The pids above ``pid``, nearest first, as far as they are visible from here."""
    found: list[int] = []
    while len(found) < _MAX_ANCESTORS and (fields := _stat(pid)) is not None and (pid := int(fields[1])) > 0:
        found.append(pid)
    return found


def _first_number(name: str, environ: Mapping[str, str], sources: dict[str, str]) -> int | None:
    for variable in VARIABLES[name]:
        value = environ.get(variable, "")
        if value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS:
            sources[name] = variable
            return int(value)
    return None


def _job(environ: Mapping[str, str], machine: Machine, *, launched: bool) -> tuple[str, str]:
    """The job's name and where it came from (FACTS: first hit wins)."""
    if environ.get("OOBDUMP_JOB"):
        return environ["OOBDUMP_JOB"], "OOBDUMP_JOB"
    if environ.get("TORCHELASTIC_RUN_ID", "none") not in ("none", ""):
        return environ["TORCHELASTIC_RUN_ID"], "TORCHELASTIC_RUN_ID"
    if environ.get("SLURM_JOB_ID"):
        task = environ.get("SLURM_ARRAY_TASK_ID", "")
        return "slurm-" + environ["SLURM_JOB_ID"] + (f"_{task}" if task else ""), "SLURM_JOB_ID"
    if environ.get("OOBDUMP_RUN_JOB"):
        return environ["OOBDUMP_RUN_JOB"], "OOBDUMP_RUN_JOB"  # `oobdump run` looked for all that it started
    launcher = _launcher(launched=launched)
    return f"local-{machine.host}-{launcher}-{start_ticks(launcher) or 0}", "launcher"


def _launcher(*, launched: bool) -> int:
    """The process that started this job by hand.

    Ranks are started by a launcher (torchrun, mpirun, a script), each as the leader of its own
    process group or inside the launcher's: the parent of the group's leader is the same for all.
    Without a rank the group's leader itself is the job, or two programs of one shell would share one.
    """
    leader = os.getpgrp()
    if not launched:
        return leader if start_ticks(leader) is not None else os.getpid()
    above = ancestors(leader) or ancestors(os.getpid())
    return above[0] if above and start_ticks(above[0]) is not None else os.getpid()


def _stat(pid: int) -> list[str] | None:
    """The fields of ``/proc/<pid>/stat`` from the state on; None if there is no such process."""
    try:
        text = _read(f"/proc/{pid}/stat")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(")") + 2 :].split() if ")" in text else None


def _read(path: str) -> str:
    with open(path, "rb", buffering=0) as file:
        return file.read(8192).decode("utf-8", "replace")


def _kill_0(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def now_iso() -> str:
    """The wall clock in UTC, to the millisecond, as ``2026-01-31T12:00:00.123Z``."""
    return iso(time.time())


def iso(seconds: float) -> str:
    """A wall-clock time in seconds since 1970 as text in UTC."""
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    year, month, day, hour, minute, second = time.gmtime(whole)[:6]  # not strftime: it reads the locale
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}.{milliseconds:03d}Z"
