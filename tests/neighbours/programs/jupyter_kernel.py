"""A Jupyter kernel with a cell that sleeps, and a client that runs one after the other as each is interrupted."""

from __future__ import annotations

import os
from pathlib import Path

from _neighbour import note
from jupyter_client.manager import start_new_kernel

PREPARE = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
import time; from _neighbour import arm, note, ready
arm("first"); ready()
"""

CELL = "note('cell begins'); time.sleep(600)"


def run_cells() -> None:
    """Notes how each cell ended."""
    _manager, client = start_new_kernel(kernel_name="python3", extra_arguments=["--HistoryManager.enabled=False"])
    client.execute_interactive(PREPARE, timeout=60)
    while True:
        reply = client.execute_interactive(
            "note('cell begins'); time.sleep(600)", timeout=600, output_hook=lambda _message: None
        )
        after = client.execute_interactive("6 * 7", timeout=60, output_hook=lambda _message: None)
        note(reply["content"].get("ename", reply["content"]["status"]), after["content"]["status"])


if __name__ == "__main__":
    os.environ.setdefault("IPYTHONDIR", str(Path(os.environ["NOTES"]).with_name("ipython")))
    run_cells()
