"""A module whose import never finishes; see ``import_unfinished.py``."""

from __future__ import annotations

from _program import held_lock, ready


def wait_while_imported() -> None:
    """Wait for ever at import time."""
    lock = held_lock()
    ready()
    lock.acquire()


wait_while_imported()
