"""What ``diagnose`` does with recorder files, by itself: read, match, say the first findings.

In: a directory. Out: a JSON line with the findings, the seconds, and the memory of this process
and of its children at their highest. ``diagnose.py`` runs it in a process of its own.
"""

from __future__ import annotations

import json
import resource
import sys
import time

from oobdump.job.matching import match
from oobdump.offline import recorders
from oobdump.offline.reading import read
from support import torchfrtrace


def main(argv: list[str]) -> int:
    """One JSON line."""
    begin = time.perf_counter()
    found = match(read(argv[0]).traces)
    own, below = (resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    document = {
        "ranks": len(found.ranks),
        "findings": [[each.kind, each.group.name, each.seq, sorted(each.ranks)] for each in found.findings],
        "seconds": time.perf_counter() - begin,
        "cpu_s": own.ru_utime + own.ru_stime + below.ru_utime + below.ru_stime,
        "kib": torchfrtrace.peak_kib() + recorders.children(len(found.ranks)) * below.ru_maxrss,
    }
    sys.stdout.write(json.dumps(document) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
