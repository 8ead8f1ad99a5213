"""The main thread waits while it holds the interpreter's import lock: ``wait_holding_import_lock``.

Any other thread that imports something new waits with it; writing to ``RELEASE_FIFO`` makes
one try: ``import_something``.
"""

from __future__ import annotations

import _imp

from _program import arm, held_lock, ready, tempt


def import_something() -> None:
    """Import a module that nobody has imported yet."""
    import this  # noqa: F401


def wait_holding_import_lock() -> None:
    """Take the global import lock, as a ``fork`` or an importer that hangs would, and wait."""
    lock = held_lock()
    _imp.acquire_lock()
    ready()
    lock.acquire()


if __name__ == "__main__":
    arm()
    tempt(import_something)
    wait_holding_import_lock()
