"""``faulthandler.enable`` by the user, into a file; then a crash."""

from __future__ import annotations

import faulthandler
import os
import signal

from _neighbour import arm, ready

if __name__ == "__main__":
    arm("first")
    file = open(os.environ["NOTES"], "a")  # noqa: SIM115 - faulthandler writes to it at the end
    faulthandler.enable(file=file, all_threads=False)
    arm("last")
    ready()
    signal.pause()
