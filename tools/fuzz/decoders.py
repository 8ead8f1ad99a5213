"""Fuzzes every decoder and every reader of foreign files, guided by the lines that an input reaches.

In: seconds, and optionally targets. Out: one row a target: inputs, lines reached, findings; each
finding is kept as a file and named. An input must give a value or an error of ours, within
``CPU_S`` seconds of processor time and ``MEMORY_MIB`` beyond what was in use before it; each target runs in a
process of its own, so that a crash is a finding too.
"""

from __future__ import annotations

import contextlib
import gc
import mmap
import os
import random
import resource
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [place for place in (str(HERE), str(HERE.parent)) if place not in sys.path]

import fuzz_targets  # noqa: E402 - found by the line above, also where this is run as a test
import mutations  # noqa: E402

import figures  # noqa: E402

CPU_S = 1
"""Of processor time, for one input of at most 64 KiB (a wall clock would count the neighbours)."""

MEMORY_MIB = 64
"""That the resident size may grow by in one input."""

SECONDS = 60.0
"""Of all targets together."""

OUT = Path("out") / "fuzz"
_HELD = 2**20
_WATCHED = (f"{os.sep}oobdump{os.sep}codecs{os.sep}", f"{os.sep}oobdump{os.sep}reading{os.sep}")
_MAX_FINDINGS = 5
"""Of one target: more would be the same one again."""

_TRACED_SHARE = 0.25
"""Inputs that are run with their lines counted: counting costs four times the time of the rest."""

_CORPUS_MOST = 4000
_HEADER = struct.Struct("<QQQQ")  # inputs, lines, corpus, bytes of the input that runs


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; 1 if anything was found."""
    parser = figures.parser(__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all targets together")
    parser.add_argument("--target", action="append", choices=sorted(fuzz_targets.TARGETS), help="only these")
    parser.add_argument("--seed", type=int, default=None, help="for the same inputs")
    parser.add_argument("--keep", type=Path, default=OUT, help="where findings go")
    parser.add_argument("--replay", type=Path, help="run the one --target on this file, and show what happens")
    options = parser.parse_args(argv)
    names = options.target or sorted(fuzz_targets.TARGETS)
    if options.replay is not None:
        return replay(names[0], options.replay.read_bytes())
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    findings: list[str] = []
    rows = []
    for name in names:
        row, found = fuzz(name, options.seconds / len(names), seed, options.keep)
        rows.append(row)
        findings += found
    return figures.show("fuzz", rows, findings, [f"--seed {seed}"], as_json=options.json)


def replay(name: str, data: bytes) -> int:
    """One input, with its traceback if it is a finding."""
    target = fuzz_targets.TARGETS[name]()
    try:
        print(repr(target.call(data))[:2000])
    except target.errors as error:
        print(f"refused: {error}"[:2000])
    except Exception:  # noqa: BLE001 - that is what is looked for
        traceback.print_exc()
        return 1
    return 0


# -- one target --------------------------------------------------------------------------------------------------------


def fuzz(name: str, seconds: float, seed: int, keep: Path) -> tuple[dict[str, Any], list[str]]:
    """One target in processes of its own, a new one after each that ended early."""
    findings: list[str] = []
    deadline = time.monotonic() + seconds
    totals, round_ = [0, 0, 0], 0
    with mmap.mmap(-1, _HELD) as shared:
        while (left := deadline - time.monotonic()) > 0 and len(findings) < _MAX_FINDINGS:
            shared[: _HEADER.size] = bytes(_HEADER.size)
            reading, writing = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(reading)
                _in_child(name, left, f"{seed}.{name}.{round_}", shared, writing)
            os.close(writing)
            why = _wait(child, reading)
            inputs, lines, corpus, size = _HEADER.unpack(shared[: _HEADER.size])
            totals = [totals[0] + inputs, max(totals[1], lines), max(totals[2], corpus)]
            if why:
                findings.append(_kept(keep, name, shared[_HEADER.size : _HEADER.size + size], why))
            round_ += 1
    row = {"target": name, "inputs": totals[0], "lines": totals[1], "corpus": totals[2], "findings": len(findings)}
    return row, findings


def _wait(child: int, reading: int) -> str:
    """What the child said was wrong, or what ended it; nothing if its time was over."""
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode("utf-8", "replace")
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if said or code == 0:
        return said
    if code == -signal.SIGPROF:
        return f"more than {CPU_S} s of processor time"
    return f"the process ended with {code}"


def _kept(keep: Path, name: str, data: bytes, why: str) -> str:
    keep.mkdir(parents=True, exist_ok=True)
    path = keep / f"{name}-{abs(hash(data)) % 16**8:08x}"
    path.write_bytes(data)
    return f"{name}: {why.strip().splitlines()[-1][:300]} ({path}; --target {name} --replay {path})"


# -- in the child ------------------------------------------------------------------------------------------------------


def _in_child(name: str, seconds: float, seed: str, shared: mmap.mmap, writing: int) -> None:
    """Runs inputs until the time is over or one is a finding; never returns."""
    code = 1
    try:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        why = _Loop(name, seed, shared).run(time.monotonic() + seconds)
        os.write(writing, why.encode("utf-8", "backslashreplace")[:60_000])
        code = 0
    finally:
        os._exit(code)


class _Loop:
    """Inputs for one target, and what they reach."""

    def __init__(self, name: str, seed: str, shared: mmap.mmap) -> None:
        self.target = fuzz_targets.TARGETS[name]()
        self.chance = random.Random(seed)  # noqa: S311 - for inputs, not for secrets
        self.shared = shared
        self.corpus = [data for kind in self.target.seeds for data in fuzz_targets.seeds(kind)]
        self.lines: set[tuple[str, int]] = set()
        self.inputs = 0

    def run(self, deadline: float) -> str:
        """What was found; nothing if nothing was."""
        gc.collect()
        most = _resident_kib() + MEMORY_MIB * 1024
        for data in [b"", *self.corpus]:
            if why := self._one(data, most, traced=True):
                return why
        while time.monotonic() < deadline:
            traced = self.chance.random() < _TRACED_SHARE
            if why := self._one(mutations.mutated(self.corpus, self.chance), most, traced=traced):
                return why
        return ""

    def _one(self, data: bytes, most: int, *, traced: bool) -> str:
        """Runs one input; it is in the shared memory meanwhile, so that it outlives this process."""
        self.inputs += 1
        self.shared[: _HEADER.size] = _HEADER.pack(self.inputs, len(self.lines), len(self.corpus), len(data))
        self.shared[_HEADER.size : _HEADER.size + len(data)] = data
        before = len(self.lines)
        signal.setitimer(signal.ITIMER_PROF, (5 if traced else 1) * CPU_S)  # counting lines costs that much
        why = self._traced(data) if traced else self._called(data)
        signal.setitimer(signal.ITIMER_PROF, 0)
        if not why and _resident_kib() > most:
            why = f"more than {MEMORY_MIB} MiB of memory"
        if len(self.lines) > before and len(self.corpus) < _CORPUS_MOST:
            self.corpus.append(data)
        return why

    def _called(self, data: bytes) -> str:
        try:
            self.target.call(data)
        except self.target.errors:
            return ""
        except BaseException:  # noqa: BLE001 - that is what is looked for
            return traceback.format_exc(limit=-12)
        return ""

    def _traced(self, data: bytes) -> str:
        sys.settrace(self._see)
        try:
            return self._called(data)
        finally:
            sys.settrace(None)

    def _see(self, frame: FrameType, _event: str, _argument: Any) -> Callable[..., Any] | None:
        """Lines of our own readers; nobody else's are counted."""
        name = frame.f_code.co_filename
        if not any(place in name for place in _WATCHED):
            return None
        self.lines.add((name, frame.f_lineno))
        return self._see


def _resident_kib() -> int:
    """The largest resident size so far: it only grows, which is what one input is held against."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
