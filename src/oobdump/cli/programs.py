"""What a command is, before it is run: where it is, and whether a Python runs it.

In: a command's name and an environment. Out: ``Command``, or an error with the exit code that env(1)
has for it. The rule only this module keeps: a program counts as Python's only if Python is the very next
to run. A shell that starts a Python later has signals of its own, and gets them as they are.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from oobdump.cli.exit_codes import ExitCode
from oobdump.cli.failure import CommandError
from oobdump.store.atomic import read_head

__all__ = ["Command", "find"]

_HEAD_BYTES = 512
"""A path is at most 4,096 bytes, but the kernel reads 256 of a first line; two lines are wanted."""

_PYTHON = re.compile(r"(?:python|pypy)[0-9.]*[a-z]{0,3}(?:-[a-z0-9]+)?")
_EXEC_IN_SHELL = re.compile(rb"""^'''exec' ("[^"]+"|\S+) """, re.MULTILINE)
"""The second line of a console script whose Python has a path too long, or with spaces, for a first line."""


@dataclass(frozen=True)
class Command:
    """``python`` is the interpreter that runs it, with its options; empty if that is no Python."""

    path: str
    words: tuple[str, ...]
    python: tuple[str, ...] = ()

    @property
    def line(self) -> tuple[str, ...]:
        """The command line as the interpreter gets it."""
        own = () if self.python[:1] == (self.path,) else (self.path,)
        return (*self.python, *own, *self.words[1:])


def find(words: Sequence[str], environ: Mapping[str, str]) -> Command:
    """Finds a command as the shell would. Raises ``CommandError``: 127 if there is none, 126 if it cannot be run."""
    path = _which(words[0], environ)
    return Command(path, tuple(words), _python_of(path, environ))


def _which(name: str, environ: Mapping[str, str]) -> str:
    if "/" in name:
        candidates = [name]
    else:
        candidates = [os.path.join(place or ".", name) for place in os.get_exec_path(dict(environ))]
    there = [path for path in candidates if name and os.path.exists(path)]
    if not there:
        where = "there is no such file" if "/" in name else "it is in no directory of PATH"
        raise CommandError(
            f"cannot run {name!r}: {where}; give the command as you would without oobdump", ExitCode.NOT_FOUND
        )
    runnable = [path for path in there if os.path.isfile(path) and os.access(path, os.X_OK)]
    if not runnable:
        why = "it is a directory" if os.path.isdir(there[0]) else "it is not executable"
        advice = "give a program" if os.path.isdir(there[0]) else f"`chmod +x {there[0]}`, or name its interpreter"
        raise CommandError(f"cannot run {there[0]!r}: {why}; {advice}", ExitCode.NOT_EXECUTABLE)
    return runnable[0]


def _python_of(path: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The Python behind a binary or a script's first line."""
    head = read_head(path, _HEAD_BYTES, follow=True)
    if not head.startswith(b"#!"):
        names = (os.path.basename(path), os.path.basename(os.path.realpath(path)))
        return (path,) if any(map(_PYTHON.fullmatch, names)) else ()
    interpreter = head[2:].partition(b"\n")[0].decode("utf-8", "surrogateescape").split(maxsplit=1)
    if not interpreter:
        return ()
    name = os.path.basename(interpreter[0])
    if name == "env":
        return _python_of_env(interpreter[1:], environ)
    if name in ("sh", "bash", "dash") and (match := _EXEC_IN_SHELL.search(head)):
        interpreter = [match[1].decode("utf-8", "surrogateescape").strip('"')]
        name = os.path.basename(interpreter[0])
    return tuple(interpreter) if _PYTHON.fullmatch(name) else ()


def _python_of_env(rest: Sequence[str], environ: Mapping[str, str]) -> tuple[str, ...]:
    """``#!/usr/bin/env python3`` and ``#!/usr/bin/env -S python3 -u``."""
    words = list(rest)
    if words and words[0].startswith("-S"):
        words = shlex.split(words[0].removeprefix("-S"))
    if not words or not _PYTHON.fullmatch(os.path.basename(words[0])):
        return ()
    try:
        return (_which(words[0], environ), *words[1:])
    except CommandError:
        return ()
