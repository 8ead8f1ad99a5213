"""Where bells are: one FIFO per worker in a node-local directory that is ours alone.

In: settings and an identity. Out: a ``Bell``, and in words what keeps others from ringing it.
Bells and sockets of workers that are gone are swept: a killed worker cannot remove them itself.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable

from oobdump.channels.bell import Bell, is_heard
from oobdump.config import runtime_dir_candidates
from oobdump.errors import StoreError
from oobdump.identity import Identity, is_alive, parse_name
from oobdump.store import atomic

__all__ = ["job_directory", "left_by_the_dead", "open_bell", "sweep"]

WORDS = ".last_words"

KEEP_WORDS_S = 7 * 86400.0
"""As long as dumps are kept: nobody asks later."""


def open_bell(runtime_dir: str | None, identity: Identity, on_byte: Callable[[int], None]) -> tuple[Bell, list[str]]:
    """The bell of a worker in the first directory that can be used, and what was wrong if there is none."""
    reasons = []
    for candidate in runtime_dir_candidates(runtime_dir):
        directory = f"{candidate}/{identity.job}"
        try:
            atomic.make_tree(os.path.dirname(candidate), candidate, directory)
            return Bell(f"{directory}/{identity.worker}.fifo", on_byte), []
        except (OSError, StoreError) as error:
            reasons.append(str(error))
    return Bell(None, on_byte), [f"others cannot ring this worker's bell: {'; '.join(reasons)}"]


def job_directory(runtime_dir: str | None, job: str) -> str:
    """Where a worker of a job that starts now would have its bell. Raises ``StoreError`` if there is no such place."""
    reasons = []
    for candidate in runtime_dir_candidates(runtime_dir):
        try:
            atomic.make_tree(os.path.dirname(candidate), candidate, f"{candidate}/{job}")
        except (OSError, StoreError) as error:
            reasons.append(str(error))
        else:
            return f"{candidate}/{job}"
    raise StoreError("; ".join(reasons))


def left_by_the_dead(directory: str, here: Identity) -> dict[str, list[str]]:
    """What dead workers of this machine left in a job's runtime directory: paths by worker.

    One whose bell is heard is not dead: containers with pid namespaces of their own may share the directory.
    Last words that somebody may still want are not among the paths.
    """
    left: dict[str, list[str]] = {}
    for name in os.listdir(directory):
        worker = name.removeprefix("torch.").removesuffix(".fifo").removesuffix(".sock").removesuffix(WORDS)
        parsed = parse_name(worker)
        if parsed is None or parsed[1] != here.host or parsed[2] == here.pid:
            continue
        if is_alive(here.machine, parsed[2], None) is False and not is_heard(f"{directory}/{worker}.fifo"):
            paths = left.setdefault(worker, [])
            if not _still_read(f"{directory}/{name}"):
                paths.append(f"{directory}/{name}")
    return left


def _still_read(path: str) -> bool:
    """Whether it holds last words that somebody may still want."""
    if not path.endswith(WORDS):
        return False
    try:
        found = os.stat(path)
    except OSError:
        return False
    return found.st_size > 0 and time.time() - found.st_mtime < KEEP_WORDS_S


def sweep(paths: Iterable[str]) -> None:
    """Removes that."""
    for path in paths:
        try:
            os.unlink(path)
        except OSError:
            pass
