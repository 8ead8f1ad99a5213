"""Start a program of ``tests/programs``, know that it hangs where it says, and end it whatever happens.

In: a program's name. Out: a ``Running`` with the pids that announced themselves, its job
directory and its output. ``start()`` returns when the hang is there: first each expected
line ``ready`` is read from a FIFO, then ``proc.settled`` watches each main thread.
``PROGRAMS`` is the table of what each program promises.

Rule kept here: no process outlives its ``with`` block. Every process of a program carries
a token in its environment, and whoever carries it at the end is killed by pid.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from support import proc

PROGRAMS_DIR = Path(__file__).resolve().parent.parent / "programs"
SOURCES = Path(__file__).resolve().parent.parent.parent / "src"

READY_WITHIN_S = 60.0
"""Ten times what four ranks need to import torch on two idle cores."""

ENDED_WITHIN_S = 20.0
"""A killed process with a core's worth of threads is gone in milliseconds; D state may add some."""

RANKS = 2
"""Enough for a collective to hang."""

TOKEN = "PROGRAM_TOKEN"
NO_ENVIRONMENT: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Program:
    """What a program promises once it is ready: each main thread is in ``frame``, waiting as ``wait`` says.

    ``frames`` names further frames, each in some thread of some of its processes; ``trap`` the
    function that a thread stays in once the program is released; ``torch`` whether it imports torch
    (as every program with ``ranks`` does).
    """

    name: str
    frame: str
    wait: str = "lock"
    frames: tuple[str, ...] = ()
    announcements: int = 1
    ranks: int = 0
    trap: str = ""
    torch: bool = False

    @property
    def path(self) -> Path:
        """The program's file."""
        return PROGRAMS_DIR / f"{self.name}.py"


_ALL = (
    Program("lock", "wait_for_lock"),
    Program("blocking_read", "read_from_empty_pipe", "read"),
    Program("c_wait_gil_released", "wait_in_c_without_gil"),
    Program("c_wait_gil_held", "wait_in_c_with_gil"),
    Program("d_state", "wait_in_vfork", "uninterruptible"),
    Program("gloo_all_reduce", "main", frames=("enter_all_reduce", "stay_outside"), announcements=RANKS, ranks=RANKS),
    Program("debug_pages", "main", frames=("enter_all_reduce", "stay_outside"), announcements=RANKS, ranks=RANKS),
    Program("asyncio_owns_wakeup_fd", "wait_in_coroutine"),
    Program("asyncio_owns_signal", "run_loop", "poll"),
    Program("logging_lock", "wait_holding_logging_locks", trap="log_something"),
    Program("import_unfinished", "import_what_never_finishes", frames=("wait_while_imported",), trap="import_it_too"),
    Program("import_lock", "wait_holding_import_lock", trap="import_something"),
    Program("stdout_full", "print_into_full_pipe", "write", trap="print_something"),
    Program("del_wants_lock", "wait_holding_the_lock", trap="__del__"),
    Program("enumerate_lock", "wait_for_the_holder", frames=("hold_enumerate_lock",), trap="enumerate_threads"),
    Program("busy_threads", "work", "running"),
    Program("spinning_python", "spin_in_python", "running"),
    Program("many_threads", "wait_beside_many", frames=("wait_with_the_others",)),
    Program("idle", "wait_for_nothing"),
    Program("queue_child", "main", "any", ("child_waits_for_work", "parent_waits_for_child"), announcements=2),
    Program("user_handlers", "wait_to_be_asked"),
    Program("c_sum", "sum_in_c", "running"),
    Program("c_deque", "drain_in_c", "running"),
    Program("regex", "match_for_ever", "running"),
    Program("deep_recursion", "wait_at_the_bottom", frames=("enter_the_recursion",)),
    Program("fork_child", "main", "any", ("acquire_what_nobody_holds", "parent_waits_for_child"), announcements=2),
    Program("dataloader_worker", "fetch_a_batch", "any", ("read_one_sample",), announcements=2, torch=True),
    Program("asyncio_blocked", "block_the_loop"),
    Program("d_state_thread", "wait_for_the_thread", frames=("wait_in_vfork",)),
    Program("no_descriptors", "wait_without_descriptors"),
    Program("no_memory", "wait_without_memory"),
    Program("signal_blocked", "wait_with_signal_blocked"),
    Program("finalising", "wait_while_finalising"),
    Program("crash", "wait_to_crash", "any"),
    Program("torch_gil_held", "wait_in_c_with_gil", torch=True),
    Program("eats_memory", "wait_until_released", "any"),
    Program("no_sockets", "wait_without_sockets"),
    Program("no_inotify", "wait_without_events"),
    Program("no_imports", "wait_while_imports_fail"),
)
PROGRAMS: Mapping[str, Program] = MappingProxyType({program.name: program for program in _ALL})


OOBDUMP = (sys.executable, "-m", "oobdump")
"""The command, as this Python runs it."""


def client_environment(**extra: str) -> dict[str, str]:
    """For commands that ask: our sources, and nothing that configures oobdump but ``extra``."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("OOBDUMP_")}
    return {**ours, "PYTHONPATH": os.pathsep.join(filter(None, (str(SOURCES), ours.get("PYTHONPATH")))), **extra}


class ProgramError(AssertionError):
    """A program did not do what it promises; the message ends with its stderr."""


@dataclass
class Running:
    """A program that hangs now. ``pids`` are its announced processes, ``ranks`` the same by rank."""

    program: Program
    directory: Path
    popen: subprocess.Popen[bytes]
    token: str
    ready_fd: int
    release_fd: int = -1
    pids: list[int] = field(default_factory=list)
    ranks: dict[int, int] = field(default_factory=dict)

    @property
    def pid(self) -> int:
        """The process that was started; under ``torchrun`` that is the agent."""
        return self.popen.pid

    @property
    def root(self) -> Path:
        """The dump root given to the program, ``OOBDUMP_DIR``."""
        return self.directory / "dumps"

    @property
    def job_dir(self) -> Path:
        """The job directory below it."""
        return self.root / "job"

    @property
    def stdout(self) -> str:
        """What the program wrote so far."""
        return (self.directory / "stdout").read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """What the program complained of so far."""
        return (self.directory / "stderr").read_text(errors="replace")

    @property
    def handler_file(self) -> Path:
        """Where a program's own signal handler notes that it ran."""
        return self.directory / "handled"

    def release(self) -> None:
        """Open both ends of the release FIFO and write one byte; both stay open until the end."""
        if self.release_fd < 0:
            self.release_fd = os.open(self.directory / "release", os.O_RDWR | os.O_NONBLOCK)
        os.write(self.release_fd, b"\n")

    def wait_for_exit(self, within_s: float = ENDED_WITHIN_S) -> int:
        """The exit status of the started process (negative: the signal)."""
        try:
            return self.popen.wait(within_s)
        except subprocess.TimeoutExpired as error:
            raise ProgramError(self._complaint(f"did not end within {within_s:g} s")) from error

    def processes(self) -> list[int]:
        """Every living process of the program, also those that never announced themselves."""
        return proc.carrying(TOKEN, self.token)

    def stop(self) -> None:
        """Kill every process of the program by pid, and wait until none is left."""
        deadline = time.monotonic() + ENDED_WITHIN_S
        while remaining := self.processes():
            for pid in remaining:
                proc.kill_carrier(pid, TOKEN, self.token)
            if time.monotonic() > deadline:
                raise ProgramError(f"{self.program.name}: processes {remaining} outlive SIGKILL")
            time.sleep(proc.LOOK_EVERY_S)
        self.wait_for_exit()
        for fd in (self.ready_fd, self.release_fd):
            if fd >= 0:
                os.close(fd)
        self.ready_fd = self.release_fd = -1

    def _complaint(self, what: str) -> str:
        return f"{self.program.name} {what}; its stderr:\n{self.stderr[-4000:]}"

    def _await_announcements(self, deadline: float) -> None:
        poll = select.poll()
        poll.register(self.ready_fd, select.POLLIN)
        received = b""
        while received.count(b"\n") < self.program.announcements:
            if time.monotonic() > deadline:
                raise ProgramError(self._complaint(f"was not ready in time (announced: {received!r})"))
            if self.popen.poll() is not None:
                raise ProgramError(self._complaint(f"ended with {self.popen.returncode} before it was ready"))
            if poll.poll(100):
                received += os.read(self.ready_fd, 4096)
        for line in received.decode().splitlines():
            self._note_announcement(*line.split())

    def _note_announcement(self, _word: str, pid: str, rank: str) -> None:
        self.pids.append(int(pid))
        if rank != "-":
            self.ranks[int(rank)] = int(pid)

    def _await_hang(self, deadline: float) -> None:
        for pid in self.pids:
            while not proc.settled(pid, self.program.wait):
                if self.popen.poll() is not None:
                    raise ProgramError(self._complaint(f"ended with {self.popen.returncode} instead of hanging"))
                if time.monotonic() > deadline:
                    where = proc.look(pid, pid)
                    raise ProgramError(self._complaint(f"announced its hang, but pid {pid} is at {where}"))


def command_line(program: Program, python: str, arguments: Sequence[str]) -> list[str]:
    """How to start a program: directly, or as ranks under ``torchrun`` on the loopback interface."""
    if not program.ranks:
        return [python, str(program.path), *arguments]
    launcher = [python, "-m", "torch.distributed.run", "--nnodes=1", f"--nproc-per-node={program.ranks}"]
    meeting = ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1"]
    return [*launcher, *meeting, str(program.path), *arguments]


def environment(directory: Path, token: str, *, bare: bool, extra: Mapping[str, str]) -> dict[str, str]:
    """The program's environment: ours, without what configures oobdump, and with where things are."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("OOBDUMP_", "PROGRAM_"))}
    return {
        **ours,
        TOKEN: token,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(SOURCES), ours.get("PYTHONPATH")))),
        "READY_FIFO": str(directory / "ready"),
        "RELEASE_FIFO": str(directory / "release"),
        "HANDLER_FILE": str(directory / "handled"),
        "OOBDUMP_DIR": str(directory / "dumps"),
        "OOBDUMP_JOB": "job",
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        **({"PROGRAM_BARE": "1"} if bare else {}),
        **extra,
    }


def launch(
    program: Program,
    directory: Path,
    *,
    bare: bool = False,
    env: Mapping[str, str] = NO_ENVIRONMENT,
    python: str = sys.executable,
    arguments: Sequence[str] = (),
) -> Running:
    """Start a program in ``directory`` and return at once; ``running`` is what tests want."""
    directory.mkdir(parents=True, exist_ok=True)
    token = uuid.uuid4().hex
    for name in ("ready", "release"):
        os.mkfifo(directory / name, 0o600)
    with (directory / "stdout").open("wb") as out, (directory / "stderr").open("wb") as err:
        ready_fd = os.open(directory / "ready", os.O_RDWR | os.O_NONBLOCK)
        popen = subprocess.Popen(
            command_line(program, python, arguments),
            env=environment(directory, token, bare=bare, extra=env),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    return Running(program, directory, popen, token, ready_fd)


@contextmanager
def running(
    name: str,
    directory: Path,
    *,
    bare: bool = False,
    env: Mapping[str, str] = NO_ENVIRONMENT,
    python: str = sys.executable,
    ready_within_s: float = READY_WITHIN_S,
    wait: str | None = None,
    ranks: int | None = None,
) -> Iterator[Running]:
    """A program that hangs where it says, for the length of a ``with`` block.

    ``directory`` must be new or empty; ``wait`` replaces how the main thread is expected
    to wait, for programs that an environment variable makes wait otherwise; ``ranks`` replaces
    the number of ranks of a program under ``torchrun``.
    """
    program = PROGRAMS[name]
    if wait is not None:
        program = replace(program, wait=wait)
    if ranks is not None:
        program = replace(program, ranks=ranks, announcements=ranks)
    deadline = time.monotonic() + ready_within_s
    started = launch(program, directory, bare=bare, env=env, python=python)
    try:
        started._await_announcements(deadline)
        started._await_hang(deadline)
        yield started
    finally:
        started.stop()
