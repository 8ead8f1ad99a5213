"""Makes the environment that the Makefile runs in; does nothing when it is there already.

In: a directory, a Python, dependency groups of pyproject.toml. Out: an environment with
oobdump (editable) and those groups, and a note of what it was made from, so that the next
call can tell whether anything changed. The rule it keeps: a torch that the given Python
already has is borrowed, never downloaded again. Standard library only, any Python from 3.10.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECT = ROOT / "pyproject.toml"
NOTE = "oobdump-venv.json"
BORROWED = "zz_borrowed_torch.pth"
"""Late in the alphabet: what we install ourselves comes first on ``sys.path``."""

OLDEST_PYTHON = (3, 10)
PIP_WITH_GROUPS = "pip>=25.1"
"""The first pip that reads ``[dependency-groups]``."""

ASK = """
import importlib.util, json, os, sys, sysconfig
paths = sysconfig.get_paths()
not_theirs = {"", os.getcwd(), paths["stdlib"], paths["platstdlib"]}
spec = importlib.util.find_spec("torch")
print(json.dumps({
    "executable": sys.executable,
    "version": list(sys.version_info[:2]),
    "has_torch": spec is not None and spec.origin is not None,
    "path": [entry for entry in sys.path if entry not in not_theirs and not entry.endswith((".zip", "lib-dynload"))],
}))
"""
"""Asked of the given Python. Its own ``sys.path`` is right for a system Python, for a virtual
environment (whose packages are not the system's) and for a user site alike."""


class Stop(Exception):
    """Said to the developer, without a traceback."""


@dataclass(frozen=True)
class Interpreter:
    """What a Python says of itself."""

    executable: str
    version: list[int]
    has_torch: bool
    path: list[str]


@dataclass(frozen=True)
class Note:
    """What an environment was made from."""

    python: str
    project: str
    groups: list[str]
    torch: bool


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; exit code 0 or 1."""
    parser = argparse.ArgumentParser(description="Make or complete an environment for oobdump.")
    parser.add_argument("venv", type=Path, help="the directory of the environment")
    parser.add_argument("--python", help="the Python to make it with; unset: as it was made, else python3")
    parser.add_argument("--group", action="append", default=[], help="a dependency group of pyproject.toml")
    parser.add_argument("--torch", action="store_true", help="with torch: borrowed from that Python, else installed")
    parser.add_argument("--torch-index-url", default="", help="where pip finds torch; unset: where it looks anyway")
    options = parser.parse_args(argv)
    venv = options.venv.absolute()
    try:
        before = read_note(venv)
        wanted = decide(before, named(options.python, venv), options.group, torch=options.torch)
        if wanted != before:
            make(venv, before, wanted, options.torch_index_url)
    except Stop as stop:
        print(f"make_venv: {stop}", file=sys.stderr)
        return 1
    return 0


def named(python: str | None, venv: Path) -> str | None:
    """The given Python, or None if that is the environment's own."""
    return None if venv in Path(python or "").absolute().parents else python


def decide(before: Note | None, python: str | None, groups: Iterable[str], *, torch: bool) -> Note:
    """What the environment must have: what is asked for now, and what it has already."""
    if before is None:
        return Note(python or "python3", fingerprint(), sorted(set(groups)), torch)
    together = sorted({*before.groups, *groups})
    return Note(python or before.python, fingerprint(), together, torch or before.torch)


def read_note(venv: Path) -> Note | None:
    """What the environment was made from; None if it is not there or was not finished."""
    try:
        note = Note(**json.loads((venv / NOTE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return note if own_python(venv).exists() else None


def fingerprint() -> str:
    """Changes whenever something else would be installed (the settings of tools come last in the file)."""
    packages = PROJECT.read_text(encoding="utf-8").partition("\n[tool.")[0]
    return hashlib.sha256(packages.encode() + Path(__file__).read_bytes()).hexdigest()


def own_python(venv: Path) -> Path:
    """The environment's own Python."""
    return venv / "bin" / "python"


def make(venv: Path, before: Note | None, wanted: Note, index_url: str) -> None:
    """Makes ``venv``, or completes it. The note goes first and comes back last."""
    theirs = ask(wanted.python)
    if before is None or before.python != wanted.python:
        create(venv, theirs)
    (venv / NOTE).unlink(missing_ok=True)
    borrowed = site_packages(venv, theirs) / BORROWED
    borrowed.unlink(missing_ok=True)  # out of pip's sight, so that what it installs is complete
    install(venv, "--editable", ROOT, *(word for group in wanted.groups for word in from_group(group)))
    if wanted.torch and theirs.has_torch:
        print(f"using the torch of {theirs.executable}", flush=True)
        borrowed.write_text("".join(f"{entry}\n" for entry in theirs.path), encoding="utf-8")
    elif wanted.torch:
        print("installing torch (a CUDA build is several GB; TORCH_INDEX_URL=… chooses another)", flush=True)
        install(venv, *(["--index-url", index_url] if index_url else []), *from_group("torch"))
    if wanted.torch:
        run(own_python(venv), "-c", "import torch")
    if wanted.torch and wanted.groups:
        install(venv, *from_group("torch-neighbours"))  # it finds the torch that is there, and brings none
    (venv / NOTE).write_text(json.dumps(asdict(wanted)) + "\n", encoding="utf-8")


def ask(python: str) -> Interpreter:
    """What a Python says of itself; ``Stop`` if there is none or it is too old."""
    try:
        done = subprocess.run([python, "-c", ASK], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        why = getattr(error, "stderr", None) or error
        raise Stop(f"cannot run {python!r}: {why}\nName another one: make PYTHON=/path/to/python3 …") from None
    answer = Interpreter(**json.loads(done.stdout))
    if tuple(answer.version) < OLDEST_PYTHON:
        found = ".".join(map(str, answer.version))
        raise Stop(f"{python} is Python {found}; oobdump needs 3.10 or newer: make PYTHON=/path/to/python3.11 …")
    return answer


def create(venv: Path, theirs: Interpreter) -> None:
    """An empty environment with a pip that reads dependency groups."""
    print(f"making {venv} with {theirs.executable}", flush=True)
    shutil.rmtree(venv, ignore_errors=True)
    try:
        run(theirs.executable, "-m", "venv", venv)
    except Stop as stop:
        shutil.rmtree(venv, ignore_errors=True)
        raise Stop(f"{stop}\nOn Debian and Ubuntu, install python3-venv.") from None
    install(venv, "--upgrade", PIP_WITH_GROUPS)


def site_packages(venv: Path, theirs: Interpreter) -> Path:
    """Where the environment's packages are."""
    return venv / "lib" / "python{}.{}".format(*theirs.version) / "site-packages"


def from_group(group: str) -> tuple[str, str]:
    """Pip's words for a dependency group of ours."""
    return "--group", f"{PROJECT}:{group}"


def install(venv: Path, *words: str | Path) -> None:
    """Pip, in the environment."""
    run(own_python(venv), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *words)


def run(*words: str | Path) -> None:
    """Runs a program; what it prints is for the developer."""
    try:
        subprocess.run(words, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Stop(f"{' '.join(map(str, words))} failed: {error}") from None


if __name__ == "__main__":
    sys.exit(main())
