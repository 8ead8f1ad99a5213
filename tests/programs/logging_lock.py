"""The main thread waits while it holds logging's own locks: ``wait_holding_logging_locks``.

Any other thread that logs, or asks for a new logger, waits with it; writing to ``RELEASE_FIFO``
makes one try: ``log_something``.
"""

from __future__ import annotations

import logging

from _program import arm, held_lock, ready, tempt


def log_something() -> None:
    """Log, as any code does."""
    logging.getLogger("another").error("waits for its turn")


def wait_holding_logging_locks() -> None:
    """Take the module's lock and the root handler's, as a handler that hangs would, and wait."""
    logging.basicConfig()
    module_lock = logging._lock  # type: ignore[attr-defined]  # no public name for it on any version
    lock = held_lock()
    module_lock.acquire()
    logging.getLogger().handlers[0].acquire()
    ready()
    lock.acquire()


if __name__ == "__main__":
    arm()
    tempt(log_something)
    wait_holding_logging_locks()
