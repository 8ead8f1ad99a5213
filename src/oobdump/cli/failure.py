"""Errors as a person and as a program read them: one line, one exit code, with ``--json`` one object.

In: whatever a command raised. Out: ``oobdump: what; cause; next step`` on stderr, and the code.
The rule only this module keeps: no error reaches the user as a traceback unless
``OOBDUMP_DEBUG=1`` asks for it, and what nobody foresaw is 70.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import click

from oobdump.cli import output
from oobdump.cli.exit_codes import ExitCode
from oobdump.errors import ConfigError, DamagedDump, ForeignDirectory, OobdumpError, RequestError, StoreError

__all__ = ["CommandError", "code_of", "message_of", "report"]

_CODES: tuple[tuple[tuple[type[BaseException], ...], ExitCode], ...] = (
    ((click.ClickException, RequestError, ConfigError), ExitCode.USAGE),
    ((ForeignDirectory, PermissionError), ExitCode.PERMISSION),
    ((DamagedDump,), ExitCode.NO_DUMPS),
    ((StoreError,), ExitCode.NOBODY_ANSWERED),  # it takes no request, so nobody is asked
    ((KeyboardInterrupt, click.Abort), ExitCode.INTERRUPTED),
)
"""The first line that fits; what is in none is our own failure."""


class CommandError(OobdumpError):
    """A command's own error: the message says what, why and what next."""

    def __init__(self, message: str, exit_code: ExitCode) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def code_of(error: BaseException) -> ExitCode:
    """What to exit with."""
    if isinstance(error, CommandError):
        return error.exit_code
    return next((code for kinds, code in _CODES if isinstance(error, kinds)), ExitCode.OWN_FAILURE)


def message_of(error: BaseException) -> str:
    """What to say, on one line."""
    text = next((text for kinds, text in _TEXTS if isinstance(error, kinds)), _own_failure)
    return " ".join(text(error).split())


def report(error: BaseException, *, as_json: bool) -> ExitCode:
    """Says what went wrong, and returns what to exit with."""
    code, message = code_of(error), message_of(error)
    if os.environ.get("OOBDUMP_DEBUG") == "1":
        sys.stderr.write("".join(traceback.format_exception(error)))
    output.note(message)
    if as_json:
        with suppress(OSError):  # whoever reads it has gone
            output.emit({"schema_version": 1, "error": {"code": int(code), "message": message}})
    return code


def _usage(error: Any) -> str:
    path = error.ctx.command_path if error.ctx is not None else "oobdump"
    return f"{error.format_message().rstrip('.')}; see `{path} --help`"


def _own_failure(error: BaseException) -> str:
    what = f"{type(error).__name__}: {error}"
    return f"{what}; this is a fault of oobdump: set OOBDUMP_DEBUG=1 to see where, and report it"


_TEXTS: tuple[tuple[tuple[type[BaseException], ...], Callable[[Any], str]], ...] = (
    ((click.UsageError,), _usage),
    ((click.ClickException,), lambda error: str(error.format_message())),
    ((KeyboardInterrupt, click.Abort), lambda _: "interrupted"),
    ((OobdumpError,), str),
    (
        (PermissionError,),
        lambda error: f"{error}; it is another user's, or read-only: be its owner, or give another --dir",
    ),
    ((OSError,), lambda error: f"{error}; set OOBDUMP_DEBUG=1 to see where"),
)
"""The first line that fits; what is in none is our own failure."""
