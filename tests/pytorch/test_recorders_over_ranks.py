"""Recorders of whole jobs beside PyTorch's torchfrtrace: the same verdict where it is right, one where it crashes.

The NCCL traces are synthetic: there is no GPU here. The Gloo traces are dumped from a real job while the test runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from oobdump.job.collectives import Collectives, Finding
from oobdump.job.matching import match
from oobdump.offline.reading import read
from support import torchfrtrace
from support.recorders import Recorder, Team, write
from support.scenarios import SCENARIOS, job

pytestmark = [pytest.mark.torch, pytest.mark.slow]

STATES = {
    "type-mismatch": "COLLECTIVE_TYPE_MISMATCH",
    "order-mismatch": "COLLECTIVE_TYPE_MISMATCH",  # torchfrtrace does not tell the two apart
    "size-mismatch": "SIZE_OR_SYNTAX_MISMATCH",
    "dtype-mismatch": "COLLECTIVE_DTYPE_MISMATCH",
    "not-completed": "COLLECTIVE_STATE_MISMATCH",
}
"""What torchfrtrace calls what we find."""


def analysed(directory: Path) -> Collectives:
    """What we say of the same files."""
    return match(read(str(directory)).traces)


def as_torchfrtrace(finding: Finding) -> dict[str, object]:
    """A finding as torchfrtrace would put it: the ranks that differ from the first one that called."""
    said: dict[str, object] = {"group": finding.group.name, "desc": finding.group.desc, "seq": finding.seq}
    if finding.kind == "missing-ranks":
        return said | {"missing": sorted(finding.ranks), "odd": {}}
    first = min(finding.ranks | finding.others)
    odd = finding.ranks if first not in finding.ranks else finding.others
    return said | {"missing": [], "odd": {str(rank): STATES[finding.kind] for rank in sorted(odd)}}


def firsts(found: Collectives) -> list[dict[str, object]]:
    """The earliest bad place of each group; a call that runs on all its members alike is none for torchfrtrace."""
    earliest: dict[str, Finding] = {}
    for each in found.findings:
        if each.kind == "not-completed" and not each.others:
            continue
        known = earliest.get(each.group.name)
        if known is None or each.seq < known.seq:
            earliest[each.group.name] = each
    return [as_torchfrtrace(each) for each in earliest.values()]


def by_group(said: list[dict[str, object]]) -> list[dict[str, object]]:
    """In one order for both."""
    return sorted(said, key=lambda each: str(each["group"]))


def compare(directories: list[Path]) -> None:
    """Both say the same of each directory."""
    for directory, theirs in zip(directories, torchfrtrace.verdicts(directories), strict=True):
        assert by_group(firsts(analysed(directory))) == by_group(theirs["bad"]), directory.name


def jobs(place: Path, ranks: int, names: Iterable[str] = SCENARIOS) -> list[Path]:
    """The traces of a job for each fault."""
    directories = []
    for name in names:
        made = job(ranks)
        SCENARIOS[name](made, 2)
        directories.append(write(place / f"{name}-{ranks}", made.recorders))
    return directories


def test_torchfrtrace_says_the_same_of_each_known_fault(tmp_path: Path) -> None:
    """Group, place, missing ranks and odd ranks with the kind of mismatch are equal, for every group that is bad."""
    compare([*jobs(tmp_path, 8), *jobs(tmp_path, 64), *jobs(tmp_path, 512, ["missing-in-subgroup"])])


@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_torchfrtrace_says_the_same_of_large_jobs(tmp_path: Path) -> None:
    """All faults at 512 ranks, and one at 4,096, for which torchfrtrace takes a minute."""
    compare([*jobs(tmp_path, 512), *jobs(tmp_path, 4096, ["missing"])])


def test_batches_of_sends_and_receives(tmp_path: Path) -> None:
    """A batch that matches, one of other sizes, and one in both directions, at which torchfrtrace is wrong.

    It looks for the counterpart of a receive among the receiver's own calls, and so finds none.
    """
    team = Team("0", "default_pg", (0, 1))
    good, bad, both = ([Recorder(rank, (team,)) for rank in (0, 1)] for _ in range(3))
    for recorders in (good, bad):
        recorders[0].batch(team, [("send", 1)])
        recorders[1].batch(team, [("recv", 0)])
    bad[0].batch(team, [("send", 1)], size=64, state="started")
    bad[1].batch(team, [("recv", 0)], size=32, state="started")
    both[0].batch(team, [("send", 1), ("recv", 1)])
    both[1].batch(team, [("recv", 0), ("send", 0)])
    made = {"good": good, "bad": bad, "both": both}
    directories = [write(tmp_path / name, recorders) for name, recorders in made.items()]
    assert [each["collectives"] for each in torchfrtrace.verdicts(directories)] == [1, 1, 0], "batches that match"
    ours = [analysed(directory).findings for directory in directories]
    assert [[each.kind for each in found] for found in ours] == [[], ["p2p-mismatch"], []]


# -- a real job ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gloo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dumps of a real Gloo job of four ranks, phase by phase."""
    directory = tmp_path_factory.mktemp("gloo")
    program = Path(__file__).with_name("_gloo_phases.py")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes=1", "--nproc-per-node=4"]
    meeting = ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "TORCH_FR_BUFFER_SIZE": "100"}
    command = [*launcher, *meeting, str(program), str(directory)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr[-3000:]
    return directory


def test_a_healthy_gloo_job_has_no_findings(gloo: Path) -> None:
    """All four are heard, and nothing is open."""
    found = analysed(gloo / "healthy")
    assert found.ranks == {0, 1, 2, 3}
    assert not found.findings
    assert not found.waits
    assert found.groups[0].backend == "gloo"


@pytest.mark.parametrize("form", ["", "-json"])
def test_the_missing_rank_of_a_gloo_job(gloo: Path, form: str) -> None:
    """Rank 2 never entered the second call; the others are in it, from the line that called it."""
    found = analysed(gloo / f"missing{form}")
    (only,) = found.findings
    assert (only.kind, only.ranks, only.others, only.seq) == ("missing-ranks", {2}, {0, 1, 3}, 2)
    (group,) = found.groups
    assert (group.never_entered, group.members_from) == ({2}, "world")
    assert found.blockers == {2}
    functions = [frame.function for frame in only.frames]
    assert functions == [] if form else "call" in functions


def test_a_circle_over_gloo_groups(gloo: Path) -> None:
    """Each rank waits in a row or a column for one that waits elsewhere: a deadlock over four groups.

    Gloo's recorder knows no members, so they are given; without them a group is who called in it.
    """
    traces = read(str(gloo / "circle")).traces
    assert not match(traces).cycles
    known = [json.loads(path.read_bytes()) for path in (gloo / "groups").iterdir()]
    found = match(traces, members={name: ranks for each in known for name, ranks in each.items()})
    (cycle,) = found.cycles
    assert cycle.ranks == {0, 1, 2, 3}
    assert {key.desc for key in cycle.groups} == {"row", "column"}
    assert len(cycle.groups) == 4
    assert not found.blockers


def test_a_dtype_that_gloo_let_pass(gloo: Path) -> None:
    """Int against Float of equal size ends without an error; the recorder tells."""
    found = analysed(gloo / "dtype")
    (only,) = found.findings
    assert (only.kind, only.ranks) == ("dtype-mismatch", {1})


def test_torchfrtrace_crashes_on_gloo(gloo: Path) -> None:
    """Its group table has no such group: should a newer PyTorch mend that, the how-to wants an update."""
    (said,) = torchfrtrace.verdicts([gloo / "missing"], "--allow-incomplete-ranks")
    assert "KeyError" in said.get("crashed", ""), said
