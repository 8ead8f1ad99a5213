"""A forked child waits for work (``child_waits_for_work``), its parent for the child: ``parent_waits_for_child``.

The two announce themselves on their own: two lines ``ready``.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing.process import BaseProcess

from _program import arm, ready


def child_waits_for_work() -> None:
    """Get from a queue that nobody fills."""
    queue: multiprocessing.Queue[int] = multiprocessing.get_context("fork").Queue()
    ready()
    queue.get()


def parent_waits_for_child(child: BaseProcess) -> None:
    """Join a child that never ends."""
    ready()
    child.join()


def main() -> None:
    """Fork, then hang on both sides."""
    arm()
    child = multiprocessing.get_context("fork").Process(target=child_waits_for_work, name="child", daemon=True)
    child.start()
    parent_waits_for_child(child)


if __name__ == "__main__":
    main()
