"""Asking, and waiting with one live line: ranks answered, by state.

In: a request. Out: the outcomes of all that were asked. The rules only this module keeps: what
is wrong with a request is said before anything is dropped, and Ctrl-C ends the waiting, not the
answer: what is known by then is shown.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from oobdump.cli import outcomes as results
from oobdump.cli import output
from oobdump.cli.exit_codes import ExitCode
from oobdump.cli.failure import CommandError
from oobdump.client import Client, Outcome
from oobdump.http_client import ask_by_http
from oobdump.inbox import candidates
from oobdump.request import AcceptedRequest, Request
from oobdump.response import Status
from oobdump.targets import select
from oobdump.wire import read_request, request_to_bytes

__all__ = ["ask", "ask_over_http", "check", "live", "progress_line"]

HTTP_VARIABLE = "OOBDUMP_HTTP_TOKEN"
"""What a worker is started with for its TCP port, the asker has too; an option would show in `ps`."""

_REFRESHES_PER_S = 4

_ORDER: tuple[Status, ...] = ("ok", "refused", "timeout", "error", "no_answer")


def ask(client: Client, request: Request) -> tuple[AcceptedRequest, list[Outcome]]:
    """Asks and waits. Raises ``RequestError``; ``CommandError`` if nobody runs who could be asked."""
    accepted = client.ask(_checked(client, request))
    with _live_line(accepted) as progress:
        try:
            return accepted, client.wait(accepted, progress)
        except KeyboardInterrupt:
            pass
    output.note(f"interrupted: this is what is known now; later `oobdump show {accepted.id}` may know more")
    return accepted, client.outcomes(accepted)


def ask_over_http(client: Client, request: Request) -> list[Outcome]:
    """Asks each worker at its own server. Raises as ``ask`` does."""
    return ask_by_http(client, _checked(client, request), token=os.environ.get(HTTP_VARIABLE) or None)


def _checked(client: Client, request: Request) -> Request:
    """The request as an acceptor will read it, for somebody who runs."""
    request = read_request(request_to_bytes(request), "json")
    check(client, request.targets)
    return request


def check(client: Client, targets: Sequence[str]) -> None:
    """Whether somebody is there who could be asked. Raises ``CommandError``; ``RequestError`` for a wrong target."""
    running, gone = client.reachable()
    if not running and not gone:
        raise CommandError(
            f"no worker of job {client.layout.job} is running: it ended, or is not armed by oobdump.start(); "
            "`oobdump ps --all` shows who was there",
            ExitCode.NOBODY_ANSWERED,
        )
    select(targets, candidates(running, gone))


def progress_line(asked: Sequence[str], known: Sequence[Outcome], seconds: float) -> str:
    """``3 of 4 answered (ok 2, error 1), 1.2 s``."""
    counts = Counter(outcome.status for outcome in known)
    states = ", ".join(f"{status} {counts[status]}" for status in _ORDER if counts[status])
    done = sum(map(results.answered, known))
    return f"{done} of {len(asked)} answered{f' ({states})' if states else ''}, {seconds:.1f} s"


@contextmanager
def _live_line(accepted: AcceptedRequest) -> Iterator[Callable[[list[Outcome]], None]]:
    """A line on stderr that follows what is known, if stderr is a terminal; it goes when the waiting ends."""
    latest: list[Outcome] = []
    began = time.monotonic()

    def progress(known: list[Outcome]) -> None:
        latest[:] = known

    with live(lambda: progress_line(accepted.asked, latest, time.monotonic() - began)):
        yield progress


@contextmanager
def live(text: Callable[[], str]) -> Iterator[None]:
    """A line on stderr that is asked for its text again and again, if stderr is a terminal; gone at the end."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console  # noqa: PLC0415 - 80 ms, and only where a person waits
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    def line() -> Text:
        return Text(text(), overflow="ellipsis", no_wrap=True)

    console = Console(file=sys.stderr, no_color=not output.colours(sys.stderr))
    with Live(
        get_renderable=line,
        console=console,
        refresh_per_second=_REFRESHES_PER_S,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    ):
        yield
