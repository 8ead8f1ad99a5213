"""What ``py-spy dump --json`` printed of one process, as the stacks of a worker.

In: the decoded document, which anybody may have damaged. Out: ``WorkerStacks``, or a ``Problem``.
The rules only this module keeps: no value raises; the main thread is the one whose number is the
process's, and py-spy's frames, innermost first, are turned round.
"""

from __future__ import annotations

from typing import NoReturn

from oobdump.job.stacks import MAX_LINE, Frame, Problem, Stack, ThreadStack, WorkerStacks, label_of, shared_frame

__all__ = ["parse_pyspy"]

_MAIN = "MainThread"


class _Malformed(Exception):
    """Where the document is not what py-spy prints."""


def parse_pyspy(worker: str, rank: int | None, value: object) -> WorkerStacks | Problem:
    """The threads of the first process of the document: py-spy prints those below it too when asked."""
    try:
        if type(value) is not list or not value:
            _refuse("the document", "a list of at least one thread", value)
        pid = _number(value[0], "pid") if type(value[0]) is dict else _refuse("[0]", "an object", value[0])
        threads = [_thread(item, f"[{place}]", pid) for place, item in enumerate(value)]
    except _Malformed as error:
        return Problem(worker, rank, str(error))
    return WorkerStacks(worker, rank, "", pid, tuple(thread for thread in threads if thread is not None))


def _thread(item: object, where: str, pid: int) -> ThreadStack | None:
    if type(item) is not dict:
        _refuse(where, "an object", item)
    if _number(item, "pid") != pid:
        return None
    name, frames = item.get("thread_name"), item.get("frames")
    if name is not None and type(name) is not str:
        _refuse(f"{where}.thread_name", "a text or null", name)
    if type(frames) is not list:
        _refuse(f"{where}.frames", "a list", frames)
    main = item.get("os_thread_id") == pid or (item.get("os_thread_id") is None and name == _MAIN)
    return ThreadStack(label_of(name, main=main), name, main, ours=False, frames=_stack(frames, where))


def _stack(items: list[object], where: str) -> Stack:
    return tuple(_frame(item, f"{where}.frames[{place}]") for place, item in reversed(list(enumerate(items))))


def _frame(item: object, where: str) -> Frame:
    if type(item) is not dict:
        _refuse(where, "an object", item)
    name, file, line = item.get("name"), item.get("filename"), item.get("line")
    if type(name) is not str or type(file) is not str:
        _refuse(where, "a frame with name and filename", name if type(name) is not str else file)
    if type(line) is not int or not 0 <= line <= MAX_LINE:
        _refuse(f"{where}.line", "a line", line)
    return shared_frame(file, line, name)


def _number(item: dict[str, object], name: str) -> int:
    value = item.get(name)
    if type(value) is not int or not 0 <= value <= MAX_LINE:
        _refuse(name, "a number", value)
    return value


def _refuse(where: str, wanted: str, found: object) -> NoReturn:
    kind = "absent" if found is None else f"of type {type(found).__name__}"
    raise _Malformed(f"{where} is {kind} instead of {wanted}: the file is damaged, or not py-spy's")
