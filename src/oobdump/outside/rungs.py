"""What one rung of the ladder came to, and rungs that run side by side.

In: a name, a deadline and a function. Out: ``Rung``: the outcome, the reason, the seconds, and what
was found. The rule only this module keeps: a rung always has an outcome; one that raises or is late
takes no other with it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from oobdump.handlers.plain import text
from oobdump.response import Part

__all__ = ["Found", "NotToBeHad", "Refused", "Rung", "Skipped", "bounded", "side_by_side"]

_T = TypeVar("_T")

RungStatus = Literal["ok", "skipped", "refused", "timeout", "error"]

LATE_S = 1.0
"""A rung keeps its own deadline; one that does not is left behind this long after it."""


class NotToBeHad(Exception):
    """A rung has nothing; its class says why."""

    status: RungStatus = "error"


class Skipped(NotToBeHad):
    """There is nothing to climb on: no server, no process."""

    status: RungStatus = "skipped"


class Refused(NotToBeHad):
    """The kernel does not allow it."""

    status: RungStatus = "refused"


class Late(NotToBeHad):
    """It was not done in time."""

    status: RungStatus = "timeout"


@dataclass(frozen=True)
class Found:
    """What a rung brought: parts, a value for other rungs, and a remark where something was missing."""

    parts: tuple[Part, ...] = ()
    value: Any = None
    remark: str = ""


@dataclass(frozen=True)
class Rung:
    """One rung's outcome."""

    name: str
    status: RungStatus
    why: str = ""
    seconds: float = 0.0
    found: Found = Found()

    def plain(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        parts = [part.handler for part in self.found.parts]
        return {"rung": self.name, "status": self.status, "why": self.why, "seconds": self.seconds, "parts": parts}


Climb = Callable[[float], Found]
"""Gets a deadline on the monotonic clock. Raises ``NotToBeHad`` with the reason, or anything."""


def side_by_side(rungs: Mapping[str, tuple[float, Climb]], deadline: float) -> dict[str, Rung]:
    """Climbs all at once, each at most its own number of seconds."""
    outcomes: dict[str, Rung] = {}
    began = time.monotonic()
    ends = {name: min(deadline, began + limit_s) for name, (limit_s, _) in rungs.items()}
    threads = {
        name: threading.Thread(target=_run, args=(name, climb, ends[name], outcomes), daemon=True, name=f"rung {name}")
        for name, (_, climb) in rungs.items()
    }
    for thread in threads.values():
        thread.start()
    for name, thread in threads.items():
        thread.join(max(0.0, ends[name] + LATE_S - time.monotonic()))
    late = round(time.monotonic() - began, 6)
    return {name: outcomes.get(name) or Rung(name, "timeout", "it did not come back", late) for name in rungs}


def _run(name: str, climb: Climb, deadline: float, outcomes: dict[str, Rung]) -> None:
    began = time.monotonic()

    def outcome(status: RungStatus, why: str, found: Found = Found()) -> Rung:
        return Rung(name, status, text(why), round(time.monotonic() - began, 6), found)

    try:
        found = climb(deadline)
        outcomes[name] = outcome("ok", found.remark, found)
    except NotToBeHad as error:
        outcomes[name] = outcome(error.status, str(error))
    except Exception as error:  # noqa: BLE001 - whatever one rung meets, the others are climbed
        outcomes[name] = outcome("error", f"{type(error).__name__}: {error}")


def bounded(task: Callable[[], _T], limit_s: float) -> _T:
    """Runs ``task`` on a thread that may be lost. Raises what it raised, ``TimeoutError`` (an ``OSError``) if late."""
    results: list[_T] = []
    raised: list[BaseException] = []

    def body() -> None:
        try:
            results.append(task())
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            raised.append(error)

    thread = threading.Thread(target=body, daemon=True, name="oobdump bounded")
    thread.start()
    thread.join(limit_s)
    if raised:
        raise raised[0]
    if not results:
        raise TimeoutError(f"no answer within {limit_s:g} s")
    return results[0]
