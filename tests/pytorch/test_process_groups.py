"""The handler ``process_groups``: members of real groups on Gloo, where the flight recorder does not know them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from support.programs import client_environment

RUN = """
import json, sys
import torch.distributed as dist
from oobdump.handlers.torch_groups import process_groups
{body}
"""

TWO_GROUPS = """
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
mine = dist.new_group([0])
print(json.dumps(process_groups()))
dist.destroy_process_group(mine)
print(json.dumps(process_groups()))
"""

NO_GROUP = "print(json.dumps(process_groups()))"


def run(code: str) -> list[dict[str, object]]:
    """The lines that a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=client_environment(GLOO_SOCKET_IFNAME="lo"),
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.torch
@pytest.mark.slow
def test_groups_and_their_members_are_told() -> None:
    """By the names that the recorder uses; a group that was destroyed is gone."""
    before, after = run(RUN.format(body=TWO_GROUPS))
    assert [(each["name"], each["ranks"], each["size"]) for each in before["groups"]] == [("0", "0", 1), ("1", "0", 1)]
    assert [each["name"] for each in after["groups"]] == ["0"]


@pytest.mark.torch
@pytest.mark.slow
def test_without_groups_there_are_none() -> None:
    """A program that has imported torch.distributed and joined nobody."""
    (only,) = run(RUN.format(body=NO_GROUP))
    assert only["groups"] == []


def test_without_torch_it_says_so() -> None:
    """It never imports torch itself."""
    code = "from oobdump.handlers.torch_groups import process_groups\nprocess_groups()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=client_environment(), capture_output=True, text=True, check=False
    )
    assert "NotInTorch: torch is not loaded" in done.stderr
