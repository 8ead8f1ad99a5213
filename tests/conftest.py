"""What every test starts from: an environment that no launcher has marked, and the long forms' switch.

In: pytest's command line. Out: ``campaign`` (whether the long forms were asked for), torch
tests skipped where there is no torch, Hypothesis profiles.
"""

from __future__ import annotations

import importlib.util
import os
from datetime import timedelta

import hypothesis
import pytest

from support import installed

LAUNCHERS = ("OOBDUMP_", "SLURM_", "OMPI_", "PMI_", "PMIX_", "TORCHELASTIC_")
LAUNCHER_NAMES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "GROUP_RANK", "NODE_RANK", "JOB_COMPLETION_INDEX")
"""Variables that give a process a rank or a job: those of the developer's own job are not the tests'."""

hypothesis.settings.register_profile("default", deadline=None, print_blob=True)
hypothesis.settings.register_profile("ci", hypothesis.settings.get_profile("default"), derandomize=True)
hypothesis.settings.register_profile(
    "campaign", hypothesis.settings.get_profile("default"), max_examples=5_000, deadline=timedelta(seconds=60)
)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--campaign", action="store_true", help="run the long forms of the tests")


def pytest_configure() -> None:
    for name in [*os.environ]:
        if name.startswith(LAUNCHERS) or name in LAUNCHER_NAMES:
            del os.environ[name]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    missing = {
        "torch": None if importlib.util.find_spec("torch") else "torch is not installed",
        "campaign": None if config.getoption("--campaign") else "only `make campaign` runs it",
    }
    for item in items:
        for mark, reason in missing.items():
            if reason and item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def campaign(request: pytest.FixtureRequest) -> bool:
    """Whether the long forms were asked for; a test chooses its numbers by it."""
    return bool(request.config.getoption("--campaign"))


@pytest.fixture(scope="session")
def armed(tmp_path_factory: pytest.TempPathFactory) -> installed.Installed:
    """A Python in which oobdump is installed, with its ``.pth`` file."""
    return installed.install(tmp_path_factory.mktemp("installed"))
