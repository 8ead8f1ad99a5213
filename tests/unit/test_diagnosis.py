"""A diagnosis as a page and as a document, and what it is read from: parts that may be damaged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oobdump.job import facts
from oobdump.job.activity import activity, user_frame
from oobdump.job.diagnosis import Diagnosis, Provenance, diagnose
from oobdump.job.diagnosis_plain import diagnosis_to_plain
from oobdump.job.evidence import Evidence
from oobdump.job.progress import motion
from oobdump.job.rules import RULES
from oobdump.job.stacks import Frame
from oobdump.report.diagnosis import render
from oobdump.report.harmless import cells
from support.evidence import (
    ALL_REDUCE,
    INIT,
    LIBRARY,
    LOADER_USER,
    MAIN,
    READS,
    SAVES,
    SITE,
    circle,
    evidence,
    still,
    waits,
    worker,
)

LINES = 40
HOSTILE = Frame("/home/\x1b[31mme\n.py", 3, "f\u202eo\to")

ASKED = Provenance(
    "asked",
    "job",
    "/dumps/job/dumps",
    ("20260101T000000.000Z-ab.1of3", "20260101T000002.000Z-ab.2of3"),
    samples=2,
    every_s=2.0,
    taken_at=1_700_000_000.0,
    seconds=4.2,
    command="--dir /dumps --job job",
)


def made(found: Evidence) -> Diagnosis:
    """The diagnosis of this evidence, as asked for."""
    return diagnose(found, ASKED)


def crowd() -> Evidence:
    """A job of 64 ranks of which six stand in six places, in twenty groups that wait."""
    frames = [(MAIN, Frame(f"/home/me/part{number}.py", number, f"work_{number}")) for number in range(6)]
    ranks = [worker(rank, *[frames[rank] if rank < 6 else ALL_REDUCE] * 3) for rank in range(64)]
    ranks.append(worker(64, None, None, None, state="stopped", host="node9"))
    base = waits(range(6, 64), range(6), unheard=[64])
    many = [replace(base.waits[0], group=base.waits[0].group._replace(name=str(n), desc=f"tp_{n}")) for n in range(20)]
    groups = [replace(base.groups[0], key=each.group) for each in many]
    return evidence(ranks, replace(base, waits=tuple(many), groups=tuple(groups)), world=66)


def test_the_page_answers_in_the_order_of_the_questions() -> None:
    """Verdict, coverage, outliers, classes, collectives, waits, progress, machines, next, provenance."""
    found = made(evidence(still(*[ALL_REDUCE] * 3, READS), waits([0, 1, 2], [3]), world=4))
    page = "\n".join(render(found))
    order = ["missing-rank (high", "coverage:", "outliers:", "classes of stacks:", "collectives:", "who waits for whom"]
    order += ["progress between samples", "machine, of the outliers:", "next:", "from: asked"]
    places = [page.index(text) for text in order]
    assert places == sorted(places)
    assert "$ oobdump stacks --dir /dumps --job job 20260101T000000.000Z-ab.1of3" in page
    assert "--targets 3" in page


@pytest.mark.parametrize("width", [40, 72, 80, 120, 300])
def test_forty_lines_are_enough_and_none_is_too_wide(width: int) -> None:
    """However large the job: each section has a bound and says what it leaves out; commands stay whole."""
    lines = list(render(made(crowd()), width=width))
    assert [line for line in lines if line.startswith("next:")]
    if width >= 80:
        head = "\n".join(lines[:LINES])
        assert all(text in head for text in ("stopped (high", "coverage:", "outliers:", "classes", "collectives:"))
    assert all(cells(line) <= max(width, 72) for line in lines if not line.startswith("  $ "))
    assert "--json has them" in "\n".join(lines)


def test_a_hostile_name_reaches_no_terminal() -> None:
    """Escapes, line ends and reversals of a frame's name are shown as what they are."""
    odd = (MAIN, HOSTILE)
    page = list(render(made(evidence(still(ALL_REDUCE, ALL_REDUCE, odd), waits([0, 1], [2])))))
    assert all(line.isprintable() for line in page)
    assert "\\x1b" in "\n".join(page)


def test_the_document_keeps_its_keys() -> None:
    """Schema version 1; the verdict's ranks are numbers."""
    document = diagnosis_to_plain(made(crowd()))
    keys = "schema_version verdict coverage outliers stack_classes collectives waits progress provenance"
    assert list(document) == keys.split()
    assert list(document["verdict"]) == ["rule", "ranks", "confidence", "summary", "evidence"]
    assert document["verdict"]["ranks"] == [64]
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_every_worker_is_counted_once() -> None:
    """Answered, read from outside, or silent; ranks without a worker are absent."""
    coverage = made(crowd()).coverage
    assert len(coverage.answered) + len(coverage.outside) + len(coverage.silent) == coverage.workers == 65
    assert coverage.absent == (65,)


def test_the_named_ranks_come_first_and_once() -> None:
    """Those of the verdict, then those whose stacks stand apart."""
    found = made(evidence(still(*[ALL_REDUCE] * 8, READS), waits(range(8), [8])))
    assert [each.named for each in found.outliers] == [True]
    assert found.outliers[0].user == READS[-1]


def test_each_rule_has_its_section_in_the_documentation() -> None:
    """The page that the verdict points to has a heading for every rule."""
    page = (Path(__file__).resolve().parents[2] / "docs/reference/verdicts.md").read_text(encoding="utf-8")
    assert [rule for rule in RULES if f"\n## {rule}\n" not in page] == []


@pytest.mark.parametrize(
    ("stack", "kind", "user"),
    [
        (ALL_REDUCE, "collective", "train_step"),
        (INIT, "init", "main"),
        (READS, "user", "load_shard"),
        (LOADER_USER, "dataloader", "Shards.__getitem__"),
        (SAVES, "checkpoint", "keep"),
        (LIBRARY, "library", None),
        ((), "library", None),
        ((MAIN, Frame("/home/me/oobdump/worker.py", 3, "start")), "user", "main"),
        ((*SAVES, ALL_REDUCE[-1]), "collective", "keep"),
        ((MAIN, Frame(f"{SITE}/torch/distributed/distributed_c10d.py", 9, "destroy_process_group")), "leave", "main"),
        ((MAIN, Frame(f"{SITE}/torch/distributed/distributed_c10d.py", 9, "irecv")), "p2p", "main"),
    ],
)
def test_what_a_stack_is_busy_with(stack: tuple[Frame, ...], kind: str, user: str | None) -> None:
    """The innermost frame that is known tells; the user's innermost frame is beside it."""
    found = activity(stack)
    assert (found.kind, found.user.function if found.user else None) == (kind, user)
    assert found.user == user_frame(stack)


@pytest.mark.parametrize(
    ("given", "pace"),
    [
        (worker(0), "unseen"),
        (worker(0, READS), "once"),
        (worker(0, READS, READS), "still"),
        (worker(0, READS, READS, cpu=0.5), "computes"),
        (worker(0, READS, SAVES), "moves"),
        (worker(0, READS, READS, completed=(1, 2)), "advances"),
        (worker(0, READS, READS, completed=(2, 2)), "still"),
    ],
)
def test_how_a_worker_moved(given: object, pace: str) -> None:
    """Stillness needs two looks."""
    assert motion(given).pace == pace  # type: ignore[arg-type]


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)
KEYS = st.sampled_from(
    ["cpu", "threads", "memory", "descriptors", "load_average", "groups", "name", "ranks", "taken_at"]
)


@given(ANY | st.dictionaries(KEYS, ANY))
def test_damaged_parts_say_nothing_and_raise_nothing(value: object) -> None:
    """Whatever a file holds."""
    facts.read_process(value)
    facts.read_store_waits(value)
    facts.taken_at(value)
    list(facts.read_process_groups(value))


def test_store_waits_are_those_that_are_under_way() -> None:
    """To make a store is no wait for a key."""
    counters = {
        "pytorch.wait_counter.TCPStore__wait": {"active_count": 1},
        "pytorch.wait_counter.TCPStore__get": {"active_count": 0},
        "pytorch.wait_counter.TCPStore__init": {"active_count": 1},
    }
    assert facts.read_store_waits(counters) == ("wait",)


def test_a_circle_is_told_wait_by_wait() -> None:
    """Who waits where for whom."""
    found = made(evidence(still(ALL_REDUCE, ALL_REDUCE), circle()))
    page = "\n".join(render(found))
    assert "rank 0 waits in rows, call 3 (all_reduce), for rank 1" in " ".join(page.split())
