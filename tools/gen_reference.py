"""Writes the reference pages from the code: settings, handlers, commands, exit codes, errors, documents.

In: oobdump itself, imported. Out: ``docs/reference/_generated/*.md``, or with ``--check`` the
names of the pages that are not what the code says, and exit code 1. The rule it keeps: what
the code knows is written once, in the code; the same code gives the same bytes.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from oobdump import cli, doctor, errors, handlers
from oobdump.cli import exit_codes
from oobdump.config import Settings
from oobdump.identity import Identity, Machine
from oobdump.outside.state import STATES
from oobdump.registry import Handler, Registry
from oobdump.request import AcceptedRequest, HandlerCall, Request
from oobdump.response import ErrorInfo, Part
from oobdump.store import roster
from oobdump.store.layout import CLAIM, MANIFEST, REQUEST, Layout
from oobdump.store.writer import DumpWriter
from oobdump.wire import accepted_to_bytes

PLACE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "_generated"
MADE = "<!-- made by tools/gen_reference.py: change the code, then run `make docs` -->\n\n"

WIDTH = 100
"""Columns of a usage line, whatever terminal this runs in."""

SAMPLE_TIME_S = 1_767_225_600.0
"""2026-01-01 00:00:00 UTC: the same in every run."""


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; exit code 1 if ``--check`` finds an old page."""
    parser = argparse.ArgumentParser(description="Write the reference pages from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is old")
    check = parser.parse_args(argv).check
    old = [path for path, text in pages() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path, text in pages():
        if path in old and check:
            print(f"{path.name} is not what the code says: run `make docs` and commit it", file=sys.stderr)
        elif path in old:
            PLACE.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path}")
    return 1 if check and old else 0


def pages() -> Iterator[tuple[Path, str]]:
    """Each page's path and text."""
    for name, page in PAGES.items():
        yield PLACE / f"{name}.md", MADE + page().rstrip() + "\n"


# -- settings --------------------------------------------------------------------------------------------------------


def config_page() -> str:
    """One row a field of ``Settings``."""
    defaults = Settings()
    rows = (
        (f"`{item.name}`", f"`{item.metadata['env']}`", default(getattr(defaults, item.name)), item.metadata["help"])
        for item in fields(Settings)
    )
    return table(("argument", "variable", "default", "meaning"), rows)


def default(value: object) -> str:
    """A default as one would write it."""
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, Mapping):
        return f"`{';'.join(f'{key}={chr(44).join(names)}' for key, names in value.items())}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


# -- handlers --------------------------------------------------------------------------------------------------------


def handlers_page() -> str:
    """One section a built-in handler, as the registry describes it."""
    registry = Registry()
    problems = handlers.load(registry)
    if problems:
        raise RuntimeError("\n".join(problems))
    return "\n".join(map(handler_section, map(registry.get, registry.names())))


def handler_section(handler: Handler) -> str:
    """Name, help, and parameters if it has any."""
    rows = [
        (f"`{item.name}`", item.type, "required" if item.required else f"`{item.default}`", item.help)
        for item in handler.parameters
    ]
    text = f"## `{handler.name}`\n\n{markdown(handler.help)}\n"
    return text + ("\n" + table(("parameter", "type", "default", "meaning"), rows) if rows else "")


# -- commands and exit codes -----------------------------------------------------------------------------------------


def cli_page() -> str:
    """One section a command: how it is called, what it does, its options."""
    top = click.Context(cli.app, info_name="oobdump", max_content_width=WIDTH, terminal_width=WIDTH)
    commands = ((name, cli.app.get_command(top, name)) for name in cli.app.list_commands(top))
    return "\n".join(command_section(click.Context(found, top, name)) for name, found in commands if found)


def command_section(context: click.Context) -> str:
    """One command, from what it tells click."""
    command = context.command
    usage = command.get_usage(context).removeprefix("Usage: ")
    text = "\n\n".join(map(paragraph, inspect.cleandoc(command.help or "").split("\n\n")))
    records = (item.get_help_record(context) for item in command.params)
    rows = ((f"`{record[0]}`", " ".join(record[1].split())) for record in records if record and record[1])
    return f"## `{context.info_name}`\n\n```text\n{usage}\n```\n\n{text}\n\n{table(('option', 'meaning'), rows)}"


def paragraph(text: str) -> str:
    """A paragraph of click's help; one that must not be wrapped (click marks it) is shown as it is."""
    lines = text.splitlines()
    if lines[:1] == ["\b"]:
        return "```console\n" + "\n".join(f"$ {line.strip()}" for line in lines[1:]) + "\n```"
    return markdown(" ".join(text.split()))


def exit_codes_page() -> str:
    """The table of exit codes."""
    return table(("code", "name", "meaning"), ((f"`{code}`", name, text) for name, code, text in exit_codes.TABLE))


# -- the doctor ------------------------------------------------------------------------------------------------------


def doctor_page() -> str:
    """The checks, then each kind of finding."""
    checks = ((f"`{item.name}`", item.about, item.what, codes(item.kinds)) for item in doctor.CHECKS)
    kinds = ((f"`{kind.code}`", kind.severity, kind.means, kind.next_step) for kind in doctor.KINDS)
    return (
        table(("check", "of", "looks at", "can find"), checks)
        + "\n## Findings\n\n"
        + table(("code", "severity", "means", "next step"), kinds)
    )


def codes(kinds: Iterable[doctor.Kind]) -> str:
    """The codes of some kinds."""
    return ", ".join(f"`{kind.code}`" for kind in kinds)


# -- errors ----------------------------------------------------------------------------------------------------------


def states_page() -> str:
    """One row a state."""
    return table(("state", "meaning"), ((f"`{name}`", meaning) for name, meaning in STATES.items()))


def errors_page() -> str:
    """The tree as its module draws it, then one row a class."""
    drawing = "\n".join(line[4:] for line in (errors.__doc__ or "").splitlines() if line.startswith("    "))
    classes = (getattr(errors, name) for name in errors.__all__)
    rows = ((f"`{item.__name__}`", f"`{item.__base__.__name__}`", str(item.code), summary(item)) for item in classes)
    return f"```text\n{drawing}\n```\n\n" + table(("error", "is a", "code", "meaning"), rows)


# -- documents -------------------------------------------------------------------------------------------------------


def documents_page() -> str:
    """Each kind of document as the store writes it, for a sample worker."""
    identity = sample_identity()
    request = Request(calls=(HandlerCall("stacks"), HandlerCall("loader_state", {"worker": "9"})), targets=("0-3",))
    accepted = AcceptedRequest("20260101T000000.000Z-0123456789", request, (identity.worker,), SAMPLE_TIME_S, "client")
    with tempfile.TemporaryDirectory() as root:
        layout = Layout(root, identity.job)
        for directory in (layout.job_dir, layout.dumps, layout.roster):
            Path(directory).mkdir(mode=0o700)
        dump = write_samples(layout, accepted, identity)
        roster.write(layout, sample_entry(identity))
        found = {
            f"roster/{identity.worker}.json": Path(layout.entry(identity.worker)).read_bytes(),
            REQUEST: accepted_to_bytes(accepted),
            CLAIM: (dump / CLAIM).read_bytes(),
            MANIFEST: (dump / MANIFEST).read_bytes(),
        }
    return "\n\n".join(f"### `{name}`\n\n```json\n{indented(data)}\n```" for name, data in found.items())


def indented(data: bytes) -> str:
    """A JSON document for reading; the order of its keys stays."""
    return json.dumps(json.loads(data), indent=2)


def write_samples(layout: Layout, accepted: AcceptedRequest, identity: Identity) -> Path:
    """A whole dump, one of its parts an error."""
    writer = DumpWriter(layout, accepted.id, identity)
    writer.claim(tuple(call.name for call in accepted.request.calls), SAMPLE_TIME_S)
    wrong = ErrorInfo("IndexError", "list index out of range", '  File "train.py", line 40, in loader_state\n')
    records = (
        writer.write_part(Part("stacks", "ok", 200, "application/json", "json", b"{}", 0.000_412)),
        writer.write_part(Part("loader_state", "error", 500, seconds=0.000_031, error=wrong)),
    )
    writer.commit(records, "responsive", {}, SAMPLE_TIME_S + 0.002)
    return Path(writer.directory)


def sample_identity() -> Identity:
    """Rank 3 of a job that does not exist."""
    return Identity(
        machine=Machine("node1", "3f0c6f6e-0000-4000-8000-000000000000", "4026531836"),
        pid=4711,
        start_ticks=123_456,
        job="myjob",
        rank=3,
        local_rank=3,
        world_size=8,
        node=0,
        attempt=0,
        role="rank",
        sources={"rank": "RANK", "job": "OOBDUMP_JOB"},
    )


def sample_entry(identity: Identity) -> roster.Entry:
    """Its entry in the roster."""
    return roster.Entry(identity, registered_ns=int(SAMPLE_TIME_S * 1e9), started_at=SAMPLE_TIME_S)


# -- Markdown --------------------------------------------------------------------------------------------------------


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table; ``|`` in a cell is escaped."""
    lines = [list(head), *([str(cell).replace("|", "\\|") for cell in row] for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def summary(item: Any) -> str:
    """The first paragraph of a docstring, on one line, in Markdown's quotes."""
    return markdown(" ".join((item.__doc__ or "").split("\n\n")[0].split()))


def markdown(text: str) -> str:
    """A docstring's text in Markdown."""
    return text.replace("``", "`")


PAGES: Mapping[str, Callable[[], str]] = {
    "states": states_page,
    "config": config_page,
    "handlers": handlers_page,
    "cli": cli_page,
    "exit-codes": exit_codes_page,
    "doctor": doctor_page,
    "errors": errors_page,
    "documents": documents_page,
}

if __name__ == "__main__":
    sys.exit(main())
