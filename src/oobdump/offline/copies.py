"""Dumps in a directory that was copied from elsewhere: a root, a job, one request, or one dump of it.

In: a path. Out: a ``Layout`` of which the rest of oobdump reads as if the job had been here, and the
id of a request; None where the path holds no dumps. The rule only this module keeps: a copy may have
any name; what it holds is told by what is in it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from oobdump.errors import StoreError
from oobdump.store import reader
from oobdump.store.atomic import read_bounded
from oobdump.store.layout import MANIFEST, REQUEST, Layout, writer_of

__all__ = ["CopiedRequest", "Copy", "copy_at"]

_MAX_MANIFEST_BYTES = 2**24


@dataclass(frozen=True)
class CopiedRequest(Layout):
    """A layout of which only one request is here, in a directory of any name."""

    directory: str = ""

    def request_dir(self, request: str) -> str:  # noqa: ARG002 - there is only one
        """Where the one request is."""
        return self.directory

    def request_json(self, request: str) -> str:  # noqa: ARG002 - see above
        """The request as accepted, if it was copied too."""
        return f"{self.directory}/{REQUEST}"

    def dump(self, request: str, writer: str) -> str:  # noqa: ARG002 - see above
        """One writer's dump."""
        return f"{self.directory}/{writer}"

    def manifest(self, request: str, writer: str) -> str:  # noqa: ARG002 - see above
        """The file whose presence is the commit."""
        return f"{self.directory}/{writer}/{MANIFEST}"


@dataclass(frozen=True)
class Copy:
    """Where to read: one request of one job; ``only`` is the writer where one dump was meant."""

    layout: Layout
    request_id: str
    only: str | None = None


def copy_at(path: str, request_id: str | None = None) -> Copy | None:
    """What is there: the request named, else the newest. Raises ``StoreError`` where that cannot be told."""
    path = os.path.abspath(path)
    parent, name = os.path.split(path)
    if os.path.isfile(f"{path}/{MANIFEST}") and writer_of(name):
        return _request(parent, name)
    if _has_dumps(path):
        return _request(path, None)
    if os.path.isdir(f"{path}/dumps"):
        return _job(Layout(parent, name), request_id)
    if name == "dumps" and any(_has_dumps(f"{path}/{inner}") for inner in _names(path)):
        return _job(Layout(*os.path.split(parent)), request_id)
    jobs = [inner for inner in _names(path) if os.path.isdir(f"{path}/{inner}/dumps")]
    if len(jobs) > 1:
        raise StoreError(f"{path} holds {len(jobs)} jobs: give one of them, as {path}/{jobs[0]}")
    return _job(Layout(path, jobs[0]), request_id) if jobs else None


def _job(layout: Layout, request_id: str | None) -> Copy:
    """The newest request with a dump, or the one named."""
    ids = [each for each in reader.request_ids(layout) if request_id in (None, each)]
    found = next((each for each in reversed(ids) if _has_dumps(layout.request_dir(each))), None)
    if found is None:
        which = "no request" if request_id is None else f"no request {request_id}"
        raise StoreError(f"{layout.dumps} has {which} with dumps: were they copied whole?")
    return Copy(layout, found)


def _request(directory: str, only: str | None) -> Copy:
    """One request's directory; its id is what a manifest or ``request.json`` says, else its name."""
    name = os.path.basename(directory)
    manifests = (f"{directory}/{writer}/{MANIFEST}" for writer in _writers(directory))
    said = (
        _said(path, field)
        for path, field in ((f"{directory}/{REQUEST}", "id"), *((m, "request_id") for m in manifests))
    )
    found = next((each for each in said if each), name)
    return Copy(CopiedRequest(os.path.dirname(directory), "copied", directory), found, only)


def _said(path: str, field: str) -> str:
    try:
        document = json.loads(read_bounded(path, _MAX_MANIFEST_BYTES))
    except (OSError, ValueError, RecursionError):
        return ""
    value = document.get(field) if type(document) is dict else None
    return value if type(value) is str else ""


def _has_dumps(path: str) -> bool:
    return any(True for _ in _writers(path))


def _writers(path: str) -> list[str]:
    return [name for name in _names(path) if writer_of(name) and os.path.isdir(f"{path}/{name}")]


def _names(path: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(path) if not name.startswith("."))
    except OSError:
        return []
