"""The benchmarks in their short form: they run, they say what they promise, and idle means zero.

Figures of time are not judged here: the machine is everybody's. Counts are.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from typing import Any

import pytest


def run(name: str, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    """A benchmark's exit code and what it printed."""
    code = importlib.import_module(name).main(["--json", *words])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.serial
def test_idle_is_free(capsys: pytest.CaptureFixture[str]) -> None:
    """An armed process that nobody asks, and one that was asked and has settled, never wakes up."""
    code, printed = run("idle", capsys, "--seconds", "3")
    assert (code, printed["findings"]) == (0, [])
    assert [row["when"] for row in printed["rows"]] == ["never asked", "after two answers"]
    assert [row["voluntary switches"] for row in printed["rows"]] == [0, 0]
    assert all(row["processor µs"] == 0 for row in printed["rows"])


def test_a_process_that_wakes_up_is_told(tmp_path: object) -> None:
    """A hundred wake-ups a second are seen as such: zero in the table means something."""
    idle, place = importlib.import_module("idle"), importlib.import_module("gauge").Workplace(tmp_path)
    restless = [sys.executable, "-c", "import time\nprint(flush=True)\nwhile True: time.sleep(0.01)"]
    with subprocess.Popen(restless, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        row = idle.watch(place, process.pid, "restless", 0.5, 0.0)
        process.kill()
    assert row["voluntary switches"] > 5
    assert row["processor µs"] > 0
    assert "restless" in place.findings[0]


@pytest.mark.slow
@pytest.mark.serial
def test_latency(capsys: pytest.CaptureFixture[str]) -> None:
    """Every way of asking is measured to handler, claim and dump, beside limits of the same run."""
    code, printed = run("latency", capsys, "--samples", "5", "--answers", "2", "--starts", "1")
    rows = {row["what"]: row for row in printed["rows"]}
    assert (code, printed["findings"]) == (0, [])
    for way in ("signal", "file", "client"):
        handler, dump = rows[f"{way} to handler"], rows[f"{way} to dump"]
        assert 0 < handler["main waits"] < dump["main waits"]
        assert 0 < handler["main spins"] < dump["main spins"]
        assert rows[f"{way} to claim"]["times, waits"] > 0
    for limit in ("wake-up descriptor", "sigwait", "signalfd", "inotify", "write 4 KiB + rename"):
        assert rows[limit]["main waits"] > 0
    assert rows["oobdump.start()"]["main waits"] > 0


@pytest.mark.slow
@pytest.mark.serial
def test_overhead(capsys: pytest.CaptureFixture[str]) -> None:
    """Each loop runs in pairs, idle and asked, and the median ratio lies in its interval."""
    code, printed = run("overhead", capsys, "--pairs", "4")
    assert (code, printed["findings"]) == (0, [])
    loops = ["python", *(["torch"] if importlib.util.find_spec("torch") else [])]
    told = [(row["loop"], row["when"], row["clock"], row["pairs"]) for row in printed["rows"]]
    kinds = [("idle", 4), ("asked", 2)]
    assert told == [(loop, when, clock, n) for loop in loops for when, n in kinds for clock in ("wall", "processor")]
    for row in printed["rows"]:
        assert float(row["95 % from"]) <= float(row["ratio"]) <= float(row["to"])


def test_interval_holds_what_it_should() -> None:
    """Of equal samples the interval is a point; of spread ones it is narrower than they are."""
    interval = importlib.import_module("gauge").interval
    assert interval([1.0] * 20) == (1.0, 1.0)
    low, high = interval([float(number) for number in range(101)])
    assert 20 < low < 50 < high < 80


@pytest.mark.slow
@pytest.mark.serial
def test_sentinel(capsys: pytest.CaptureFixture[str]) -> None:
    """A sentinel's cost and speed are measured; idle it is as small and as quiet as promised."""
    words = ("--workers", "2", "--drops", "2", "--starts", "1", "--answers", "1", "--seconds", "4")
    code, printed = run("sentinel", capsys, *words)
    rows = {row["what"]: row["value"] for row in printed["rows"]}
    assert (code, printed["findings"]) == (0, [])
    assert rows["worker: wake-ups"] == rows["its I/O child: wake-ups"] == 0
    assert 0 < rows["sentinel: resident"] < 25
    assert rows["answer from outside, beyond grace"] > 0
    assert sum("answered" in what for what in rows) == 6


@pytest.mark.torch
@pytest.mark.slow
def test_diagnose(capsys: pytest.CaptureFixture[str]) -> None:
    """Both programs read the same small job and say the same; at this size no figure is judged."""
    small = ["--ranks", "16", "--entries", "30", "--alone", "8", "64", "--few", "9"]
    code, printed = run("diagnose", capsys, *small)
    assert (code, printed["findings"]) == (0, [])
    assert [row["who"] for row in printed["rows"]] == ["oobdump", "torchfrtrace", "ratio", "oobdump", "oobdump"]
    assert [row["ranks"] for row in printed["rows"]] == [16, 16, 16, 8, 64]
    assert all(row["processor s"] > 0 and row["MiB"] > 0 for row in printed["rows"])
