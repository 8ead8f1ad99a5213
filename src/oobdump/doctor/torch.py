"""PyTorch as a worker here would have it: its version, the private names that we use, its recorder.

In: this Python, in a child of its own, and a worker's environment. Out: findings. The rule only this
module keeps: torch is imported by the child alone, under a deadline.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from oobdump.channels.claims import in_slurm
from oobdump.config import signal_number
from oobdump.doctor import proc
from oobdump.doctor.model import Check, Finding, Kind, Subject
from oobdump.handlers import torch_objects
from oobdump.handlers.child_process import run

__all__ = ["CHECKS"]

IMPORT_WITHIN_S = 60.0
"""From a shared file system the first import takes half a minute."""

RECORDER = ("TORCH_FR_BUFFER_SIZE", "TORCH_NCCL_TRACE_BUFFER_SIZE")
"""The new name and the old one; the first that is set counts."""

_NAMES = (*torch_objects.CONTROL_PLANE, "_dump_fr_trace", "_dump_fr_trace_json")
"""What the bridge to its server and the handlers of the flight recorder hang on; every build should have them."""

_ASK = """
import importlib, json, sys
import torch, torch.distributed
module = sys.modules.get("torch._C._distributed_c10d")
print(json.dumps({"version": torch.__version__, "names": [n for n in sys.argv[1:] if hasattr(module, n)]}))
"""

NO_TORCH = Kind(
    "torch-missing",
    "note",
    "handlers of PyTorch (flight recorder, CUDA memory) are not there",
    "nothing to do if the job does not use PyTorch; else run the doctor with the job's Python",
)
TORCH_FAILS = Kind(
    "torch-import-fails",
    "warning",
    "torch is installed and cannot be imported here",
    "read what it says; on a login node without its libraries this may be as expected",
)
NAMES_MISSING = Kind(
    "torch-names-missing",
    "note",
    "private names move between releases: what hangs on these is not answered, all else is",
    "nothing to do, or another release of PyTorch",
)
RECORDER_OFF = Kind(
    "recorder-off",
    "warning",
    "the flight recorder keeps nothing: a dump does not tell which collective each rank is in",
    "set TORCH_FR_BUFFER_SIZE=2000 (its old name is TORCH_NCCL_TRACE_BUFFER_SIZE) for the job",
)
SIGNAL_WANTED = Kind(
    "signal-wanted",
    "note",
    "in a Slurm job PyTorch Lightning requeues on SIGUSR1, and goes first: we leave that signal to it",
    "OOBDUMP_SIGNALS='SIGUSR2=stacks,process', or ask by file",
)


def _torch(_subject: Subject) -> Iterator[Finding]:
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        yield NO_TORCH.found(f"torch is not installed for {sys.executable}")
        return
    ended = run([sys.executable, "-W", "ignore", "-c", _ASK, *_NAMES], time.monotonic() + IMPORT_WITHIN_S)
    said = _last_object(ended.output)
    if said is None:
        text = ended.output.decode("utf-8", "replace").strip().rpartition("\n")[2]
        how = text if ended.ended else f"no end within {IMPORT_WITHIN_S:g} s"
        yield TORCH_FAILS.found(f"importing torch {version}: {how}", version=version)
        return
    missing = [name for name in _NAMES if name not in said["names"]]
    if missing:
        yield NAMES_MISSING.found(
            f"torch {said['version']} does not offer {', '.join(missing)}", version=said["version"], missing=missing
        )


def _last_object(output: bytes) -> dict[str, Any] | None:
    """The answer, which is the last line: other libraries may talk before it."""
    try:
        found = json.loads(output.strip().rpartition(b"\n")[2])
    except ValueError:
        return None
    return found if isinstance(found, dict) and "names" in found else None


def _recorder(subject: Subject) -> Iterator[Finding]:
    if importlib.util.find_spec("torch") is not None:
        yield from _off(subject.environ, None)


def _worker_recorder(subject: Subject) -> Iterator[Finding]:
    entry = subject.worker
    about = entry.channels.get("torch")
    found = proc.environ(entry.identity.pid)
    if found is not None and isinstance(about, Mapping) and "version" in about:
        yield from _off(found, entry.worker)


def _off(environ: Mapping[str, str], worker: str | None) -> Iterator[Finding]:
    name = next((name for name in RECORDER if name in environ), None)
    if name is not None and environ[name].strip() in ("0", ""):
        yield RECORDER_OFF.found(f"{name} is {environ[name]!r}", worker=worker, variable=name, value=environ[name])


def _lightning(subject: Subject) -> Iterator[Finding]:
    there = [name for name in ("pytorch_lightning", "lightning") if importlib.util.find_spec(name) is not None]
    ours = [name for name in subject.settings.signals if signal_number(name) == signal_number("SIGUSR1")]
    if there and ours and in_slurm(subject.environ):
        yield SIGNAL_WANTED.found(f"{there[0]} is installed, and this is a Slurm job", package=there[0])


CHECKS = (
    Check(
        "torch",
        "machine",
        "torch is imported by a child; its private names",
        (NO_TORCH, TORCH_FAILS, NAMES_MISSING),
        _torch,
        IMPORT_WITHIN_S + 10,
    ),
    Check("recorder", "machine", "the flight recorder's variable here", (RECORDER_OFF,), _recorder),
    Check("lightning", "machine", "whether Lightning will want SIGUSR1", (SIGNAL_WANTED,), _lightning),
    Check("worker-recorder", "worker", "the flight recorder's variable there", (RECORDER_OFF,), _worker_recorder),
)
