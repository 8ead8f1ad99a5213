"""Which request is meant: ``latest``, an id, or the beginning of one.

In: a job's directory and what was typed. Out: requests as accepted, newest first by the time
of their acceptance, since an id that the asker chose tells no time. The rule only this module
keeps: a damaged request is listed with what is wrong, and hides no other.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from oobdump.cli.exit_codes import ExitCode
from oobdump.cli.failure import CommandError
from oobdump.errors import DamagedDump
from oobdump.request import AcceptedRequest
from oobdump.store import reader
from oobdump.store.layout import Layout

__all__ = ["LATEST", "Found", "find", "listed"]

LATEST = "latest"

_SHOWN_IDS = 4


@dataclass(frozen=True)
class Found:
    """One request on disk; ``accepted`` is None and ``problem`` says why where it cannot be read."""

    id: str
    at: float
    accepted: AcceptedRequest | None = None
    problem: str = ""


def listed(layout: Layout) -> list[Found]:
    """All requests of a job, newest first."""
    found = (_look(layout, name) for name in reader.request_ids(layout))
    return sorted(found, key=lambda each: (each.at, each.id), reverse=True)


def find(
    layout: Layout, text: str = LATEST, wanted: Callable[[AcceptedRequest], bool] = lambda _: True
) -> AcceptedRequest:
    """The request that is meant; of ``latest`` the newest that is ``wanted``. Raises ``CommandError``."""
    if text == LATEST:
        for each in listed(layout):
            if each.accepted is not None and wanted(each.accepted):
                return each.accepted
        raise CommandError(
            f"job {layout.job} has no such dump: nobody has asked yet, or it was pruned; "
            "`oobdump ls` lists what there is, `oobdump request HANDLER` asks",
            ExitCode.NO_DUMPS,
        )
    found = _look(layout, _complete(layout, text))
    if found.accepted is None:
        raise CommandError(f"request {found.id}: {found.problem}", ExitCode.NO_DUMPS)
    return found.accepted


def _complete(layout: Layout, beginning: str) -> str:
    ids = reader.request_ids(layout)
    matching = [name for name in ids if name.startswith(beginning)]
    if beginning in ids or len(matching) == 1:
        return beginning if beginning in ids else matching[0]
    if matching:
        shown = ", ".join(matching[:_SHOWN_IDS]) + (", …" if len(matching) > _SHOWN_IDS else "")
        raise CommandError(
            f"{len(matching)} requests begin with {beginning!r}: give more of one of {shown}", ExitCode.USAGE
        )
    raise CommandError(
        f"job {layout.job} has no request {beginning!r}: it was pruned, or is of another job; `oobdump ls` lists them",
        ExitCode.NO_DUMPS,
    )


def _look(layout: Layout, name: str) -> Found:
    try:
        accepted = reader.open_request(layout, name)
    except DamagedDump as error:
        return Found(name, _changed_at(layout, name), None, str(error))
    if accepted is None:
        return Found(
            name, _changed_at(layout, name), None, "it has no request.json: it is being accepted, or was damaged"
        )
    return Found(name, accepted.accepted_at, accepted)


def _changed_at(layout: Layout, name: str) -> float:
    try:
        return os.stat(layout.request_dir(name)).st_mtime
    except OSError:
        return 0.0
