"""The N-th system call goes wrong, for N = 1, 2, 3, … until an operation gets through (as SQLite tests its pager).

In: an operation on files and what goes wrong at the N-th call. Out: whether it did, and the
operation's own error. The calls are those of ``os``; the real file system stays below. What
goes wrong is a function of the call: it fails before it acts, fails after it acted (as NFS
does), ends the process there, or lets somebody else act first.

Rule kept here: only calls of this thread count, so that a test runner's own threads do not.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

CHANGING = ("open", "write", "close", "link", "rename", "mkdir", "fchmod", "chmod", "fsync", "unlink", "rmdir")
LOOKING = ("lstat", "stat", "fstat", "read", "listdir")
CALLS = CHANGING + LOOKING

MAX_CALLS = 1_000
"""An operation of the store is at most some dozens of calls: beyond it does not end."""

ENDED = 77
"""Exit code of a child that was ended at its N-th call."""


@dataclass(frozen=True)
class Call:
    """One system call about to be made."""

    name: str
    real: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: dict[str, Any]

    def make(self) -> Any:
        """Lets it happen."""
        return self.real(*self.arguments, **self.options)


Which = Callable[[Call], bool]
"""Which calls count."""


def every(_call: Call) -> bool:
    """Each one."""
    return True


def changes(call: Call) -> bool:
    """Those that a full or read-only disk refuses: reading still works."""
    if call.name == "open":
        return bool(call.arguments[1] & os.O_CREAT)
    if call.name == "close":
        return bool(fcntl.fcntl(call.arguments[0], fcntl.F_GETFL) & os.O_WRONLY)
    return call.name in CHANGING


def opens(call: Call) -> bool:
    """Those that want a descriptor."""
    return call.name in ("open", "listdir")


Fault = Callable[[Call], Any]
"""What happens instead of the N-th call; its value is what the caller gets."""


@dataclass
class Injector:
    """Counts calls; the ``nth`` one is given to ``fault``."""

    nth: int
    fault: Fault
    which: Which
    count: int = 0
    hit: str = ""

    def wrap(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        """The function that stands in for ``os.<name>``."""
        mine = threading.get_ident()

        def stand_in(*arguments: Any, **options: Any) -> Any:
            call = Call(name, real, arguments, options)
            if threading.get_ident() != mine or self.hit or not self.which(call):
                return call.make()
            self.count += 1
            if self.count != self.nth:
                return call.make()
            self.hit = name
            return self.fault(call)

        return stand_in


@contextmanager
def injected(nth: int, fault: Fault, which: Which = every) -> Iterator[Injector]:
    """While it lasts, the ``nth`` of these calls goes to ``fault``; ``hit`` of the result names it."""
    injector = Injector(nth, fault, which)
    real = {name: getattr(os, name) for name in CALLS}
    try:
        for name, function in real.items():
            setattr(os, name, injector.wrap(name, function))
        yield injector
    finally:
        for name, function in real.items():
            setattr(os, name, function)


def fails(number: int) -> Fault:
    """The call does nothing and fails; ``close`` closes all the same, as Linux does."""

    def fault(call: Call) -> Any:
        if call.name == "close":
            call.make()
        raise OSError(number, os.strerror(number), call.arguments[0] if call.arguments else None)

    return fault


def acts_and_fails(number: int) -> Fault:
    """The call does its work and says that it failed: the answer was lost, as over NFS."""

    def fault(call: Call) -> Any:
        made = call.make()
        if call.name == "open":
            os.close(made)
        raise OSError(number, os.strerror(number))

    return fault


def ends_the_process(call: Call) -> Any:
    """``kill -9``, as the file system sees it; a write gets half way."""
    if call.name == "write":
        descriptor, data = call.arguments
        call.real(descriptor, bytes(data)[: len(data) // 2])
    os._exit(ENDED)


def lets_first(action: Callable[[], object]) -> Fault:
    """Somebody else acts just before the call."""

    def fault(call: Call) -> Any:
        action()
        return call.make()

    return fault


@dataclass(frozen=True)
class Try:
    """One go: which call was hit ("" if the operation got through), and what the operation raised."""

    nth: int
    hit: str
    error: BaseException | None

    def __str__(self) -> str:
        return f"call {self.nth} ({self.hit or 'none left'}): {self.error!r}"


def each_call(operation: Callable[[], object], fault: Fault, which: Which = every) -> Iterator[Try]:
    """Runs the operation again and again, each time with the next call hit; the last try has none left."""
    for nth in itertools.count(1):
        error: BaseException | None = None
        with injected(nth, fault, which) as injector:
            try:
                operation()
            except Exception as raised:  # noqa: BLE001 - handed to the test
                error = raised
        yield Try(nth, injector.hit, error)
        if not injector.hit:
            return
        assert nth < MAX_CALLS, "the operation does not end"


def each_end(operation: Callable[[], object], which: Which = changes) -> Iterator[Try]:
    """Runs the operation in a child that ends at its N-th call; the last child gets through."""
    for nth in itertools.count(1):
        code = _in_child(operation, nth, which)
        assert code in (0, ENDED), f"the child failed with {code} at call {nth}"
        yield Try(nth, "ended" if code else "", None)
        if code == 0:
            return
        assert nth < MAX_CALLS, "the operation does not end"


def _in_child(operation: Callable[[], object], nth: int, which: Which) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with injected(nth, ends_the_process, which):
                operation()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
