"""What the sentinel's tests share: an environment of their own, and the check that nothing stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import dumps
from support.sentinels import GRACE_S, sentinels


@pytest.fixture
def places(tmp_path: Path) -> dict[str, str]:
    """Settings that keep all of one test in its directory, and a short grace."""
    return {
        "OOBDUMP_RUNTIME_DIR": str(tmp_path / "run"),
        "OOBDUMP_FALLBACK_DIR": str(tmp_path / "fallback"),
        "OOBDUMP_GRACE_S": str(GRACE_S),
    }


@pytest.fixture(autouse=True)
def nothing_stays(tmp_path: Path) -> Iterator[None]:
    """After each test no sentinel of it is left: they leave when their last worker has."""
    yield
    dumps.until(lambda: not sentinels(str(tmp_path)), "all sentinels left", 60)
