"""Start a real job, wait until it misbehaves, have it diagnosed, and say what is wrong with the verdict.

In: a ``Job`` of the table. Out: a ``Diagnosed`` with the document of ``diagnose --json``; ``complaints``
lists where it is not what the table says. Rule kept here: no process of a job outlives its block.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.table import Job
from support import proc
from support.programs import OOBDUMP, PROGRAMS_DIR, SOURCES, Program, Running, client_environment, environment

READY_WITHIN_S = 120.0
"""Eight ranks import torch on two cores that others use as well."""

STILL_FOR_S = 0.3
"""A rank that is on its way into a wait has a context switch meanwhile."""

STILL_WITHIN_S = 60.0

DIAGNOSED_WITHIN_S = 120.0
"""It takes the samples' time, and for a rank that cannot answer its grace."""

AGENT_LOOKS_EVERY_S = 3600
"""So that the launcher does not end the others when one rank dies: on another node it would not know at once."""


@dataclass(frozen=True)
class _JobProgram(Program):
    """A program of this directory."""

    file: Path = Path()

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.file


@dataclass(frozen=True)
class Diagnosed:
    """What ``diagnose`` said of a job: exit code, document, page."""

    job: Job
    code: int
    document: dict[str, Any]
    stderr: str
    seconds: float

    def complaints(self) -> Iterator[str]:
        """Where it is not what the table says; none if all is right."""
        job, verdict = self.job, self.document.get("verdict")
        if not verdict:
            yield f"no verdict: exit code {self.code}: {self.stderr[-500:]}"
            return
        if verdict["rule"] != job.rule:
            yield f"the rule is {verdict['rule']}, not {job.rule}"
        if tuple(verdict["ranks"]) != job.ranks:
            yield f"the ranks are {verdict['ranks']}, not {list(job.ranks)}"
        if verdict["confidence"] not in job.confidence:
            yield f"the confidence is {verdict['confidence']}"
        if self.code != int(job.rule != "not-hung"):
            yield f"the exit code is {self.code}"
        if job.says and job.says not in json.dumps(verdict):
            yield f"nothing in the verdict says {job.says!r}"
        if job.function:
            yield from self._misplaced()

    def _misplaced(self) -> Iterator[str]:
        """Whether a rank that is named stands where it should, in the program's marked line."""
        named = [each for each in self.document["outliers"] if each["named_by_verdict"]]
        frames = [each["user_frame"] or {} for each in named]
        if self.job.function not in {str(frame.get("function", "")).rpartition(".")[2] for frame in frames}:
            yield f"nobody that is named stands in {self.job.function}: {frames}"
        elif self.job.lines and not {frame.get("line") for frame in frames} & {*self.job.lines}:
            yield f"the line is none of {self.job.lines}: {frames}"


@contextmanager
def running(job: Job, directory: Path, *, name: str = "job", root: Path | None = None) -> Iterator[Running]:
    """The job, misbehaving; ended with the block. Several may share a ``root``, each under its ``name``."""
    started = _launch(job, directory, name, root)
    try:
        started._await_announcements(time.monotonic() + READY_WITHIN_S)
        if job.hangs:
            _wait_until_still(started)
        yield started
    finally:
        started.stop()


def diagnose(job: Job, root: Path, *words: str) -> Diagnosed:
    """What ``oobdump diagnose --json`` says now."""
    began = time.monotonic()
    done = run(root, "diagnose", "--json", f"--samples={job.samples}", "--every=1s", *words)
    seconds = time.monotonic() - began
    document = json.loads(done.stdout) if done.stdout.strip() else {}
    return Diagnosed(job, done.returncode, document, done.stderr, seconds)


def run(root: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """One command on the jobs of a root."""
    return subprocess.run(
        [*OOBDUMP, *words],
        env=client_environment(OOBDUMP_DIR=str(root), **env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DIAGNOSED_WITHIN_S,
        check=False,
    )


def _launch(job: Job, directory: Path, name: str, root: Path | None) -> Running:
    directory.mkdir(parents=True, exist_ok=True)
    for fifo in ("ready", "release"):
        os.mkfifo(directory / fifo, 0o600)
    token = uuid.uuid4().hex
    told = environment(directory, token, bare=False, extra={"OOBDUMP_JOB": name})
    told["PYTHONPATH"] = os.pathsep.join((str(SOURCES), str(PROGRAMS_DIR)))
    told["OOBDUMP_DIR"] = str(root or directory / "dumps")
    os.makedirs(told["OOBDUMP_DIR"], mode=0o700, exist_ok=True)
    program = _JobProgram(job.name, "", announcements=job.size, ranks=job.size, file=job.path)
    with (directory / "stdout").open("wb") as out, (directory / "stderr").open("wb") as err:
        ready_fd = os.open(directory / "ready", os.O_RDWR | os.O_NONBLOCK)
        popen = subprocess.Popen(
            _command_line(job), env=told, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
        )
    return Running(program, directory, popen, token, ready_fd)


def _command_line(job: Job) -> Sequence[str]:
    launcher = ["-m", "torch.distributed.run", "--nnodes=1", f"--nproc-per-node={job.size}"]
    meeting = ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1"]
    return [sys.executable, *launcher, *meeting, f"--monitor-interval={AGENT_LOOKS_EVERY_S}", str(job.path)]


def _wait_until_still(started: Running) -> None:
    """Until no main thread of a rank has run for a while; one that is gone is still."""
    deadline = time.monotonic() + STILL_WITHIN_S
    while time.monotonic() < deadline:
        before = [proc.look(pid, pid) for pid in started.pids]
        time.sleep(STILL_FOR_S)
        if before == [proc.look(pid, pid) for pid in started.pids]:
            return
    raise AssertionError(f"{started.program.name} goes on; its stderr: {started.stderr[-2000:]}")
