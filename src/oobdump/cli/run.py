"""``oobdump run -- CMD…``: arms a program and its Python children, and becomes that program.

In: a command. Out: the same process, running it: nothing is forked, so exit code, signals, terminal and
job control are the program's own. The rule only this module keeps: what the program finds is what it would
have found without us, but for what the table in ``docs/how-to/run.md`` says.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Mapping
from typing import NoReturn

import click

from oobdump import arming, doors, early, pth, python_line
from oobdump.cli import output, programs
from oobdump.cli.exit_codes import ExitCode
from oobdump.cli.failure import CommandError
from oobdump.config import settings
from oobdump.identity import Identity

__all__ = ["run"]

_PYTHON_IGNORES = ("SIGPIPE", "SIGXFSZ")
"""What the interpreter ignores for itself when it starts: handed on, ``yes | head`` would complain."""

_DIRECTORIES = ("dir", "runtime_dir", "fallback_dir")


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--dir", "dir_", metavar="DIR", help="Root of the dumps, as OOBDUMP_DIR.")
@click.option("--job", metavar="NAME", help="Name of the job, as OOBDUMP_JOB.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[--] COMMAND [ARGUMENT]...")
def run(*, dir_: str | None, job: str | None, command: tuple[str, ...]) -> int:
    """Run a program armed, without changing it, and its Python children with it.

    The program answers request files and the request signal as if it had called oobdump.start(). Its exit
    code is the program's; 126 and 127 mean that it could not be run or was not found.
    """
    if not command:
        raise click.UsageError("no command is given: `oobdump run -- python train.py`")
    environ = _environment(dir_, job)
    found = programs.find(command, environ)
    for problem in _why_not(found, environ):
        output.note(problem)
    _become(found, environ)


def _environment(dir_: str | None, job: str | None) -> dict[str, str]:
    """What the program's environment is to be. Raises ``ConfigError`` for a setting that makes no sense."""
    environ = dict(os.environ)
    given = {"OOBDUMP_DIR": dir_, "OOBDUMP_JOB": job}
    environ.update({name: value for name, value in given.items() if value is not None})
    chosen = settings(environ)
    doors.check(chosen)
    for name in _DIRECTORIES:  # the program may run its children elsewhere
        if (path := getattr(chosen, name)) is not None:
            environ[f"OOBDUMP_{name.upper()}"] = path
    identity = Identity.here(environ, job=chosen.job)
    if identity.sources.get("job") == "launcher":
        environ["OOBDUMP_RUN_JOB"] = identity.job
    environ[arming.VARIABLE] = "1"
    _without_coercion(environ)
    return environ


def _without_coercion(environ: dict[str, str]) -> None:
    """In the C locale Python sets LC_CTYPE for itself and its children (PEP 538): the program decides for itself."""
    try:
        with open("/proc/self/environ", "rb") as file:
            block = file.read()
    except OSError:
        return
    if "LC_CTYPE" in environ and not block.startswith(b"LC_CTYPE=") and b"\0LC_CTYPE=" not in block:
        del environ["LC_CTYPE"]


def _why_not(found: programs.Command, environ: Mapping[str, str]) -> list[str]:
    """Why the program will not be armed, where that can be seen beforehand; with the next step."""
    if not found.python:
        return []
    python = found.python[0]
    flags = python_line.read(found.line).flags
    if "S" in flags:
        return [f"{python} is run with -S and will not be armed: leave -S out, or call oobdump.start() in the program"]
    if pth.acts_in(python, environ):
        return []
    step = f"`{python} -m pip install oobdump` (from its sources: `-m pip install -e DIRECTORY`)"
    return [f"{python} has no installed oobdump, so the program runs and will not be armed: {step}"]


def _become(found: programs.Command, environ: Mapping[str, str]) -> NoReturn:
    """Replaces this process by the program; raises ``CommandError`` if the kernel refuses."""
    if not found.python:
        early.undo()
    for name in _PYTHON_IGNORES:
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    try:
        _exec(found.path, list(found.words), environ)
    except OSError as error:
        code = ExitCode.NOT_FOUND if isinstance(error, FileNotFoundError) else ExitCode.NOT_EXECUTABLE
        why = "its interpreter is missing" if isinstance(error, FileNotFoundError) else str(error.strerror)
        raise CommandError(f"cannot run {found.path!r}: {why}; see its first line and its mode", code) from None


def _exec(path: str, words: list[str], environ: Mapping[str, str]) -> NoReturn:
    try:
        os.execve(path, words, dict(environ))  # noqa: S606 - to be that program is the point
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
    os.execve("/bin/sh", ["sh", path, *words[1:]], dict(environ))  # noqa: S606 - as execvp(3) runs a text without "#!"
