"""PyTorch's own flight recorder analyser, run as it is; what it found as JSON.

In: directories of recorder pickles, on the command line. Out: for each a JSON line with its
verdict or how it crashed, and what it took. Run as a program, by a Python that has torch.
"""

from __future__ import annotations

import json
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["peak_kib", "verdicts"]

WITHIN_S = 600.0


def verdicts(directories: Sequence[Path], *flags: str, python: str = sys.executable) -> list[dict[str, Any]]:
    """What torchfrtrace says of each directory: ``bad`` (first bad place of each group), or ``crashed``."""
    command = [python, __file__, *flags, *map(str, directories)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WITHIN_S)
    if done.returncode:
        raise AssertionError(f"{command} failed: {done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def peak_kib() -> int:
    """This process's memory at its highest. ``ru_maxrss`` has its parent's in it, from before ``exec``."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1])


def _verdict(directory: str, flags: Sequence[str]) -> dict[str, Any]:
    from torch.distributed.flight_recorder import fr_trace

    with tempfile.TemporaryDirectory() as place:
        out = f"{place}/db"
        try:
            fr_trace.main([directory, "-o", out, *flags])
        except (Exception, SystemExit) as error:  # noqa: BLE001 - however it crashes is the finding
            return {"crashed": f"{type(error).__name__}: {error}"}
        with open(out, "rb") as file:
            _, found = pickle.load(file)
    return {"bad": _bad(found.collectives), "collectives": len(found.collectives)}


def _bad(collectives: Sequence[Any]) -> list[dict[str, Any]]:
    """The first bad place of each group. A missing rank alone passes its check: ``missing_ranks`` tells."""
    firsts: dict[tuple[str, str], dict[str, Any]] = {}
    for each in collectives:
        if each.pass_check and not each.missing_ranks:
            continue
        odd = each.mismatch_collectives or {}
        firsts.setdefault(
            (each.group_id, each.pg_desc),
            {
                "group": each.group_id,
                "desc": each.pg_desc.partition(":")[2],
                "seq": each.collective_seq_id,
                "missing": sorted(each.missing_ranks or ()),
                "odd": {str(rank): other.type_of_mismatch.state.name for rank, other in sorted(odd.items())},
            },
        )
    return list(firsts.values())


def main(argv: Sequence[str]) -> int:
    """One JSON line a directory."""
    flags = [word for word in argv if word.startswith("--")]
    for directory in (word for word in argv if not word.startswith("--")):
        begin = time.perf_counter()
        found = _verdict(directory, flags)
        used = resource.getrusage(resource.RUSAGE_SELF)
        found |= {"seconds": time.perf_counter() - begin, "cpu_s": used.ru_utime + used.ru_stime, "kib": peak_kib()}
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
