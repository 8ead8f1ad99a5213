"""Runs the tests that need no torch on every supported Python of this machine.

In: PATH, pyenv's versions, the variable PYTHONS. Out: pytest's output per Python and a
closing table; exit code 1 if a Python failed or none was found. The rule it keeps: a Python
that was not found is named, so that nobody takes silence for success.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
VENVS = ROOT / ".venvs"
ASK = "import sys; print('%d.%d' % sys.version_info[:2])"


def main() -> int:
    """Command line; what is given goes to run_tests.py."""
    found = find()
    outcomes = {version: test(version, found[version]) if version in found else "not found" for version in VERSIONS}
    print("\nwithout torch:")
    for version, outcome in outcomes.items():
        print(f"  Python {version:<5} {outcome:<10} {found.get(version, '')}".rstrip())
    if not found:
        print("Name some: make test-all PYTHONS='/path/to/python3.10 /path/to/python3.13'", file=sys.stderr)
    return 0 if found and set(outcomes.values()) <= {"passed", "not found"} else 1


def find() -> dict[str, str]:
    """One Python for each version; the first that runs wins."""
    found: dict[str, str] = {}
    for candidate in candidates():
        version = ask(candidate)
        if version in VERSIONS:
            found.setdefault(version, candidate)
    return found


def candidates() -> Iterator[str]:
    """PYTHONS first, then PATH, then pyenv (whose commands on PATH may refuse to run)."""
    yield from os.environ.get("PYTHONS", "").split()
    for version in VERSIONS:
        if path := shutil.which(f"python{version}"):
            yield path
        pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
        yield from map(str, sorted(pyenv.glob(f"versions/{version}*/bin/python{version}")))


def ask(python: str) -> str:
    """Its version, or nothing if it does not run."""
    try:
        return subprocess.run([python, "-c", ASK], check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def test(version: str, python: str) -> str:
    """One Python: its environment, its tests, one word."""
    print(f"\n== Python {version}: {python}", flush=True)
    venv = VENVS / version
    if not succeeds(sys.executable, ROOT / "tools/make_venv.py", venv, "--python", python, "--group", "test"):
        return "no venv"
    return "passed" if succeeds(venv / "bin/python", ROOT / "tools/run_tests.py", *sys.argv[1:]) else "failed"


def succeeds(*words: str | Path) -> bool:
    """Runs a program here; whether it exits with 0."""
    return subprocess.run(words, check=False, cwd=ROOT).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
