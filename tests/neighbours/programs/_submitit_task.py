"""What a submitit job runs: it waits, makes a checkpoint of itself when it is told to, and is resumed once.

Run as a program, this is the Python of the job: it arms oobdump first, where it is told to, and hands over.
"""

from __future__ import annotations

import runpy
import sys
import time
from typing import Any

from _neighbour import arm, note, ready


class Task:
    """Counts how often it was resumed."""

    def __init__(self, resumed: int = 0) -> None:
        self.resumed = resumed

    def __call__(self) -> int:
        """The first time it waits for its preemption, the second time it ends."""
        if self.resumed:
            note("resumed", self.resumed)
        else:
            arm("last")
            ready()
            time.sleep(600)
        return self.resumed

    def checkpoint(self) -> Any:
        """Called in submitit's signal handler."""
        import submitit

        note("checkpoint", self.resumed)
        return submitit.helpers.DelayedSubmission(Task(self.resumed + 1))


if __name__ == "__main__":
    arm("first")
    sys.argv = [word for word in sys.argv[1:] if word not in ("-u", "-m")]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
