"""PyTorch's C++ server runs our handlers, and the process exits: cleanly, every time, whichever way.

In: a number of exits. Out: a row for each way to leave (let go, ``leave``, ``detach``, a forked child
besides, an answer under way); a finding for each exit that was not with status 0, or that wrote
what a dying interpreter writes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ground

EXITS = 50

ENDS_WITHIN_S = 120.0
"""An import of torch on a loaded machine takes ten seconds or more."""

COMMON = """
import os, socket, sys, threading, time
from oobdump import codecs, handlers
from oobdump.registry import Registry
from oobdump.torch_bridge import TorchBridge, trampolines
codecs.load_all()
registry = Registry()
handlers.load(registry)
released = threading.Event()
def slow(request, response):
    released.wait(0.3)
    response.set_content("late", "text/plain")
registry.register("slow", slow)
bridge = TorchBridge()
path = sys.argv[1]
def ask(name, read=True):
    asking = socket.socket(socket.AF_UNIX)
    asking.settimeout(20)
    asking.connect(path)
    asking.sendall(f"POST /handler/{name} HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 0\\r\\n\\r\\n".encode())
    if read:
        assert asking.recv(65536).startswith(b"HTTP/1.1 200"), name
    return asking
bridge.attach(registry, path)
import torch
for name in ("ping", "stacks", "process", "dump_nccl_trace_pickle", "slow"):
    last = ask(name)
"""

WAYS = {
    "let go": "",
    "leave": "bridge.leave()",
    "detach": "last.close()\nbridge.detach()\nassert not bridge.problems, bridge.problems",
    "after a fork": """
child = os.fork()
if child == 0:
    bridge.forget()
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
bridge.leave()
""",
    "under way": """
last = ask("slow", read=False)
while not trampolines.answering():
    time.sleep(0.001)
bridge.leave()
""",
}
"""What a process does last. Each is a way in which PyTorch's own processes were seen dying."""

LAST_WORDS = ("Fatal Python error", "terminate called", "exception not rethrown", "Traceback")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; 1 if any exit was not clean."""
    parser = ground.parser(__doc__)
    parser.add_argument("--exits", type=int, default=EXITS, help="processes in all, over the ways in turn")
    options = parser.parse_args(argv)
    with ground.workplace("exits") as place:
        rows = campaign(place, options.exits)
    return ground.show("exits", rows, place.findings, [], as_json=options.json)


def campaign(place: ground.Workplace, exits: int) -> list[dict[str, Any]]:
    """All exits, the ways in turn; one row for each way."""
    rows = {way: {"way": way, "exits": 0, "clean": 0, "seconds": 0.0} for way in WAYS}
    for number in range(exits):
        way = list(WAYS)[number % len(WAYS)]
        began = time.monotonic()
        finding = leave_once(place.path / f"{number}.sock", WAYS[way])
        row: dict[str, Any] = rows[way]
        row["exits"] += 1
        row["clean"] += not finding
        row["seconds"] = round(row["seconds"] + time.monotonic() - began, 1)
        if finding:
            place.findings.append(f"{way}: {finding}")
    return [row for row in rows.values() if row["exits"]]


def leave_once(socket_path: Path, last: str) -> str:
    """One process; what was wrong with its end, or nothing."""
    environ = {**os.environ, "PYTHONPATH": str(ground.ROOT / "src")}
    command = [sys.executable, "-c", COMMON + last, str(socket_path)]
    try:
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=ENDS_WITHIN_S, check=False)
    except subprocess.TimeoutExpired:
        return f"did not end within {ENDS_WITHIN_S:g} s"
    if done.returncode or any(words in done.stderr for words in LAST_WORDS):
        return f"status {done.returncode}: {done.stderr[-800:]}"
    return ""


if __name__ == "__main__":
    sys.exit(main())
