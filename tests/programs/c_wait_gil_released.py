"""The main thread waits in C with the GIL released: ``wait_in_c_without_gil``.

Unlike ``sleep`` and ``pause``, this C call does not return early for a signal.
"""

from __future__ import annotations

import ctypes

from _program import arm, held_mutex, ready


def wait_in_c_without_gil() -> None:
    """Lock a mutex twice through ``CDLL``, which releases the GIL around the call."""
    mutex = held_mutex()
    lock_mutex = ctypes.CDLL(None).pthread_mutex_lock
    ready()
    lock_mutex(mutex)


if __name__ == "__main__":
    arm()
    wait_in_c_without_gil()
