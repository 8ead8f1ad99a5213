"""Who is asked although it is gone: a rank that fell out of a run, and what is left of a run that is over.

In: a roster. Out: entries of workers that are gone and have not ended well; each has an outcome of every
request, for a rank that died is what one asks about. The rule only this module keeps: who was stopped,
exited with 0, was replaced by a newer incarnation of its rank, or belongs to an earlier run is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from oobdump.store.roster import Entry

__all__ = ["fallen"]

ONE_LAUNCH_S = 600.0
"""Programs without a rank that started within this time of the last one are taken for one launch."""


def fallen(entries: Sequence[Entry]) -> list[Entry]:
    """The workers that are gone and are asked all the same."""
    live = [entry for entry in entries if entry.alive() is not False]
    gone = [entry for entry in entries if entry.alive() is False]
    if not live:
        return _what_is_left(gone)
    ranks = [entry for entry in live if entry.identity.role == "rank"]
    if not ranks:
        return []  # without ranks nobody is missing
    newest = max(ranks, key=_registered)
    began = min(entry.started_at for entry in ranks)
    return [entry for entry in _last_of_each_rank(entries, newest) if entry.alive() is False and _fell(entry, began)]


def _what_is_left(gone: Sequence[Entry]) -> list[Entry]:
    """Of a run that nobody is left of, who did not end well as far as is known."""
    if not gone:
        return []
    newest = max(gone, key=_registered)
    if newest.identity.role == "rank":
        last = _last_of_each_rank(gone, newest)
    else:
        last = [entry for entry in gone if newest.started_at - entry.started_at < ONE_LAUNCH_S]
    return [entry for entry in last if not _ended_well(entry)]


def _last_of_each_rank(entries: Sequence[Entry], newest: Entry) -> list[Entry]:
    """The last incarnation of each rank, if it is of the same run as the newest."""
    by_rank: dict[int | None, Entry] = {}
    for entry in sorted(entries, key=_registered):
        if entry.identity.role == "rank":
            by_rank[entry.identity.rank] = entry
    return [entry for entry in by_rank.values() if _run(entry) == _run(newest)]


def _fell(entry: Entry, began: float) -> bool:
    """Whether it ended otherwise than well, and after the run began."""
    ended = entry.ended or {}
    return not _ended_well(entry) and float(ended.get("at_s", began)) >= began


def _ended_well(entry: Entry) -> bool:
    ended = entry.ended or {}
    status = ended.get("wait_status")
    return status == 0 or (status is None and ended.get("how") == "stopped")


def _run(entry: Entry) -> tuple[int | None, int | None]:
    return entry.identity.attempt, entry.identity.world_size


def _registered(entry: Entry) -> int:
    return entry.registered_ns
