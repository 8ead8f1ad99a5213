"""The commands, as a person runs them, on real workers that hang: what they print, write and exit with."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support import dumps, proc, programs
from support.pyspy import functions

WITHIN_S = 60.0
"""A command takes a tenth of a second; with every core busy it has taken several."""

OUTCOME_KEYS = [
    *("worker", "rank", "host", "pid", "role", "status", "answered_by", "state", "seconds", "why", "outside", "parts"),
]
PART_KEYS = ["handler", "status", "code", "media_type", "path", "size", "error"]
REQUEST_KEYS = ["schema_version", "request_id", "job", "dump_dir", "outcomes"]
IMPATIENT = ("--timeout", "0.1")
"""A worker that cannot answer is then given up after three seconds, not five."""


@dataclass(frozen=True)
class Job:
    """Workers of one job, by rank, and how to run a command on it."""

    root: Path
    workers: dict[int, programs.Running]

    @property
    def directory(self) -> Path:
        """The job's directory."""
        return self.root / "job"

    @property
    def pids(self) -> list[int]:
        """The pids, by rank."""
        return [self.workers[rank].pid for rank in sorted(self.workers)]

    def run(self, *words: object, **env: str) -> subprocess.CompletedProcess[str]:
        """Runs ``python -m oobdump`` to its end."""
        return subprocess.run(
            command(*words),
            env=environment(self.root, **env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )

    def json(self, *words: object, code: int = 0) -> Any:
        """The object that a command prints with ``--json``."""
        done = self.run(*words, "--json")
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)


def command(*words: object) -> list[str]:
    """A command line."""
    return [sys.executable, "-m", "oobdump", *map(str, words)]


def environment(root: Path, **changes: str) -> dict[str, str]:
    """A user's environment: where the dumps are, and a terminal of the usual width is not assumed."""
    ours = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    return {**ours, "PYTHONPATH": str(programs.SOURCES), "OOBDUMP_DIR": str(root), "TERM": "xterm", **changes}


@contextmanager
def hanging(place: Path, *names: str, **env: str) -> Iterator[Job]:
    """A job whose ranks are these programs."""
    with ExitStack() as stack:
        workers = {}
        for rank, name in enumerate(names):
            given = {"OOBDUMP_DIR": str(place / "root"), "RANK": str(rank), **env}
            workers[rank] = stack.enter_context(programs.running(name, place / f"rank{rank}", env=given))
        job = Job(place / "root", workers)
        dumps.wait_for_roster(job.directory, job.pids)
        yield job


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """Three ranks that hang, each elsewhere; for tests that leave them as they are."""
    with hanging(tmp_path_factory.mktemp("job"), "lock", "lock", "idle") as found:
        yield found


# -- request ---------------------------------------------------------------------------------------------------------


def test_request_json_is_exact(job):
    """Every rank answers; the object has the promised keys, and its paths are files with what was asked for."""
    document = job.json("request", "stacks", "process")
    assert list(document) == REQUEST_KEYS
    assert (document["schema_version"], document["job"]) == (1, "job")
    assert document["dump_dir"] == str(job.directory / "dumps" / document["request_id"])
    assert [outcome["pid"] for outcome in document["outcomes"]] == job.pids
    for rank, outcome in enumerate(document["outcomes"]):
        assert list(outcome) == OUTCOME_KEYS
        about = ("rank", "role", "status", "answered_by", "state", "why")
        assert [outcome[key] for key in about] == [rank, "rank", "ok", "worker", "responsive", ""]
        assert 0 <= outcome["seconds"] < WITHIN_S
        assert [part["handler"] for part in outcome["parts"]] == ["stacks", "process"]
        for part in outcome["parts"]:
            assert list(part) == PART_KEYS
            assert (part["status"], part["code"], part["error"]) == ("ok", 200, None)
            assert os.path.getsize(part["path"]) == part["size"]
            assert json.loads(Path(part["path"]).read_bytes())["pid"] == outcome["pid"]


def test_request_prints_a_table(job):
    """One line a rank, who answered, and where the dumps are; nothing on stderr, no colours in a pipe."""
    done = job.run("request", "ping")
    assert done.returncode == 0
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["rank", "host", "pid", "status", "state", "seconds", "parts"]
    assert [line.split()[0] for line in lines[1:4]] == ["0", "1", "2"]
    assert all(" ok " in line and "ping 4 B" in line for line in lines[1:4])
    found = re.fullmatch(r"3 of 3 ranks answered; dumps: (.*)", lines[4])
    assert found is not None
    assert (Path(found[1]) / "request.json").is_file()
    assert "\x1b" not in done.stdout


def test_targets_and_formats(job):
    """Only who is meant is asked, and the answer has the format that was asked for."""
    (outcome,) = job.json("request", "process", "--targets", "1", "--format", "msgpack")["outcomes"]
    assert (outcome["rank"], outcome["parts"][0]["media_type"]) == (1, "application/msgpack")
    shown = job.json("show", "--rank", "1")["outcomes"][0]["parts"][0]["content"]
    assert shown["pid"] == job.pids[1]


def test_a_handler_that_is_not_there_is_a_finding(job):
    """All answered, and what they say is an error: 1, with the error once for all ranks."""
    done = job.run("request", "nosuch", "stacks:nosuch=1")
    assert done.returncode == 1
    assert re.search(r"^ranks 0-2: nosuch: error 404: .*Failed to find handler nosuch$", done.stdout, re.MULTILINE)
    assert re.search(r"^ranks 0-2: stacks: error 400: ParameterError: ", done.stdout, re.MULTILINE)


@pytest.mark.slow
def test_who_cannot_answer_is_looked_at_from_outside(tmp_path):
    """A stopped rank has its state and its stacks from outside: a finding, 1, also where all are stopped."""
    with hanging(tmp_path, "idle", "idle") as job:
        os.kill(job.pids[1], signal.SIGSTOP)
        document = job.json("request", "stacks", *IMPATIENT, code=1)
        assert [outcome["status"] for outcome in document["outcomes"]] == ["ok", "ok"]
        stopped = document["outcomes"][1]
        assert (stopped["answered_by"] in ("client", "sentinel"), stopped["state"]) == (True, "stopped")
        assert "wait_for_nothing" in Path(stopped["parts"][0]["path"]).read_text()
        stacks = job.run("stacks")
        assert stacks.returncode == 1
        assert "2 of 2 ranks answered" in stacks.stdout
        assert "no rank stands apart" in stacks.stdout, "stacks from outside merge with the worker's own"
        os.kill(job.pids[0], signal.SIGSTOP)
        done = job.run("request", "stacks", *IMPATIENT)
        assert done.returncode == 1
        assert "ranks 0-1: stopped: " in done.stdout


def test_handlers_that_misbehave(tmp_path):
    """What a handler of the user's does wrong is in the outcome, and ``handlers`` lists it with its parameters."""
    with hanging(tmp_path, "user_handlers") as job:
        (outcome,) = job.json("request", "raises", "hangs", "ping", "--timeout", "0.5", code=1)["outcomes"]
        assert [part["status"] for part in outcome["parts"]] == ["error", "timeout", "ok"]
        error = outcome["parts"][0]["error"]
        assert (error["type"], error["message"]) == ("ValueError", "the handler's own message")
        assert "raises" in error["traceback"]
        document = job.json("handlers", "--worker", "0")
        assert document["worker"] == outcome["worker"]
        by_name = {each["name"]: each for each in document["handlers"]}
        assert [each["name"] for each in by_name["with_parameters"]["parameters"]] == ["count", "ratio", "text", "flag"]
        assert "with_parameters" in job.run("handlers", "--worker", "0").stdout
        words = ("two_arguments:text=a,b=c", "--body", "12345")
        (outcome,) = job.json("request", *words)["outcomes"]
        assert Path(outcome["parts"][0]["path"]).read_text() == "text=a body=5"


def test_interrupted_shows_what_is_known(tmp_path):
    """Ctrl-C ends the waiting: what is known by then is printed, with the code that fits it."""
    with hanging(tmp_path, "idle", "user_handlers") as job:
        words = command("request", "hangs", "--timeout", "100", "--json")
        with subprocess.Popen(
            words, env=environment(job.root), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as asking:
            dumps.wait_for_dumps(job.directory)
            dumps.until(lambda: "wait" in functions(asking.pid, main_only=True), "the client in its wait")
            asking.send_signal(signal.SIGINT)
            out, err = asking.communicate(timeout=WITHIN_S)
        assert asking.returncode == 75, err
        assert b"interrupted" in err
        assert [outcome["status"] for outcome in json.loads(out)["outcomes"]] == ["error", "no_answer"]


# -- signal ----------------------------------------------------------------------------------------------------------


def test_signal_is_answered(job):
    """The worker's dump is waited for; the object is that of ``request``, and says which signal."""
    document = job.json("signal", job.pids[1])
    assert list(document) == ["schema_version", "signal", *REQUEST_KEYS[1:]]
    (outcome,) = document["outcomes"]
    assert list(outcome) == [*OUTCOME_KEYS, "request_id", "job", "dump_dir"]
    assert (outcome["rank"], outcome["status"], outcome["answered_by"]) == (1, "ok", "worker")
    assert document["dump_dir"] == str(job.directory / "dumps" / document["request_id"])
    assert dumps.accepted(job.directory, document["request_id"])["source"] == {"channel": "signal"}
    assert "wait_for_lock" in Path(outcome["parts"][0]["path"]).read_text()


def test_several_are_signalled(job):
    """Each pid has its own dump, and one that is no worker's is refused while the others are answered: 75."""
    with subprocess.Popen(["sleep", "60"]) as other:
        document = job.json("signal", *job.pids, other.pid, code=75)
        other.kill()
    assert [outcome["status"] for outcome in document["outcomes"]] == ["ok", "ok", "ok", "refused"]
    assert document["request_id"] is None
    assert len({outcome["request_id"] for outcome in document["outcomes"]}) == 4
    done = job.run("signal", job.pids[0])
    assert re.search(r"^dump: /.*/rank00000\..*$", done.stdout, re.MULTILINE)


def test_who_does_not_expect_the_signal_is_not_sent_it(job, tmp_path):
    """A process that is not armed, and an armed one for another signal, live on; what to do instead is said."""
    with programs.running("idle", tmp_path / "bare", bare=True) as bare:
        done = job.run("signal", bare.pid)
        assert done.returncode == 1
        assert "has not called oobdump.start()" in done.stdout
        assert "ok (client)" in done.stdout, "it is looked at from outside instead"
        assert proc.settled(bare.pid, "lock")
    done = job.run("signal", job.pids[2], "--signal", "SIGUSR2")
    assert done.returncode == 69
    assert re.search(r"it answers SIGUSR1; use `oobdump request HANDLER --targets rank00002\.\S+`", done.stdout)
    assert proc.settled(job.pids[2], "lock")


def test_a_stopped_worker_gives_no_dump(tmp_path):
    """Who cannot answer a signal is said, with its state, when the time is up before its grace is."""
    with hanging(tmp_path, "idle") as job:
        os.kill(job.pids[0], signal.SIGSTOP)
        (outcome,) = job.json("signal", job.pids[0], "--timeout", "0.3", code=69)["outcomes"]
        assert outcome["status"] == "no_answer"
        assert "T (stopped)" in outcome["why"]


def test_signal_takes_the_settings_of_the_worker(tmp_path):
    """Another signal and another format, as the worker was started with; its dump is read like any other."""
    with hanging(tmp_path, "lock", OOBDUMP_SIGNALS="SIGUSR2=stacks", OOBDUMP_FORMAT="msgpack") as job:
        (outcome,) = job.json("signal", job.pids[0], "--signal", "USR2")["outcomes"]
        assert [part["media_type"] for part in outcome["parts"]] == ["application/msgpack"]
        assert "wait_for_lock" in job.run("stacks").stdout


# -- ps, ls, show, stacks, prune -------------------------------------------------------------------------------------


def test_ps_lists_the_living_and_the_dead(tmp_path):
    """Who runs is listed with its channels; who was killed is hidden until asked for, and noted as ended."""
    with hanging(tmp_path, "idle", "lock") as job:
        document = job.json("ps")
        assert list(document) == ["schema_version", "workers", "problems"]
        keys = ["worker", "rank", "host", "pid", "job", "attempt", "role", "alive", "channels", "problems", "ended"]
        assert [list(worker) for worker in document["workers"]] == [keys, keys]
        about = ("rank", "pid", "job", "role", "alive", "ended")
        found = [[worker[key] for key in about] for worker in document["workers"]]
        assert found == [[rank, job.pids[rank], "job", "rank", True, None] for rank in (0, 1)]
        assert document["workers"][0]["channels"]["signal"]["armed"] == ["SIGUSR1"]
        job.workers[1].popen.kill()
        job.workers[1].popen.wait()
        assert [worker["rank"] for worker in job.json("ps")["workers"]] == [0]
        dead = job.json("ps", "--all")["workers"][1]
        assert (dead["alive"], dead["ended"]["how"]) == (False, "found gone")
        asked, fallen = job.json("request", "ping", code=1)["outcomes"]
        assert (asked["rank"], asked["status"]) == (0, "ok")
        assert (fallen["rank"], fallen["answered_by"] in ("client", "sentinel")) == (1, True), "its end is told"


@pytest.mark.slow
def test_from_question_to_pruning(tmp_path):
    """``stacks`` asks if nobody has; ``ls``, ``show``, ``stacks`` read the same dump; ``prune`` leaves the newest."""
    with hanging(tmp_path, "lock", "lock", "lock", "idle") as job:
        assert job.run("ls").returncode == 66
        first = job.run("stacks")
        assert first.returncode == 0
        assert "asking now" in first.stderr
        assert re.search(
            r"^rank 3 stands apart from 3 others: MainThread in wait_for_nothing", first.stdout, re.MULTILINE
        )
        assert max(map(len, first.stdout.splitlines())) <= 80
        (listed,) = job.json("ls")["requests"]
        assert (listed["asked"], listed["answered"], listed["status"]) == (4, 4, "ok")
        assert listed["request_id"] in job.run("stacks").stdout
        assert job.json("show", listed["request_id"][:-3])["request_id"] == listed["request_id"]
        assert "wait_for_nothing" in job.run("show", "--rank", "3").stdout
        raw = job.run("show", "--raw", "--rank", "0")
        assert json.loads(raw.stdout)["pid"] == job.pids[0]
        again = job.json("stacks", "--ask")
        assert again["request_id"] != listed["request_id"]
        assert [each["members"] for each in again["outliers"]] == ["3"]
        pruned = job.json("prune", "--keep", "1")
        assert [each["request_id"] for each in pruned["removed"]] == [listed["request_id"]]
        assert [each["request_id"] for each in job.json("ls")["requests"]] == [again["request_id"]]


def test_the_dumps_of_an_ended_job_are_read(tmp_path):
    """When every worker has gone its dumps are still listed, shown and merged; asking tells how each ended."""
    with hanging(tmp_path, "lock") as job:
        job.json("request", "stacks")
    assert job.run("ls").returncode == 0
    assert "wait_for_lock" in job.run("stacks").stdout
    done = job.run("stacks", "--ask")
    assert done.returncode == 1
    assert "the worker is gone" in done.stdout


# -- pipes and terminals ---------------------------------------------------------------------------------------------


def test_a_closed_pipe_ends_it_quietly(job):
    """Whoever reads may leave (``| head``): no message, no failure."""
    job.json("request", "stacks")
    with subprocess.Popen(
        command("show"), env=environment(job.root), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as showing:
        assert showing.stdout is not None
        assert showing.stderr is not None
        showing.stdout.close()
        assert showing.stderr.read() == b""
        assert showing.wait(WITHIN_S) == 0


def test_output_that_cannot_be_written_is_70(job):
    """A full disk behind stdout is our failure: said, without a traceback, and never 1."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command("ps"), env=environment(job.root), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 70
    assert re.fullmatch(r"oobdump: .*No space left on device.*\n", done.stderr)


@pytest.mark.parametrize("closed", [1, 2])
def test_a_closed_stream_is_no_failure(job, closed):
    """Started with stdout or stderr closed, a command does its work all the same."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}>&-', "sh", *command("request", "ping")],
        env=environment(job.root),
        check=False,
        timeout=WITHIN_S,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert done.returncode == 0


def in_terminal(words: list[str], env: dict[str, str]) -> tuple[int, str]:
    """Runs a command with a terminal as stdout and stderr: its exit code, and what the terminal got."""
    master, slave = pty.openpty()
    with subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave) as running:
        os.close(slave)
        received = b""
        try:
            while select.select([master], [], [], WITHIN_S)[0] and (data := os.read(master, 65536)):
                received += data
        except OSError:  # EIO: nobody has the terminal open any more
            pass
        finally:
            os.close(master)
        return running.wait(WITHIN_S), received.decode()


@pytest.mark.slow
def test_a_terminal_gets_a_live_line_and_colours(tmp_path):
    """While it waits a line says how many have answered, by state; it goes before the table comes."""
    with hanging(tmp_path, "idle", "idle") as job:
        os.kill(job.pids[1], signal.SIGSTOP)
        env = environment(job.root, COLUMNS="80")
        code, seen = in_terminal(command("request", "ping", *IMPATIENT), env)
        assert code == 1
        assert "1 of 2 answered (ok 1), " in seen
        assert seen.index("answered (ok 1)") < seen.index("\x1b[2K") < seen.index("seconds")
        assert "\x1b[32mok" in seen
        assert "\x1b[" in in_terminal(command("ls"), env)[1]
        assert "\x1b" not in in_terminal(command("ls"), {**env, "NO_COLOR": "1"})[1]


def test_raw_does_not_reach_a_terminal(job):
    """Bytes that anybody may have written are not given to a terminal."""
    job.json("request", "dump_traceback", "--targets", "0")
    code, seen = in_terminal(command("show", "--raw"), environment(job.root))
    assert code == 2
    assert "does not write to a terminal" in seen
