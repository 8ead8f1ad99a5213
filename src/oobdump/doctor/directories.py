"""The directories that a dump needs: may they be used, do they take a file, is there room.

In: a root, a job, the runtime and fallback directories. Out: findings. The rule only this module keeps:
what is tried is tried with a real file where the dump would be written, and nothing is left behind.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator

from oobdump.channels.http_listen import MAX_PATH_BYTES, socket_path
from oobdump.config import fallback_dirs, runtime_dir_candidates
from oobdump.doctor.model import Check, Finding, Kind, Subject
from oobdump.errors import StoreError
from oobdump.identity import Machine, name_of
from oobdump.store import atomic, trial

__all__ = ["CHECKS", "deepest"]

LOW_BYTES = 256 * 2**20
"""The stacks of a thousand ranks take some 50 MiB."""

LOW_INODES = 10_000
"""A request at a thousand ranks makes some 4,000 files and directories."""

_TRIED_BYTES = 2**17
"""More than a file system keeps in its directory entry, and as much as a dump of stacks."""

_LONGEST_PID = 4_194_304

ROOT_FOREIGN = Kind(
    "root-foreign",
    "error",
    "start() refuses the directory, because whoever made it or can write in it decides what is read",
    "set another directory with OOBDUMP_DIR (for workers) and --dir (for commands)",
)
ROOT_MISSING = Kind(
    "root-missing",
    "note",
    "nobody has dumped here: the first worker makes the directory",
    "if workers run already, set OOBDUMP_DIR as they have it",
)
ROOT_TAKES_NOTHING = Kind(
    "root-takes-no-file",
    "error",
    "no dump can be written here; a worker would use its fallback directory",
    "make room or mend the permissions, or set another directory with OOBDUMP_DIR",
)
JOB_FOREIGN = Kind(
    "job-foreign",
    "error",
    "a directory of the job is not ours, so it is not used",
    "set another job (OOBDUMP_JOB), or have its owner remove it",
)
JOB_OPEN = Kind(
    "job-open",
    "warning",
    "others can read dumps, which hold what the program holds, or drop requests",
    "chmod 700 it; a worker that starts does so too",
)
SPACE_LOW = Kind(
    "space-low",
    "warning",
    "a request to all ranks may not fit",
    "`oobdump prune`, a lower OOBDUMP_KEEP_BYTES, or another directory",
)
INODES_LOW = Kind(
    "inodes-low",
    "warning",
    "a request to all ranks may find no inode for its files",
    "`oobdump prune`, a lower OOBDUMP_KEEP, or another directory",
)
FALLBACK_NONE = Kind(
    "fallback-none",
    "warning",
    "a dump that the root does not take in time is lost",
    "set OOBDUMP_FALLBACK_DIR to a directory of this machine that takes files",
)
RUNTIME_NONE = Kind(
    "runtime-none",
    "error",
    "a worker has no bell that others can ring, and no socket: it answers by file events and signals only",
    "set OOBDUMP_RUNTIME_DIR to a directory of this machine that is yours alone",
)
XDG_UNUSABLE = Kind(
    "xdg-unusable",
    "note",
    "XDG_RUNTIME_DIR cannot be used, so the runtime directory is below /tmp",
    "nothing to do; asker and worker look in the same places",
)
SOCKET_PATH_LONG = Kind(
    "socket-path-long",
    "warning",
    "a Unix socket's path holds 107 bytes, so no HTTP is served",
    "set OOBDUMP_RUNTIME_DIR to a shorter path, or a shorter OOBDUMP_JOB",
)


def deepest(subject: Subject) -> str | None:
    """The directory nearest to where dumps are written that is there; None if not even the root is."""
    layout = subject.layout
    return next((path for path in (layout.dumps, layout.job_dir, layout.root) if os.path.isdir(path)), None)


def _root(subject: Subject) -> Iterator[Finding]:
    root = subject.layout.root
    if os.path.lexists(root):
        try:
            atomic.shared_root(root)
        except StoreError as error:
            yield ROOT_FOREIGN.found(str(error), path=root)
        return
    parent = _existing_parent(root)
    if not os.access(parent, os.W_OK | os.X_OK):
        yield ROOT_TAKES_NOTHING.found(f"{root} is not there, and {parent} lets us make nothing", path=root)
    else:
        yield ROOT_MISSING.found(f"{root} is not there", path=root)


def _job(subject: Subject) -> Iterator[Finding]:
    layout = subject.layout
    for path in (layout.job_dir, layout.roster, layout.inbox, layout.dumps):
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            what = f"belongs to uid {found.st_uid}, and we are uid {os.geteuid()}"
            yield JOB_FOREIGN.found(
                f"{path} {what if stat.S_ISDIR(found.st_mode) else 'is no directory'}", path=path, uid=found.st_uid
            )
        elif found.st_mode & 0o077:
            yield JOB_OPEN.found(f"{path} has mode {stat.S_IMODE(found.st_mode):04o}", path=path)


def _takes_a_file(subject: Subject) -> Iterator[Finding]:
    directory = deepest(subject)
    if directory is not None and (error := trial.takes_file(directory, _TRIED_BYTES)) is not None:
        yield ROOT_TAKES_NOTHING.found(
            f"writing {_TRIED_BYTES} bytes into {directory} fails: {error.strerror}",
            path=directory,
            error=type(error).__name__,
            errno=error.errno,
        )


def _room(subject: Subject) -> Iterator[Finding]:
    directory = deepest(subject) or _existing_parent(subject.layout.root)
    found = os.statvfs(directory)
    free = found.f_bavail * found.f_frsize
    if free < LOW_BYTES:
        yield SPACE_LOW.found(f"{free // 2**20} MiB are free in {directory}", path=directory, free_bytes=free)
    if found.f_files and found.f_favail < LOW_INODES:
        yield INODES_LOW.found(f"{found.f_favail} inodes are free in {directory}", path=directory, free=found.f_favail)


def _fallback(subject: Subject) -> Iterator[Finding]:
    yield from _none_usable(fallback_dirs(subject.settings.fallback_dir), trial.takes_file, FALLBACK_NONE)


def _runtime(subject: Subject) -> Iterator[Finding]:
    candidates = runtime_dir_candidates(subject.settings.runtime_dir, subject.environ)
    yield from _none_usable(candidates, trial.takes_fifo, RUNTIME_NONE)
    xdg = subject.environ.get("XDG_RUNTIME_DIR", "")
    usable = [path for path in candidates if _why_unusable(path, trial.takes_fifo) is None]
    if xdg and not subject.settings.runtime_dir and f"{xdg}/oobdump" not in usable:
        yield XDG_UNUSABLE.found(f"XDG_RUNTIME_DIR is {xdg!r}, which {_not_private(xdg) or 'takes no FIFO'}", path=xdg)
    longest = name_of(99_999, Machine.here().host, _LONGEST_PID)
    path = socket_path(usable[0], subject.layout.job, longest) if usable else ""
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        yield SOCKET_PATH_LONG.found(f"{path} would have {len(os.fsencode(path))} bytes", path=path)


def _none_usable(places: list[str], takes: Callable[[str], OSError | None], kind: Kind) -> Iterator[Finding]:
    """A finding if none of these directories can be used; each with its reason."""
    reasons = {path: _why_unusable(path, takes) for path in places}
    if None not in reasons.values():
        yield kind.found("; ".join(f"{path}: {why}" for path, why in reasons.items()), tried=reasons)


def _why_unusable(path: str, takes: Callable[[str], OSError | None]) -> str | None:
    """Why a private directory at ``path`` cannot be had; None if it can. It is not made."""
    there = path if os.path.lexists(path) else _existing_parent(path)
    if there in (path, os.path.dirname(path)) and (why := _not_private(there)):
        return f"{there} {why}"
    error = takes(there)
    return None if error is None else f"{there}: {error.strerror}"


def _not_private(path: str) -> str:
    try:
        found = os.lstat(path)
    except OSError as error:
        return "is not there" if isinstance(error, FileNotFoundError) else f"cannot be looked at: {error.strerror}"
    if not stat.S_ISDIR(found.st_mode):
        return "is no directory"
    if found.st_uid not in (0, os.geteuid()):
        return f"belongs to uid {found.st_uid}, and we are uid {os.geteuid()}"
    open_to_others = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
    return f"is writable by others (mode {stat.S_IMODE(found.st_mode):04o})" if open_to_others else ""


def _existing_parent(path: str) -> str:
    while not os.path.isdir(path) and path not in ("/", ""):
        path = os.path.dirname(path)
    return path or "/"


CHECKS = (
    Check("root", "machine", "owner and mode of the root", (ROOT_FOREIGN, ROOT_MISSING, ROOT_TAKES_NOTHING), _root),
    Check("job", "machine", "owners and modes of the job's directories", (JOB_FOREIGN, JOB_OPEN), _job),
    Check("writing", "machine", "a file is written where dumps go", (ROOT_TAKES_NOTHING,), _takes_a_file),
    Check("room", "machine", "free bytes and inodes", (SPACE_LOW, INODES_LOW), _room),
    Check("fallback", "machine", "a file is written where dumps go otherwise", (FALLBACK_NONE,), _fallback),
    Check(
        "runtime",
        "machine",
        "a FIFO is made where bells are; the length of a socket's path",
        (RUNTIME_NONE, XDG_UNUSABLE, SOCKET_PATH_LONG),
        _runtime,
    ),
)
