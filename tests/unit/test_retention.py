"""What may be forgotten: whole requests, never one in progress, never the newest."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import strategies
from oobdump.inbox import publish
from oobdump.request import AcceptedRequest, HandlerCall, Request
from oobdump.store import reader, retention, roster
from oobdump.store.layout import made_id
from oobdump.store.retention import Bounds, Kept, plan
from oobdump.store.writer import DumpWriter

NOW = 1000.0
ME = strategies.identity_of(os.getpid(), 0)
OTHER = strategies.identity_of(os.getppid(), 1)

# -- the plan --------------------------------------------------------------------------------------------------------


def left(kept, doomed):
    """What a plan keeps."""
    return [item for item in kept if item.id not in doomed]


@strategies.FEW
@given(strategies.kept_lists, strategies.bounds)
def test_never_one_in_progress_never_the_newest(kept, bounds):
    """Whatever the bounds are; and what is removed was there."""
    doomed = plan(kept, bounds, NOW)
    by_id = {item.id: item for item in kept}
    assert all(not by_id[name].in_progress for name in doomed)
    if kept:
        assert max(kept, key=lambda item: (item.at, item.id)).id not in doomed
    assert len(set(doomed)) == len(doomed)


@strategies.FEW
@given(strategies.kept_lists, strategies.bounds)
def test_a_second_plan_has_nothing_left_to_do(kept, bounds):
    """Applied, a plan is complete."""
    assert plan(left(kept, plan(kept, bounds, NOW)), bounds, NOW) == []


@strategies.FEW
@given(strategies.kept_lists, strategies.bounds, st.randoms(use_true_random=False))
def test_the_order_of_the_survey_does_not_matter(kept, bounds, random):
    """Who lists the directory in another order forgets the same, oldest first."""
    doomed = plan(kept, bounds, NOW)
    assert plan(random.sample(kept, len(kept)), bounds, NOW) == doomed
    ages = {item.id: (item.at, item.id) for item in kept}
    assert doomed == sorted(doomed, key=ages.__getitem__)


@strategies.FEW
@given(strategies.kept_lists, strategies.bounds)
def test_what_is_kept_is_within_the_bounds_or_must_be_kept(kept, bounds):
    """Nothing over a bound stays but the newest and what is in progress."""
    newest = max((item.at, item.id) for item in kept) if kept else None
    free = [
        item for item in left(kept, plan(kept, bounds, NOW)) if not item.in_progress and (item.at, item.id) != newest
    ]
    assert all(NOW - item.at <= bounds.seconds for item in free)
    younger = {
        item.id: [other for other in left(kept, plan(kept, bounds, NOW)) if (other.at, other.id) > (item.at, item.id)]
        for item in free
    }
    if bounds.count:
        assert all(len(younger[item.id]) < bounds.count for item in free)
    if bounds.bytes:
        assert all(sum(other.bytes for other in younger[item.id]) + item.bytes <= bounds.bytes for item in free)


@strategies.FEW
@given(strategies.kept_lists)
def test_without_bounds_nothing_is_forgotten(kept):
    """0 and infinity are no bounds."""
    assert plan(kept, Bounds(), NOW) == []


@strategies.FEW
@given(strategies.kept_lists, strategies.bounds, strategies.bounds)
def test_what_is_kept_without_a_bound_may_go_with_it_only(kept, bounds, other):
    """A plan with no count and no bytes forgets by age alone."""
    by_age = plan(kept, Bounds(seconds=bounds.seconds), NOW)
    assert all(NOW - item.at > bounds.seconds for item in kept if item.id in by_age)
    assert set(by_age) <= set(plan(kept, dataclasses.replace(other, seconds=bounds.seconds), NOW))


@pytest.mark.parametrize(
    ("bounds", "doomed"),
    [
        (Bounds(count=2), ["a", "b"]),
        (Bounds(count=1), ["a", "b", "c"]),
        (Bounds(seconds=250), ["a", "b"]),
        (Bounds(seconds=1), ["a", "b", "c"]),
        (Bounds(bytes=20), ["a", "b"]),
        (Bounds(bytes=29), ["a", "b"]),
        (Bounds(bytes=30), ["a"]),
        (Bounds(bytes=5), ["a", "b", "c"]),
        (Bounds(count=3, bytes=20), ["a", "b"]),
    ],
)
def test_bounds(bounds, doomed):
    """Count, age and bytes, each alone and together."""
    kept = [Kept(name, at, 10, in_progress=False) for name, at in (("a", 600), ("b", 700), ("c", 800), ("d", 900))]
    assert plan(kept, bounds, NOW) == doomed


# -- on disk ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def layout(tmp_path):
    """A job with two ranks."""
    return strategies.job_at(tmp_path / "root", [ME, OTHER])


def accept(layout, name, age_s, asked=(ME,), expires_in_s=600.0):
    """A request that was accepted some time ago."""
    at = time.time() - age_s
    request = Request((HandlerCall("ping"),), expires_in_s=expires_in_s)
    publish(layout, AcceptedRequest(name, request, tuple(who.worker for who in asked), at, "client"))
    os.utime(layout.request_dir(name), (at, at))


def answer(layout, name, who=ME):
    """A worker's committed dump."""
    writer = DumpWriter(layout, name, who)
    writer.claim(("ping",), 1.0)
    writer.commit((), "responsive", {}, 2.0)


def in_progress(layout):
    """The requests that retention must not touch."""
    return {kept.id for kept in retention.survey(layout, time.time()) if kept.in_progress}


def test_a_request_is_in_progress_until_all_have_answered(layout):
    """Each worker that was asked counts, and only its own manifest."""
    accept(layout, "r", 5, asked=(ME, OTHER))
    assert in_progress(layout) == {"r"}
    answer(layout, "r")
    assert in_progress(layout) == {"r"}
    DumpWriter(layout, "r", OTHER).claim(("ping",), 1.0)
    assert in_progress(layout) == {"r"}
    answer(layout, "r", OTHER)
    assert in_progress(layout) == set()


def test_nobody_waits_for_the_dead(layout):
    """A worker that is gone will not answer."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    gone = strategies.identity_of(child.pid, 2)
    roster.write(layout, roster.Entry(gone, 0))
    accept(layout, "r", 5, asked=(gone,))
    assert in_progress(layout) == {"r"}
    child.stdin.close()
    child.wait()
    assert in_progress(layout) == set()


def test_a_request_is_over_when_its_time_is(layout):
    """A worker that never answered keeps nothing for ever."""
    accept(layout, "young", 600)
    accept(layout, "old", 700)
    accept(layout, "patient", 700, expires_in_s=3600.0)
    assert in_progress(layout) == {"young", "patient"}


def test_a_directory_without_a_request_is_being_accepted(layout):
    """For a while; then its acceptor died."""
    for name, age_s in (("young", 5), ("old", 700)):
        os.mkdir(layout.request_dir(name))
        os.utime(layout.request_dir(name), (time.time() - age_s,) * 2)
    assert in_progress(layout) == {"young"}


def test_a_request_that_cannot_be_read_now_is_not_over(layout):
    """Out of descriptors, say: what cannot be told is kept for a while."""
    accept(layout, "r", 5)
    Path(layout.request_json("r")).write_bytes(b"")
    os.utime(layout.request_dir("r"), (time.time() - 5,) * 2)
    assert in_progress(layout) == {"r"}
    os.utime(layout.request_dir("r"), (time.time() - 700,) * 2)
    assert in_progress(layout) == set()


def test_the_survey_counts_bytes_of_everything(layout):
    """Parts, manifests and what a killed writer left."""
    accept(layout, "r", 5)
    answer(layout, "r")
    Path(layout.dump("r", ME.worker), ".part.tmp").write_bytes(b"x" * 5000)
    expected = sum(path.stat().st_size for path in Path(layout.request_dir("r")).rglob("*") if path.is_file())
    (kept,) = retention.survey(layout, time.time())
    assert kept.bytes == expected > 5000


def test_run_forgets_whole_requests(layout):
    """The directory is gone with all that is in it, the others are as they were."""
    for age_s, name in enumerate("dcba"):
        accept(layout, name, 1000 + age_s)
        answer(layout, name)
    assert retention.run(layout, Bounds(count=2)) == ["a", "b"]
    assert sorted(os.listdir(layout.dumps)) == ["c", "d"]
    assert retention.run(layout, Bounds(count=2)) == []
    assert reader.read_dump(layout, "c", ME.worker).found == "committed"


def test_what_a_killed_remover_left_is_removed(layout):
    """Out of sight already, and gone at the next run."""
    os.makedirs(f"{layout.dumps}/.trash-x/deep")
    Path(layout.dumps, ".trash-x", "part").touch()
    assert retention.run(layout, Bounds()) == []
    assert os.listdir(layout.dumps) == []


def test_what_is_no_request_is_left_alone(layout):
    """Notes that somebody made beside the dumps, and links, are not ours to remove; nor are a link's targets."""
    elsewhere = Path(layout.root, "elsewhere")
    elsewhere.mkdir()
    Path(elsewhere, "precious").touch()
    Path(layout.dumps, "notes.txt").touch()
    Path(layout.dumps, "link").symlink_to(elsewhere)
    os.utime(f"{layout.dumps}/notes.txt", (1, 1))
    accept(layout, "r", 5)
    assert retention.run(layout, Bounds(count=1, seconds=1)) == []
    assert sorted(os.listdir(layout.dumps)) == ["link", "notes.txt", "r"]
    assert os.listdir(elsewhere) == ["precious"]


def test_of_two_removers_each_request_is_removed_by_one(layout):
    """Who comes second finds it gone, and says so."""
    accept(layout, "a", 1000)
    accept(layout, "b", 999)
    assert retention.apply(layout, ["a"]) == ["a"]
    assert retention.apply(layout, ["a"]) == []
    assert os.listdir(layout.dumps) == ["b"]


def test_workers_that_ended_long_ago_are_forgotten(layout):
    """With the dumps of their time; who runs or ended lately stays."""
    now = time.time()
    entries = {entry.worker: entry for entry in roster.read(layout)[0]}
    roster.note_end(layout, entries[ME.worker], at=now - 100, by="client", how="found gone")
    assert retention.run(layout, Bounds(seconds=200)) == []
    assert len(roster.read(layout)[0]) == 2
    retention.run(layout, Bounds(seconds=50))
    assert [entry.worker for entry in roster.read(layout)[0]] == [OTHER.worker]


def test_children_that_were_never_asked_are_forgotten(layout):
    """Of the workers named: a child that has gone. One that was asked stays, and so do who runs and who is a rank."""
    past, asked = ended_child(0), ended_child(1)
    rank = dataclasses.replace(ended_child(2), role="rank")
    here = dataclasses.replace(strategies.identity_of(os.getpid(), 3), role="child")
    for identity in (past, asked, rank, here):
        roster.write(layout, roster.Entry(identity, 0, started_at=time.time()))
    accept(layout, made_id(time.time_ns(), "w", 1), 0, asked=(asked,))
    named = [identity.worker for identity in (past, asked, rank, here)]
    assert retention.forget_children(layout, [*named, "proc.nobody.1"]) == [past.worker]
    assert not os.path.exists(layout.entry(past.worker))
    assert all(os.path.exists(layout.entry(worker)) for worker in named[1:])


def ended_child(rank):
    """The identity of a child of this machine that has ended."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        return dataclasses.replace(strategies.identity_of(child.pid, rank), role="child")


def test_a_job_without_dumps(tmp_path):
    """There is nothing to forget where nobody has been."""
    layout = strategies.job_at(tmp_path / "root")
    os.rmdir(layout.dumps)
    assert retention.run(layout, Bounds(count=1)) == []
