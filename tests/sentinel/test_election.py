"""Who becomes the sentinel when several want to, and what a person can do by hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from oobdump.election.launch import command
from oobdump.election.orders import Orders
from support import dumps, proc, programs
from support.programs import OOBDUMP, client_environment
from support.sentinels import end, outside, seats, sentinel, sentinels


def orders(tmp_path: Path, **more: float) -> Orders:
    """A job of this test's own."""
    runtime = tmp_path / "run" / "job"
    runtime.mkdir(parents=True, mode=0o700)
    return Orders(str(tmp_path / "dumps"), "job", str(runtime), **more)  # type: ignore[arg-type]


@pytest.mark.slow
def test_of_many_candidates_one_is_the_sentinel(tmp_path: Path) -> None:
    """Eight are started at once: seven leave with 0, one stays; when it is killed, of eight others one stays."""
    words = command(orders(tmp_path))
    for _ in range(2):
        candidates = [subprocess.Popen(words, stderr=subprocess.DEVNULL) for _ in range(8)]
        dumps.until(lambda made=candidates: sum(each.poll() is None for each in made) <= 1, "seven left", 90)
        (left,) = [each for each in candidates if each.poll() is None]
        assert [each.returncode for each in candidates if each is not left] == [0] * 7
        time.sleep(1.0)
        assert left.poll() is None
        left.kill()
        left.wait()


def test_by_hand_it_waits_for_workers_and_leaves_after_the_last(tmp_path: Path, places: dict[str, str]) -> None:
    """As a sidecar: started before any worker, it adopts those that come, starts no second, and ends with 0."""
    env = {**places, "OOBDUMP_DIR": str(tmp_path / "dumps"), "OOBDUMP_JOB": "job"}
    words = [*OOBDUMP, "sentinel", "--foreground"]
    with subprocess.Popen(words, env=client_environment(**env), stderr=subprocess.PIPE, text=True) as sidecar:
        job_dir = tmp_path / "dumps" / "job"
        assert sentinel(job_dir) == sidecar.pid
        with programs.running("c_wait_gil_held", tmp_path / "held", env=env):
            dumps.drop(job_dir, "stacks")
            (dump,) = outside(job_dir)
            assert dump.manifest["answered_by"] == "sentinel"
            assert [seat["pid"] for seat in seats(job_dir)] == [sidecar.pid]
        assert sidecar.wait(60) == 0
        assert seats(job_dir) == []


def test_it_ends_when_told(tmp_path: Path) -> None:
    """SIGTERM: it leaves at once, with its file and its lock."""
    given = orders(tmp_path)
    with subprocess.Popen(command(given)) as process:
        assert sentinel(Path(given.layout.job_dir)) == process.pid
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        dumps.until(lambda: not seats(Path(given.layout.job_dir)), "its file is gone")
        assert os.listdir(given.runtime) == []


def test_nobody_comes(tmp_path: Path) -> None:
    """With a bound on its patience it leaves when no worker came."""
    assert subprocess.run(command(orders(tmp_path, first_s=0.5)), timeout=60, check=False).returncode == 0


def test_the_command_starts_one_and_says_who_it_is(tmp_path: Path, places: dict[str, str]) -> None:
    """``oobdump sentinel``: starts one in the background, once; ``--status`` lists it, and says when there is none."""
    env = {**places, "OOBDUMP_SENTINEL": "off"}
    with programs.running("idle", tmp_path, env=env) as program:
        dumps.wait_for_roster(program.job_dir, program.pids)
        # without OOBDUMP_RUNTIME_DIR: it finds the workers' own directory
        environ = client_environment(OOBDUMP_DIR=str(program.root), OOBDUMP_JOB="job", OOBDUMP_FALLBACK_DIR="/nowhere")

        def run(*words: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [*OOBDUMP, "sentinel", *words], env=environ, capture_output=True, text=True, check=False, timeout=60
            )

        nobody = run("--status")
        assert nobody.returncode == 1
        assert "has no sentinel" in nobody.stderr
        started, again = json.loads(run("--json").stdout), json.loads(run("--json").stdout)
        assert (started["started"], again["started"]) == (True, False)
        assert started["sentinel"] == again["sentinel"]
        (pid,) = sentinels(places["OOBDUMP_RUNTIME_DIR"])
        assert proc.threads(pid)
        shown = json.loads(run("--status", "--json").stdout)["sentinels"]
        assert [(seat["pid"], seat["alive"]) for seat in shown] == [(pid, True)]
        assert str(pid) in run("--status").stdout


def test_a_lost_io_child_is_replaced(tmp_path: Path, places: dict[str, str]) -> None:
    """An I/O child that hangs (stopped) or dies is given up: the next one answers what is asked."""
    with programs.running("c_wait_gil_held", tmp_path, env=places) as program:
        pid = sentinel(program.job_dir)

        def child() -> int:
            words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            return int(words[0]) if words else 0

        first = child()
        end(first)
        second = dumps.until(lambda: (found := child()) != first and found, "another I/O child", 60)
        os.kill(second, signal.SIGSTOP)
        os.kill(program.pids[0], signal.SIGUSR1)  # the sentinel sees it pending, and has the child ask
        (dump,) = outside(program.job_dir, within_s=60)
        assert dump.manifest["answered_by"] == "sentinel"
        assert not proc.threads(second)


def test_an_embedded_interpreter_starts_none(tmp_path: Path, places: dict[str, str]) -> None:
    """Where ``sys.executable`` is no Python, nothing is run: the roster says what to do instead."""
    code = "import sys, oobdump\nsys.executable = '/usr/bin/blender'\nprint(oobdump.start()._tie.describe()['off'])"
    environ = programs.environment(tmp_path, "none", bare=False, extra=places)
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
    assert "embeds Python (blender)" in done.stdout, done.stderr
    assert "oobdump sentinel" in done.stdout


@pytest.mark.slow
def test_each_pid_namespace_has_its_own(tmp_path: Path, places: dict[str, str]) -> None:
    """Two workers of one job directory, one in another pid namespace (a container): a sentinel each, both followed."""
    apart = ["unshare", "--pid", "--fork", "--mount-proc"]
    if os.geteuid() or subprocess.run([*apart, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a pid namespace cannot be made here (needs root and unshare)")
    code = "import oobdump, time\noobdump.start()\ntime.sleep(3600)"
    environ = programs.environment(tmp_path, "none", bare=False, extra=places)
    job_dir = tmp_path / "dumps" / "job"
    with (
        subprocess.Popen([sys.executable, "-c", code], env=environ) as here,
        subprocess.Popen([*apart, sys.executable, "-c", code], env=environ) as there,
    ):
        try:
            dumps.until(lambda: len({seat["pid_namespace"] for seat in seats(job_dir)}) == 2, "two sentinels", 90)
            assert len(dumps.ask(job_dir, "ping", 2)) == 2
        finally:
            inside = Path(f"/proc/{there.pid}/task/{there.pid}/children").read_text().split()
            for pid in (here.pid, *map(int, inside)):
                end(pid)
