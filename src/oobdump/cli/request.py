"""``oobdump request``: ask, wait, print one line for each worker that was asked.

In: handlers with parameters, and whom to ask. Out: a table, or one object. Only this module
knows how a handler call is written on a command line: ``name:param=value,param=value``.
"""

from __future__ import annotations

import re
import sys

import click

from oobdump.cli import outcomes as results
from oobdump.cli import output
from oobdump.cli.asking import ask, ask_over_http
from oobdump.cli.place import Place, json_option, place_options
from oobdump.client import Client, Outcome
from oobdump.errors import RequestError
from oobdump.request import DEFAULT_EXPIRES_IN_S, DEFAULT_TIMEOUT_S, FORMATS, HandlerCall, Request
from oobdump.wire import MAX_REQUEST_BYTES

__all__ = ["parse_call", "request"]

_NEXT_PARAMETER = re.compile(r",(?=[A-Za-z_][A-Za-z0-9_-]*=)")
"""A comma that no ``name=`` follows belongs to the value: ``ranks=0,1`` needs no quoting."""


@click.command()
@click.argument("handlers", nargs=-1, required=True, metavar="HANDLER[:PARAM=VALUE,…]…")
@click.option(
    "--targets",
    default="all",
    show_default=True,
    metavar="WHO",
    help='Whom to ask: all, any, ranks ("0-7,12"), hosts, worker names, roles.',
)
@click.option("--format", "form", type=click.Choice(FORMATS), default="json", show_default=True, help="Of the answers.")
@click.option(
    "--timeout",
    type=float,
    default=DEFAULT_TIMEOUT_S,
    show_default=True,
    metavar="S",
    help="Seconds each handler may take.",
)
@click.option(
    "--expires",
    type=float,
    default=DEFAULT_EXPIRES_IN_S,
    show_default=True,
    metavar="S",
    help="Seconds after which nobody need answer any more.",
)
@click.option("--body", metavar="@FILE|TEXT", help="What handlers get as the request's body; @- is standard input.")
@click.option("--id", "request_id", metavar="ID", help="Id of the request; one that is used already is refused.")
@click.option(
    "--via",
    type=click.Choice(("files", "http")),
    default="files",
    show_default=True,
    help="How to reach the workers; over TCP with the token in OOBDUMP_HTTP_TOKEN.",
)
@json_option
@place_options
def request(  # noqa: PLR0913 - one argument an option
    place: Place,
    *,
    handlers: tuple[str, ...],
    targets: str,
    form: str,
    timeout: float,
    expires: float,
    body: str | None,
    request_id: str | None,
    via: str,
    as_json: bool,
) -> int:
    r"""Ask the workers of a job, wait for all that can answer, and print what became of it.

    \b
    oobdump request stacks process
    oobdump request stacks:locals=true --targets 3
    """
    asked = Request(
        calls=tuple(parse_call(text) for text in handlers),
        format=form,
        body=_body(body),
        targets=(targets,),
        timeout_s=timeout,
        expires_in_s=expires,
        id=request_id,
    )
    client = Client(place.layout())
    if via == "http":
        outcomes = _by_http(client, asked)
        document, place_of_dumps = results.http_document(client.layout, outcomes), client.layout.dumps
    else:
        accepted, outcomes = ask(client, asked)
        document = results.document(client.layout, accepted, outcomes)
        place_of_dumps = client.layout.request_dir(accepted.id)
    if as_json:
        output.emit(document)
    else:
        results.print_table(outcomes)
        output.sentence(f"{results.coverage(outcomes)}; dumps: {place_of_dumps}")
    return results.exit_code(outcomes)


def _by_http(client: Client, asked: Request) -> list[Outcome]:
    """Each worker is asked by itself, and gives its dump an id of its own."""
    if asked.id is not None or asked.expires_in_s != DEFAULT_EXPIRES_IN_S:
        raise RequestError("--id and --expires belong to a request that is dropped: leave them out with --via http")
    return ask_over_http(client, asked)


def parse_call(text: str) -> HandlerCall:
    """``stacks`` or ``stacks:locals=true,ours=false``. Raises ``RequestError``."""
    name, colon, rest = text.partition(":")
    params: dict[str, str] = {}
    for piece in _NEXT_PARAMETER.split(rest) if colon else ():
        parameter, equals, value = piece.partition("=")
        if not equals or not parameter:
            raise RequestError(f"{piece!a} in {text!a} is no parameter: write HANDLER:PARAM=VALUE,PARAM=VALUE")
        if parameter in params:
            raise RequestError(f"the parameter {parameter!a} stands twice in {text!a}: which one is meant?")
        params[parameter] = value
    return HandlerCall(name, params)


def _body(given: str | None) -> bytes:
    if given is None:
        return b""
    if not given.startswith("@"):
        return given.encode("utf-8", "surrogateescape")
    if given == "@-":
        return sys.stdin.buffer.read(MAX_REQUEST_BYTES + 1)
    try:
        with open(given[1:], "rb") as file:
            return file.read(MAX_REQUEST_BYTES + 1)  # so that a disk image is refused, not read
    except OSError as error:
        raise RequestError(
            f"--body {given}: {error.strerror}: give a file that can be read, or the text itself"
        ) from None
