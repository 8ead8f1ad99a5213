"""The page for a terminal: the odd rank is seen first, on 80 columns, and no name can do harm."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oobdump.job.merge import Merged, StackTree, build
from oobdump.job.stacks import Frame, Member, Problem, ThreadStack, WorkerStacks, label_of
from oobdump.report.harmless import cells, clip, clip_left, harmless, wrap
from oobdump.report.text import MIN_WIDTH, WIDTH, render, short_file
from oobdump.report.tree import MAX_BRANCHES, MAX_CHAIN

SITE = "/venv/lib/python3.11/site-packages/"
MAIN = (Frame("/code/train.py", 120, "<module>"), Frame("/code/train.py", 101, "main"))
WAITS = (
    *MAIN,
    Frame("/code/train.py", 71, "train_step"),
    Frame(SITE + "torch/distributed/c10d_logger.py", 83, "wrapper"),
    Frame(SITE + "torch/distributed/distributed_c10d.py", 2985, "all_reduce"),
)
READS = (*MAIN, Frame("/code/train.py", 85, "wait_for_file"))


def worker(rank, *stacks, label="MainThread"):
    """A worker with one thread a stack."""
    threads = tuple(ThreadStack(label, label, label == "MainThread", False, stack) for stack in stacks)
    return WorkerStacks(f"rank{rank:05d}.host.{100 + rank}", rank, "host", 100 + rank, threads)


def nameless(pid, *stacks):
    """The same without a rank."""
    return WorkerStacks(f"proc.host.{pid}", None, "host", pid, worker(0, *stacks).threads)


def page(*results, **options):
    """The lines of the page."""
    return list(render(build(results), **options))


def chain(*names):
    """A stack of the program's own functions."""
    return tuple(Frame("/code/train.py", 1, name) for name in names)


class Brackets:
    """A style that shows what it was told."""

    def mark(self, kind, text):
        """The text between its kind."""
        return f"<{kind}>{text}</{kind}>"


# -- the page --------------------------------------------------------------------------------------------------------


def test_the_odd_rank_stands_out():
    """The whole page of a small hung job: verdict first, chains not indented, the odd branch marked once."""
    assert page(*(worker(rank, READS if rank == 1 else WAITS) for rank in range(4))) == [
        "rank 1 stands apart from 3 others: MainThread in wait_for_file (train.py:85)",
        "",
        "MainThread · 4 of 4 ranks [0-3]",
        "  train.py:120 <module>                                    4  [0-3]",
        "  train.py:101 main                                        4",
        "  ├─ train.py:71 train_step                                3  [0,2-3]",
        "  │  torch/distributed/c10d_logger.py:83 wrapper           3",
        "  │  …/distributed/distributed_c10d.py:2985 all_reduce     3",
        "  └─ train.py:85 wait_for_file                             1  [1]  ◀ odd one out",
    ]


def test_all_in_one_place():
    """No outlier is said as such, with the place where everyone stands."""
    assert page(*(worker(rank, WAITS) for rank in range(4)))[0] == (
        "no rank stands apart: MainThread of 4 ranks in train_step (train.py:71)"
    )


def test_several_classes_and_no_outlier():
    """Two halves: no branch is marked, and the page says how many classes there are."""
    lines = page(*(worker(rank, WAITS if rank % 2 else READS) for rank in range(4)))
    assert lines[0] == "no rank stands apart: MainThread of 4 ranks in 2 classes of stacks"
    assert "◀" not in "".join(lines)


def test_several_outliers_in_one_branch():
    """The mark stands where the branch of outliers begins, and neither above nor below it."""
    lines = page(
        *(worker(rank, chain("main", "step")) for rank in range(9)),
        worker(9, chain("main", "load", "parse")),
        worker(10, chain("main", "load", "read")),
    )
    assert [line for line in lines if "◀" in line] == [
        "  └─ train.py:1 load       2  [9-10]  ◀ odd ones out",
    ]
    assert lines[:2] == [
        "rank 9 stands apart from 10 others: MainThread in parse (train.py:1)",
        "rank 10 stands apart from 10 others: MainThread in read (train.py:1)",
    ]


def test_a_rank_that_stands_in_the_fork_is_a_branch():
    """Who has not gone on with the others is seen, though no frame of its own tells it."""
    lines = page(*(worker(rank, chain("main", "step")) for rank in range(3)), worker(3, chain("main")))
    assert "rank 3 stands apart" in lines[0]
    assert lines[-2:] == [
        "  ├─ train.py:1 step  3  [0-2]",
        "  └─ (stands here)    1  [3]  ◀ odd one out",
    ]


def test_a_thread_without_a_frame():
    """A thread that is only starting is shown, beside those that run."""
    lines = page(*(worker(rank, chain("main")) for rank in range(3)), worker(3, ()))
    assert lines[0] == "rank 3 stands apart from 3 others: MainThread without a Python frame"
    assert lines[-1].startswith("  └─ (no Python frame)")


def test_workers_without_a_rank_are_named():
    """They are workers and no ranks, by their own names, few of them in a sentence."""
    lines = page(*(nameless(pid, WAITS) for pid in range(10, 13)), nameless(13, READS))
    assert lines[0].startswith("worker proc.host.13 stands apart from 3 others")
    assert "MainThread · 4 of 4 workers" in lines
    many = page(*(Problem(f"proc.host.{pid}", None, "gone") for pid in range(10, 19)))
    assert many == [
        "no stacks: nobody that was asked gave any",
        "workers proc.host.10, proc.host.11, proc.host.12 and 6 more: no stacks: gone",
    ]


def test_whoever_gave_no_stacks_is_said():
    """One sentence a reason, with all its ranks; and they count in every heading."""
    lines = page(
        *(worker(rank, WAITS) for rank in range(2)),
        *(Problem(f"rank0000{rank}.host.9", rank, "no answer within 10 s") for rank in (2, 3, 5)),
        Problem("rank00004.host.9", 4, "damaged"),
    )
    assert lines[1:3] == ["ranks 2-3,5: no stacks: no answer within 10 s", "rank 4: no stacks: damaged"]
    assert "MainThread · 2 of 6 ranks [0-1]" in lines


def test_many_reasons_end_in_a_count():
    """A page is for reading: of a hundred reasons ten are shown, and no rank is lost in the rest."""
    lines = page(*(Problem(f"rank{rank:05d}.h.1", rank, f"reason {rank}") for rank in range(100)))
    assert lines[-1] == "ranks 10-99: no stacks, for 90 other reasons"


def test_pools_count_threads():
    """Where members have several threads under a label, counts say threads and members."""
    lines = page(*(worker(rank, WAITS, WAITS, READS, label="pool-N") for rank in range(4)))
    assert "pool-N · 4 of 4 ranks · 12 threads [0-3]" in lines
    assert [line.split("  ")[-2:] for line in lines[3:] if "_step" in line] == [["8 on 4", "[0-3]"]]
    assert lines[-1].split()[-3:] == ["wait_for_file", "4", "[0-3]"]


def test_threads_that_stand_in_a_fork_are_counted():
    """Those that have not gone on, and not all that came as far."""
    lines = page(*(worker(rank, *[chain("a")] * 3, chain("a", "b"), label="pool-N") for rank in range(4)))
    assert lines[-2:] == [
        "  ├─ train.py:1 b         4  [0-3]",
        "  └─ (stands here)  12 on 4  [0-3]",
    ]


def test_outliers_are_shown_whatever_is_left_out():
    """Of a hundred branches the largest are shown, and the outliers, though they are the smallest."""
    results, rank = [], 0
    for branch in range(100):
        for _ in range(2 + 40 * (branch == 0)):
            results.append(worker(rank, chain("main", f"branch{branch}")))
            rank += 1
    results.append(worker(rank, chain("main", "elsewhere")))
    results += [worker(rank + 1 + more, chain("main", "branch0")) for more in range(60)]
    lines = page(*results)
    assert sum("branch" in line and "more" not in line for line in lines) == MAX_BRANCHES - 1
    assert sum("81 more branches" in line for line in lines) == 1
    assert sum("elsewhere" in line and "◀ odd one out" in line for line in lines) == 1


def test_a_deep_recursion_leaves_out_its_middle():
    """Both ends of a very long chain are shown and the number of frames between them."""
    lines = page(worker(0, chain(*(f"f{depth}" for depth in range(5_000)))))
    assert len(lines) == 3 + MAX_CHAIN
    assert sum(f"{5_000 - MAX_CHAIN + 1} more frames" in line for line in lines) == 1
    assert "f0 " in lines[3]
    assert "f4999 " in lines[-1]


def test_forks_as_deep_as_a_recursion():
    """A thousand forks, one in the other, are drawn without recursion and without leaving the page."""
    deep = chain(*["f"] * 1_000)
    lines = page(*(worker(rank, deep[: rank + 1]) for rank in range(1_000)))
    assert max(map(cells, lines)) <= WIDTH
    assert len(lines) > 1_000


@pytest.mark.parametrize(
    ("file", "short"),
    [
        ("/code/train.py", "train.py"),
        ("train.py", "train.py"),
        (SITE + "torch/nn/module.py", "torch/nn/module.py"),
        ("/usr/lib/python3/dist-packages/yaml/x.py", "yaml/x.py"),
        ("/usr/lib/python3.11/concurrent/futures/thread.py", "concurrent/futures/thread.py"),
        ("/opt/lib/python3.13t/site-packages/lib/python3.9/site-packages/x.py", "x.py"),
        ("<frozen runpy>", "<frozen runpy>"),
        ("/code/dir/", "dir/"),
        ("", ""),
    ],
)
def test_short_files(file, short):
    """Inside a package the path in it, else the last part."""
    assert short_file(file) == short


# -- widths ----------------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(codec=None), max_size=80) | st.sampled_from(
    ["界" * 60, "a/" * 70, "x" * 200, "\x1b[31m" * 20]
)
FRAMES = st.builds(Frame, TEXT, st.integers(0, 2**31 - 1), TEXT)
RESULTS = st.lists(
    st.tuples(
        st.none() | st.integers(0, 200_000),
        st.lists(st.tuples(TEXT, st.lists(FRAMES, max_size=4).map(tuple)), max_size=3),
        TEXT,
    ),
    max_size=8,
)


def hostile(drawn):
    """Workers whose names, labels, files and functions are whatever was drawn."""
    for number, (rank, threads, text) in enumerate(drawn):
        stacks = tuple(ThreadStack(label_of(name, main=False), name, False, False, stack) for name, stack in threads)
        yield WorkerStacks(f"{text}{number}", rank, "", 1, stacks) if stacks else Problem(f"{text}{number}", rank, text)


@given(RESULTS, st.sampled_from([0, MIN_WIDTH, WIDTH, 200]))
def test_no_line_is_too_wide_or_does_harm(drawn, width):
    """Whatever the names are: printable, encodable, and within the width; every label has its heading."""
    merged = build(hostile(drawn))
    lines = list(render(merged, width=width))
    assert all(cells(line) <= max(width, MIN_WIDTH) for line in lines)
    assert all(line.isprintable() for line in lines)
    assert "\n".join(lines).encode()
    assert lines.count("") == len(merged.labels)


@given(RESULTS)
def test_a_style_changes_only_looks(drawn):
    """With its marks taken away, a styled page is the plain page."""
    merged = build(hostile(drawn))
    styled = render(merged, style=Brackets())
    kinds = "summary|problem|heading|guide|frame|library|outlier|count|members|note"
    plain = list(render(merged))
    assert [re.sub(rf"</?(?:{kinds})>", "", line) for line in styled] == [
        re.sub(rf"</?(?:{kinds})>", "", line) for line in plain
    ]


def test_a_style_is_told_what_is_what():
    """The user's frames, libraries and the odd branch are different kinds."""
    lines = page(*(worker(rank, READS if rank == 1 else WAITS) for rank in range(4)), style=Brackets())
    assert lines[0].startswith("<summary>rank 1 stands apart")
    assert lines[2] == "<heading>MainThread · 4 of 4 ranks [0-3]</heading>"
    assert "<frame>train.py:71 train_step</frame>" in lines[5]
    assert "<library>torch/distributed/c10d_logger.py:83 wrapper</library>" in lines[6]
    assert "<outlier>train.py:85 wait_for_file</outlier>" in lines[8]
    assert lines[8].endswith("<members>  [1]</members><outlier>  ◀ odd one out</outlier>")


def test_a_hostile_name_is_shown_and_does_nothing():
    """Escape sequences, line breaks, reversed reading and half characters are printed as what they are."""
    name = "evil\x1b[2J\r\n\u202egnp.exe\ud800\x00\x9b31m"
    frame = Frame(f"/code/{name}.py", 1, name)
    thread = ThreadStack(name, name, False, False, (frame,))
    lines = page(WorkerStacks("proc.h.1", None, "h", 1, (thread,)), Problem(name, None, name), width=200)
    text = "".join(lines)
    assert text.isprintable()
    assert r"evil\x1b[2J\x0d\x0a\u202egnp.exe\ud800\x00\x9b31m" in text


def test_columns_of_wide_characters_line_up():
    """East Asian characters take two cells, and the counts still stand under each other."""
    lines = page(worker(0, (Frame("/w/訓練.py", 1, "主"), Frame("/w/t.py", 1, "main"), Frame("/w/｡。.py", 1, "￦"))))
    assert cells("訓￦a") == 5
    ends = {cells(line[: line.index("  1")]) for line in lines[3:]}
    assert len(ends) == 1


def test_a_long_set_is_cut_after_a_comma():
    """A set that does not fit ends in an ellipsis, never in half a number."""
    lines = page(*(worker(rank, chain("a") if rank % 2 else chain("b")) for rank in range(1_000, 1_400)))
    (members,) = (re.search(r"\[.*\]", line)[0] for line in lines[3:] if "train.py:1 b" in line)
    assert re.fullmatch(r"\[(1\d\d\d,)+…\]", members)
    assert cells(members) <= 24


def test_the_widest_columns_fit():
    """Counts of a billion threads, deep forks, a long set and a mark on the narrowest page: nothing runs over."""
    members = [Member(100_001 + 2 * rank, f"w{rank}") for rank in range(70)]
    stacks = {chain(*["function"] * depth): dict.fromkeys(members, 10**9) for depth in range(1, 13)}
    stacks[chain("function", "elsewhere")] = dict.fromkeys(members[:10], 10**9)
    lines = list(render(Merged({"pool": StackTree(stacks)}), width=MIN_WIDTH))
    assert max(map(cells, lines)) <= MIN_WIDTH
    assert sum(line.endswith("◀ odd ones out") for line in lines) == 1
    assert len({line.index(" on ") for line in lines if " on " in line}) == 1


# -- the pieces ------------------------------------------------------------------------------------------------------


@given(st.text(), st.integers(0, 30))
def test_clipping_keeps_its_room(text, room):
    """A clipped text fits, keeps its end or its beginning, and is untouched where it fits."""
    assert cells(clip(text, room)) <= room
    assert cells(clip_left(text, room)) <= room
    if cells(text) <= room:
        assert clip(text, room) == clip_left(text, room) == text
    elif room:
        assert text.startswith(clip(text, room)[:-1])
        assert text.endswith(clip_left(text, room)[1:])


@given(st.text(st.sampled_from("ab 界 "), max_size=200), st.integers(10, 40))
def test_wrapping_loses_nothing_but_spaces(text, width):
    """Wrapped lines fit, and together they say the same."""
    lines = list(wrap(text, width))
    assert all(cells(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


@given(st.text(st.characters(codec=None)))
def test_harmless_leaves_printable_text_alone(text):
    """What is printable stays as it is, the rest becomes ASCII."""
    shown = harmless(text)
    assert shown.isprintable()
    if text.isprintable():
        assert shown == text
    assert set(shown) - set(text) <= set("\\xuU0123456789abcdef")


def test_harmless_looks_at_a_bounded_part():
    """A name of ten megabytes is shown by its ends."""
    shown = harmless("a" * 10**7 + "z")
    assert len(shown) < 1_100
    assert shown.endswith("az")
