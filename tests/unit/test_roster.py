"""Who answers: entries as their workers wrote them, and words for every other file in the roster."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import strategies
from oobdump.identity import Identity, Machine, start_ticks
from oobdump.store import roster
from oobdump.store.layout import Layout

ME = strategies.identity_of(os.getpid(), 3)


@pytest.fixture
def layout(tmp_path):
    """A job with this process as its only worker."""
    return strategies.job_at(tmp_path / "root", [ME])


@pytest.fixture(scope="module")
def anywhere(tmp_path_factory):
    """A job whose roster each example makes anew."""
    return strategies.job_at(tmp_path_factory.mktemp("roster") / "root")


def document(layout, worker=ME.worker):
    """An entry as it stands on disk."""
    return json.loads(Path(layout.entry(worker)).read_bytes())


def running(code="input()"):
    """A process that ends when its standard input does."""
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)


# -- writing and reading ---------------------------------------------------------------------------------------------


@strategies.FEW
@given(strategies.entries)
def test_round_trip(anywhere, entry):
    """What a worker wrote about itself is what everybody reads, and nothing else is in the roster."""
    assert roster.write(anywhere, entry) == entry
    assert roster.read(anywhere) == ([entry], [])
    assert os.listdir(anywhere.roster) == [f"{entry.worker}.json"]
    assert roster.read_entry(anywhere, entry.worker) == entry
    roster.remove(anywhere, entry.worker)
    roster.remove(anywhere, entry.worker)
    assert roster.read(anywhere) == ([], [])


def test_what_is_public(layout):
    """The keys of the documentation, private to us."""
    assert stat.S_IMODE(os.stat(layout.entry(ME.worker)).st_mode) == 0o600
    found = document(layout)
    assert (found["schema_version"], found["protocol_version"], found["worker"]) == (1, 1, ME.worker)
    assert (found["rank"], found["pid"], found["host"], found["role"]) == (3, os.getpid(), Machine.here().host, "rank")
    assert {"job", "attempt", "channels", "problems", "ended", "started_at", "registered_ns"} <= found.keys()


def test_registering_takes_the_file_systems_clock(layout):
    """A file that is dropped afterwards is never older than the worker, whatever the clocks say."""
    entry = roster.read_entry(layout, ME.worker)
    assert abs(entry.registered_ns - time.time_ns()) < 60 * 10**9
    Path(layout.inbox, "stacks").touch()
    assert os.stat(f"{layout.inbox}/stacks").st_ctime_ns >= entry.registered_ns
    again = roster.write(layout, dataclasses.replace(entry, channels={"bell": {}}))
    assert again.registered_ns == entry.registered_ns


def test_entries_come_by_name(tmp_path):
    """Ranks in order, then those without."""
    workers = [strategies.identity_of(os.getpid(), rank) for rank in (10, 2, None)]
    layout = strategies.job_at(tmp_path / "root", workers)
    assert [entry.identity.rank for entry in roster.read(layout)[0]] == [None, 2, 10]


def test_nobody_has_been_here(tmp_path):
    """A job without a roster has no workers, and no problems."""
    assert roster.read(Layout(str(tmp_path), "job")) == ([], [])


# -- damage ----------------------------------------------------------------------------------------------------------

RUBBISH = st.binary(max_size=40) | strategies.json_values.map(lambda value: json.dumps(value).encode())
HOSTILE = [
    "1e999", "-1e999", "NaN", "1" + "0" * 400, "-1", "1.5", "true", "null", '"x"', "[]", "{}", "[" * 100_000,
]  # fmt: skip
"""JSON values that no entry has at most places."""


def assert_said(layout, name):
    """The file is one problem in words that can be shown; the others are read, and nothing is raised."""
    entries, problems = roster.read(layout)
    assert [entry.worker for entry in entries] in ([ME.worker], [name.removesuffix(".json"), ME.worker])
    assert len(problems) == 2 - len(entries)
    assert all(problem.isprintable() for problem in problems)


@strategies.FEW
@given(RUBBISH)
def test_rubbish_is_a_problem_in_words(tmp_path_factory, data):
    """Whatever is in a file, the other entries are read."""
    layout = strategies.job_at(tmp_path_factory.mktemp("rubbish") / "root", [ME])
    Path(layout.entry("proc.h.1")).write_bytes(data)
    assert_said(layout, "proc.h.1.json")


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: value[:8])
def test_a_hostile_value_is_a_problem_in_words(tmp_path, value):
    """Each field in turn holds what no worker writes: the entry is read or is a problem, and can be shown and ended."""
    layout = strategies.job_at(tmp_path / "root", [ME])
    whole = {**document(layout), "pid": 1, "host": "h", "rank": None, "worker": "proc.h.1", "ended": {"at_s": 1}}
    for key in whole:
        text = json.dumps({**whole, key: "<here>"}).replace('"<here>"', value)
        Path(layout.entry("proc.h.1")).write_text(text)
        assert_said(layout, "proc.h.1.json")
        for entry in roster.read(layout)[0]:
            entry.alive()
            ended = roster.note_end(layout, dataclasses.replace(entry, ended=None), at=5.0, by="client", how="test")
            roster.write(layout, entry)
            assert ended.ended["at_s"] == 5.0


@pytest.mark.parametrize(
    "value", [*HOSTILE, '{"at": "x"}', '{"at_s": "x"}', '{"at_s": 1e999}'], ids=lambda value: value[:15]
)
def test_a_hostile_end_is_a_problem_in_words(layout, value):
    """An end has a time that can be compared."""
    text = json.dumps({**document(layout), "ended": "<here>"}).replace('"<here>"', value)
    Path(layout.entry(ME.worker)).write_text(text)
    entries, problems = roster.read(layout)
    assert len(entries) + len(problems) == 1
    assert all(entry.ended is None or entry.ended["at_s"] >= 0 for entry in entries)


def test_an_entry_under_another_name_is_a_problem(layout):
    """A copied entry would be a worker twice."""
    os.link(layout.entry(ME.worker), layout.entry("proc.h.1"))
    os.link(layout.entry(ME.worker), layout.entry("README"))
    entries, problems = roster.read(layout)
    assert [entry.worker for entry in entries] == [ME.worker]
    assert len(problems) == 2
    assert all("the entry is about" in problem for problem in problems)


def test_a_newer_protocol_is_not_guessed(layout):
    """An entry of a later oobdump says which one."""
    Path(layout.entry(ME.worker)).write_text(json.dumps({**document(layout), "protocol_version": 2}))
    assert "protocol version 2" in roster.read(layout)[1][0]


@pytest.mark.timeout(10)
def test_what_is_no_file_is_a_problem(layout):
    """A FIFO does not block, a link is not followed, a directory is not read."""
    os.mkfifo(layout.entry("proc.h.1"))
    os.symlink(f"{ME.worker}.json", layout.entry("proc.h.2"))
    os.mkdir(layout.entry("proc.h.3"))
    entries, problems = roster.read(layout)
    assert [entry.worker for entry in entries] == [ME.worker]
    assert len(problems) == 3


def test_temporary_files_are_nobody(layout):
    """What a killed writer left is no entry and no problem."""
    Path(layout.roster, f".{ME.worker}.json.7.1.tmp").write_bytes(b"{")
    Path(layout.roster, "notes.txt").touch()
    assert len(roster.read(layout)[0]) == 1
    assert roster.read(layout)[1] == []


# -- alive -----------------------------------------------------------------------------------------------------------


def test_a_worker_is_alive_until_it_is_gone(tmp_path):
    """Its own process decides, not its entry."""
    child = running()
    layout = strategies.job_at(tmp_path / "root", [strategies.identity_of(child.pid)])
    (entry,) = roster.read(layout)[0]
    assert entry.alive() is True
    child.communicate()
    assert entry.alive() is False


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_end_is_noted_once(layout):
    """Who finds a worker dead says when and how; who comes later changes nothing."""
    entry = roster.read_entry(layout, ME.worker)
    ended = roster.note_end(layout, entry, at=1.5, by="client", how="found gone")
    assert ended.ended == {"at": "1970-01-01T00:00:01.500Z", "at_s": 1.5, "by": "client", "how": "found gone"}
    assert roster.read_entry(layout, ME.worker) == ended
    assert roster.note_end(layout, ended, at=9.0, by="another", how="again") == ended
    assert roster.read_entry(layout, ME.worker) == ended
    assert ended.alive() is False


def test_a_worker_that_exits_may_still_hang_there(layout):
    """An end that has only begun: whether it runs is seen, not believed."""
    entry = roster.read_entry(layout, ME.worker)
    leaving = roster.note_end(layout, entry, at=1.0, by=ME.worker, how=roster.EXITING)
    assert leaving.alive() is True
    elsewhere = dataclasses.replace(ME, machine=Machine("elsewhere"))
    assert dataclasses.replace(leaving, identity=elsewhere).alive() is False


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        (dataclasses.replace(Machine.here(), boot="earlier"), False),
        (Machine("elsewhere", "b", "n"), None),
    ],
)
def test_a_worker_of_another_machine(machine, expected):
    """An earlier boot of this one is over; another one cannot be seen from here."""
    identity = Identity(machine, os.getpid(), start_ticks(os.getpid()), "job")
    assert roster.Entry(identity, 1).alive() is expected
