"""Merged stacks: order never matters, nobody is lost, and damaged values are reported and nothing else."""

from __future__ import annotations

import copy
import json
import random
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oobdump.handlers.stacks import stacks as stacks_handler
from oobdump.job.merge import Merged, StackTree, build, every_thread, join, merge
from oobdump.job.plain import merged_to_plain
from oobdump.job.ranks import parse_ranks
from oobdump.job.stack_bytes import StackBytes
from oobdump.job.stacks import (
    OMITTED,
    Frame,
    Member,
    Problem,
    ThreadStack,
    WorkerStacks,
    label_of,
    parse_stacks,
    top_user_frame,
)

# -- builders and strategies -----------------------------------------------------------------------------------------

SITE = "/venv/lib/python3.11/site-packages/"
MAIN = (Frame("/code/train.py", 120, "<module>"), Frame("/code/train.py", 101, "main"))
WAITS = (*MAIN, Frame("/code/train.py", 71, "train_step"), Frame(SITE + "torch/c10d.py", 2985, "all_reduce"))
READS = (*MAIN, Frame("/code/train.py", 85, "wait_for_file"))


def chain(*names):
    """A stack of the program's own functions."""
    return tuple(Frame("/code/train.py", 1, name) for name in names)


def worker(rank, *stacks, label="MainThread"):
    """A worker with one thread a stack."""
    threads = tuple(ThreadStack(label, label, label == "MainThread", False, stack) for stack in stacks)
    return WorkerStacks(f"rank{rank:05d}.host.{100 + rank}", rank, "host", 100 + rank, threads)


def job(**stacks):
    """A merge of as many ranks for each stack as its number says: ``job(a=3, ab=1)``; a letter is a frame."""
    names = [name for name, count in stacks.items() for _ in range(count)]
    return build(worker(rank, chain(*name)) for rank, name in enumerate(names))


def value(**changes):
    """A whole and valid value of the ``stacks`` handler."""
    frames = [{"file": frame.file, "line": frame.line, "function": frame.function} for frame in WAITS]
    thread = {"name": "MainThread", "ident": 1, "native_id": 2, "daemon": False, "main": True, "ours": False}
    ours = {**thread, "name": "oobdump-bell", "main": False, "ours": True}
    threads = [{**each, "frames": copy.deepcopy(frames), "omitted_frames": 0} for each in (thread, ours)]
    whole = {
        "schema_version": 1,
        "pid": 7,
        "taken_at": "2026-01-31T12:00:00.123Z",
        "python": "3.11.7",
        "threads": threads,
    }
    return {**whole, **changes}


FRAMES = st.builds(Frame, st.sampled_from(["a.py", "b.py"]), st.integers(1, 2), st.sampled_from(["f", "g"]))
STACKS = st.lists(FRAMES, max_size=4).map(tuple)
THREADS = st.builds(
    lambda name, main, ours, stack: ThreadStack(label_of(name, main=main), name, main, ours, stack),
    st.sampled_from(["Thread-1 (a)", "Thread-22 (a)", "pool", None]),
    st.booleans(),
    st.booleans(),
    STACKS,
)


@st.composite
def results(draw):
    """What ``parse_stacks`` gave for a job: ranks, workers without one, ranks claimed twice, problems."""
    ranks = draw(st.lists(st.none() | st.integers(0, 9), max_size=8))
    found = []
    for pid, rank in enumerate(ranks, 100):
        name = f"proc.h.{pid}" if rank is None else f"rank{rank:05d}.h.{pid}"
        threads = draw(st.none() | st.lists(THREADS, max_size=4))
        whole = threads is not None
        found.append(WorkerStacks(name, rank, "h", pid, tuple(threads)) if whole else Problem(name, rank, "damaged"))
    return found


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def places(document):
    """Every place in a document, as (its container, its key)."""
    todo = [document]
    while todo:
        container = todo.pop()
        keys = container.keys() if isinstance(container, dict) else range(len(container))
        for key in keys:
            yield container, key
            if isinstance(container[key], (dict, list)):
                todo.append(container[key])


# -- order -----------------------------------------------------------------------------------------------------------


@given(results(), st.randoms(use_true_random=False))
def test_order_never_matters(found, random_):
    """Any order of the workers gives the equal merge, and the equal document for other programs."""
    shuffled = random_.sample(found, len(found))
    assert build(shuffled) == build(found)
    assert json.dumps(merged_to_plain(build(shuffled))) == json.dumps(merged_to_plain(build(found)))


@given(results(), st.data())
def test_any_split_and_merge_gives_the_same(found, data):
    """Workers merged in parts, and the parts merged in any grouping and order, give the merge of all."""
    places_ = data.draw(st.lists(st.integers(0, 3), min_size=len(found), max_size=len(found)))
    parts = [build(each for each, place in zip(found, places_, strict=True) if place == part) for part in range(4)]
    whole = build(found)
    a, b, c, d = data.draw(st.permutations(parts))
    assert join(join(join(a, b), c), d) == whole
    assert join(join(a, b), join(c, d)) == whole
    assert join(a, join(b, join(c, d))) == whole
    assert join(Merged(), whole) == join(whole, Merged()) == whole


@given(results())
def test_merging_twice_is_merging_once(found):
    """The same dump read twice counts once."""
    assert join(build(found), build(found)) == build(found + found) == build(found)


@given(results(), results())
def test_merging_leaves_what_it_merged_as_it_was(left, right):
    """``merge`` makes a new tree and changes neither side."""
    a, b = build(left), build(right)
    for label in a.trees.keys() & b.trees.keys():
        before = copy.deepcopy((a.trees[label], b.trees[label]))
        assert merge(a.trees[label], b.trees[label]) == merge(b.trees[label], a.trees[label])
        assert (a.trees[label], b.trees[label]) == before


# -- nobody is lost --------------------------------------------------------------------------------------------------


@given(results())
def test_no_worker_is_lost(found):
    """Every worker is in the merge: in a tree, or among the problems with a reason."""
    merged = build(found)
    members = {each.member for each in found}
    assert merged.members == members
    in_trees = {member for tree in merged.trees.values() for member in tree.members}
    assert in_trees.isdisjoint(problem.member for problem in merged.problems)
    assert all(problem.reason for problem in merged.problems)


@given(results())
def test_every_worker_is_in_exactly_one_class_per_label(found):
    """The classes of a label part its members, and each says the member's own stacks."""
    merged = build(found)
    for label, tree in merged.trees.items():
        times = Counter(member for each in tree.classes(label) for member in each.members)
        assert times == dict.fromkeys(tree.members, 1)
    own = {each.member: each.threads for each in found if isinstance(each, WorkerStacks)}
    for each in merged.classes:
        for member in each.members:
            theirs = [t.frames for t in own[member] if t.label == each.thread and not t.ours]
            assert Counter(theirs) == dict(each.stacks)


@given(results())
def test_the_tree_is_the_set_of_all_prefixes(found):
    """Each node holds those, and only those, whose stack begins with its path; checked the slow way."""
    merged = build(found)
    for label, tree in merged.trees.items():
        threads = [
            (each.member, thread.frames)
            for each in found
            if isinstance(each, WorkerStacks)
            for thread in each.threads
            if thread.label == label and not thread.ours
        ]
        seen, path = {}, []
        for node in tree.nodes:
            path[node.depth :] = [node.frame]
            seen[tuple(path)] = (node.members, node.ends, node.threads)
        prefixes = {stack[:length] for _, stack in threads for length in range(1, len(stack) + 1)}
        assert len(tree.nodes) == len(prefixes)
        for prefix in prefixes:
            through = [(member, stack) for member, stack in threads if stack[: len(prefix)] == prefix]
            ends = {member for member, stack in through if stack == prefix}
            assert seen[prefix] == ({member for member, _ in through}, ends, len(through))
        assert tree.ends == {member for member, stack in threads if not stack}
        assert tree.threads == len(threads)


def test_the_branch_of_most_members_comes_first():
    """Children stand by size, then by their first member, and directly under their parent."""
    nodes = job(ax=1, b=2, ay=2, az=2).trees["MainThread"].nodes
    assert [(node.depth, node.frame.function, len(node.members)) for node in nodes] == [
        (0, "a", 5),
        (1, "y", 2),
        (1, "z", 2),
        (1, "x", 1),
        (0, "b", 2),
    ]


def test_of_equal_branches_the_one_of_the_first_rank_comes_first():
    """Branches and classes of one size stand in the order of their smallest ranks."""
    merged = build(worker(rank, chain(name)) for rank, name in enumerate("zaaz"))
    assert [node.frame.function for node in merged.trees["MainThread"].nodes] == ["z", "a"]
    assert [merged.fold(each.members) for each in merged.classes] == ["0,3", "1-2"]


def test_one_stack_at_two_lines_is_two_branches():
    """A line number is part of the frame."""
    merged = build([worker(0, (Frame("a.py", 1, "f"),)), worker(1, (Frame("a.py", 2, "f"),))])
    assert len(merged.trees["MainThread"].nodes) == 2


def test_a_rank_claimed_twice_keeps_both_workers_by_name():
    """Two incarnations of rank 3 are two members, and neither hides behind the rank's number."""
    twice = [WorkerStacks(f"rank00003.h.{pid}", 3, "h", pid, worker(3, WAITS).threads) for pid in (1, 2)]
    merged = build([worker(0, WAITS), *twice])
    assert merged.fold(merged.members) == "0,rank00003.h.1,rank00003.h.2"
    assert len(merged.trees["MainThread"].members) == 3


def test_workers_without_a_rank_are_shown_by_name():
    """No rank is made up for them, and the name of a worker may look like anything."""
    merged = build([worker(1, WAITS), worker(0, WAITS), Problem("proc.h.5", None, "gone")])
    assert merged.fold(merged.members) == "0-1,proc.h.5"


# -- whose threads, and under which label ----------------------------------------------------------------------------


def test_our_own_threads_are_left_out_unless_asked():
    """Threads of oobdump are the same everywhere: they show only with ``every_thread``."""
    stacks = parse_stacks("rank00000.h.7", 0, value())
    assert set(build([stacks]).trees) == {"MainThread"}
    assert set(build([stacks], keep=every_thread).trees) == {"MainThread", "oobdump-bell"}


def test_a_worker_with_only_our_threads_is_a_problem():
    """A rank whose program's threads are missing is not dropped in silence."""
    stacks = parse_stacks("rank00004.h.7", 4, value(threads=value()["threads"][1:]))
    (problem,) = build([stacks]).problems
    assert (problem.worker, problem.rank) == ("rank00004.h.7", 4)


@pytest.mark.parametrize(
    ("name", "main", "label"),
    [
        ("MainThread", True, "MainThread"),
        ("renamed by the user", True, "MainThread"),
        ("Thread-12 (worker)", False, "Thread-N (worker)"),
        ("ThreadPoolExecutor-0_3", False, "ThreadPoolExecutor-N_N"),
        ("pin_memory", False, "pin_memory"),
        (None, False, "(unnamed)"),
        ("MainThread", False, "MainThread (not the main thread)"),
        ("x" * 10**6, False, "x" * 100),
    ],
)
def test_labels_fold_digits(name, main, label):
    """Threads of one pool fall together over all ranks; nobody else is taken for the main thread."""
    assert label_of(name, main=main) == label


def test_the_main_thread_comes_first():
    """Then the labels that most members have, then by name."""
    merged = join(build([worker(0, WAITS)]), build(worker(rank, READS, label="AAA") for rank in range(3)))
    assert merged.labels == ("MainThread", "AAA")


# -- outliers --------------------------------------------------------------------------------------------------------


def outliers(merged):
    """Which ranks stand apart."""
    return merged.fold(member for each in merged.outliers for member in each.stack_class.members)


@pytest.mark.parametrize(
    ("stacks", "odd"),
    [
        ({"a": 3, "b": 1}, "3"),
        ({"a": 2, "b": 1}, "2"),  # a single one may always be named
        ({"a": 1, "b": 1}, ""),  # two that differ: neither is the odd one
        ({"a": 1}, ""),
        ({"a": 6, "b": 2}, "6-7"),  # a quarter
        ({"a": 5, "b": 2}, ""),  # more than a quarter
        ({"a": 30, "b": 10}, "30-39"),  # a quarter and ten
        ({"a": 33, "b": 11}, ""),  # a quarter, but more than ten
        ({"a": 1000, "b": 11}, ""),
        ({"a": 1000, "b": 6, "c": 4}, "1000-1009"),  # ten together
        ({"a": 1000, "b": 7, "c": 4}, "1007-1010"),  # not eleven together: the smaller class alone
        ({"a": 3, "b": 3, "c": 1}, "6"),  # two halves wait for each other, one is elsewhere
        ({"ab": 2, "ac": 1, "d": 1}, "3"),  # of two equals, the one that leaves the others' stack first
        ({"ab": 2, "ac": 1, "ad": 1}, ""),  # equal in that too: they stand or fall together
        ({"ab": 3, "a": 1}, "3"),  # stands in a frame that the others have left behind
        ({"a": 1, "b": 1, "c": 1, "d": 1, "e": 1}, ""),  # everyone elsewhere: a program that runs
        ({"a": 2, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1, "g": 1, "h": 1, "i": 1}, ""),  # no class to stand apart from
        ({"ab": 2, "ac": 1, "ad": 1, "ae": 1, "af": 1, "ag": 1, "ah": 1, "ai": 1, "z": 1}, ""),  # the same
    ],
)
def test_who_stands_apart(stacks, odd):
    """At most a quarter and at most ten, against the largest classes; a single one always."""
    assert outliers(job(**stacks)) == odd


@given(st.lists(st.sampled_from(["a", "ab", "abc", "abd", "e", "ef", ""]), min_size=1, max_size=60))
def test_outliers_are_few_and_never_the_largest_class(names):
    """The rule's bounds hold for every mix of classes, and what stands apart is smaller than the rest."""
    merged = build(worker(rank, chain(*name)) for rank, name in enumerate(names))
    odd = sum(len(each.stack_class.members) for each in merged.outliers)
    assert odd <= max(1, min(10, len(names) // 4))
    largest = max(Counter(names).values())
    assert all(len(each.stack_class.members) < largest for each in merged.outliers)
    assert all(each.others == len(names) - len(each.stack_class.members) for each in merged.outliers)


def test_an_outlier_names_the_users_frame():
    """The innermost frame of the user's; where the others stand in it too, the innermost of all."""
    asleep = (*READS, Frame("/usr/lib/python3.11/threading.py", 320, "wait"))
    (outlier,) = build([worker(rank, WAITS) for rank in range(3)] + [worker(3, asleep)]).outliers
    assert outlier.frame == READS[-1]
    elsewhere = (*WAITS[:-1], Frame(SITE + "torch/c10d.py", 9, "barrier"))
    (outlier,) = build([worker(rank, WAITS) for rank in range(3)] + [worker(3, elsewhere)]).outliers
    assert outlier.frame == elsewhere[-1]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["/code/a.py", "/usr/lib/python3.11/threading.py"], 0),
        (["/code/a.py", "/venv/lib/python3.13t/site-packages/x.py", "/code/b.py"], 2),
        (["/code/a.py", "/usr/lib/python3/dist-packages/x.py", "<frozen runpy>"], 0),
        (["/usr/lib/python3.11/runpy.py", "/usr/lib/python3.11/threading.py"], 1),
        (["/code/a.py", "<string>"], 1),
        (["/home/lib/pythonic/a.py", "/usr/lib64/python3.9/x.py"], 0),
    ],
)
def test_the_top_user_frame(files, expected):
    """By path: neither the standard library nor an installed package; else the innermost."""
    stack = tuple(Frame(file, 1, "f") for file in files)
    assert top_user_frame(stack) == stack[expected]
    assert top_user_frame(()) is None


def test_a_gap_is_nobodys_frame():
    """What stands for the frames that were cut is never named as the place to look at."""
    wait = Frame("/usr/lib/python3.11/threading.py", 320, "wait")
    assert top_user_frame((OMITTED, wait)) == wait


# -- what workers wrote ----------------------------------------------------------------------------------------------


def test_reads_a_whole_value():
    """The schema of the ``stacks`` handler becomes frozen values; host and pid are kept."""
    stacks = parse_stacks("rank00003.node-1.example.7", 3, value())
    assert isinstance(stacks, WorkerStacks)
    assert (stacks.rank, stacks.host, stacks.pid) == (3, "node-1.example", 7)
    assert stacks.threads[0] == ThreadStack("MainThread", "MainThread", True, False, WAITS)


@pytest.mark.parametrize(("after", "place"), [({}, 0), ({"omitted_after": 3}, 3), ({"omitted_after": 99}, 4)])
def test_a_cut_stack_says_so(after, place):
    """Frames that the handler left out stand as one frame where they were."""
    cut = value()
    cut["threads"][0] |= {"omitted_frames": 900, **after}
    assert parse_stacks("w", 0, cut).threads[0].frames == (*WAITS[:place], OMITTED, *WAITS[place:])


def test_reads_what_the_handler_writes():
    """The handler's own answer, through JSON, is whole here: this test's thread is the main one."""
    written = json.loads(json.dumps(stacks_handler()))
    merged = build([parse_stacks("rank00000.host.7", 0, written)])
    assert merged.problems == frozenset()
    functions = [node.frame.function for node in merged.trees["MainThread"].nodes]
    assert "test_reads_what_the_handler_writes" in functions


DAMAGES = [
    ([], None, "the part is absent"),
    ([], [], "the part is of type list"),
    (["schema_version"], 2, "schema_version is not 1"),
    (["schema_version"], True, "schema_version is of type bool"),
    (["pid"], None, "pid is absent"),
    (["pid"], -1, "pid is of type int instead of a whole number"),
    (["threads"], [], "threads is of type list instead of a list of at least one"),
    (["threads", 1], "x", "threads[1] is of type str"),
    (["threads", 0, "name"], 7, "threads[0].name is of type int"),
    (["threads", 0, "main"], 1, "threads[0].main is of type int"),
    (["threads", 0, "ours"], None, "threads[0].ours is absent"),
    (["threads", 0, "frames"], None, "threads[0].frames is absent"),
    (["threads", 0, "omitted_frames"], "9", "threads[0].omitted_frames is of type str"),
    (
        ["threads", 0],
        {**value()["threads"][0], "omitted_frames": 1, "omitted_after": "1"},
        "threads[0].omitted_after is of type str",
    ),
    (["threads", 0, "frames", 3], None, "threads[0].frames[3] is absent"),
    (["threads", 0, "frames", 3, "file"], 1, "threads[0].frames[3].file is of type int"),
    (["threads", 0, "frames", 3, "line"], True, "threads[0].frames[3].line is of type bool"),
    (["threads", 0, "frames", 3, "line"], 10**400, "threads[0].frames[3].line is of type int"),
    (["threads", 0, "frames", 3, "function"], None, "threads[0].frames[3].function is absent"),
]


@pytest.mark.parametrize(("path", "damage", "reason"), DAMAGES)
def test_a_damaged_value_is_a_problem_that_says_where(path, damage, reason):
    """The problem names the worker, its rank and the place; the value itself is never repeated."""
    document = [value()]
    target = document
    for key in [0, *path][:-1]:
        target = target[key]
    target[[0, *path][-1]] = damage
    problem = parse_stacks("rank00002.h.7", 2, document[0])
    assert isinstance(problem, Problem)
    assert (problem.worker, problem.rank) == ("rank00002.h.7", 2)
    assert problem.reason.startswith(reason)
    assert len(problem.reason) < 200


@given(JSON)
def test_rubbish_is_a_problem(rubbish):
    """Any value at all: a problem with the worker's name and rank, never an exception."""
    assert isinstance(parse_stacks("rank00002.h.7", 2, rubbish), Problem)


@given(st.data())
def test_no_damage_loses_a_rank(data):
    """One value of a good part replaced by anything, or taken away: the rank is still in the merge."""
    document = value()
    container, key = data.draw(st.sampled_from(list(places(document))))
    if data.draw(st.booleans()):
        del container[key]
    else:
        container[key] = data.draw(JSON)
    result = parse_stacks("rank00002.h.7", 2, document)
    merged = build([result, worker(0, WAITS), worker(1, WAITS)])
    assert merged.fold(merged.members) == "0-2"
    json.dumps(merged_to_plain(merged))


# -- size ------------------------------------------------------------------------------------------------------------


def test_stacks_of_any_depth():
    """Ranks of one deep recursion, each at its own depth: no recursion here, in the merge or in the document."""
    deep = chain(*["f"] * 3_000)
    workers = [worker(rank, deep[: 3_000 - rank]) for rank in range(300)]
    merged = build(workers)
    assert len(merged.trees["MainThread"].nodes) == 3_000
    assert len(merged.classes) == 300
    assert merged == build(reversed(workers))
    assert len(json.loads(json.dumps(merged_to_plain(merged)))["threads"][0]["tree"]) == 3_000


@pytest.mark.serial
def test_ten_thousand_ranks_merge_at_once():
    """10,000 stacks of 31 frames: merged, with tree, classes and outliers, in about 0.1 s (0.5 s allowed here)."""
    stack = chain(*(f"f{depth}" for depth in range(31)))
    workers = [worker(rank, stack if rank % 1_250 else stack[:-1]) for rank in range(10_000)]
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        merged = build(workers)
        assert len(merged.trees["MainThread"].nodes) == 31
        assert outliers(merged) == "0,1250,2500,3750,5000,6250,7500,8750"
        seconds.append(time.perf_counter() - begin)
    assert min(seconds) < 0.5


# -- for other programs ----------------------------------------------------------------------------------------------


def test_the_document():
    """Keys and values of ``oobdump stacks --json``, whole."""
    merged = build(
        [*(worker(rank, WAITS[:2]) for rank in (0, 2, 3)), worker(1, READS), Problem("proc.h.9", None, "gone")]
    )
    main = [{"file": frame.file, "line": frame.line, "function": frame.function} for frame in READS]
    everyone = {"count": 4, "members": "0-3", "threads": 4}
    odd = {"thread": "MainThread", "members": "1", "count": 1, "frames": main, "times": 1, "other_stacks": []}
    assert merged_to_plain(merged, request_id="r1") == {
        "schema_version": 1,
        "request_id": "r1",
        "ranks": "0-3",
        "workers": ["proc.h.9"],
        "threads": [
            {
                "name": "MainThread",
                **everyone,
                "ends": "",
                "tree": [
                    {"depth": 0, **main[0], **everyone, "ends": ""},
                    {"depth": 1, **main[1], **everyone, "ends": "0,2-3"},
                    {"depth": 2, **main[2], "count": 1, "members": "1", "threads": 1, "ends": "1"},
                ],
            }
        ],
        "classes": [{**odd, "members": "0,2-3", "count": 3, "frames": main[:2]}, odd],
        "outliers": [{**odd, "others": 3, "frame": main[2]}],
        "problems": [{"worker": "proc.h.9", "rank": None, "reason": "gone"}],
    }


@given(results())
def test_the_document_loses_nobody(found):
    """Ranks and names in the document are everyone who was handed in, and every set reads back."""
    document = merged_to_plain(build(found))
    claims = Counter(each.rank for each in found if each.rank is not None)
    assert parse_ranks(document["ranks"]) == {rank for rank, count in claims.items() if count == 1}
    by_name = {each.worker for each in found if each.rank is None or claims[each.rank] > 1}
    assert set(document["workers"]) == by_name
    merged = build(found)
    assert [each["members"] for each in document["classes"]] == [merged.fold(each.members) for each in merged.classes]
    for thread in document["threads"]:
        nodes = merged.trees[thread["name"]].nodes
        assert [each["members"] for each in thread["tree"]] == [merged.fold(node.members) for node in nodes]
        assert sum(each["count"] for each in document["classes"] if each["thread"] == thread["name"]) == thread["count"]


def test_several_threads_of_one_label_are_one_class():
    """A pool's threads together say what a rank's pool does; the stack of most of them is named first."""
    pool = [worker(rank, READS, WAITS, WAITS, label="pool-N") for rank in range(3)]
    (each,) = merged_to_plain(build(pool))["classes"]
    assert (each["members"], each["times"], each["frames"][-1]["function"]) == ("0-2", 2, "all_reduce")
    assert [(other["times"], other["frames"][-1]["function"]) for other in each["other_stacks"]] == [
        (1, "wait_for_file")
    ]


def test_frozen_values_can_be_shared():
    """Equal frames of many workers are one object: 10,000 ranks cost the memory of one stack's names."""
    one, other = (parse_stacks(f"rank0000{rank}.h.7", rank, value()) for rank in (0, 1))
    assert all(a is b for a, b in zip(one.threads[0].frames, other.threads[0].frames, strict=True))


def test_an_empty_merge_is_fine():
    """Nobody asked, nobody answered: no tree, no class, no outlier."""
    empty = build([])
    assert (empty.members, empty.labels, empty.classes, empty.outliers) == (frozenset(), (), (), ())
    assert Merged({"MainThread": StackTree({})}).outliers == ()


def test_the_order_of_members_is_by_rank_then_name():
    """Ranks rise as numbers and stand before names."""
    members = [Member(None, "b"), Member(10, "x"), Member(None, "a"), Member(9, "y")]
    random.Random(1).shuffle(members)
    assert [member.worker for member in sorted(members, key=lambda each: each.order)] == ["y", "x", "a", "b"]


def test_a_number_of_any_length_is_a_problem():
    """Python refuses to write very long integers as text: the reason never tries."""
    assert isinstance(parse_stacks("w", 0, value(pid=10**5000, schema_version=10**5000)), Problem)
    assert isinstance(parse_stacks("w", 0, value(pid=10**5000)), Problem)


# -- stacks from their bytes -----------------------------------------------------------------------------------------

TRICKY = ["all_reduce", "<listcomp>", "a]b", 'a"frames":[1]', "a\\\\", '\\"frames":[', "", "\u2028", "[", "\\u005d"]
"""Function and thread names that look like what the cutting looks for."""


@given(
    st.lists(st.tuples(st.sampled_from(TRICKY), st.lists(st.sampled_from(TRICKY), max_size=3)), max_size=4), st.data()
)
def test_stacks_from_bytes_are_those_from_values(threads, data) -> None:
    """Whatever is in the names, with locals or without, torn or whole: the same as from the decoded value."""
    document = value()
    document["threads"] = [
        {
            **document["threads"][0],
            "name": name,
            "frames": [{"file": "f", "line": 1, "function": each} for each in names],
        }
        for name, names in threads
    ]
    if data.draw(st.booleans()):
        for thread in document["threads"]:
            thread["frames"] = [{**frame, "locals": {"frames": "[1]"}} for frame in thread["frames"]]
    separators = data.draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    content = json.dumps(document, ensure_ascii=data.draw(st.booleans()), separators=separators).encode()
    quick = StackBytes(json.loads)
    for rank in range(2):
        assert quick.parse("w", rank, content) == parse_stacks("w", rank, document)


@pytest.mark.parametrize("frames", [[1], [{"file": 1}], [{"file": "f", "line": -1, "function": "g"}]])
def test_damaged_frames_in_bytes_are_the_same_problem(frames) -> None:
    """The reason says the same place as for a decoded value."""
    document = value()
    document["threads"][0]["frames"] = frames
    content = json.dumps(document, separators=(",", ":")).encode()
    found = StackBytes(json.loads).parse("w", 3, content)
    assert found == parse_stacks("w", 3, document)
    assert isinstance(found, Problem)


def test_equal_stacks_of_two_workers_are_one_object() -> None:
    """What was seen as bytes is not decoded again, however the rest of the part differs."""
    quick = StackBytes(json.loads)
    contents = [json.dumps({**value(), "pid": pid}, separators=(",", ":")).encode() for pid in (1, 2)]
    one, two = (quick.parse("w", rank, content) for rank, content in enumerate(contents))
    assert one.threads[0].frames is two.threads[0].frames
    assert (one.pid, two.pid) == (1, 2)
