"""The programs that the peers' tests run: Node, jq, and @msgpack/msgpack for Node, installed once.

A test is skipped where its program is not on this machine, and says which it is.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
INSTALL_S = 100


@pytest.fixture(scope="session")
def node() -> str:
    """Node, from version 16 on (it has ``Object.hasOwn``)."""
    return _program("node")


@pytest.fixture(scope="session")
def jq() -> str:
    """jq, from version 1.6 on."""
    return _program("jq")


@pytest.fixture(scope="session")
def msgpack_peer(node: str) -> Path:
    """The script that decodes msgpack in Node, with its library beside it."""
    npm, place = _program("npm"), HERE / "node"
    with open(place / "package.json", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two processes of pytest-xdist
        if not (place / "node_modules" / "@msgpack" / "msgpack").is_dir():
            words = ("install", "--ignore-scripts", "--no-package-lock", "--no-audit", "--prefix", str(place))
            try:
                done = subprocess.run([npm, *words], check=False, capture_output=True, text=True, timeout=INSTALL_S)
            except subprocess.TimeoutExpired:
                pytest.skip(f"npm did not install @msgpack/msgpack within {INSTALL_S} s")
            if done.returncode:
                pytest.skip(f"npm cannot install @msgpack/msgpack here: {done.stderr.strip().splitlines()[-1:]}")
    return place / "msgpack_peer.js"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(HERE))
    yield
    sys.modules.pop("plain", None)


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found
