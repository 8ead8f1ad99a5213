"""``oobdump run -- torchrun …``: the agent, the ranks and what they start, each with its role, none harmed."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections import Counter
from pathlib import Path

import pytest

from support import dumps, proc, programs
from support.installed import WITHIN_S, Installed

RANK = """
import os, sys, time
import torch, torch.utils.data
class Rows(torch.utils.data.Dataset):
    def __len__(self): return 10**9
    def __getitem__(self, index): time.sleep(0.01); return torch.ones(1)
if __name__ == "__main__":
    rows = torch.utils.data.DataLoader(Rows(), num_workers=1, multiprocessing_context="spawn")
    for row in rows:
        if os.path.exists(sys.argv[1]): break
    print("done", os.environ["RANK"], flush=True)
"""


@pytest.mark.torch
@pytest.mark.slow
def test_every_process_of_torchrun_has_its_role_and_survives_the_signal(armed: Installed, tmp_path: Path) -> None:
    """Under a launcher of launchers, too: ``SLURM_PROCID`` says 0 to all, as ``srun torchrun`` does.

    One rank each for 0 and 1, their DataLoader workers as children, trackers and the agent as others; the request
    signal at each of them gives a dump of each, and the job ends with status 0.
    """
    (tmp_path / "rank.py").write_text(RANK)
    end = tmp_path / "end"
    launcher = ["torchrun", "--nnodes=1", "--nproc-per-node=2", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0"]
    words = [*armed.run, *launcher, "--local-addr=127.0.0.1", str(tmp_path / "rank.py"), str(end)]
    token = uuid.uuid4().hex
    agent = armed.start(tmp_path, words, token, SLURM_PROCID="0", OOBDUMP_KEEP="0")
    job = tmp_path / "dumps" / "job"
    try:
        wanted = Counter({(0, "rank"): 1, (1, "rank"): 1, (0, "child"): 1, (1, "child"): 1})
        wanted += Counter({(0, "other"): 1, (1, "other"): 1, (None, "other"): 1})
        dumps.until(lambda: roles(job) == wanted, f"{wanted} in the roster", WITHIN_S)
        pids = {entry["pid"] for entry in dumps.roster(job).values()}
        assert agent.pid in pids
        dumps.until(
            lambda: shot_all(pids) and {dump.pid for dump in dumps.committed(job)} >= pids, "a dump of each", 60
        )
        assert dumps.rejected(job) == {}
        end.touch()
        assert agent.wait(WITHIN_S) == 0, (tmp_path / "stderr").read_text()[-2000:]
    finally:
        for pid in proc.carrying(programs.TOKEN, token):
            proc.kill_carrier(pid, programs.TOKEN, token)
        agent.wait(WITHIN_S)
    assert sorted((tmp_path / "stdout").read_text().splitlines()) == ["done 0", "done 1"]
    assert not any((tmp_path / "run").rglob("*.fifo"))


def roles(job: Path) -> Counter[tuple[int | None, str]]:
    """How many there are of each rank and role."""
    return Counter((entry["rank"], entry["role"]) for entry in dumps.roster(job).values())


def shot_all(pids: set[int]) -> bool:
    """The request signal at each; several times, as people do."""
    for pid in pids:
        os.kill(pid, signal.SIGUSR1)
    time.sleep(0.5)
    return True
