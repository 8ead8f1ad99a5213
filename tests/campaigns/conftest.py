"""Running a campaign as a test: its ``main`` in this process, its one JSON object as the result.

In: a campaign's name and the words of its short form (``make campaign`` runs the scripts themselves, in
their full form). Out: its exit code and what it printed.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The campaigns can be imported by their names."""
    for place in (TOOLS, TOOLS / "campaigns"):
        monkeypatch.syspath_prepend(str(place))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, Any]]]:
    """A function of a campaign's name and the words of its short form."""

    def run_it(name: str, *short_form: str) -> tuple[int, dict[str, Any]]:
        code = importlib.import_module(name).main(["--json", *short_form])
        return code, json.loads(capsys.readouterr().out)

    return run_it
