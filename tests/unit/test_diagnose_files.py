"""Verdicts from files that other tools left: recorders with known faults, damage beside them, and the command.

The NCCL recorders are synthetic: no GPU is here. What is wrong in each is known because it was put there.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from oobdump.cli.diagnose import diagnose as command
from oobdump.gathered import read_files
from oobdump.job.diagnosis import Provenance, diagnose
from oobdump.offline.reading import read
from oobdump.report.diagnosis import render
from support import recorders, scenarios

RANKS, STEPS = 8, 3

VERDICTS = {
    "healthy": "unknown",
    "missing": "missing-rank",
    "missing-in-subgroup": "missing-rank",
    "other-type": "different-collective",
    "other-size": "shape-mismatch",
    "other-dtype": "shape-mismatch",
    "other-order": "order-mismatch",
    "one-behind": "unknown",
}
"""Of recorders alone nobody can say that a job is healthy; a call that has not ended on one rank has no rule."""


@pytest.mark.parametrize("name", scenarios.SCENARIOS)
def test_the_fault_that_was_put_in_is_the_verdict(name: str, tmp_path: Path) -> None:
    """The rule and the ranks; an `unknown` one names the call all the same."""
    made = scenarios.job(RANKS)
    fault = scenarios.SCENARIOS[name](made, STEPS)
    found = read(str(recorders.write(tmp_path / "traces", made.recorders)))
    diagnosis = diagnose(read_files(found.traces, found.stacks), Provenance("files"))
    assert diagnosis.verdict.rule == VERDICTS[name]
    if VERDICTS[name] != "unknown":
        assert set(diagnosis.verdict.ranks) == fault.ranks
    elif fault.kind:
        assert any(fault.kind in text for text in diagnosis.verdict.evidence)
    assert diagnosis.verdict.rule in next(render(diagnosis))


def test_damaged_files_are_said_and_hide_nothing(tmp_path: Path) -> None:
    """A truncated pickle, a hostile one and a foreign file: each is a problem of its rank, the verdict stands."""
    made = scenarios.job(RANKS)
    scenarios.SCENARIOS["missing"](made, STEPS)
    place = recorders.write(tmp_path / "traces", made.recorders)
    whole = (place / "nccl_trace_rank_0").read_bytes()
    (place / "nccl_trace_rank_0").write_bytes(whole[: len(whole) // 2])
    (place / "nccl_trace_rank_1").write_bytes(b"cposix\nsystem\n(S'touch " + bytes(tmp_path / "owned") + b"'\ntR.")
    (place / "README.txt").write_text("notes\n")
    done = CliRunner().invoke(command, ["--from", str(place), "--json"], standalone_mode=False)
    document = json.loads(done.output)
    assert document["verdict"]["rule"] == "missing-rank"
    assert RANKS // 2 + 1 in document["verdict"]["ranks"]
    assert len(document["provenance"]["problems"]) >= 2
    assert not (tmp_path / "owned").exists()


def test_two_sources_at_once_are_refused(tmp_path: Path) -> None:
    """`--dump` and `--from`: which one is meant cannot be told."""
    done = CliRunner().invoke(command, ["--from", str(tmp_path), "--dump", "latest"])
    assert done.exit_code == 2
    assert "two sources" in done.output
