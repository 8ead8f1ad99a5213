"""Several samples of a whole job: ask everybody, wait, and hold what came back.

In: a ``Client`` and how many samples how far apart. Out: one ``Sample`` each: the request as accepted
and an outcome for every worker that was asked. The rules only this module keeps: a sample is asked
for on time, whether or not the one before was answered; and the ids of samples that belong together
differ in their count alone, so that they are found together later.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from oobdump.client import Client, Outcome
from oobdump.identity import parse_name
from oobdump.request import AcceptedRequest, HandlerCall, Request
from oobdump.store import reader
from oobdump.store.layout import Layout, made_id

__all__ = ["FIRST_CALLS", "LATER_CALLS", "MAX_SAMPLES", "Plan", "Sample", "family", "of_dumps", "open_samples", "take"]

MAX_SAMPLES = 100
"""More is a profile, and there are handlers for that."""

RECORDER = "dump_nccl_trace_pickle"
COUNTERS = "dump_nccl_trace_json"
"""The recorder once with stacks; after that its counters tell what moved, at a hundredth of the bytes."""

_EACH = (HandlerCall("stacks"), HandlerCall("process"), HandlerCall("wait_counter_values"))
FIRST_CALLS = (*_EACH, HandlerCall("process_groups"), HandlerCall(RECORDER))
LATER_CALLS = (*_EACH, HandlerCall(COUNTERS, {"includecollectives": "false"}))

_LOOKS_PER_S = 10

_NUMBERED = re.compile(r"(?P<base>.+)\.(?P<number>[0-9]+)of(?P<count>[0-9]+)")

Progress = Callable[[int, AcceptedRequest, Sequence[Outcome]], None]
"""Called with the number of a sample (from 1), its request, and what is known of it."""


@dataclass(frozen=True)
class Plan:
    """How many samples, how far apart, of whom, and how long a handler may take."""

    samples: int = 3
    every_s: float = 2.0
    targets: tuple[str, ...] = ("all",)
    timeout_s: float = 10.0


@dataclass(frozen=True)
class Sample:
    """One request and what became of it at every worker that was asked."""

    accepted: AcceptedRequest
    outcomes: tuple[Outcome, ...]


def take(client: Client, plan: Plan, progress: Progress = lambda _number, _accepted, _known: None) -> list[Sample]:
    """All samples, answered as far as they are. Ctrl-C ends the waiting, and what is known by then counts."""
    base = made_id(time.time_ns(), f"diagnose.{os.getpid()}", 0)
    under_way: list[_Waiting] = []
    try:
        began = time.monotonic()
        for number in range(1, plan.samples + 1):
            time.sleep(max(0.0, began + (number - 1) * plan.every_s - time.monotonic()))
            request = Request(
                calls=FIRST_CALLS if number == 1 else LATER_CALLS,
                targets=plan.targets,
                timeout_s=plan.timeout_s,
                id=f"{base}.{number}of{plan.samples}",
            )
            under_way.append(_Waiting(client, client.ask(request), number, progress))
        for waiting in under_way:
            waiting.finish()
    except KeyboardInterrupt:
        if not under_way:
            raise
    return [waiting.sample() for waiting in under_way]


class _Waiting:
    """One sample that is being answered: a thread of the client's waits for it."""

    def __init__(self, client: Client, accepted: AcceptedRequest, number: int, progress: Progress) -> None:
        self._client, self._accepted = client, accepted
        self._outcomes: list[Outcome] | None = None
        self._error: BaseException | None = None
        self._progress = lambda known: progress(number, accepted, known)
        self._thread = threading.Thread(target=self._wait, name="oobdump sample", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Until everybody is settled; raises what the waiting raised. Ctrl-C comes through."""
        while self._thread.is_alive():
            self._thread.join(1 / _LOOKS_PER_S)
        if self._error is not None:
            raise self._error

    def sample(self) -> Sample:
        """What is known now."""
        known = self._outcomes
        return Sample(self._accepted, tuple(self._client.outcomes(self._accepted) if known is None else known))

    def _wait(self) -> None:
        try:
            self._outcomes = self._client.wait(self._accepted, self._progress)
        except BaseException as error:  # noqa: BLE001 - it is raised where it can be handled
            self._error = error


def family(layout: Layout, request_id: str) -> list[str]:
    """The ids of the samples that were taken together with this one, in order; itself if there are none."""
    match = _NUMBERED.fullmatch(request_id)
    if match is None:
        return [request_id]
    found = (_NUMBERED.fullmatch(name) for name in reader.request_ids(layout))
    together = [each for each in found if each is not None and each["base"] == match["base"]]
    return [each[0] for each in sorted(together, key=lambda each: int(each["number"]))] or [request_id]


def of_dumps(dumps: Iterable[reader.Dump], accepted: AcceptedRequest) -> Sample:
    """A sample whose request is not there any more, or not readable: whoever left a dump was asked."""
    return Sample(accepted, tuple(_outcome(dump) for dump in dumps if dump.found != "foreign"))


def _outcome(dump: reader.Dump) -> Outcome:
    rank, host, pid = parse_name(dump.worker) or (None, "", 0)
    base = Outcome(dump.worker, rank, host, pid, "rank" if rank is not None else "other", "no_answer")
    if dump.found != "committed":
        return replace(base, state="unreachable", why=dump.why)
    role = str(dump.identity.get("role", base.role))
    why = str(dump.evidence.get("why", ""))
    status = dump.status or "error"
    return replace(base, status=status, answered_by=dump.answered_by, state=dump.state, role=role, why=why, dump=dump)


def open_samples(client: Client, ids: Sequence[str]) -> list[Sample]:
    """Samples that were taken before, as they are on disk. Raises ``DamagedDump`` for a request that cannot be read."""
    opened = (reader.open_request(client.layout, each) for each in ids)
    return [Sample(accepted, tuple(client.outcomes(accepted))) for accepted in opened if accepted is not None]
