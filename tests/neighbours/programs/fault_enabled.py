"""``faulthandler.enable`` by the user, into a file; once released, the main thread reads from address 0."""

from __future__ import annotations

import ctypes
import faulthandler
import os

from _neighbour import arm, ready

if __name__ == "__main__":
    arm("first")
    file = open(os.environ["NOTES"], "a")  # noqa: SIM115 - faulthandler writes to it at the end
    faulthandler.enable(file=file, all_threads=False)
    arm("last")
    ready()
    with open(os.environ["RELEASE_FIFO"], "rb") as release:
        release.read(1)
    ctypes.string_at(0)
