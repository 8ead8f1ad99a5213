"""``oobdump handlers``: what can be asked, with help and parameters.

In: the registry of this installation, or the ``handlers`` handler of one worker, which also
knows what the program registered. Out: a list, or one object. The rule only this module keeps:
the answer says whose it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from oobdump import handlers as built_in
from oobdump.cli import content, output
from oobdump.cli.asking import ask
from oobdump.cli.exit_codes import ExitCode
from oobdump.cli.failure import CommandError
from oobdump.cli.place import Place, json_option, place_options
from oobdump.client import Client
from oobdump.errors import OobdumpError
from oobdump.handlers.basic import listing
from oobdump.registry import Registry
from oobdump.report.harmless import harmless, wrap
from oobdump.request import HandlerCall, Request

__all__ = ["handlers"]

_INDENT = "    "


@click.command()
@click.option("--worker", metavar="WHO", help="Ask this worker (a name, a rank, a host) for its own list.")
@json_option
@place_options
def handlers(place: Place, *, worker: str | None, as_json: bool) -> int:
    """List what can be asked, with parameters.

    With --job or --worker one running worker is asked, which also knows the handlers that its program
    added; else, and where none answers, the list is that of this installation.
    """
    origin, document, remark = None, None, ""
    if worker is not None or place.job is not None:
        try:
            origin, document = _asked(place, worker or "any")
        except (CommandError, OobdumpError, OSError) as error:
            remark = f"this is the list of this installation: no worker gave its own ({error})"
    if document is None:
        document, problems = _installed()
        remark = "; ".join(filter(None, (remark, *problems)))
    if as_json:
        output.emit({**document, "worker": origin, "remark": remark})
    else:
        _print(document, origin)
        if remark:
            output.note(remark)
    return ExitCode.FINE


def _installed() -> tuple[dict[str, Any], list[str]]:
    registry = Registry()
    problems = built_in.load(registry) + registry.load_entry_points()
    return listing(registry)(), problems


def _asked(place: Place, word: str) -> tuple[str, dict[str, Any]]:
    """One worker's own list. Raises ``CommandError`` if there is none."""
    client = Client(place.layout())
    _, outcomes = ask(client, Request((HandlerCall("handlers"),), targets=(word,)))
    for outcome in outcomes:
        if outcome.dump is not None and outcome.status == "ok":
            found = content.read(outcome.dump, outcome.parts[0])
            if found.kind == "value" and _is_listing(found.plain):
                return outcome.worker, found.plain
    raise CommandError("; ".join(outcome.why or outcome.status for outcome in outcomes), ExitCode.NOBODY_ANSWERED)


def _is_listing(value: Any) -> bool:
    """Whether it has the form that ``_print`` relies on: it comes from a file."""
    if not isinstance(value, dict) or not isinstance(value.get("handlers"), list):
        return False
    return all(isinstance(each, dict) and isinstance(each.get("parameters"), list) for each in value["handlers"])


def _print(document: Mapping[str, Any], origin: str | None) -> None:
    output.sentence(f"worker {origin}:" if origin else "this installation:")
    width = output.page_width()
    for each in document["handlers"]:
        output.say("", harmless(str(each.get("name"))))
        output.say(*_indented(str(each.get("help") or ""), width))
        for parameter in each["parameters"]:
            output.say(*_indented(_parameter(parameter), width))


def _parameter(parameter: Mapping[str, Any]) -> str:
    name, kind = parameter.get("name"), parameter.get("type")
    need = "required" if parameter.get("required") else f"default {parameter.get('default')}"
    told = f": {parameter['help']}" if parameter.get("help") else ""
    return f":{name}={kind} ({need}){told}"


def _indented(text: str, width: int) -> Iterator[str]:
    return wrap(_INDENT + harmless(text), width, indent=_INDENT) if text else iter(())
