"""Bringing home what a root would not take.

In: a dump that was committed under a fallback directory of this machine. Out: the same dump
under the root, its manifest last, and the copy here removed. The rule only this module keeps:
the copy goes only after the home manifest stands.
"""

from __future__ import annotations

import os
import shutil

from oobdump.store import atomic
from oobdump.store.layout import CLAIM, MANIFEST, Layout

__all__ = ["bring_home", "prepare"]

_MAX_PART_BYTES = 2**40


def prepare(fallback: Layout) -> bool:
    """Makes a fallback directory usable; False if it is not (foreign, full, read-only)."""
    try:
        atomic.make_tree(fallback.root, fallback.job_dir, fallback.dumps)
    except Exception:  # noqa: BLE001 - one that cannot be used is passed over, whatever the reason
        return False
    return True


def bring_home(fallback: Layout, home: Layout, request_id: str, worker: str) -> bool:
    """Copies one dump home. True if it is there now; raises ``OSError`` while the root still refuses."""
    source, target = fallback.dump(request_id, worker), home.dump(request_id, worker)
    atomic.private_dir(home.request_dir(request_id))
    atomic.private_dir(target)
    names = sorted(name for name in os.listdir(source) if not name.startswith("."))
    for name in names:
        if name not in (CLAIM, MANIFEST):
            atomic.replace(f"{target}/{name}", (atomic.read_bounded(f"{source}/{name}", _MAX_PART_BYTES),))
    for name in (CLAIM, MANIFEST):
        if name in names:
            atomic.publish(f"{target}/{name}", atomic.read_bounded(f"{source}/{name}", _MAX_PART_BYTES))
    shutil.rmtree(fallback.request_dir(request_id), ignore_errors=True)
    return MANIFEST in names
