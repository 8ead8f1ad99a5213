"""What a command exits with: one table, which the reference page is made from.

In: nothing. Out: ``ExitCode`` and ``TABLE`` (name, number, meaning). The rule only this module
keeps: a number means the same for every command, and an error of ours is never 1.
"""

from __future__ import annotations

import enum
from types import MappingProxyType

__all__ = ["MEANINGS", "TABLE", "ExitCode"]


class ExitCode(enum.IntEnum):
    """The numbers; from 64 up those of ``sysexits.h``; 126, 127 and 130 (128 + SIGINT) as shells have them."""

    FINE = 0
    FINDING = 1
    USAGE = 2
    NO_DUMPS = 66
    NOBODY_ANSWERED = 69
    OWN_FAILURE = 70
    PARTIAL = 75
    PERMISSION = 77
    NOT_EXECUTABLE = 126
    NOT_FOUND = 127
    INTERRUPTED = 130


MEANINGS = MappingProxyType(
    {
        ExitCode.FINE: "everything went well; whoever was asked answered",
        ExitCode.FINDING: "all have an answer, and some is an error, a timeout or a refusal, or is from outside; "
        "or `doctor` found an error or a warning, or `diagnose` anything but a healthy job",
        ExitCode.USAGE: "the command line, the request, a setting or the name of the job is wrong; nothing was asked",
        ExitCode.NO_DUMPS: "there is no such dump, or it cannot be read",
        ExitCode.NOBODY_ANSWERED: "nobody that was asked answered, or nobody is there to be asked",
        ExitCode.OWN_FAILURE: "oobdump itself failed, or the system below it (`OOBDUMP_DEBUG=1` shows the traceback)",
        ExitCode.PARTIAL: "some answered and some did not, or only a part was done",
        ExitCode.PERMISSION: "not permitted, or the directory belongs to somebody else",
        ExitCode.NOT_EXECUTABLE: "`run`: the command was found and cannot be run",
        ExitCode.NOT_FOUND: "`run`: there is no such command",
        ExitCode.INTERRUPTED: "interrupted (Ctrl-C) before there was a result",
    }
)

TABLE = tuple((code.name.lower(), int(code), MEANINGS[code]) for code in ExitCode)
"""Name, number and meaning of each."""
