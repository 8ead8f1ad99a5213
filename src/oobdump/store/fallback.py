"""Bringing home what a root would not take.

In: a dump that was committed under a fallback directory of this machine. Out: the same dump
under the root, its manifest last, and the copy here removed. The rule only this module keeps:
the copy goes only after the home manifest stands.
"""

from __future__ import annotations

import os
import shutil

from oobdump.store import atomic
from oobdump.store.layout import CLAIM, MANIFEST, REQUEST, Layout

__all__ = ["bring_home"]

_MAX_PART_BYTES = 2**40


def bring_home(fallback: Layout, home: Layout, request_id: str, worker: str) -> bool:
    """Copies one dump home. True if it is there now; raises ``OSError`` while the root still refuses.

    False if it was committed in neither place: then nothing is moved, and nothing removed.
    """
    if not _stands(home.manifest(request_id, worker)):
        if not _stands(fallback.manifest(request_id, worker)):
            return False
        _copy(fallback, home, request_id, worker)
    _clear(fallback, request_id, fallback.dump(request_id, worker))
    return True


def _copy(fallback: Layout, home: Layout, request_id: str, worker: str) -> None:
    source, target = fallback.dump(request_id, worker), home.dump(request_id, worker)
    atomic.private_dir(home.request_dir(request_id))
    atomic.private_dir(target)
    request = fallback.request_json(request_id)
    if _stands(request):
        atomic.publish(home.request_json(request_id), atomic.read_bounded(request, _MAX_PART_BYTES))
    for name in os.listdir(source):
        if name not in (CLAIM, MANIFEST) and not name.startswith("."):
            atomic.replace(f"{target}/{name}", (atomic.read_bounded(f"{source}/{name}", _MAX_PART_BYTES),))
    for name in (CLAIM, MANIFEST):
        atomic.publish(f"{target}/{name}", atomic.read_bounded(f"{source}/{name}", _MAX_PART_BYTES))


def _stands(path: str) -> bool:
    """Whether a file is there. A directory that does not answer is an error: it is not the same as absent."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _clear(fallback: Layout, request_id: str, source: str) -> None:
    """Removes the copy, and the request's directory after its last worker's (another one may still be there)."""
    shutil.rmtree(source, ignore_errors=True)
    try:
        if os.listdir(fallback.request_dir(request_id)) == [REQUEST]:
            os.unlink(fallback.request_json(request_id))
            os.rmdir(fallback.request_dir(request_id))
    except OSError:
        pass  # another worker came or went meanwhile
