"""Who a worker is: names that mean one incarnation, launchers' variables, and who is still there."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

import strategies
from oobdump.identity import (
    VARIABLES,
    Identity,
    Machine,
    ancestors,
    is_alive,
    iso,
    name_of,
    now_iso,
    parse_name,
    safe,
    start_ticks,
)

FACTS = {
    "rank": ["OOBDUMP_RANK", "RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"],
    "local_rank": ["LOCAL_RANK", "SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK"],
    "world_size": ["WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"],
    "node": ["GROUP_RANK", "NODE_RANK", "SLURM_NODEID", "JOB_COMPLETION_INDEX"],
    "attempt": ["TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"],
}
"""Section 7 of the facts, by value, first hit first."""

WHO_AM_I = "import json; from oobdump.identity import Identity; print(json.dumps(Identity.here().job))"

environments = st.dictionaries(
    st.sampled_from([variable for variables in FACTS.values() for variable in variables]),
    st.integers(0, 10_000).map(str) | st.sampled_from(["", " 1", "-1", "x", "1.0", "²", "٣", "9" * 50]),
    max_size=8,
)


# -- names -----------------------------------------------------------------------------------------------------------


@strategies.FEW
@given(st.none() | strategies.ranks, strategies.hosts, strategies.pids)
def test_a_name_gives_rank_host_and_pid_back(rank, host, pid):
    """Whatever dots and digits a host has, its worker's name can be taken apart."""
    assert parse_name(name_of(rank, host, pid)) == (rank, host, pid)


@strategies.FEW
@given(st.text(max_size=30) | st.from_regex(r"\A(rank\d{4,12}|proc)\.[A-Za-z0-9._-]{0,5}\.\d{0,12}\Z"))
def test_what_parses_as_a_name_is_one(text):
    """No two texts mean the same worker, and no text raises."""
    parsed = parse_name(text)
    assert parsed is None or name_of(*parsed) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "proc", "proc.h", "proc..1", "proc.h.01", "proc.h.0", "rank3.h.1", "rank0003.h.1", "rank000003.h.1"),
        "proc.h.1.json",
        "proc.h.1\n",
        "rank00003h.1",
        "proc.a/b.1",
        "proc..h.1",
        "rank٣٣٣٣٣.h.1",
        "proc.h." + "9" * 5000,
    ],
)
def test_other_texts_are_no_names(text):
    """Anything but the exact form is nobody's name."""
    assert parse_name(text) is None


@strategies.FEW
@given(st.text(max_size=150))
def test_safe_is_one_file_name(text):
    """Whatever a host or a job is called, a directory can be; making it safe twice changes nothing."""
    made = safe(text)
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,100}", made)
    assert not made.startswith(".")
    assert not made.endswith(".")
    assert safe(made) == made
    assert parse_name(name_of(0, made, 1)) == (0, made, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n-0.example.org", "n-0.example.org"),
        ("../../etc", "_.._etc"),
        ("..", "_"),
        ("", "_"),
        ("a b/c", "a_b_c"),
        ("a" * 99 + ".b", "a" * 99),
        ("é", "_"),
    ],
)
def test_safe(text, expected):
    """What is safe stays, the rest becomes one underscore."""
    assert safe(text) == expected


# -- launchers -------------------------------------------------------------------------------------------------------


@strategies.FEW
@given(environments)
def test_the_first_variable_that_is_a_number_wins_and_is_named(environ):
    """Each number comes from the first of its variables that holds one; ``sources`` says which."""
    found = Identity.here(environ, job="job")
    for value, variables in FACTS.items():
        first = next((name for name in variables if re.fullmatch("[0-9]{1,9}", environ.get(name, ""))), None)
        assert getattr(found, value) == (None if first is None else int(environ[first]))
        assert found.sources.get(value) == first


def test_the_table_is_that_of_the_facts():
    """No variable is left out, and their order is that of the facts."""
    assert {name: list(variables) for name, variables in VARIABLES.items()} == FACTS


def test_under_srun_torchrun_the_rank_is_torchruns():
    """``SLURM_PROCID`` is the node there."""
    found = Identity.here({"SLURM_PROCID": "1", "SLURM_JOB_ID": "7", "RANK": "5"})
    assert (found.rank, found.worker, found.role) == (5, f"rank00005.{Machine.here().host}.{os.getpid()}", "rank")


@pytest.mark.parametrize(
    ("environ", "job", "source"),
    [
        ({"OOBDUMP_JOB": "mine", "TORCHELASTIC_RUN_ID": "t", "SLURM_JOB_ID": "7"}, "mine", "OOBDUMP_JOB"),
        ({"TORCHELASTIC_RUN_ID": "t", "SLURM_JOB_ID": "7"}, "t", "TORCHELASTIC_RUN_ID"),
        ({"TORCHELASTIC_RUN_ID": "none", "SLURM_JOB_ID": "7"}, "slurm-7", "SLURM_JOB_ID"),
        ({"OOBDUMP_JOB": "", "SLURM_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"}, "slurm-7_3", "SLURM_JOB_ID"),
        ({"OOBDUMP_JOB": "../x y"}, "_x_y", "OOBDUMP_JOB"),
    ],
)
def test_the_job_is_the_launchers(environ, job, source):
    """A job's name is the first that its launcher gives, safe as a directory."""
    found = Identity.here(environ)
    assert (found.job, found.sources["job"]) == (job.removeprefix("."), source)


def test_a_job_without_a_name_is_the_launchers_incarnation():
    """The name holds this machine, the launcher's pid and its start, so that it never comes again."""
    found = Identity.here({})
    host, pid, ticks = re.fullmatch(r"local-(.*)-(\d+)-(\d+)", found.job).groups()
    assert (host, found.sources["job"]) == (Machine.here().host, "launcher")
    assert start_ticks(int(pid)) == int(ticks)


def job_of_child(environ, *through, **how):
    """The job that a fresh process of this launcher finds; it may be started through a script."""
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), **environ}
    command = [*through, sys.executable, "-c", WHO_AM_I]
    done = subprocess.run(command, env=environ, capture_output=True, check=True, **how)
    return json.loads(done.stdout)


def test_ranks_of_one_launcher_share_a_job():
    """Each is a session of its own, perhaps a script's: they still agree, and are not the program beside them."""
    ranks = {job_of_child({"RANK": str(rank)}, start_new_session=True) for rank in range(2)}
    assert len(ranks) == 1
    assert ranks == {job_of_child({"RANK": "2"}, "/bin/sh", "-c", '"$@"; exit $?', "sh", start_new_session=True)}
    assert ranks != {job_of_child({}, start_new_session=True)}


# -- alive -----------------------------------------------------------------------------------------------------------


def test_this_process_is_alive():
    """Here and now, by its own start."""
    assert is_alive(Machine.here(), os.getpid(), start_ticks(os.getpid())) is True
    assert is_alive(Machine.here(), os.getpid(), None) is True


def test_another_process_with_the_same_pid_is_not_it():
    """A pid comes again; its start does not."""
    assert is_alive(Machine.here(), os.getpid(), start_ticks(os.getpid()) - 1) is False


def test_a_zombie_and_a_gone_process_are_not_alive():
    """A process that ended is dead before and after its parent asks for it."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    ticks = start_ticks(child.pid)
    assert is_alive(Machine.here(), child.pid, ticks) is True
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_alive(Machine.here(), child.pid, ticks) is False
    child.wait()
    assert is_alive(Machine.here(), child.pid, ticks) is False
    assert start_ticks(child.pid) is None


@pytest.mark.parametrize(
    ("change", "expected"),
    [({"boot": "another"}, False), ({"host": "another"}, None), ({"pid_namespace": "another"}, None)],
)
def test_what_cannot_be_seen_from_here_is_not_guessed(change, expected):
    """An earlier boot of this host is over; another host or namespace is unknown."""
    machine = dataclasses.replace(Machine.here(), **change)
    assert is_alive(machine, os.getpid(), start_ticks(os.getpid())) is expected


def test_ancestors_lead_to_the_first_process():
    """Nearest first, each the parent of the one before."""
    found = ancestors(os.getpid())
    assert found[0] == os.getppid()
    assert ancestors(found[0]) == found[1:]


def test_here_is_this_process():
    """Pid and start are this process's own."""
    found = Identity.here({})
    assert (found.pid, found.start_ticks, found.rank, found.role) == (
        os.getpid(),
        start_ticks(os.getpid()),
        None,
        "other",
    )
    assert found.worker == f"proc.{found.host}.{os.getpid()}"


# -- times -----------------------------------------------------------------------------------------------------------


@strategies.FEW
@given(st.floats(0, 2e11))
def test_times_are_utc_to_the_millisecond(seconds):
    """A time as text is the time, cut to the millisecond, and sorts as the time does."""
    text = iso(seconds)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    read = datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    assert -1e-4 <= seconds - read < 1.1e-3


@strategies.FEW
@given(st.lists(st.floats(0, 2e11), min_size=2, max_size=2))
def test_later_times_are_not_earlier_texts(pair):
    """Rounding never turns time back."""
    early, late = sorted(pair)
    assert iso(early) <= iso(late)


def test_a_time():
    """As the documentation shows it."""
    assert iso(1769860800.1239) == "2026-01-31T12:00:00.123Z"
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", now_iso())
