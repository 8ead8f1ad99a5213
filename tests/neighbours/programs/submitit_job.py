"""A submitit job on this machine, and its executor, which runs it again when it asks to be requeued."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import submitit
from _neighbour import note
from _submitit_task import Task

if __name__ == "__main__":
    program = Path(__file__).with_name("_submitit_task.py")
    python = shlex.join([sys.executable, str(program)])
    executor = submitit.LocalExecutor(Path(os.environ["NOTES"]).with_name("submitit"), python=python)
    executor.update_parameters(timeout_min=5)
    note("result", executor.submit(Task()).result())
