"""Grows, once released, until the kernel ends it: ``grow``. In a memory cgroup that is ``CGROUP``, if that is set."""

from __future__ import annotations

import os

from _program import arm, ready, wait_until_released

CHUNK_BYTES = 2**20


def grow() -> None:
    """Take a chunk of memory after the other, and touch it."""
    kept = []
    while True:
        kept.append(bytearray(os.urandom(64)) * (CHUNK_BYTES // 64))


if __name__ == "__main__":
    if "CGROUP" in os.environ:
        with open(f"{os.environ['CGROUP']}/cgroup.procs", "w", encoding="ascii") as procs:
            procs.write(str(os.getpid()))
    arm()
    ready()
    wait_until_released()
    grow()
