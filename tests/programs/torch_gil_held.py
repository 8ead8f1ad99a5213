"""torch is loaded, and the main thread waits in C and keeps the GIL: ``wait_in_c_with_gil``."""

from __future__ import annotations

import ctypes

import torch.distributed  # noqa: F401 - brings the control plane, whose server answers without the GIL
from _program import arm, held_mutex, ready


def wait_in_c_with_gil() -> None:
    """Lock a mutex twice through ``PyDLL``, which keeps the GIL around the call."""
    mutex = held_mutex()
    lock_mutex = ctypes.PyDLL(None).pthread_mutex_lock
    ready()
    lock_mutex(mutex)


if __name__ == "__main__":
    arm()
    wait_in_c_with_gil()
