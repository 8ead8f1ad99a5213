"""Paths and the values they stand for: each names the other, and no name leads out of its directory."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import strategies
from oobdump.store.layout import (
    CLAIM,
    MANIFEST,
    REQUEST,
    Layout,
    made_id,
    parse_part_name,
    part_name,
    request_id,
    writer_of,
)

LAYOUT = Layout("/root", "job")
ID = re.compile(r"\d{8}T\d{6}\.\d{3}Z-[0-9a-f]{10}")

suffixes = st.sampled_from(["json", "msgpack", "pkl", "txt", "bin", "html"])
counts = st.integers(1, 3) | st.integers(1, 64)
times_ns = st.integers(-(2**63), 2**63 - 1)


# -- parts -----------------------------------------------------------------------------------------------------------


@strategies.FEW
@given(strategies.handler_names, suffixes, counts)
@example("claim", "json", 1)
@example("manifest", "json", 1)
@example("request", "json", 1)
@example("claim", "json", 2)
def test_a_part_and_its_file_name_each_other(handler, suffix, nth):
    """From a part's file its handler, suffix and count can be read back."""
    assert parse_part_name(part_name(handler, suffix, nth)) == (handler, suffix, nth)


@strategies.FEW
@given(st.lists(st.tuples(strategies.handler_names, suffixes, counts), unique=True, max_size=10))
def test_two_parts_never_share_a_file(parts):
    """Different handlers, suffixes or counts have different files."""
    assert len({part_name(*part) for part in parts}) == len(parts)


@strategies.FEW
@given(strategies.handler_names, suffixes, counts)
@example("manifest", "json", 1)
def test_a_part_takes_no_name_that_means_something_else(handler, suffix, nth):
    """No handler's part is written over a claim, a manifest or a request, hidden, or in another directory."""
    name = part_name(handler, suffix, nth)
    assert name not in (CLAIM, MANIFEST, REQUEST)
    assert "/" not in name
    assert not name.startswith(".")
    assert not name.endswith(".tmp")


@strategies.FEW
@given(st.text(max_size=20) | st.from_regex(r"\A[a-z.]{1,8}\.[0-9]{0,3}\.?[a-z./]{1,8}\Z"))
def test_what_parses_as_a_part_is_one(name):
    """A file name is a part's only if it is exactly what that part's name would be."""
    parsed = parse_part_name(name)
    assert parsed is None or part_name(*parsed) == name


@pytest.mark.parametrize(
    "name",
    [
        CLAIM,
        MANIFEST,
        REQUEST,
        "",
        "stacks",
        "../stacks.json",
        "a/b.json",
        ".a.json",
        "a.1.json",
        "a.json\n",
        "a..json",
        "a.2٣.json",
    ],
)
def test_other_files_are_no_parts(name):
    """A path that leads elsewhere, or a file that means something else, is no part."""
    assert parse_part_name(name) is None


# -- writers ---------------------------------------------------------------------------------------------------------


@strategies.FEW
@given(strategies.worker_names, st.booleans())
def test_a_dumps_directory_names_its_worker(worker, outside):
    """A dump's directory tells whom it is about and who made it."""
    assert writer_of(f"{worker}.outside" if outside else worker) == (worker, outside)


@pytest.mark.parametrize(
    "name", ["", ".outside", "request.json", "rank3.h.1", "proc.h.0", "proc.h", "x.outside.outside"]
)
def test_other_directories_are_nobodys(name):
    """What is not made of a worker's name was not made by oobdump."""
    assert writer_of(name) is None


# -- paths -----------------------------------------------------------------------------------------------------------


def test_paths_are_those_of_the_documentation():
    """The layout on disk is public."""
    assert LAYOUT.job_dir == "/root/job"
    assert LAYOUT.roster == "/root/job/roster"
    assert LAYOUT.entry("proc.h.1") == "/root/job/roster/proc.h.1.json"
    assert LAYOUT.inbox == "/root/job/requests"
    assert LAYOUT.rejected == "/root/job/rejected"
    assert LAYOUT.request_json("id") == "/root/job/dumps/id/request.json"
    assert LAYOUT.dump("id", "proc.h.1.outside") == "/root/job/dumps/id/proc.h.1.outside"
    assert LAYOUT.manifest("id", "proc.h.1") == "/root/job/dumps/id/proc.h.1/manifest.json"


@strategies.FEW
@given(strategies.request_ids, strategies.worker_names)
def test_a_path_gives_its_id_and_worker_back(request, worker):
    """Each value is one component of the path."""
    words = LAYOUT.manifest(request, worker).split("/")
    assert words == ["", "root", "job", "dumps", request, worker, MANIFEST]


# -- ids -------------------------------------------------------------------------------------------------------------


@strategies.FEW
@given(strategies.raw_names, st.integers(0, 2**64), times_ns)
def test_an_id_is_one_file_name_whatever_the_file(name, inode, mtime_ns):
    """Hostile names and times give an id all the same, and always the same one."""
    made = request_id(name, inode, mtime_ns)
    assert ID.fullmatch(made)
    assert made == request_id(name, inode, mtime_ns)


@strategies.FEW
@given(st.lists(st.tuples(strategies.raw_names, st.integers(0, 2**64), times_ns), unique=True, min_size=2, max_size=2))
def test_another_file_has_another_id(files):
    """Name, inode and modification time each count."""
    first, second = files
    assert request_id(*first) != request_id(*second)


@strategies.FEW
@given(st.tuples(strategies.raw_names, st.integers(0, 9)), st.tuples(strategies.raw_names, st.integers(0, 9)))
def test_name_and_inode_do_not_run_together(first, second):
    """``a1`` with inode 2 is not ``a`` with inode 12."""
    assume(first != second)
    assert request_id(*first, 0) != request_id(*second, 0)


@strategies.FEW
@given(st.integers(0, 4 * 10**18), st.integers(0, 4 * 10**18))
def test_ids_sort_by_time(first_ns, second_ns):
    """A listing by name is a listing by time, to the millisecond."""
    stamps = [request_id("a", 1, ns).partition("-")[0] for ns in (first_ns, second_ns)]
    milliseconds = [ns // 1_000_000 for ns in (first_ns, second_ns)]
    assert (stamps[0] < stamps[1]) == (milliseconds[0] < milliseconds[1])


def test_an_id_starts_with_the_time_in_utc():
    """People read it."""
    assert request_id("a", 1, 1_769_860_800_123_999_999).startswith("20260131T120000.123Z-")


def test_made_ids_differ():
    """Two requests of one worker in the same nanosecond have two ids."""
    assert len({made_id(5, "proc.h.1", count) for count in range(100)} | {made_id(5, "proc.h.2", 1)}) == 101
