"""PyTorch's own and Lightning's use of signals is the same with and without us."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
from pathlib import Path

import pytest

from support.neighbours import running

pytestmark = [pytest.mark.torch, pytest.mark.slow]

needs_lightning = pytest.mark.skipif(
    importlib.util.find_spec("pytorch_lightning") is None, reason="pytorch-lightning is not installed for this Python"
)

SCONTROL = """#!/bin/sh
echo "scontrol $*" >> "$NOTES"
"""


def test_record_writes_the_same_error(tmp_path: Path) -> None:
    """``record`` enables faulthandler, writes the error file and ends with the same status."""
    found = {}
    for arm in ("", "first"):
        directory = tmp_path / (arm or "alone")
        error_file = tmp_path / f"{arm}.json"
        with running("torch_record", directory, arm, env={"TORCHELASTIC_ERROR_FILE": str(error_file)}) as rank:
            if arm:
                rank.answers_by_signal(signal.SIGUSR1)
                assert rank.answers_by_file() == ["signal", "request_file"]
            rank.running.release()
            code = rank.running.wait_for_exit()
            message = json.loads(error_file.read_text())["message"]["message"]
            found[arm] = (code, rank.notes, message, rank.running.stderr.count("ValueError: as told"))
    assert found[""] == (1, ["faulthandler True"], "ValueError: as told", 1)
    assert found["first"] == found[""]


@needs_lightning
def test_lightning_requeues_its_slurm_job(tmp_path: Path) -> None:
    """In a Slurm job SIGUSR1 saves a checkpoint and requeues, whenever ``start()`` was called; we answer by file.

    Also if SIGUSR1 was ignored before the program began, as ``oobdump run`` leaves it: Lightning would find it taken.
    """
    found = {}
    for arm in ("", "first", "imported"):
        directory = tmp_path / (arm or "alone")
        env = {**slurm(directory), **({"OOBDUMP_ARM": "1"} if arm == "first" else {})}
        with running("lightning_fit", directory, arm, env=env, waits=False) as fit:
            notes = fit.send([signal.SIGUSR1, signal.SIGUSR1])
            found[arm] = (notes, [path.name for path in (directory / "lightning").glob("hpc_ckpt_1*")])
            if arm:
                assert fit.answers_by_file() == ["request_file"]
                (problem,) = fit.entry["problems"]
                assert problem.startswith("SIGUSR1 is left to PyTorch Lightning, which requeues the Slurm job on it: ")
    assert found[""] == (["scontrol requeue 4711"] * 2, ["hpc_ckpt_1.ckpt"])
    assert found["first"] == found["imported"] == found[""]


@needs_lightning
def test_lightning_outside_slurm_leaves_us_the_signal(tmp_path: Path) -> None:
    """It is answered in the midst of the fit, and after the fit put all handlers back."""
    with running("lightning_fit", tmp_path, "first", env={"STEPS": "40"}, waits=False) as fit:
        fit.answers_by_signal(signal.SIGUSR1)
        fit.wait_for_notes(1)
        fit.answers_by_signal(signal.SIGUSR1)
        assert fit.notes == ["fit ended 40 False"]
        assert not fit.entry["problems"]


def slurm(directory: Path) -> dict[str, str]:
    """The environment of a Slurm job of one task, and a ``scontrol`` that notes what it is told."""
    scontrol = directory / "bin" / "scontrol"
    scontrol.parent.mkdir(parents=True)
    scontrol.write_text(SCONTROL)
    scontrol.chmod(0o755)
    one = dict.fromkeys(("SLURM_NTASKS", "SLURM_NNODES", "SLURM_NTASKS_PER_NODE"), "1")
    zero = dict.fromkeys(("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"), "0")
    job = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "train", "SLURM_NODELIST": "localhost"}
    return {**one, **zero, **job, "PATH": f"{scontrol.parent}{os.pathsep}{os.environ['PATH']}"}
