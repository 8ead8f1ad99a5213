"""The main thread is inside an import that never finishes: ``import_what_never_finishes``.

The innermost frame is ``wait_while_imported``, called by the module's own top level. Writing to
``RELEASE_FIFO`` makes another thread import the same module: ``import_it_too``.
"""

from __future__ import annotations

from _program import arm, tempt


def import_what_never_finishes() -> None:
    """Import a module whose top level waits; its module lock stays taken."""
    import _never_imported  # noqa: F401  # this import is the hang


def import_it_too() -> None:
    """Wait for the module's own lock."""
    import _never_imported  # noqa: F401


if __name__ == "__main__":
    arm()
    tempt(import_it_too)
    import_what_never_finishes()
