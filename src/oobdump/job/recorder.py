"""PyTorch's flight recorder as bytes or as decoded values, into ``RankTrace``.

In: one rank's dump, as pickle or JSON, which anybody may have damaged. Out: ``RankTrace``, or
a ``TraceProblem`` that says why not. The rules only this module keeps: no bytes raise, and a
pickle can name no class. It bounds neither time nor memory: a hostile pickle of a kilobyte can
take both, so whatever is not surely ours is read in a child with limits (``offline.recorders``).
"""

from __future__ import annotations

import gc
import io
import json
import pickle
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from operator import itemgetter
from typing import Any, Literal, NamedTuple, NoReturn

from oobdump.codecs.pickle_scan import scan
from oobdump.errors import CodecError
from oobdump.job.calls import Malformed, Pool, Row, refuse, whole
from oobdump.job.collectives import TraceProblem
from oobdump.job.stacks import MAX_LINE, Frame, Stack, shared_frame
from oobdump.job.trace import Call, GroupConfig, GroupStatus, Lane, OpenCall, RankTrace

__all__ = ["load", "parse_bytes", "parse_document", "parse_unscanned"]

Source = Literal["pickle", "json"]

_MAJOR = "2."
"""Recorder versions that this reads: 2.0 (PyTorch 2.3) to 2.10 (PyTorch 2.13) differ in fields only."""

_MAX_MEMBERS = 2**20
"""Ranks of one group: ten times the largest job that is run anywhere."""

_MAX_FRAMES = 1_000
"""Kept of one stack: PyTorch's own limit is far lower."""

_MAX_DIGITS = 9
"""As many as a worker's identity accepts for a rank."""

_MAX_NS = 2**63
_MAX_TEXT = 1_000

_COUNTER = re.compile(r"-?[0-9]{1,18}")
_COUNTERS = ("last_enqueued_collective", "last_started_collective", "last_completed_collective")

_group_of = itemgetter("process_group")
_row_of = itemgetter(
    *("collective_seq_id", "p2p_seq_id", "is_p2p", "profiling_name", "state", "retired"),
    *("input_sizes", "input_dtypes", "output_sizes", "output_dtypes"),
)
_OLDER: dict[str, Any] = {"is_p2p": False, "retired": False, "input_dtypes": [], "output_dtypes": [], "p2p_seq_id": 0}
"""Fields that older recorders did not write, with what stands for them."""


def parse_bytes(rank: int, data: bytes, *, where: str = "", pool: Pool | None = None) -> RankTrace | TraceProblem:
    """One rank's dump: a pickle if it begins as one, else JSON. ``pool`` is for all ranks of one reading."""
    try:
        if data[:1] == pickle.PROTO:
            scan(data)
    except CodecError as error:
        return TraceProblem(rank, where, str(error))
    return parse_unscanned(rank, data, where=where, pool=pool)


def parse_unscanned(rank: int, data: bytes, *, where: str = "", pool: Pool | None = None) -> RankTrace | TraceProblem:
    """The same, four times as fast; where a few bytes may ask for 64 GiB: in a process with limits."""
    with _collector_off():
        try:
            document, source = load(data)
        except CodecError as error:
            return TraceProblem(rank, where, str(error))
        return parse_document(rank, document, source=source, where=where, pool=pool)


def parse_document(
    rank: int, document: object, *, source: Source = "json", where: str = "", pool: Pool | None = None
) -> RankTrace | TraceProblem:
    """One rank's dump as decoded. Never raises."""
    try:
        return _trace(rank, document, source, where, Pool() if pool is None else pool)
    except Malformed as error:
        return TraceProblem(rank, where, f"{error}: it is damaged, or no flight recorder's")


def load(data: bytes) -> tuple[object, Source]:
    """The document, of plain values only. Raises ``CodecError``."""
    if data[:1] == pickle.PROTO:
        return _unpickled(data), "pickle"
    if data.lstrip()[:1] == b"{":
        return _from_json(data), "json"
    raise CodecError("it is empty" if not data else "it begins neither as a pickle nor as JSON")


def _unpickled(data: bytes) -> object:
    try:
        return _Unpickler(_Whole(data)).load()
    except CodecError:
        raise
    except Exception as error:  # noqa: BLE001 - a damaged pickle can raise anything
        raise CodecError(f"the pickle is damaged: {type(error).__name__}") from None


class _Whole(io.BytesIO):
    """A file in memory that can be looked at ahead: without ``peek`` the C unpickler reads each opcode by itself."""

    def peek(self, size: int) -> memoryview:
        """The next bytes, without moving on."""
        at = self.tell()
        return self.getbuffer()[at : at + size]


class _Unpickler(pickle.Unpickler):
    """Loads plain values and refuses every name: loading can then run nothing."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise CodecError(
            f"it names {module[:100]!a}.{name[:100]!a}: a flight recorder's pickle holds plain values only"
        )

    def persistent_load(self, pid: object) -> NoReturn:  # noqa: ARG002 - pickle's signature
        raise CodecError("it refers to things outside of itself: a flight recorder's pickle does not")


def _from_json(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CodecError(f"the JSON is damaged: {type(error).__name__}: {str(error)[:200]}") from None


class _Sorted(NamedTuple):
    """The entries of one group: what is compared over ranks, and all of it."""

    config: GroupConfig
    rows: list[Row]
    entries: list[dict[str, Any]]


@contextmanager
def _collector_off() -> Iterator[None]:
    """A hundred thousand new dicts make the collector look at all of them again and again: a factor of six."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


# -- documents -------------------------------------------------------------------------------------------------------


def _trace(rank: int, document: object, source: Source, where: str, pool: Pool) -> RankTrace:
    if type(document) is not dict:
        refuse("the dump", "an object", document)
    version = document.get("version")
    if type(version) is not str or not version.startswith(_MAJOR):
        refuse("version", f"one that begins with {_MAJOR}", version)
    configs = _configs(document.get("pg_config", {}))
    entries = document.get("entries", [])  # JSON leaves them out where there are none
    if type(entries) is not list:
        refuse("entries", "a list", entries)
    statuses = _statuses(document.get("pg_status"))
    lanes = tuple(_lane(found, statuses, pool) for found in _sorted_out(entries, configs))
    return RankTrace(
        rank=rank,
        version=version,
        source=source,
        lanes=lanes,
        configs=tuple(configs.values()),
        statuses=tuple(statuses.items()),
        entries=len(entries),
        wrapped=bool(entries) and whole(entries[0].get("record_id", 0), "entries[0].record_id") > 0,
        last_record_id=whole(entries[-1].get("record_id", 0), "the last record_id") if entries else None,
        comm_lib_version=_text(document.get("comm_lib_version")),
        where=where,
    )


def _sorted_out(entries: list[Any], configs: Mapping[str, GroupConfig]) -> Iterator[_Sorted]:
    """The entries by group. A tight loop: it sees every entry of the job."""
    lanes: dict[tuple[object, ...], _Sorted] = {}
    try:
        for entry, group, row in zip(entries, *_columns(entries), strict=True):
            lane = lanes.get(group)
            if lane is None:
                lane = lanes[group] = _Sorted(_config(configs, group), [], [])
            lane.rows.append(row)
            lane.entries.append(entry)
    except TypeError:
        raise Malformed("a process_group is not two texts") from None
    yield from lanes.values()


def _columns(entries: list[Any]) -> tuple[list[tuple[object, ...]], list[Row]]:
    """Each entry's group, and its fields in order."""
    for number, entry in enumerate(entries):
        if type(entry) is not dict:
            refuse(f"entries[{number}]", "an object", entry)
    try:
        return list(map(tuple, map(_group_of, entries))), list(map(_row_of, entries))
    except KeyError:
        entries = [_OLDER | entry for entry in entries]
    try:
        return list(map(tuple, map(_group_of, entries))), list(map(_row_of, entries))
    except KeyError as error:
        raise Malformed(f"an entry has no {str(error)[:40]}") from None


def _config(configs: Mapping[str, GroupConfig], group: tuple[object, ...]) -> GroupConfig:
    """The group of a lane, as the recorder was told of it, or by its name alone."""
    if len(group) != len(("name", "description")) or not all(type(word) is str for word in group):
        raise Malformed("a process_group is not two texts")
    name, desc = map(str, group)
    known = configs.get(name)
    return known if known is not None and known.desc == desc else GroupConfig(name, desc, None)


def _configs(value: object) -> dict[str, GroupConfig]:
    """The groups by name; one without a name is what Gloo writes for all of its groups, and says nothing."""
    if type(value) is not dict:
        refuse("pg_config", "an object", value)
    found = {}
    for name, item in value.items():
        if type(item) is not dict or type(name) is not str:
            refuse("pg_config", "objects by name", item)
        if name:
            found[name] = GroupConfig(name, _text(item.get("desc")), _members(item.get("ranks")))
    return found


def _members(value: object) -> tuple[int, ...] | None:
    if type(value) is list:
        value = json.dumps(value) if all(type(rank) is int for rank in value) else ""
    if type(value) is not str:
        refuse("pg_config.ranks", "a text of ranks", value)
    return _members_in(value)


@lru_cache(maxsize=2**14)
def _members_in(text: str) -> tuple[int, ...] | None:
    """The ranks of ``[0, 1, 8]``; None for an empty list. Each group's text comes once from each of its members."""
    words = text.strip().removeprefix("[").removesuffix("]").split(",")
    if words == [""]:
        return None
    digits = [word.strip() for word in words[:_MAX_MEMBERS]]
    if not all(word.isascii() and word.isdigit() and len(word) <= _MAX_DIGITS for word in digits):
        raise Malformed("pg_config.ranks is no list of ranks")
    return tuple(sorted({int(word) for word in digits}))


def _statuses(value: object) -> dict[str, GroupStatus]:
    """The counters of each group, by a number that only entries tie to a group; JSON writes them as texts."""
    if type(value) is not dict:
        return {}
    found = {}
    for number, item in value.items():
        counters = [item.get(name) for name in _COUNTERS] if type(item) is dict else []
        numbers = [int(each) if type(each) is str and _COUNTER.fullmatch(each) else each for each in counters]
        whole_numbers = [each for each in numbers if type(each) is int]
        if len(whole_numbers) == len(_COUNTERS):
            found[_text(number)] = GroupStatus(*whole_numbers)
    return found


# -- lanes -----------------------------------------------------------------------------------------------------------


def _lane(found: _Sorted, statuses: Mapping[str, GroupStatus], pool: Pool) -> Lane:
    calls = pool.calls((found.config.name, found.config.desc), found.rows)
    last = len(calls) - 1
    return Lane(
        group=found.config,
        calls=calls,
        open=tuple(_open(call, found.entries[number]) for number, call in enumerate(calls) if not call.done),
        status=statuses.get(str(found.entries[last].get("pg_id"))),
        last_frames=_frames(found.entries[last].get("frames")),
    )


def _open(call: Call, entry: dict[str, Any]) -> OpenCall:
    return OpenCall(
        call,
        _moment(entry.get("time_created_ns")),
        _moment(entry.get("time_discovered_started_ns")),
        _moment(entry.get("timeout_ms")),
        _frames(entry.get("frames")),
        _text(entry.get("thread_name")),
    )


def _moment(value: object) -> int | None:
    """A time; the JSON form writes 0 where the pickle has None."""
    return value if type(value) is int and 0 < value < _MAX_NS else None


def _frames(value: object) -> Stack:
    """A stack, outermost frame first (the recorder writes the innermost first); a damaged frame is left out."""
    if type(value) is not list:
        return ()
    return tuple(frame for item in reversed(value[:_MAX_FRAMES]) if (frame := _frame(item)) is not None)


def _frame(item: object) -> Frame | None:
    if type(item) is not dict:
        return None
    name, file, line = item.get("name"), item.get("filename"), item.get("line")
    if type(name) is not str or type(file) is not str or type(line) is not int or not 0 <= line <= MAX_LINE:
        return None
    return shared_frame(file, line, name)


def _text(value: object) -> str:
    return value[:_MAX_TEXT] if type(value) is str else ""
