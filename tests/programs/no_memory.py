"""The address space is exhausted: not one more page can be mapped. The main thread waits: ``wait_without_memory``."""

from __future__ import annotations

import mmap
import resource

from _program import arm, held_lock, ready


def wait_without_memory() -> None:
    """Wait for ever."""
    lock = held_lock()
    ready()
    blocks = use_all()
    lock.acquire()
    blocks.clear()


def use_all() -> list[mmap.mmap]:
    """Forbid growth, then map what the limit's granularity leaves."""
    with open("/proc/self/statm", encoding="ascii") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now, now))
    blocks = []
    try:
        while True:
            blocks.append(mmap.mmap(-1, resource.getpagesize()))
    except (OSError, MemoryError):
        return blocks


if __name__ == "__main__":
    arm()
    wait_without_memory()
