"""Another thread is in D state (``d_state.wait_in_vfork``), and the main thread waits for it: ``wait_for_the_thread``.

The main thread would run if it were asked to: only whoever stops all threads waits for the one in D state.
"""

from __future__ import annotations

import os
import threading

import d_state
from _program import arm


def wait_for_the_thread(thread: threading.Thread) -> None:
    """Join a thread that no signal can reach."""
    thread.join()


if __name__ == "__main__":
    arm()
    stuck = threading.Thread(target=d_state.wait_in_vfork, args=(os.environ["RELEASE_FIFO"],), daemon=True)
    stuck.start()
    wait_for_the_thread(stuck)
