"""The benchmarks can be imported by their names, from ``tools/bench``."""

from __future__ import annotations

from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmarks, and what they stand on."""
    for place in (TOOLS, TOOLS / "campaigns", TOOLS / "bench"):
        monkeypatch.syspath_prepend(str(place))
