"""Real jobs that misbehave get the verdict that the table promises: the short form here, all by ``make jobs``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from jobs import harness
from jobs.table import JOBS, PROGRAMS, Job
from support.programs import SOURCES, client_environment

BY_NAME = {job.name: job for job in JOBS}

HELD_BY_THE_PAGE_TESTS = "skipped_collective"

LINES, COLUMNS = 40, 80

DOCUMENT_KEYS = [
    *("schema_version", "verdict", "coverage", "outliers", "stack_classes", "collectives", "waits", "progress"),
    "provenance",
]
VERDICT_KEYS = ["rule", "ranks", "confidence", "summary", "evidence"]

SHORT = [job for job in JOBS if job.short and job.name != HELD_BY_THE_PAGE_TESTS]


def test_the_table_and_the_programs_are_the_same() -> None:
    """Each program is a job, each job has its program, and every function that is named is in it."""
    assert {job.path.name for job in JOBS} == {path.name for path in PROGRAMS.glob("[!_]*.py")}
    for job in JOBS:
        assert not job.function or f"def {job.function}(" in job.path.read_text(encoding="utf-8"), job.name


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("job", SHORT, ids=lambda job: job.name)
def test_the_verdict_is_right(job: Job, tmp_path: Path) -> None:
    """The rule, the ranks, the line of the user's code and the exit code are those of the table."""
    with harness.running(job, tmp_path / "job") as started:
        found = harness.diagnose(job, started.root)
    assert not list(found.complaints()), json.dumps(found.document.get("verdict"), indent=1)


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.campaign
@pytest.mark.parametrize("job", [job for job in JOBS if not job.short], ids=lambda job: job.name)
def test_the_verdict_is_right_on_all_others(job: Job, tmp_path: Path) -> None:
    """The same for the jobs beyond the short form."""
    test_the_verdict_is_right(job, tmp_path)


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_verdict_can_be_had_again_later_and_elsewhere(tmp_path: Path) -> None:
    """Online, from the dumps, and from copies of the root, the job or one request, the verdict is one."""
    job = BY_NAME[HELD_BY_THE_PAGE_TESTS]
    with harness.running(job, tmp_path / "job") as started:
        online = harness.diagnose(job, started.root)
        page = harness.run(started.root, "diagnose", "--samples", "2", "--every", "1s", COLUMNS=str(COLUMNS))
    assert not list(online.complaints())
    assert list(online.document) == DOCUMENT_KEYS
    assert list(online.document["verdict"]) == VERDICT_KEYS
    _check_page(page.stdout)
    requests = online.document["provenance"]["requests"]
    assert len(requests) == job.samples
    _check_again(online, harness.diagnose(job, started.root, "--dump", requests[0]))
    for name, source in (
        ("root", started.root),
        ("job", started.root / "job"),
        ("request", started.root / "job" / "dumps" / requests[0]),
    ):
        copy = tmp_path / "copies" / name
        shutil.copytree(source, copy)
        again = harness.diagnose(job, tmp_path / "nowhere", "--from", str(copy))
        assert again.document["verdict"]["rule"] == job.rule, (name, again.stderr, again.document.get("verdict"))
        assert again.document["verdict"]["ranks"] == [*job.ranks], name


def _check_again(online: harness.Diagnosed, later: harness.Diagnosed) -> None:
    """From all samples, long after: the same verdict, and the same words for it."""
    assert later.code == online.code
    assert later.document["verdict"] == online.document["verdict"]
    assert later.document["provenance"]["source"] == "dumps"


def _check_page(page: str) -> None:
    """The first forty lines name rule, rank and line; none is wider than the terminal but a command to paste."""
    lines = page.splitlines()
    head = "\n".join(lines[:LINES])
    for text in ("missing-rank", "rank 2", "upload_results", "skipped_collective.py:", "who waits for whom", "next:"):
        assert text in head, page
    wide = [line for line in lines if len(line) > COLUMNS and not line.startswith("  $ ")]
    assert not wide
    assert "\x1b" not in page


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.campaign
def test_two_jobs_in_one_directory(tmp_path: Path) -> None:
    """Each is diagnosed by its name; without a name it is said that there are two, and nobody is asked."""
    jobs = {"first": BY_NAME["skipped_collective"], "second": BY_NAME["lock"]}
    root = tmp_path / "dumps"
    with ExitStack() as stack:
        for name, job in jobs.items():
            stack.enter_context(harness.running(job, tmp_path / name, name=name, root=root))
        unnamed = harness.run(root, "diagnose")
        found = {name: harness.diagnose(job, root, "--job", name) for name, job in jobs.items()}
    assert unnamed.returncode == 2
    assert "first, second" in unnamed.stderr
    assert not {name: list(each.complaints()) for name, each in found.items() if list(each.complaints())}


def test_a_diagnosis_imports_no_torch(tmp_path: Path) -> None:
    """On a machine without torch, and on one with it, the command does without."""
    code = "import sys; from oobdump.cli import diagnose; assert 'torch' not in sys.modules, 'torch'"
    done = subprocess.run([sys.executable, "-c", code], env=client_environment(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "torch.py").write_text("raise ImportError('no torch here')\n")
    path = os.pathsep.join((str(blocked), str(SOURCES)))
    done = subprocess.run(
        [sys.executable, "-m", "oobdump", "diagnose", "--from", str(tmp_path)],
        env={**client_environment(), "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 66, done.stderr
    assert "holds nothing that could be read" in done.stderr
