"""The campaigns in their short form: seconds each, with real processes. ``make campaign`` runs the full forms."""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oobdump.identity import Identity
from oobdump.response import Part
from oobdump.store.layout import Layout
from oobdump.store.writer import DumpWriter

Run = Callable[..., tuple[int, dict[str, Any]]]
LEFT = [f"left {stage}" for stage in ("nothing", "a claim", "1 part", "2 parts", "all parts", "a manifest")]


@pytest.mark.slow
def test_storm(run: Run) -> None:
    """Signals every half millisecond at a busy process: alive, correct, and the last one answered."""
    code, printed = run("storm", "--signals", "300", "--python", sys.executable)
    assert (code, printed["findings"]) == (0, [])
    assert printed["rows"]
    for row in printed["rows"]:
        assert row["signals"] == 300
        assert row["alive and correct"] is True
        assert row["dumps"] >= 2


@pytest.mark.slow
def test_acceptors(run: Run) -> None:
    """Whatever acceptors die: each dropped file is accepted exactly once, and no asked worker is left open."""
    code, printed = run("acceptors", "--acceptors", "3", "--requests", "150", "--kills", "6")
    assert (code, printed["findings"]) == (0, [])
    [row] = printed["rows"]
    assert row["dropped"] == row["accepted"] == 150
    assert row["asked"] == row["answered"] + row["dead"] >= row["accepted"]
    assert row["kills"] >= 6


@pytest.mark.slow
def test_kills(run: Run) -> None:
    """``kill -9`` at any instant: no torn dump is taken for whole, and no earlier one changes."""
    code, printed = run("kills", "--kills", "15")
    assert (code, printed["findings"]) == (0, [])
    assert sum(row["killed"] for row in printed["rows"]) == 15
    assert all(row["committed"] for row in printed["rows"])
    assert all(row["partial"] + row["committed"] == sum(map(row.get, LEFT)) for row in printed["rows"])


@pytest.mark.slow
def test_forks(run: Run) -> None:
    """Children signalled from their first instant never ring their parent's bell, none dies of it, nothing leaks."""
    code, printed = run("forks", "--children", "15")
    assert (code, printed["findings"]) == (0, [])
    ways = ["os.fork", "os.fork, until it answers", "fork in C", "subprocess"]
    assert [row["way"] for row in printed["rows"]] == ways
    assert printed["rows"][1]["children's dumps"] >= 15
    for row in printed["rows"]:
        assert row["children"] == row["ended well"] == 15
        assert row["signals"] >= row["signalled"] > 0


@pytest.mark.slow
def test_starts(run: Run) -> None:
    """Signals at random instants of a life under ``oobdump run``, and of its children's, end nobody."""
    code, printed = run("starts", "--instants", "5", "--only", "children")
    assert (code, printed["findings"]) == (0, [])
    assert len(printed["rows"]) == 5
    code, printed = run("starts", "--instants", "5", "--only", "program")
    assert (code, printed["findings"]) == (0, [])
    [row] = printed["rows"]
    assert row["signals"] == 5
    assert row["runs"] == row["ended well"] >= 2


@pytest.mark.slow
def test_storm_tells_a_wrong_result(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A program that computes nonsense is a finding: "correct" in the table means something."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where there are findings, the directory stays
    monkeypatch.setenv("SPOIL", "1")
    code, printed = run("storm", "--signals", "20", "--python", sys.executable)
    assert code == 1
    assert any("wrong ['exec" in finding for finding in printed["findings"])


def test_a_lost_and_a_doubled_file_are_told() -> None:
    """Names are counted, each by itself: one lost and one doubled do not make up for each other."""
    miscounted = importlib.import_module("acceptors").miscounted
    assert miscounted(Counter(a=1, b=1, ping=7), Counter(a=1, b=1, ping=7)) == []
    told = miscounted(Counter(a=1, b=1, ping=7), Counter(a=2, ping=6))
    assert told == [
        "a was dropped 1 times and accepted 2 times",
        "b was dropped 1 times and accepted 0 times",
        "ping was dropped 7 times and accepted 6 times",
    ]


@pytest.mark.parametrize("harm", ["torn", "gone", "grown", "no json"])
def test_a_torn_dump_is_told(harm: str, tmp_path: Path) -> None:
    """The campaigns' own check finds a part or a manifest that is not as it was committed."""
    ground, layout, writer = written(tmp_path)
    assert ground.damage(layout, ["r"]) == ({"committed": 1, "partial": 0, "foreign": 0}, [])
    part, manifest = Path(writer.directory, "ping.bin"), Path(writer.directory, "manifest.json")
    if harm == "gone":
        part.unlink()
    elif harm == "no json":
        manifest.write_bytes(manifest.read_bytes()[:-20])
    else:
        part.write_bytes(b"pon" if harm == "torn" else b"pong!")
    counts, findings = ground.damage(layout, ["r"])
    assert sum(counts.values()) == 1
    assert findings


def test_a_partial_dump_is_counted(tmp_path: Path) -> None:
    """A dump without its manifest is partial, and that alone is nothing wrong."""
    ground, layout, writer = written(tmp_path)
    Path(writer.directory, "manifest.json").unlink()
    assert ground.damage(layout, ["r"]) == ({"committed": 0, "partial": 1, "foreign": 0}, [])


def written(tmp_path: Path) -> tuple[Any, Layout, DumpWriter]:
    """The campaigns' ground, and one committed dump with one part of 4 bytes."""
    ground = importlib.import_module("ground")
    layout = Layout(str(tmp_path), "job")
    Path(layout.dumps).mkdir(parents=True)
    writer = DumpWriter(layout, "r", Identity.here(job="job"))
    writer.claim(("ping",), 1.0)
    record = writer.write_part(Part("ping", "ok", 200, body=b"pong"))
    writer.commit((record,), "responsive", {}, 2.0)
    return ground, layout, writer


@pytest.mark.slow
@pytest.mark.parametrize("load", ["threads", pytest.param("loader", marks=pytest.mark.torch)])
def test_do_no_harm(load: str, run: Run) -> None:
    """Signals, requests and ladders at once at a busy worker: alive, correct, never stopped, every request answered."""
    words = ("--signals", "300", "--requests", "20", "--climbs", "2", "--python", sys.executable, "--load", load)
    code, printed = run("do_no_harm", *words)
    assert (code, printed["findings"]) == (0, [])
    [row] = printed["rows"]
    assert row["alive and correct"] is True
    assert row["signals"] == 300
    assert row["own answers"] + row["from outside"] >= row["requests"] == 20
    assert row["stacks read"] >= 1


@pytest.mark.slow
def test_do_no_harm_tells_a_wrong_result(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A worker that computes nonsense is a finding there too."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("SPOIL", "1")
    words = ("--signals", "10", "--requests", "1", "--climbs", "0", "--python", sys.executable, "--load", "threads")
    code, printed = run("do_no_harm", *words)
    assert code == 1
    assert any("exec" in finding for finding in printed["findings"])
