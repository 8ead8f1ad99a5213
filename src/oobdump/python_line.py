"""What a Python command line runs: a script, a module, a text; pure.

In: the words of a command line, the interpreter's first. Out: ``PythonLine``. The rule only this
module keeps: where the interpreter's own options end and the program begins (Python's *Command
line and environment* has the list).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Known", "PythonLine", "known_as", "read"]

Kind = Literal["script", "module", "text", "none"]
Known = Literal["launcher", "helper", "oobdump"]

_TAKES_A_WORD = ("-W", "-X", "--check-hash-based-pycs")
"""Options whose value may be the next word."""

_LAUNCHER_MODULES = frozenset(
    {
        "accelerate.commands.launch",
        "deepspeed.launcher.launch",
        "deepspeed.launcher.runner",
        "horovod.runner.launch",
        "torch.distributed.launch",
        "torch.distributed.run",
    }
)
_LAUNCHER_SCRIPTS = frozenset({"accelerate-launch", "deepspeed", "ds", "horovodrun", "torchrun"})
_LAUNCHER_COMMANDS = frozenset({("accelerate", "launch"), ("fabric", "run"), ("lightning", "run")})
"""Programs in Python that start ranks and are none, even where a rank is set for them (``srun torchrun``)."""

_HELPER_TEXTS = ("resource_tracker import main", "semaphore_tracker import main", "forkserver import main")
"""Of what ``multiprocessing`` and joblib run with ``-c``: they carry their parent's rank and do none of its work."""


@dataclass(frozen=True)
class PythonLine:
    """``flags`` are the letters of the interpreter's options; ``program`` is a path, a module's name or a text."""

    flags: frozenset[str]
    kind: Kind
    program: str = ""
    words: tuple[str, ...] = ()


def read(line: Sequence[str]) -> PythonLine:
    """Reads a command line such as ``sys.orig_argv``."""
    flags: set[str] = set()
    rest = list(line[1:])
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        if word in _TAKES_A_WORD:
            rest = rest[1:]
        elif not word.startswith(("--", "-W", "-X")):
            for index, letter in enumerate(word[1:], 2):
                if letter in "cm":
                    value = word[index:] or (rest.pop(0) if rest else "")
                    return PythonLine(frozenset(flags), "text" if letter == "c" else "module", value, tuple(rest))
                flags.add(letter)
    if not rest or rest[0] == "-":
        return PythonLine(frozenset(flags), "none", words=tuple(rest[1:]))
    return PythonLine(frozenset(flags), "script", rest[0], tuple(rest[1:]))


def known_as(line: PythonLine) -> Known | None:
    """Whether this is known as a program that starts ranks, helps them, or asks them, without being one."""
    if line.kind == "text":
        return "helper" if any(text in line.program for text in _HELPER_TEXTS) else None
    name = os.path.basename(line.program).removesuffix(".py")
    if (line.kind, line.program) == ("module", "oobdump") or (line.kind, name) == ("script", "oobdump"):
        return "oobdump"
    module = line.kind == "module" and line.program in _LAUNCHER_MODULES
    script = line.kind == "script" and name in _LAUNCHER_SCRIPTS
    command = (line.program if line.kind == "module" else name, *line.words[:1]) in _LAUNCHER_COMMANDS
    return "launcher" if module or script or command else None
