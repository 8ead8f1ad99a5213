"""Where a sentinel's process begins: as a script, in an interpreter that has read no site-packages.

In: ``--path DIR`` (where msgpack is), then orders. Out: the sentinel's exit status; 0 also where
somebody else has the seat. The rules only this module keeps: nothing that the program had open
stays open, and neither its session, its directory nor its ``sys.path`` is kept.
"""

from __future__ import annotations

import os
import signal
import sys

__all__ = ["main"]

_MAX_DESCRIPTORS = 2**20
_FIRST_DESCRIPTOR = 3


def main(words: list[str]) -> int:
    """Runs a sentinel until it leaves."""
    _stand_alone()
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    sys.path[:1] = [package, words[words.index("--path") + 1]]
    from oobdump.election.orders import Orders  # noqa: PLC0415 - only now is it found
    from oobdump.sentinel.loop import run  # noqa: PLC0415

    return run(Orders.read(words[2:]))


def _stand_alone() -> None:
    os.closerange(_FIRST_DESCRIPTOR, _MAX_DESCRIPTORS)
    os.chdir("/")
    os.umask(0o077)
    if os.getpgrp() != os.getpid():
        os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
