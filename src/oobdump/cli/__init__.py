"""The command ``oobdump``: one module a command, imported when it is used.

In: a command line. Out: lines on stdout, remarks on stderr, an exit code of ``exit_codes``.
The rule only this module keeps: whatever happens below, the process ends through ``App.main``,
with a code of that table; and ``--help`` imports no command.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NoReturn

import click

from oobdump._version import __version__
from oobdump.cli import failure, output
from oobdump.cli.exit_codes import ExitCode

__all__ = ["COMMANDS", "App", "app", "main"]

COMMANDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "run": ("oobdump.cli.run:run", "Run a program armed, without changing it."),
        "ps": ("oobdump.cli.ps:ps", "List the workers."),
        "request": ("oobdump.cli.request:request", "Ask the workers of a job, and wait for their answers."),
        "stacks": ("oobdump.cli.stacks:stacks", "Show the stacks of all ranks, merged."),
        "diagnose": ("oobdump.cli.diagnose:diagnose", "Ask everybody, and say which rank hangs, where and why."),
        "signal": ("oobdump.cli.signal:signal_", "Send workers the request signal, and wait for their dumps."),
        "ls": ("oobdump.cli.ls:ls", "List the dumps of a job, newest first."),
        "show": ("oobdump.cli.show:show", "Show what was answered, or what is in a file."),
        "convert": ("oobdump.cli.convert:convert", "Write a part in another format."),
        "handlers": ("oobdump.cli.handlers:handlers", "List what can be asked."),
        "sentinel": (
            "oobdump.cli.sentinel:sentinel",
            "Start this machine's sentinel of a job, or show it.",
        ),
        "doctor": ("oobdump.cli.doctor:doctor", "Find out what would make a dump fail."),
        "prune": ("oobdump.cli.prune:prune", "Remove old dumps."),
    }
)
"""Where each command is (``module:attribute``), and its help in one line."""


class App(click.Group):
    """A group that imports a command when it is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of that name, imported now."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The list in the help, from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> NoReturn:  # type: ignore[override]
        """Runs one command line and exits."""
        words = list(sys.argv[1:] if args is None else args)
        output.prepare()
        code = self._guarded(words, prog_name or "oobdump", extra)
        failed = output.close()
        if failed is not None and not isinstance(failed, BrokenPipeError):
            code = failure.report(failed, as_json=False)
        sys.exit(int(code))

    def _guarded(self, words: list[str], prog_name: str, extra: dict[str, Any]) -> int:
        """The exit code, whatever is raised. A reader of stdout that has gone (``| head``) is no failure."""
        extra.pop("standalone_mode", None)
        try:
            with self.make_context(prog_name, list(words), **extra) as ctx:
                return int(self.invoke(ctx) or ExitCode.FINE)
        except click.exceptions.Exit as done:
            return done.exit_code
        except BrokenPipeError:
            output.abandon()
            return ExitCode.FINE
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - each becomes a line and a code
            options = words[: words.index("--")] if "--" in words else words
            return failure.report(error, as_json="--json" in options)


@click.group("oobdump", cls=App, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="oobdump", message="%(prog)s %(version)s")
@click.pass_context
def app(ctx: click.Context) -> None:
    """Ask one hung worker, or every rank of a job, what it is doing right now."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> NoReturn:
    """The entry point."""
    app.main()
