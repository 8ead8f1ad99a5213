"""A rank's main function under torch's ``record``, which enables faulthandler; once released, it fails."""

from __future__ import annotations

import faulthandler
import os

from _neighbour import arm, note, ready
from torch.distributed.elastic.multiprocessing.errors import record


@record
def main() -> None:
    """Waits, then raises."""
    arm("last")
    note("faulthandler", faulthandler.is_enabled())
    ready()
    with open(os.environ["RELEASE_FIFO"], "rb") as release:
        release.read(1)
    raise ValueError("as told")


if __name__ == "__main__":
    arm("first")
    main()
