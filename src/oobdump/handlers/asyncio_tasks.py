"""Every unfinished asyncio task of every loop in every thread, and where its coroutine waits.

In: asyncio's own tables of tasks, if the program has loaded asyncio. Out: plain data. The rules this
module keeps: asyncio is never imported; its tables are copied in one atomic step and not iterated,
for they change under us; a task is read past its class, so that no override of a user's runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from types import FrameType, ModuleType
from typing import Any

from oobdump.handlers.coroutines import chain
from oobdump.handlers.plain import dict_of, text, text_of, type_name
from oobdump.identity import now_iso
from oobdump.threads import current_frames

__all__ = ["asyncio_tasks"]

_MAX_TASKS = 10_000
"""About 10 µs each: a tenth of a second, and some ten megabytes as JSON."""

_TABLES = ("_all_tasks", "_scheduled_tasks", "_eager_tasks")
"""The first up to Python 3.11, the others since 3.12."""

_HIDES_TASKS = (3, 14)
"""Since then each thread has a list of its own, in C."""

_RETRIES = 100
"""For a table that is no plain WeakSet and can only be iterated; asyncio itself tries a thousand times."""


def asyncio_tasks() -> dict[str, Any]:
    """Every unfinished asyncio task: name, what it awaits, and its stack of coroutines."""
    module = sys.modules.get("asyncio.tasks")
    problems: list[str] = []
    tasks = [] if module is None else _unfinished(module, problems)
    current = {} if module is None else _current(module)
    threads = current_frames() if current else {}
    entries = [_guarded(task, current, threads, problems) for task in tasks[:_MAX_TASKS]]
    threads.clear()
    return {
        "schema_version": 1,
        "pid": os.getpid(),
        "taken_at": now_iso(),
        "loaded": module is not None,
        "tasks": [*filter(None, entries)],
        "omitted_tasks": max(0, len(tasks) - _MAX_TASKS),
        "loops": _loops(tasks, current),
        "problems": problems,
    }


def _unfinished(module: ModuleType, problems: list[str]) -> list[Any]:
    tables = [table for name in _TABLES if (table := dict_of(module).get(name)) is not None]
    if not tables:
        problems.append("this asyncio keeps its tasks where oobdump does not know to look")
    if sys.version_info >= _HIDES_TASKS:
        problems.append("this Python keeps most tasks where only their own thread can list them")
    tasks = {id(task): task for table in tables for task in _members(table, problems)}
    return [task for task in tasks.values() if _field(task, "_state") == "PENDING"]


def _members(table: Any, problems: list[str]) -> list[Any]:
    """The members of a set or WeakSet that other threads change."""
    if type(table) is set:
        return list(table.copy())
    references = dict_of(table).get("data")
    if type(references) is set:
        return [task for reference in references.copy() if (task := reference()) is not None]
    for _ in range(_RETRIES):
        try:
            return list(table)
        except RuntimeError:  # changed size during iteration
            continue
    problems.append(f"a table of tasks changed {_RETRIES} times while it was read")
    return []


def _current(module: ModuleType) -> dict[int, Any]:
    """The running task by loop id."""
    table = dict_of(module).get("_current_tasks")
    return {id(loop): task for loop, task in table.copy().items()} if type(table) is dict else {}


def _guarded(task: Any, current: Mapping[int, Any], threads: Mapping[int, FrameType], problems: list[str]) -> Any:
    try:
        return _entry(task, current, threads)
    except Exception as error:  # noqa: BLE001 - a task type of somebody else's must not hide the others
        problems.append(text(f"a task of type {type_name(type(task))} cannot be read: {type(error).__name__}: {error}"))
        return None


def _entry(task: Any, current: Mapping[int, Any], threads: Mapping[int, FrameType]) -> dict[str, Any]:
    loop, coroutine, waiter = _field(task, "_loop"), _field(task, "_coro"), _field(task, "_fut_waiter")
    running = any(task is each for each in current.values())
    frames, awaits, omitted = chain(coroutine, threads if running else {})
    return {
        "id": id(task),
        "name": _name(task),
        "state": "running" if running else "pending",
        "current": running,
        "loop": id(loop),
        "coroutine": _coroutine_name(coroutine),
        "frames": frames,
        "omitted_frames": omitted,
        "awaits": awaits if waiter is None else type_name(type(waiter)),
        "awaits_task": _name(waiter) if _is_task(waiter) else None,
    }


def _field(value: Any, name: str) -> Any:
    """An attribute past a class's own ``__getattribute__``; None if there is none."""
    try:
        return object.__getattribute__(value, name)
    except AttributeError:
        return None


def _is_task(value: Any) -> bool:
    return _base(value) is not None


def _base(value: Any) -> Any:
    """The task class of asyncio, C or Python, that an object is of; None for any other."""
    module = sys.modules.get("asyncio.tasks")
    bases = (dict_of(module).get(name) for name in ("Task", "_PyTask"))
    return next((base for base in bases if type(base) is type and issubclass(type(value), base)), None)


def _name(task: Any) -> str | None:
    base = _base(task)
    return text_of(_field(task, "_name") if base is None else base.get_name(task))


def _coroutine_name(coroutine: Any) -> str:
    return text_of(_field(coroutine, "__qualname__")) or type_name(type(coroutine))


def _loops(tasks: list[Any], current: Mapping[int, Any]) -> list[dict[str, Any]]:
    """The loops that have unfinished tasks, and the threads that run them."""
    loops = {id(loop): loop for task in tasks if (loop := _field(task, "_loop")) is not None}
    return [*_loop_entries(loops, current)]


def _loop_entries(loops: Mapping[int, Any], current: Mapping[int, Any]) -> Iterator[dict[str, Any]]:
    for ident, loop in loops.items():
        thread, task = _field(loop, "_thread_id"), current.get(ident)
        yield {
            "id": ident,
            "type": type_name(type(loop)),
            "thread": thread if type(thread) is int else None,
            "current_task": None if task is None else _name(task),
        }
