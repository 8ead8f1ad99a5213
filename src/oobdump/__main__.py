"""``python -m oobdump``: the same as the command ``oobdump``."""

from __future__ import annotations

from oobdump.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
