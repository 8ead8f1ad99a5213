"""What is done to a program before it is asked, and undone afterwards.

In: an exhibit's ``keeper``. Out: a ``Keeper`` from ``KEEPERS``: ``before`` the program starts (it gets its directory),
``when_hung`` (it gets the ``Running``) and ``after``, whatever happened. All of it is real: signals, ptrace, mounts,
a memory cgroup.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from support import dumps, proc
from support.programs import ENDED_WITHIN_S, Running

__all__ = ["KEEPERS", "MEMORY_CGROUP", "Keeper"]

MEMORY_CGROUP = Path("/sys/fs/cgroup/memory")
"""Where version 1 has its memory controller."""

UNIFIED_CGROUP = Path("/sys/fs/cgroup")

DISK_BYTES = 64 * 2**20
"""The smallest disk on which ext4 keeps a journal, and can be frozen."""

OOM_BYTES = 256 * 2**20

TRACER = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
ATTACH, WALL = 16, 0x40000000
for tid in map(int, sys.argv[1:]):
    if libc.ptrace(ATTACH, tid, None, None):
        raise OSError(ctypes.get_errno(), f"ptrace of {tid}")
    os.waitpid(tid, WALL)
os.write(1, b"held")
os.read(0, 1)
"""
"""A debugger that has stopped every thread, and thinks."""

_tracers: dict[int, subprocess.Popen[bytes]] = {}
"""By the pid of the program that each holds."""

Directory = Callable[[Path], None]
Hung = Callable[[Running], None]


def _nothing(_of: object) -> None:
    """Leave it as it is."""


@dataclass(frozen=True)
class Keeper:
    """``before`` and ``after`` get the program's directory.

    ``when_hung``, and ``undo`` before it is ended, get the program.
    """

    before: Directory = _nothing
    when_hung: Hung = _nothing
    undo: Hung = _nothing
    after: Directory = _nothing


# -- signals and debuggers ---------------------------------------------------------------------------------------------


def _stop(program: Running) -> None:
    os.kill(program.pid, signal.SIGSTOP)
    dumps.until(lambda: proc.look(program.pid, program.pid).state == "T", f"{program.pid} stopped")


def _trace(program: Running) -> None:
    """A tracer that carries the program's token: it ends with the program."""
    environ = dict(pair.split("=", 1) for pair in _environ(program.pid) if pair.startswith("PROGRAM_TOKEN="))
    tids = sorted(os.listdir(f"/proc/{program.pid}/task"), key=int)
    tracer = subprocess.Popen(
        [sys.executable, "-c", TRACER, *tids],
        env={**os.environ, **environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert tracer.stdout is not None
    assert tracer.stdout.read(4) == b"held"
    _tracers[program.pid] = tracer


def _environ(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")


def _end_tracer(program: Running) -> None:
    with _tracers.pop(program.pid) as tracer:
        tracer.kill()


def _kill(program: Running) -> None:
    os.kill(program.pid, signal.SIGKILL)
    program.wait_for_exit()


def _release(program: Running) -> None:
    program.release()
    program.wait_for_exit()


# -- disks -------------------------------------------------------------------------------------------------------------


def _mount_small(directory: Path) -> None:
    root = _root(directory)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "zoo", str(root)], check=True)


def _mount_disk(directory: Path) -> None:
    root, image = _root(directory), directory / "disk.img"
    with image.open("wb") as file:
        file.truncate(DISK_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(root)], check=True)
    root.chmod(0o700)
    (root / "lost+found").rmdir()


def _root(directory: Path) -> Path:
    root = directory / "dumps"
    root.mkdir(parents=True, mode=0o700)
    return root


def _fill(program: Running) -> None:
    with (program.root / ".filler").open("wb", buffering=0) as file:
        with suppress(OSError):
            while True:
                file.write(b"x" * 2**16)
        with suppress(OSError):
            while True:
                file.write(b"x")


def _read_only(program: Running) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(program.root)], check=True)


def _freeze(program: Running) -> None:
    """Whoever writes there waits in D state until it is thawed."""
    subprocess.run(["fsfreeze", "--freeze", str(program.root)], check=True)


def _thaw(program: Running) -> None:
    """Before it is ended: a process in D state does not die."""
    subprocess.run(["fsfreeze", "--unfreeze", str(program.root)], check=True)


def _unmount(directory: Path) -> None:
    root = directory / "dumps"
    deadline = time.monotonic() + ENDED_WITHIN_S
    while subprocess.run(["umount", str(root)], check=False, capture_output=True).returncode:
        if time.monotonic() > deadline:
            subprocess.run(["umount", "--lazy", str(root)], check=True)
            return
        time.sleep(0.1)  # a process that ends lets go of it in its own time


# -- memory ------------------------------------------------------------------------------------------------------------


def _run_out_of_memory(program: Running) -> None:
    """The program's own thread that allocates until the kernel ends it, in a cgroup of its own."""
    group = _group(program.directory)
    group.mkdir()
    limit = "memory.limit_in_bytes" if MEMORY_CGROUP.is_dir() else "memory.max"
    (group / limit).write_text(str(OOM_BYTES), encoding="ascii")
    (group / "cgroup.procs").write_text(str(program.pid), encoding="ascii")
    program.release()
    program.wait_for_exit()


def _group(directory: Path) -> Path:
    base = MEMORY_CGROUP if MEMORY_CGROUP.is_dir() else UNIFIED_CGROUP
    return base / f"zoo-{os.getpid()}-{directory.name.replace('/', '-')}"


def _remove_group(directory: Path) -> None:
    with suppress(FileNotFoundError):
        dumps.until(lambda: _removed(_group(directory)), f"{_group(directory)} removed")


def _removed(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError:
        return not group.exists()
    return True


KEEPERS = {
    "leave_alone": Keeper(),
    "stop": Keeper(when_hung=_stop),
    "trace": Keeper(when_hung=_trace, undo=_end_tracer),
    "kill": Keeper(when_hung=_kill),
    "release": Keeper(when_hung=_release),
    "kill_when_claimed": Keeper(),  # the asker does it: there is no claim before the question
    "fill_disk": Keeper(_mount_small, _fill, after=_unmount),
    "remount_read_only": Keeper(_mount_small, _read_only, after=_unmount),
    "freeze_disk": Keeper(_mount_disk, _freeze, _thaw, _unmount),
    "run_out_of_memory": Keeper(when_hung=_run_out_of_memory, after=_remove_group),
}
