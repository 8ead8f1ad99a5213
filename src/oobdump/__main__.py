"""The entry point, as ``oobdump`` and as ``python -m oobdump``.

In: a command line. Out: the command's. The rule only this module keeps: before anything else is
loaded, ``oobdump run`` cannot be ended by a request signal any more.
"""

from __future__ import annotations

import sys

from oobdump import early

TYPE_CHECKING = False  # as in `typing`: see early
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Runs the command line; ``run`` first makes its process safe, and click is loaded after that."""
    if sys.argv[1:2] == ["run"]:
        early.guard()
    from oobdump import cli  # noqa: PLC0415 - see the docstring

    cli.main()


if __name__ == "__main__":
    main()
