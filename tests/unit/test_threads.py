"""Looking at other threads must not stop the process, whatever the collector finds meanwhile."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from oobdump import threads

SRC = str(Path(threads.__file__).parents[1])

TRAP = """
import _thread, faulthandler, gc, os, threading, time
from oobdump.threads import current_frames

wanted = threading.Lock()

class WantsLock:
    def __init__(self):
        self.me = self
    def __del__(self):
        with wanted:
            pass

gc.disable()
wanted.acquire()
for _ in range(2000):
    WantsLock()

looked = []

def look():
    gc.set_threshold(1)
    gc.enable()
    looked.append(len(current_frames()))

_thread.start_new_thread(look, ())
time.sleep(0.3)
gc.disable()
faulthandler.dump_traceback_later(10, exit=True)
_thread.start_new_thread(lambda: None, ())
print("started", flush=True)
os._exit(0)
"""


def test_looking_at_frames_never_stops_the_process() -> None:
    """A collection that runs a waiting ``__del__`` while frames are listed leaves the list of threads usable.

    In CPython 3.11 it otherwise ends with that list locked: the next thread that starts holds the GIL for ever.
    """
    environ = {**os.environ, "PYTHONPATH": SRC}
    done = subprocess.run(
        [sys.executable, "-c", TRAP], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "started\n", done.stderr


@pytest.mark.parametrize("switch", [gc.enable, gc.disable])
def test_the_collector_is_left_as_it_was(switch: Callable[[], None]) -> None:
    """Switching it off is for the look alone, and who had it off keeps it off."""
    before = gc.isenabled()
    switch()
    try:
        on = gc.isenabled()
        threads.current_frames()
        assert gc.isenabled() is on
    finally:
        (gc.enable if before else gc.disable)()
