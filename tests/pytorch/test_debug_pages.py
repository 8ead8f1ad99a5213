"""PyTorch's own debug pages (``torch.distributed.debug``) on a hung 2-rank job, fetched from our worker server."""

from __future__ import annotations

import http.client
import os
import re
import socket
import time
from pathlib import Path

import pytest

from support import programs

PAGE_WITHIN_S = 60.0
"""The pages are served by a process that PyTorch forks; it imports what it needs first."""


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on now."""
    with socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return int(probe.getsockname()[1])


def page(port: int, path: str) -> tuple[int, str]:
    """One page, as soon as somebody serves it."""
    deadline = time.monotonic() + PAGE_WITHIN_S
    while True:
        connection = http.client.HTTPConnection("localhost", port, timeout=PAGE_WITHIN_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)  # nothing says when PyTorch's process listens
        finally:
            connection.close()


@pytest.mark.torch
@pytest.mark.slow
def test_pytorchs_pages_show_the_stacks_of_both_ranks(tmp_path: Path) -> None:
    """One block a rank: the rank that waits in the collective, and the one that never entered it.

    The other pages find their answers, too: recorder, wait counters, py-spy. The serving process is
    PyTorch's; what it asks is ``oobdump.control_plane.WorkerServer`` on ``[::]``, as PyTorch opens its own.
    """
    port = free_port()
    extra = {"DEBUG_PORT": str(port), "ODD_RANK": "1"}
    with programs.running("debug_pages", tmp_path, env=extra) as program:
        status, text = page(port, "/stacks")
        blocks = re.findall(r"<pre>(.*?)</pre>", text, re.DOTALL)
        assert status == 200
        assert len(blocks) == 2
        assert "in enter_all_reduce" in blocks[0]
        assert "in stay_outside" in blocks[1]
        assert "Failed to fetch" not in text
        for other, word in (
            ("/fr_trace_json", "pg_config"),
            ("/wait_counters", "<pre>"),
            ("/pyspy_dump", "stay_outside"),
        ):
            status, text = page(port, other)
            assert status == 200, (other, text[-2000:])
            assert word in text, (other, text[-2000:])
            assert "Failed to fetch" not in text, (other, text[-2000:])
        assert all(os.path.exists(f"/proc/{pid}") for pid in program.pids)
