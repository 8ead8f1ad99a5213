"""The commands on real directories that the store made: what they print, what they exit with, what they never do.

No worker runs here: this process's own pid stands for the living, a child that has ended for the
dead. Real workers are in ``tests/e2e/test_cli.py``.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from oobdump.cli import COMMANDS, App, app, armed, exit_codes, finding, outcomes, output, units
from oobdump.cli.asking import progress_line
from oobdump.cli.exit_codes import ExitCode
from oobdump.cli.failure import CommandError, code_of, message_of
from oobdump.cli.place import Place
from oobdump.cli.pretty import MAX_DEPTH, pretty
from oobdump.cli.request import parse_call
from oobdump.client import Outcome
from oobdump.codecs import get
from oobdump.errors import (
    ConfigError,
    DamagedDump,
    ForeignDirectory,
    ParameterError,
    Refused,
    RequestError,
    StartError,
    StoreError,
)
from oobdump.handlers.stacks import stacks as stacks_handler
from oobdump.identity import Identity, Machine, start_ticks
from oobdump.inbox import publish
from oobdump.request import AcceptedRequest, HandlerCall, Request
from oobdump.response import ErrorInfo, Part
from oobdump.store import atomic, roster
from oobdump.store.layout import Layout
from oobdump.store.writer import DumpWriter

OUTCOME_KEYS = [
    *("worker", "rank", "host", "pid", "role", "status", "answered_by", "state", "seconds", "why", "outside", "parts"),
]
PART_KEYS = ["handler", "status", "code", "media_type", "path", "size", "error"]
MEDIA_TYPES = {"json": "application/json", "msgpack": "application/msgpack", "pkl": "application/vnd.oobdump.pickle"}
ELSEWHERE = Machine("elsewhere", "another-boot", "pid:[1]")


# -- a job on disk ---------------------------------------------------------------------------------------------------


class Job:
    """A job's directory, filled through the store as workers do it."""

    def __init__(self, root: Path, name: str = "job") -> None:
        self.layout = Layout(str(root), name)
        below = (self.layout.job_dir, self.layout.roster, self.layout.inbox, self.layout.dumps)
        atomic.make_tree(self.layout.root, *below)

    def worker(self, rank=None, *, pid=None, machine=None, role=None, **entry) -> Identity:
        """Enters a worker into the roster: this process, unless another pid or machine is given."""
        identity = Identity(
            machine=machine or Machine.here(),
            pid=pid or os.getpid(),
            start_ticks=start_ticks(pid or os.getpid()) or 1,
            job=self.layout.job,
            rank=rank,
            role=role or ("other" if rank is None else "rank"),
        )
        channels = {"request_file": {"events": True, "poll_s": None}, "signal": {"armed": ["SIGUSR1"]}}
        roster.write(self.layout, roster.Entry(identity, 0, **{"channels": channels, **entry}))
        return identity

    def request(
        self, *names, asked, request_id="20260101T000000.000Z-0000000001", at=None, **source
    ) -> AcceptedRequest:
        """Publishes an accepted request."""
        request = Request(tuple(HandlerCall(name) for name in names or ("stacks",)))
        workers = tuple(identity.worker for identity in asked)
        accepted = AcceptedRequest(request_id, request, workers, time.time() if at is None else at, "test", source)
        publish(self.layout, accepted)
        return accepted

    def dump(self, accepted, identity, *parts, commit=True) -> str:
        """Writes one worker's dump; its directory."""
        writer = DumpWriter(self.layout, accepted.id, identity)
        writer.claim(tuple(call.name for call in accepted.request.calls), time.time())
        records = tuple(writer.write_part(part) for part in parts)
        if commit:
            writer.commit(records, "responsive", {}, accepted.accepted_at + 0.25)
        return writer.directory

    def run(self, *words, **options) -> Result:
        """Runs a command on this job's root."""
        return run(*words, "--dir", self.layout.root, **options)


def run(*words, env=()) -> Result:
    """Runs a command line as the entry point does; whatever terminal the tests run in is not the command's."""
    environ = {"COLUMNS": None, "NO_COLOR": None, **dict(env)}
    return CliRunner().invoke(app, [str(word) for word in words], env=environ)


def value_part(value, handler="stacks", codec="json") -> Part:
    """A part as a codec writes it."""
    chosen = get(codec)
    return Part(handler, "ok", 200, chosen.media_type, chosen.suffix, chosen.encode(value))


def text_part(text: str, handler="dump_traceback") -> Part:
    """A part of plain text."""
    return Part(handler, "ok", 200, "text/plain", "txt", text.encode())


def failed_part(handler="stacks") -> Part:
    """A part that says that the handler raised."""
    return Part(handler, "error", 500, error=ErrorInfo("ValueError", "no such\nluck \x1b[31m", "File ..."))


def stacks_of(*functions: str) -> dict:
    """A value of the ``stacks`` handler: one main thread in these functions, and one of ours."""
    frames = [{"file": "/code/train.py", "line": 7, "function": name} for name in functions]
    thread = {"name": "MainThread", "ident": 1, "native_id": 2, "daemon": False, "main": True, "ours": False}
    bell = {**thread, "name": "oobdump bell", "main": False, "ours": True, "frames": frames[:1]}
    pool = {**thread, "name": "pool-3", "main": False, "frames": frames[:1]}
    threads = [{**thread, "frames": frames}, bell, pool]
    return {"schema_version": 1, "pid": 1, "taken_at": "", "python": "3.11.7", "threads": threads}


@pytest.fixture
def job(tmp_path) -> Job:
    """An empty job."""
    return Job(tmp_path / "root")


@pytest.fixture
def answered(job) -> Job:
    """A job of two ranks that both answered a request for stacks."""
    identities = [job.worker(0), job.worker(1)]
    accepted = job.request("stacks", asked=identities)
    for identity in identities:
        job.dump(accepted, identity, value_part(stacks_of("main", "train")))
    return job


def ended_pid() -> int:
    """A pid that no process has any more."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


# -- the table of commands, help, exit codes -------------------------------------------------------------------------


def test_help_imports_no_command():
    """``--help`` imports neither a command nor rich: it must come at once."""
    program = (
        "import sys; from oobdump.cli import app\n"
        "try: app.main(['--help'])\n"
        "except SystemExit as done: assert done.code == 0\n"
        "late = {'rich', 'oobdump.cli.ps', 'oobdump.cli.stacks', 'oobdump.report.text'} & {*sys.modules}\n"
        "assert not late, late\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_as_the_table_says(name):
    """Each command has the name of the table, help, and the options that every command has.

    ``convert`` is about a file: no job is looked for. ``run`` becomes the program, and prints nothing of its own.
    """
    command = app.get_command(click.Context(app), name)
    assert command is not None
    assert command.name == name
    options = {option for parameter in command.params for option in parameter.opts}
    exempt = {"convert": {"--dir", "--job"}, "run": {"--json"}}.get(name, set())
    assert {"--dir", "--job", "--json"} - exempt <= options
    assert run(name, "--help").exit_code == 0


def test_exit_codes_are_those_that_are_promised():
    """The numbers that scripts rely on."""
    assert {name: number for name, number, _ in exit_codes.TABLE} == {
        "fine": 0,
        "finding": 1,
        "usage": 2,
        "no_dumps": 66,
        "nobody_answered": 69,
        "own_failure": 70,
        "partial": 75,
        "permission": 77,
        "not_executable": 126,
        "not_found": 127,
        "interrupted": 130,
    }
    assert all(meaning for _, _, meaning in exit_codes.TABLE)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RequestError("x"), 2),
        (ParameterError("x"), 2),
        (Refused("x"), 2),
        (ConfigError("x"), 2),
        (click.UsageError("x"), 2),
        (click.FileError("x"), 2),
        (StoreError("x"), 69),
        (DamagedDump("x"), 66),
        (ForeignDirectory("x"), 77),
        (PermissionError(13, "x"), 77),
        (OSError(28, "x"), 70),
        (StartError("x"), 70),
        (ZeroDivisionError("x"), 70),
        (KeyboardInterrupt(), 130),
        (CommandError("x", ExitCode.PARTIAL), 75),
    ],
)
def test_each_error_has_its_code(error, code):
    """What a command exits with follows from the kind of error alone; what nobody foresaw is 70."""
    assert code_of(error) == code


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("two\nlines"), OSError(28, "full"), click.BadParameter("two\nlines")]
)
def test_a_message_is_one_line(error):
    """Every message is one line that is not empty."""
    assert len(message_of(error).splitlines()) == 1


class Failing(App):
    """The command line with one more command, which fails in a way that nobody foresaw."""

    def get_command(self, ctx, cmd_name):
        """The command that fails."""

        @click.command()
        @click.option("--json", "as_json", is_flag=True)
        def fail(*, as_json):
            raise ZeroDivisionError("division\nby zero")

        return fail


def test_an_unforeseen_error_is_70_without_a_traceback():
    """Our own failure is one line and 70, never 1; with ``--json`` it is an object as well."""
    done = CliRunner().invoke(Failing(), ["fail", "--json"])
    assert done.exit_code == 70
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    error = json.loads(done.stdout)["error"]
    assert error["code"] == 70
    assert error["message"].startswith("ZeroDivisionError: division by zero")


def test_debug_shows_the_traceback():
    """``OOBDUMP_DEBUG=1`` shows where it happened, and the code stays."""
    done = CliRunner().invoke(Failing(), ["fail"], env={"OOBDUMP_DEBUG": "1"})
    assert done.exit_code == 70
    assert "Traceback" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "words", [["nosuch"], ["request"], ["ps", "--nosuch"], ["prune", "--older-than", "7x"], ["signal", "0"]]
)
def test_a_wrong_command_line_is_2_and_one_line(words):
    """Usage errors are one line that names the help; nothing is on stdout."""
    done = run(*words)
    assert done.exit_code == 2
    assert re.fullmatch(r"oobdump: .*; see `oobdump.* --help`\n", done.stderr)
    assert done.stdout == ""


def test_a_usage_error_with_json_is_an_object():
    """A program that asked for JSON gets JSON, whatever was wrong."""
    done = run("show", "--nosuch", "--json")
    assert done.exit_code == 2
    document = json.loads(done.stdout)
    assert list(document) == ["schema_version", "error"]
    assert document["error"]["code"] == 2
    assert document["error"]["message"] in done.stderr


def test_version_and_bare_command():
    """``--version`` and the bare command succeed."""
    assert run("--version").stdout.startswith("oobdump ")
    assert "Commands:" in run().stdout
    assert run().exit_code == 0


# -- pure parts ------------------------------------------------------------------------------------------------------

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,8}", fullmatch=True)
VALUES = st.text(st.characters(exclude_categories=["Cs"])).filter(
    lambda text: not re.search(r",[A-Za-z_][A-Za-z0-9_-]*=", text)
)


@given(NAMES, st.dictionaries(NAMES, VALUES, max_size=4))
def test_calls_are_read_as_they_are_written(name, params):
    """Any parameters come back; a value may have commas, colons and equal signs."""
    written = name + (":" + ",".join(f"{key}={value}" for key, value in params.items()) if params else "")
    assert parse_call(written) == HandlerCall(name, params)


@pytest.mark.parametrize("text", ["stacks:", "stacks:locals", "stacks:=1", "stacks:a=1,a=2", "stacks:,a=1"])
def test_a_malformed_call_says_what_would_be_right(text):
    """What is no parameter is refused, and not passed over."""
    with pytest.raises(RequestError, match=r"PARAM=VALUE|twice"):
        parse_call(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("30m", 1800), ("12h", 43200), ("7d", 604800), ("2w", 1209600), ("0.5d", 43200)],
)
def test_spans_of_time(text, seconds):
    """Every unit, and fractions."""
    assert units.parse_seconds(text) == seconds


@pytest.mark.parametrize(
    ("text", "count"), [("1000", 1000), ("500M", 500 * 2**20), ("10G", 10 * 2**30), ("1.5kib", 1536), ("1TB", 2**40)]
)
def test_sizes(text, count):
    """Every unit is a power of 1024, whatever its ending."""
    assert units.parse_bytes(text) == count


@given(st.text())
def test_rubbish_is_no_span_and_no_size(text):
    """Any text is read or refused with ``ValueError``."""
    for parse in (units.parse_seconds, units.parse_bytes):
        try:
            read = parse(text)
        except ValueError:
            continue
        assert read >= 0


@given(st.floats(allow_nan=False), st.integers(0, 2**60))
def test_ages_and_sizes_are_short(seconds, count):
    """An age and a size fit their columns."""
    assert len(units.age(min(seconds, 1e10))) <= len("100000 d")
    assert len(units.size(count)) <= len("999 KB") or count >= 2**50


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (1536, "1.5 KB"), (10**7, "9.5 MB"), (10_433_332, "10 MB")],
)
def test_size_texts(count, text):
    """Three digits at most, and a tenth below ten."""
    assert units.size(count) == text


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON_VALUES, st.integers(10, 100))
def test_pretty_lines_are_harmless_and_not_empty(value, width):
    """Nothing in a value reaches the terminal but printable characters."""
    lines = list(pretty(value, width))
    assert lines
    assert all(line.isprintable() for line in lines)


def test_pretty_is_an_outline():
    """Keys, dashes, small containers on one line, and texts of several lines as such."""
    value = {"a": 1, "list": [{"x": "y" * 40, "z": [1, 2]}, {}], "text": "one\ntwo", "odd key": None}
    assert list(pretty(value, 40)) == [
        "a: 1",
        "list:",
        f'  - x: "{"y" * 40}"',
        "    z: [1, 2]",
        "  - {}",
        "text:",
        "  one",
        "  two",
        '"odd key": null',
    ]


def test_pretty_has_no_depth_that_is_too_deep():
    """What is nested deeper than is laid out stands on one line, and nothing is raised."""
    value: object = "leaf"
    for _ in range(800):
        value = [value]
    lines = list(pretty(value))
    assert len(lines) == 1
    assert lines[0].startswith("- " * MAX_DEPTH)


def outcome(status="ok", rank=0, answered_by="worker", **changes) -> Outcome:
    """An outcome of a rank."""
    by = answered_by if status != "no_answer" else None
    return Outcome(f"rank{rank:05d}.host.7", rank, "host", 7, "rank", status, by, **changes)


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        (["ok", "ok"], 0),
        (["ok", "error"], 1),
        (["ok", "timeout"], 1),
        (["refused"], 1),
        (["ok", "no_answer"], 75),
        (["error", "no_answer"], 75),
        (["no_answer", "no_answer"], 69),
    ],
)
def test_outcomes_come_to_a_code(statuses, code):
    """0 if all is well, 1 if all answered, 75 if some did, 69 if nobody did."""
    assert outcomes.exit_code([outcome(status, rank) for rank, status in enumerate(statuses)]) == code


def test_what_the_client_refuses_is_no_answer():
    """A process that is not signalled has not answered."""
    assert outcomes.exit_code([outcome("refused", answered_by="client")]) == 69


def test_coverage_names_who_is_missing():
    """Ranks are folded; workers without a rank go by name."""
    four = [outcome(rank=rank) for rank in range(4)]
    assert outcomes.coverage(four) == "4 of 4 ranks answered"
    four[2] = outcome("no_answer", 2)
    assert outcomes.coverage(four) == "3 of 4 ranks answered; no answer: [2]"
    other = Outcome("proc.host.9", None, "host", 9, "other", "no_answer")
    assert outcomes.coverage([*four, other]) == "3 of 5 workers answered; no answer: [2,proc.host.9]"


def test_the_live_line_counts_by_state():
    """How many answered, by state; a rank that cannot answer is counted, but not as an answer."""
    known = [outcome("ok", 0), outcome("ok", 1), outcome("error", 2), outcome("no_answer", 3)]
    assert progress_line(["a"] * 5, known, 1.234) == "3 of 5 answered (ok 2, error 1, no_answer 1), 1.2 s"
    assert progress_line(["a"] * 5, [], 0) == "0 of 5 answered, 0.0 s"


# -- where to look ---------------------------------------------------------------------------------------------------


def test_an_unknown_job_is_2(job):
    """A job that is not there is a usage error that says what to check."""
    done = job.run("ls", "--job", "nosuch")
    assert done.exit_code == 2
    assert "nosuch does not exist" in done.stderr


def test_no_job_at_all_is_2_and_ps_is_empty(tmp_path):
    """Without any job a command says so; ``ps`` lists nobody, which is an answer."""
    assert run("ls", "--dir", tmp_path).exit_code == 2
    done = run("ps", "--json", "--dir", tmp_path)
    assert (done.exit_code, json.loads(done.stdout)["workers"]) == (0, [])


def test_several_running_jobs_must_be_told_apart(tmp_path):
    """Of several jobs that run none is guessed; the message lists them."""
    for name in ("one", "two"):
        Job(tmp_path, name).worker(0)
    done = run("ls", "--dir", tmp_path)
    assert done.exit_code == 2
    assert "one, two" in done.stderr


def test_the_environment_names_root_and_job(answered):
    """``OOBDUMP_DIR`` and ``OOBDUMP_JOB`` are what the options default to; a job's name is made a directory's."""
    env = {"OOBDUMP_DIR": answered.layout.root, "OOBDUMP_JOB": "job"}
    assert run("ls", env=env).exit_code == 0
    assert Place.of("/x", "a b/c").job == "a_b_c"


def test_paths_are_absolute_whatever_dir_was(answered, monkeypatch):
    """A relative ``--dir`` gives absolute paths."""
    monkeypatch.chdir(Path(answered.layout.root).parent)
    document = json.loads(run("show", "--json", "--dir", "root").stdout)
    assert document["dump_dir"].startswith("/")
    assert all(os.path.isfile(part["path"]) for each in document["outcomes"] for part in each["parts"])


@pytest.mark.parametrize("words", [["ls"], ["ps"], ["prune"]])
def test_a_root_of_somebody_else_is_not_read(answered, monkeypatch, words):
    """A directory that another user made is detected: 77, and a message that says whose it is."""
    if os.geteuid() == 0:
        os.chown(answered.layout.root, 4242, 4242)
    monkeypatch.setattr(os, "geteuid", lambda: 4343)
    done = answered.run(*words)
    assert done.exit_code == 77
    assert "belongs to uid" in done.stderr


# -- ps --------------------------------------------------------------------------------------------------------------


def test_ps_json_is_exact(job):
    """The object of ``ps --json`` has these keys and no others."""
    identity = job.worker(3, problems=("no bell",))
    document = json.loads(job.run("ps", "--json").stdout)
    assert document == {
        "schema_version": 1,
        "workers": [
            {
                "worker": identity.worker,
                "rank": 3,
                "host": identity.host,
                "pid": os.getpid(),
                "job": "job",
                "attempt": None,
                "role": "rank",
                "alive": True,
                "channels": {"request_file": {"events": True, "poll_s": None}, "signal": {"armed": ["SIGUSR1"]}},
                "problems": ["no bell"],
                "ended": None,
            }
        ],
        "problems": [],
    }


def test_ps_hides_who_is_gone(job):
    """The dead are hidden and counted, and shown with ``--all``, with how they were found."""
    job.worker(0)
    gone = job.worker(1, pid=ended_pid())
    done = job.run("ps", "--json")
    assert [each["rank"] for each in json.loads(done.stdout)["workers"]] == [0]
    assert "1 worker is gone" in job.run("ps").stderr
    everybody = json.loads(job.run("ps", "--all", "--json").stdout)["workers"]
    assert [(each["worker"], each["alive"]) for each in everybody][1] == (gone.worker, False)
    assert everybody[1]["ended"]["by"] == "client"
    assert re.search(r"^1 .* gone", job.run("ps", "--all").stdout, re.MULTILINE)


def test_ps_says_unknown_of_another_machine(job):
    """A worker that cannot be seen from here is listed, with null for ``alive``."""
    job.worker(0, machine=ELSEWHERE)
    assert json.loads(job.run("ps", "--json").stdout)["workers"][0]["alive"] is None
    assert re.search(r"^0 +rank +elsewhere +\d+ +\? ", job.run("ps").stdout, re.MULTILINE)


def test_ps_shows_channels_and_problems(job):
    """What is open is listed by what one would use, and what could not be set up below the table."""
    job.worker(
        0, channels={"request_file": {"events": False, "poll_s": 1.0}, "signal": {"off": "x"}, "http": {"path": "p"}}
    )
    job.worker(1, role="child", problems=("signals are off\nhere",))
    lines = job.run("ps").stdout.splitlines()
    assert lines[0] == "job job"
    assert "files every 1.0 s, http" in lines[2]
    assert re.match(r"1 +child .*files, SIGUSR1 +1$", lines[3])
    assert lines[4].endswith("signals are off here")


def test_ps_lists_all_jobs_and_survives_a_damaged_entry(tmp_path):
    """All jobs of the root are listed; an entry that cannot be read is a problem and hides no other."""
    one, two = Job(tmp_path, "one"), Job(tmp_path, "two")
    one.worker(0)
    two.worker(0)
    Path(two.layout.entry("rank00009.h.1")).write_text("{")
    document = json.loads(run("ps", "--json", "--dir", tmp_path).stdout)
    assert [each["job"] for each in document["workers"]] == ["one", "two"]
    assert len(document["problems"]) == 1
    assert "job two: roster entry 'rank00009.h.1.json'" in document["problems"][0]
    assert json.loads(run("ps", "--json", "--dir", tmp_path, "--job", "two").stdout)["workers"][0]["job"] == "two"


@pytest.mark.parametrize(
    "channels", [{"signal": 7}, {"signal": {"armed": 1}}, {"request_file": {"poll_s": [1]}}, {"\x1b[31m": {}}]
)
def test_ps_survives_hostile_channels(job, channels):
    """Whatever an entry says of its channels, it is listed, and no escape sequence comes through."""
    job.worker(0, channels=channels)
    done = job.run("ps")
    assert done.exit_code == 0
    assert "\x1b" not in done.stdout


# -- request ---------------------------------------------------------------------------------------------------------


def test_nobody_running_is_69_and_drops_nothing(job):
    """With no worker alive, and all ended well, the request is not made: 69, and the inbox is empty."""
    job.worker(0, pid=ended_pid(), ended={"at_s": 1.0, "how": "stopped"})
    done = job.run("request", "stacks", "--json")
    assert done.exit_code == 69
    assert json.loads(done.stdout)["error"]["code"] == 69
    assert os.listdir(job.layout.inbox) == []


def test_the_end_of_a_worker_is_told_when_nobody_runs(job):
    """With no worker alive each that did not end well has an outcome: a finding, and nothing is dropped."""
    identity = job.worker(0, pid=ended_pid())
    done = job.run("request", "stacks", "--json")
    assert done.exit_code == 1, done.output
    (outcome,) = json.loads(done.stdout)["outcomes"]
    assert (outcome["worker"], outcome["state"], outcome["answered_by"]) == (identity.worker, "gone", "client")
    assert "cause unknown" in outcome["why"]
    assert os.listdir(job.layout.inbox) == []


@pytest.mark.parametrize(
    "words",
    [
        ["no/such"],
        ["stacks:x"],
        ["stacks", "--targets", "9"],
        ["stacks", "--timeout", "0"],
        ["stacks", "--timeout", "nan"],
        ["stacks", "--expires", "-1"],
        ["stacks", "--id", "../x"],
        ["stacks", "--format", "xml"],
        ["stacks", "--body", "@/nonexistent"],
        ["stacks", "--body", "@/dev/zero"],
        ["ping"] * 65,
    ],
)
def test_a_wrong_request_is_2_and_drops_nothing(job, words):
    """What an acceptor would reject is said beforehand, and no file is left for anybody to wonder at."""
    job.worker(0)
    done = job.run("request", *words)
    assert done.exit_code == 2
    assert os.listdir(job.layout.inbox) == []
    assert not os.path.exists(job.layout.rejected)


def test_an_id_that_is_used_is_2(answered):
    """An id that was used before is refused, with what to do."""
    done = answered.run("request", "stacks", "--id", "20260101T000000.000Z-0000000001")
    assert done.exit_code == 2
    assert "already used" in done.stderr


def test_request_reaches_the_disk_as_it_was_asked(job, tmp_path):
    """Handlers, parameters, format, targets, times, body and id are in the accepted request; nobody answers: 69."""
    body = tmp_path / "body"
    body.write_bytes(b"\x00\xff")
    identity = job.worker(0, machine=ELSEWHERE)
    options = ["--timeout", "0.1", "--expires", "5", "--format", "msgpack", "--id", "mine", "--targets", "0-3,7"]
    done = job.run(
        "request", "stacks:locals=true,ours=false", "ping", *options[:-1], "0-3", "--body", f"@{body}", "--json"
    )
    assert done.exit_code == 69, done.output
    document = json.loads(done.stdout)
    assert list(document) == ["schema_version", "request_id", "job", "dump_dir", "outcomes"]
    assert (document["request_id"], document["job"]) == ("mine", "job")
    assert document["dump_dir"] == job.layout.request_dir("mine")
    assert [list(each) for each in document["outcomes"]] == [OUTCOME_KEYS]
    only = document["outcomes"][0]
    assert (only["worker"], only["status"], only["answered_by"], only["parts"]) == (
        identity.worker,
        "no_answer",
        None,
        [],
    )
    accepted = finding.find(job.layout, "mine")
    assert accepted.request == Request(
        calls=(HandlerCall("stacks", {"locals": "true", "ours": "false"}), HandlerCall("ping")),
        format="msgpack",
        body=b"\x00\xff",
        targets=("0-3",),
        timeout_s=0.1,
        expires_in_s=5,
        id="mine",
    )


# -- ls and which request is meant -----------------------------------------------------------------------------------


def test_ls_json_is_exact(answered):
    """The object of ``ls --json`` has these keys, and sizes and counts that are true."""
    document = json.loads(answered.run("ls", "--json").stdout)
    assert list(document) == ["schema_version", "job", "requests"]
    (only,) = document["requests"]
    directory = Path(answered.layout.request_dir(only["request_id"]))
    assert only == {
        "request_id": "20260101T000000.000Z-0000000001",
        "accepted_at": only["accepted_at"],
        "handlers": ["stacks"],
        "asked": 2,
        "answered": 2,
        "status": "ok",
        "in_progress": False,
        "bytes": sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()),
        "dump_dir": str(directory),
        "problem": "",
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", only["accepted_at"])


def test_newest_is_by_acceptance_not_by_name(job):
    """An id that the asker chose tells no time: the order is that of acceptance."""
    identity = job.worker(0)
    job.request("stacks", asked=[identity], request_id="zz-old", at=time.time() - 100)
    job.request("ping", asked=[identity], request_id="aa-new")
    document = json.loads(job.run("ls", "--json").stdout)
    assert [each["request_id"] for each in document["requests"]] == ["aa-new", "zz-old"]
    assert finding.find(job.layout).id == "aa-new"
    assert finding.find(job.layout, "latest", lambda each: each.request.calls[0].name == "stacks").id == "zz-old"


def test_ls_tells_partial_progress_and_damage(answered):
    """A request under way, one that nobody answered and one that is damaged are told apart."""
    identity = answered.worker(0)
    answered.request("ping", asked=[identity], request_id="running")
    answered.request("ping", asked=[answered.worker(1, pid=ended_pid())], request_id="over", at=time.time() - 1)
    os.mkdir(answered.layout.request_dir("damaged"), 0o700)
    Path(answered.layout.request_json("damaged")).write_text("{")
    done = answered.run("ls")
    assert re.search(r"^running .* 0/1 +in progress", done.stdout, re.MULTILINE)
    assert re.search(r"^over .* 0/1 +no_answer", done.stdout, re.MULTILINE)
    assert re.search(r"^damaged .* - +damaged", done.stdout, re.MULTILINE)
    assert "damaged: " in done.stderr


def test_no_dumps_is_66(job):
    """A job without dumps is 66, for each command that reads them."""
    job.worker(0, pid=ended_pid())
    for words in (["ls"], ["show"], ["stacks"], ["show", "2026"]):
        assert job.run(*words).exit_code == 66, words


def test_a_unique_beginning_is_enough(answered):
    """A beginning names a request if no other begins so; else the candidates are listed."""
    identity = answered.worker(0)
    answered.request("ping", asked=[identity], request_id="20260101T000000.000Z-0000000002")
    assert answered.run("show", "20260101T000000.000Z-0000000001").exit_code == 0
    done = answered.run("show", "2026")
    assert done.exit_code == 2
    assert "0000000001" in done.stderr
    assert answered.run("show", "20260101T000000.000Z-0000000002").exit_code == 69
    assert answered.run("show", "nosuch").exit_code == 66
    answered.request("ping", asked=[identity], request_id="20260101T000000.000Z-00000000011")
    assert finding.find(answered.layout, "20260101T000000.000Z-0000000001").id.endswith("0001")


# -- show ------------------------------------------------------------------------------------------------------------


def test_show_prints_outcomes_and_contents(answered):
    """The request, a line for each worker and the contents as an outline."""
    done = answered.run("show")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert re.match(r"request 20260101T000000\.000Z-0000000001, \d+ s ago: stacks: 2 of 2 ranks answered", lines[0])
    assert re.match(r"0 .* ok +responsive +0\.250 +stacks", lines[2])
    assert "rank 1: stacks (application/json, " in done.stdout
    assert '      - {"file": "/code/train.py", "line": 7, "function": "train"}' in done.stdout


def test_show_says_what_went_wrong(job):
    """A part without content shows its error, with the traceback as lines."""
    identity = job.worker(0)
    wrong = ErrorInfo("ValueError", "no such luck", '  File "train.py", line 7\n    in loader_state\n')
    accepted = job.request("loader_state", asked=[identity])
    job.dump(accepted, identity, Part("loader_state", "error", 500, error=wrong))
    lines = job.run("show").stdout.splitlines()
    assert lines[-5:] == [
        'type: "ValueError"',
        'message: "no such luck"',
        "traceback:",
        '    File "train.py", line 7',
        "      in loader_state",
    ]


def test_show_json_is_that_of_request_with_contents(answered):
    """``show --json`` is the object of ``request --json``; a part has its content as well."""
    document = json.loads(answered.run("show", "--json").stdout)
    assert list(document) == ["schema_version", "request_id", "job", "dump_dir", "outcomes"]
    first = document["outcomes"][0]
    assert list(first) == OUTCOME_KEYS
    assert list(first["parts"][0]) == [*PART_KEYS, "content", "note"]
    assert first["parts"][0]["content"] == stacks_of("main", "train")
    assert (first["status"], first["answered_by"], first["seconds"]) == ("ok", "worker", 0.25)
    assert first["parts"][0]["path"].endswith(f"{first['worker']}/stacks.json")


def test_show_chooses_ranks_workers_and_handlers(job):
    """``--rank``, ``--worker`` and ``--handler`` narrow it down; who was not asked is a usage error."""
    identities = [job.worker(rank) for rank in range(3)]
    accepted = job.request("stacks", "dump_traceback", asked=identities)
    for identity in identities:
        job.dump(accepted, identity, value_part({"rank": identity.rank}), text_part(f"text of {identity.rank}"))
    done = job.run("show", "--rank", "1-2", "--handler", "dump_traceback")
    assert "text of 1" in done.stdout
    assert "text of 2" in done.stdout
    assert "text of 0" not in done.stdout
    assert "rank: 1" not in done.stdout
    one = json.loads(job.run("show", "--worker", identities[0].worker, "--json").stdout)
    assert [each["rank"] for each in one["outcomes"]] == [0]
    assert job.run("show", "--rank", "7").exit_code == 2
    assert job.run("show", "--rank", "x").exit_code == 2
    assert job.run("show", "--handler", "memory").exit_code == 2


@pytest.mark.parametrize("codec", ["json", "msgpack"])
def test_show_decodes_what_is_safe(job, codec):
    """JSON and msgpack are decoded; what JSON has no word for is tagged in ``--json``."""
    identity = job.worker(0)
    job.dump(
        job.request("custom", asked=[identity]), identity, value_part({"numbers": (1, 2), "text": "ü"}, "custom", codec)
    )
    content = json.loads(job.run("show", "--json").stdout)["outcomes"][0]["parts"][0]["content"]
    assert content["text"] == "ü"
    assert content["numbers"] == {"$oobdump": "tuple", "v": [1, 2]}
    assert 'text: "ü"' in job.run("show").stdout


class Bomb:
    """What a pickle may do when it is loaded."""

    def __reduce__(self):
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("trust", [[], ["--trust"]])
def test_a_pickle_runs_nothing(job, tmp_path, monkeypatch, trust):
    """A pickle is described and not decoded; even with ``--trust`` nothing in it runs."""
    monkeypatch.chdir(tmp_path)
    identity = job.worker(0)
    part = Part("custom", "ok", 200, MEDIA_TYPES["pkl"], "pkl", pickle.dumps(Bomb()))
    job.dump(job.request("custom", asked=[identity]), identity, part)
    done = job.run("show", *trust)
    assert done.exit_code == 0
    assert not (tmp_path / "exploded").exists()
    assert "custom.pkl" in done.stdout
    assert trust or "--trust" in done.stdout


def test_trust_decodes_a_pickle_of_ours(job):
    """With ``--trust`` a pickle that oobdump wrote is shown as a value."""
    identity = job.worker(0)
    job.dump(job.request("custom", asked=[identity]), identity, value_part({"answer": 42}, "custom", "pickle"))
    assert '"answer": 42' not in job.run("show").stdout
    assert '"answer": 42' in job.run("show", "--trust").stdout


HOSTILE = "\x1b]0;title\x07\x1b[2J\u202ereversed\r\x9b31m"


def test_escape_sequences_are_made_harmless(job):
    """Nothing from a text, a value or an error message can move a terminal's cursor."""
    identity = job.worker(0)
    accepted = job.request("dump_traceback", "stacks", "other", asked=[identity])
    job.dump(accepted, identity, text_part(HOSTILE), value_part({HOSTILE: [HOSTILE]}), failed_part("other"))
    done = job.run("show")
    assert done.exit_code == 1
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", done.stdout)
    assert "reversed" in done.stdout
    assert "other: error 500: ValueError: no such luck" in done.stdout


def test_raw_gives_the_bytes_of_one_part(job):
    """``--raw`` gives the bytes as they are, of one part; several or none are refused."""
    identities = [job.worker(0), job.worker(1)]
    accepted = job.request("dump_traceback", "empty", asked=identities)
    for identity in identities:
        job.dump(accepted, identity, text_part(HOSTILE), Part("empty", "ok", 200))
    assert job.run("show", "--raw", "--rank", "0").stdout_bytes == HOSTILE.encode()
    assert job.run("show", "--raw").exit_code == 2
    assert job.run("show", "--raw", "--rank", "0", "--handler", "empty").exit_code == 66
    assert job.run("show", "--raw", "--rank", "0", "--json").exit_code == 2


def test_a_damaged_part_hides_no_other(job):
    """A part that was changed later is described, and the others are shown; its bytes are not handed out."""
    identity = job.worker(0)
    accepted = job.request("dump_traceback", "stacks", asked=[identity])
    directory = job.dump(accepted, identity, text_part("as it was"), value_part({"answer": 42}))
    Path(directory, "dump_traceback.txt").write_text("as it is!")
    done = job.run("show")
    assert "as it is!" not in done.stdout
    assert "is not what its manifest says" in done.stdout
    assert '"answer": 42' in done.stdout
    assert job.run("show", "--raw", "--handler", "dump_traceback").exit_code == 66


def test_other_media_types_are_described(job):
    """Bytes that no codec knows are described, with where they are; rubbish under a codec's name too."""
    identity = job.worker(0)
    accepted = job.request("blob", "rubbish", asked=[identity])
    blob = Part("blob", "ok", 200, "application/octet-stream", "bin", b"\x00" * 2048)
    job.dump(accepted, identity, blob, Part("rubbish", "ok", 200, "application/json", "json", b"{"))
    done = job.run("show")
    assert "(2.0 KB of application/octet-stream; it is /" in done.stdout
    assert re.search(r"^\(.*JSON.*; it is /.*rubbish\.json\)$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("second", "code"), [("committed", 0), ("error", 1), ("claimed", 75), ("absent", 75), ("none at all", 69)]
)
def test_show_exits_as_the_outcomes_are(job, second, code):
    """0, 1, 75 and 69, as for ``request``; a partial dump is no answer, and is said."""
    identities = [job.worker(0), job.worker(1, pid=ended_pid())]
    accepted = job.request("stacks", asked=identities)
    if second != "none at all":
        job.dump(accepted, identities[0], value_part({}))
    if second in ("committed", "error", "claimed"):
        part = failed_part() if second == "error" else value_part({})
        job.dump(accepted, identities[1], part, commit=second != "claimed")
    done = job.run("show")
    assert done.exit_code == code
    if second == "claimed":
        assert "rank 1: no_answer: claimed, not committed; its process is gone" in done.stdout


def test_foreign_things_in_a_request_are_said(answered):
    """What oobdump did not make is named and not read."""
    os.mkdir(f"{answered.layout.request_dir('20260101T000000.000Z-0000000001')}/rank0")
    assert "rank0 is not read: its name is no worker's" in answered.run("show").stderr


# -- stacks ----------------------------------------------------------------------------------------------------------


def test_stacks_merge_all_ranks(job):
    """The ranks are merged, the odd one is named, and its oddness is no error."""
    identities = [job.worker(rank) for rank in range(4)]
    accepted = job.request("stacks", "process", asked=identities)
    for identity in identities:
        where = "load_next_shard" if identity.rank == 2 else "all_reduce"
        job.dump(accepted, identity, value_part(stacks_of("main", where)), value_part({}, "process"))
    done = job.run("stacks")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert re.match(r"request 2026\S+, \d+ s ago: 4 of 4 ranks answered", lines[0])
    assert lines[1].startswith("rank 2 stands apart from 3 others: MainThread in load_next_shard")
    assert max(map(len, lines)) <= 80
    document = json.loads(job.run("stacks", "--json").stdout)
    assert (document["schema_version"], document["request_id"]) == (1, accepted.id)
    assert [each["members"] for each in document["outliers"]] == ["2"]


def test_stacks_say_who_is_missing(job):
    """The page begins with how many it shows, says who has no stacks and why, and the code is 75."""
    identities = [job.worker(rank) for rank in range(2)] + [job.worker(2, pid=ended_pid())]
    accepted = job.request("stacks", asked=identities)
    for identity in identities[:2]:
        job.dump(accepted, identity, value_part(stacks_of("main")))
    done = job.run("stacks")
    assert done.exit_code == 75
    assert "2 of 3 ranks answered; no answer: [2]" in done.stdout
    assert "rank 2: no stacks: no dump was begun" in done.stdout
    problems = json.loads(job.run("stacks", "--json").stdout)["problems"]
    assert [each["rank"] for each in problems] == [2]


def test_a_child_is_not_its_rank(job):
    """A child that carries its rank's number is a worker of its own: in the merge and for ``--rank``."""
    identities = [job.worker(0), job.worker(0, pid=os.getppid(), role="child")]
    accepted = job.request("stacks", asked=identities)
    for identity in identities:
        job.dump(accepted, identity, value_part(stacks_of("main", identity.role)))
    done = job.run("stacks")
    assert "MainThread · 2 of 2 workers" in done.stdout
    document = json.loads(job.run("stacks", "--json").stdout)
    assert (document["ranks"], document["workers"]) == ("0", [identities[1].worker])
    shown = json.loads(job.run("show", "--rank", "0", "--json").stdout)
    assert [each["worker"] for each in shown["outcomes"]] == [identities[0].worker]


def test_stacks_take_the_newest_request_that_had_them(answered):
    """A newer request for something else does not hide the stacks; naming it says that it has none."""
    answered.request("ping", asked=[answered.worker(0)], request_id="newer", at=time.time() + 5)
    assert answered.run("stacks").exit_code == 0
    done = answered.run("stacks", "newer")
    assert done.exit_code == 66
    assert "did not ask for stacks" in done.stderr


@pytest.mark.parametrize("codec", ["json", "msgpack", "pickle"])
def test_stacks_in_every_format(job, codec):
    """JSON and msgpack are merged; a pickle is a problem that names the rank, unless it is trusted."""
    identity = job.worker(0)
    job.dump(job.request("stacks", asked=[identity]), identity, value_part(stacks_of("main"), codec=codec))
    merged = json.loads(job.run("stacks", "--json").stdout)
    assert len(merged["problems"]) == (codec == "pickle")
    trusted = json.loads(job.run("stacks", "--json", "--trust").stdout)
    assert trusted["threads"][0]["tree"][0]["function"] == "main"


def test_a_part_that_failed_or_is_no_stacks_is_a_problem(job):
    """A rank whose handler failed, or whose part says something else, is named with the reason: 1."""
    identities = [job.worker(rank) for rank in range(3)]
    accepted = job.request("stacks", asked=identities)
    parts = [value_part(stacks_of("main")), failed_part(), value_part({"schema_version": 7})]
    for identity, part in zip(identities, parts, strict=True):
        job.dump(accepted, identity, part)
    done = job.run("stacks", "--json")
    assert done.exit_code == 1
    reasons = {each["rank"]: each["reason"] for each in json.loads(done.stdout)["problems"]}
    assert reasons[1].startswith("error: no such")
    assert "schema_version" in reasons[2]


def test_one_thread_and_ours(answered):
    """``--thread`` shows threads of that name, ``--ours`` shows oobdump's own; a name that nobody has is 2."""
    plain, ours = answered.run("stacks").stdout, answered.run("stacks", "--ours").stdout
    assert "pool-N" in plain
    assert "oobdump bell" not in plain
    assert "oobdump bell" in ours
    only = answered.run("stacks", "--thread", "pool-7").stdout
    assert "pool-N · 2 of 2 ranks" in only
    assert "MainThread" not in only
    done = answered.run("stacks", "--thread", "nosuch")
    assert done.exit_code == 2
    assert "MainThread" in done.stderr


def test_asking_with_an_id_is_2(answered):
    """``--ask`` makes a new request: an id beside it is a contradiction."""
    assert answered.run("stacks", "2026", "--ask").exit_code == 2


def test_the_real_handler_is_read(job):
    """What the ``stacks`` handler returns is what ``oobdump stacks`` reads."""
    identity = job.worker(0)
    job.dump(job.request("stacks", asked=[identity]), identity, value_part(stacks_handler()))
    assert "test_the_real_handler_is_read" in job.run("stacks").stdout


# -- prune -----------------------------------------------------------------------------------------------------------


def old_requests(job: Job, count: int = 4) -> list[str]:
    """Answered requests, one a day, the oldest first."""
    identity = job.worker(0)
    ids = []
    for day in range(count):
        accepted = job.request("ping", asked=[identity], request_id=f"day{day}", at=time.time() - 86400 * (count - day))
        job.dump(accepted, identity, text_part("x" * 10_000, "ping"))
        ids.append(accepted.id)
    return ids


@pytest.mark.parametrize(
    ("options", "removed"),
    [
        (["--keep", "3"], ["day0"]),
        (["--older-than", "60h"], ["day0", "day1"]),
        (["--older-than", "1s"], ["day0", "day1", "day2"]),
        (["--max-bytes", "25K"], ["day0", "day1"]),
        (["--keep", "9"], []),
        ([], []),
    ],
)
def test_prune_removes_whole_requests(job, options, removed):
    """By number, age and size, never the newest; without a bound the settings' bounds hold."""
    ids = old_requests(job)
    dry = json.loads(job.run("prune", *options, "--dry-run", "--json").stdout)
    assert sorted(os.listdir(job.layout.dumps)) == ids
    done = job.run("prune", *options, "--json")
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    assert [each["request_id"] for each in document["removed"]] == removed
    assert document == {**dry, "dry_run": False}
    assert list(document) == ["schema_version", "job", "dry_run", "removed", "not_removed", "kept"]
    assert all(each["bytes"] > 10_000 for each in document["removed"])
    assert sorted(os.listdir(job.layout.dumps)) == [name for name in ids if name not in removed]


def test_prune_reads_the_settings(job):
    """``OOBDUMP_KEEP`` bounds it where no option does; a variable that makes no sense is 2."""
    old_requests(job)
    done = job.run("prune", env={"OOBDUMP_KEEP": "2"})
    assert "2 requests removed" in done.stdout
    assert job.run("prune", env={"OOBDUMP_KEEP": "x"}).exit_code == 2


def test_prune_zero_is_no_bound_but_an_error(job):
    """``--keep 0`` would mean "no bound" to the store and "nothing" to a person: it is refused."""
    assert job.run("prune", "--keep", "0").exit_code == 2


# -- handlers --------------------------------------------------------------------------------------------------------


def test_handlers_of_this_installation(tmp_path):
    """Without a job the built-in handlers are listed, with help and parameters, and nothing is asked."""
    done = run("handlers", "--json", "--dir", tmp_path)
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    assert document["worker"] is None
    by_name = {each["name"]: each for each in document["handlers"]}
    assert {"ping", "stacks", "dump_traceback", "process", "environment", "memory", "handlers"} <= by_name.keys()
    assert [each["name"] for each in by_name["stacks"]["parameters"]] == ["locals", "ours"]
    text = run("handlers", "--dir", tmp_path).stdout
    assert "this installation:" in text
    assert re.search(r"^stacks\n    .*\n(.*\n)*    :locals=bool \(default false\)", text, re.MULTILINE)


def test_handlers_fall_back_with_a_remark(job):
    """Where no worker answers, the list is this installation's, and that is said."""
    job.worker(0, pid=ended_pid())
    document = json.loads(job.run("handlers", "--worker", "0", "--json").stdout)
    assert document["worker"] is None
    assert "no worker gave its own" in document["remark"]
    assert document["handlers"]


# -- signal ----------------------------------------------------------------------------------------------------------


def entry_of(job: Job, identity: Identity) -> roster.Entry:
    """A worker's roster entry."""
    return roster.read_entry(job.layout, identity.worker)


@pytest.fixture
def caught():
    """This process catches SIGUSR1, and would note it."""
    heard = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    yield heard
    signal.signal(signal.SIGUSR1, before)


def test_a_caught_signal_is_expected(job, caught):
    """Where roster and kernel agree there is no reason to refuse."""
    assert armed.refusal(entry_of(job, job.worker(0)), "SIGUSR1") == ""
    assert caught == []


def test_a_signal_that_the_kernel_does_not_expect_is_refused(job):
    """The roster says armed, the kernel says neither caught nor blocked: it would end the process."""
    identity = job.worker(0)
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert "that would end it" in armed.refusal(entry_of(job, identity), "SIGUSR1")
    done = job.run("signal", str(os.getpid()))
    assert done.exit_code == 69  # and we are still here
    assert "use `oobdump request HANDLER --targets" in done.stdout


BLOCKED_IN_ONE = """
import signal, sys, threading
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
if sys.argv[1] == "some":
    started = threading.Event()
    def open_again():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
        started.set()
        threading.Event().wait()
    threading.Thread(target=open_again, daemon=True).start()
    started.wait()
print(flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(("where", "expected"), [("all", True), ("some", False)])
def test_a_blocked_signal_is_expected_if_every_thread_blocks_it(job, where, expected):
    """One thread that lets it in is enough to end the process, whatever the main thread blocks."""
    command = [sys.executable, "-c", BLOCKED_IN_ONE, where]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        identity = job.worker(0, pid=child.pid)
        assert (armed.refusal(entry_of(job, identity), "SIGUSR1") == "") is expected
        child.stdin.close()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"channels": {"signal": {"off": "by setting"}}}, "its signal channel is off (by setting)"),
        ({"channels": {"signal": {"armed": ["SIGUSR2"]}}}, "it answers SIGUSR2"),
        ({"channels": {"signal": {"armed": ["SIGNOSUCH", 7]}}}, "its signal channel is off"),
        ({"channels": {}}, "its signal channel is off"),
        ({"ended": {"at_s": 0.0, "how": "exiting"}}, "is exiting"),
        ({"ended": {"at_s": 0.0, "how": "stopped"}}, "is gone"),
    ],
)
def test_what_the_roster_does_not_promise_is_refused(job, caught, changes, said):
    """An entry that says another signal, none, or that the worker ended is a reason to refuse, with the next step."""
    reason = armed.refusal(entry_of(job, job.worker(0, **changes)), "SIGUSR1")
    assert said in reason
    assert "oobdump " in reason


def test_another_incarnation_is_never_signalled(job, caught):
    """A pid that was given to another process since is not the worker of the roster."""
    identity = job.worker(0)
    older = replace(entry_of(job, identity).identity, start_ticks=1)
    roster.write(job.layout, replace(entry_of(job, identity), identity=older))
    done = job.run("signal", str(os.getpid()))
    assert done.exit_code == 1
    assert "is gone" in " ".join(done.stdout.split())
    assert caught == []


def test_unknown_processes_are_never_signalled(job, caught):
    """A Python program that is in no roster is looked at from outside, no process at all refused; nothing is sent."""
    gone = ended_pid()
    done = job.run("signal", os.getpid(), gone, "--json")
    assert done.exit_code == 75
    document = json.loads(done.stdout)
    assert list(document) == ["schema_version", "signal", "request_id", "job", "dump_dir", "outcomes"]
    assert [each["answered_by"] for each in document["outcomes"]] == ["client", "client"]
    assert [each["state"] for each in document["outcomes"]] == ["unreachable", None]
    (stacks,) = [part for part in document["outcomes"][0]["parts"] if part["handler"] == "stacks"]
    assert "test_unknown_processes_are_never_signalled" in Path(stacks["path"]).read_text()
    assert "is in no roster" in document["outcomes"][0]["why"]
    assert "there is no process" in document["outcomes"][1]["why"]
    assert caught == []


def test_the_worker_of_another_machine_is_refused(job, caught):
    """A worker of another host that has the same pid is not this process."""
    job.worker(0, machine=ELSEWHERE)
    done = job.run("signal", str(os.getpid()))
    assert done.exit_code == 1
    assert "is in no roster" in " ".join(done.stdout.split())
    assert caught == []


@pytest.mark.parametrize("name", ["SIGKILL", "SIGNOSUCH", "9"])
def test_a_signal_that_cannot_be_a_request_is_2(job, name):
    """SIGKILL and unknown signals are refused before anything is looked at."""
    job.worker(0)
    assert job.run("signal", str(os.getpid()), "--signal", name).exit_code == 2


def test_a_signal_without_a_dump_is_said(job, caught):
    """A process that takes the signal and dumps nothing is ``no_answer``, with its state and what that may mean."""
    job.worker(0)
    done = job.run("signal", str(os.getpid()), "--timeout", "0.1", "--json")
    assert caught == [signal.SIGUSR1]
    assert done.exit_code == 69
    (only,) = json.loads(done.stdout)["outcomes"]
    assert (only["status"], only["answered_by"]) == ("no_answer", None)
    assert "it has begun no dump within 0.1 s (state R (running))" in only["why"]


def test_the_signal_takes_its_own_dump(job):
    """The dump that is waited for is new, of this worker alone, and of the signal: not another's of the same time."""
    identity = job.worker(0)
    job.request("stacks", asked=[identity], request_id="before", channel="signal")

    def dump(number, frame):
        others = job.request("stacks", asked=[identity, job.worker(1)], request_id="all", channel="signal")
        for accepted in (others, job.request("stacks", asked=[identity], request_id="file", channel="request_file")):
            job.dump(accepted, identity, value_part({}))
        job.dump(job.request("stacks", asked=[identity], request_id="mine", channel="signal"), identity, value_part({}))

    before = signal.signal(signal.SIGUSR1, dump)
    try:
        done = job.run("signal", str(os.getpid()), "--json")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["request_id"] == "mine"
    assert list(document["outcomes"][0]) == [*OUTCOME_KEYS, "request_id", "job", "dump_dir"]


# -- terminals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["ps", "--all"], ["ls"], ["show"], ["stacks"]])
def test_eighty_columns_are_enough(tmp_path, words):
    """At 80 columns nothing is wider than the terminal, and no text of a table is lost."""
    job = Job(tmp_path / "root")
    machine = Machine("node-0123.cluster.example.org", "b", "p")
    identities = [job.worker(rank, machine=machine, pid=4_000_000 + rank) for rank in range(3)]
    accepted = job.request("stacks", "dump_traceback", asked=identities)
    for identity in identities[:2]:
        job.dump(accepted, identity, value_part(stacks_of("main")), failed_part("dump_traceback"))
    done = job.run(*words, env={"COLUMNS": "80"})
    assert done.exit_code in (0, 69, 75), done.output
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    if words[0] == "ps":
        assert all(str(identity.pid) in done.stdout for identity in identities)
        assert done.stdout.count(".example.org\n") == 3  # the rest of a folded name
    if words[0] == "ls":
        assert done.stdout.splitlines()[1].startswith(f"{accepted.id}  ")


def test_in_a_pipe_a_line_is_one_worker(tmp_path):
    """Without a terminal a table is as wide as it needs: ``grep`` finds a worker on one line."""
    job = Job(tmp_path / "root")
    job.worker(7, machine=Machine("node-0123.a-long-name-of-a-cluster.and-its-domain.example.org", "b", "p"))
    lines = job.run("ps").stdout.splitlines()
    assert re.match(r"7 +rank +node-0123\.\S+\.example\.org .* files, SIGUSR1 +-$", lines[2])


class Terminal:
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """As a terminal answers."""
        return True


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [("", "", True), ("NO_COLOR", "1", False), ("NO_COLOR", "", True), ("TERM", "dumb", False)],
)
def test_colours_are_for_terminals_that_want_them(monkeypatch, name, value, wanted):
    """``NO_COLOR`` with any content, and dumb terminals, get none."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if name:
        monkeypatch.setenv(name, value)
    assert output.colours(Terminal()) is wanted


def test_prints_to_a_poor_encoding(answered):
    """A character that the terminal's encoding lacks is escaped, and ends no command."""
    done = CliRunner(charset="ascii").invoke(app, ["stacks", "--dir", answered.layout.root])
    assert done.exit_code == 0
    assert "\\xb7" in done.stdout
