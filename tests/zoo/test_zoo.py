"""Every exhibit that takes seconds is asked, and answered with the right state and frame; nobody is harmed.

``make zoo`` shows all of them as a table, beside other tools and against the promised time.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo.asking import lacks, show
from zoo.exhibits import EXHIBITS, Exhibit
from zoo.peers import PEERS, there
from zoo.visiting import visit

SHORT = {
    *("lock", "sum(range(10**12))", "regex", "deep recursion", "fork-deadlocked child", "SIGSTOP", "main in D state"),
    *("traced by a debugger", "disk full", "dump directory that hangs", "interpreter finalising", "segfault"),
    *("kill -9 after the claim", "OOM-kill in a cgroup"),
}
"""One of each kind; the rest is `make zoo`'s."""


def _marked(exhibit: Exhibit) -> pytest.param:  # type: ignore[valid-type]
    lack = lacks(exhibit)
    marks = [pytest.mark.skipif(bool(lack), reason=lack), pytest.mark.slow]
    if exhibit.name not in SHORT:
        marks.append(pytest.mark.campaign)
    return pytest.param(exhibit, id=exhibit.name, marks=marks)


@pytest.mark.parametrize("exhibit", [_marked(exhibit) for exhibit in EXHIBITS])
def test_an_exhibit_is_answered(exhibit: Exhibit, tmp_path: Path) -> None:
    """The state is right, each frame is found, the program is as it was. The time is `make zoo`'s to hold."""
    assert show(exhibit, tmp_path).findings == ()


@pytest.mark.slow
@pytest.mark.parametrize("peer", [peer for peer in PEERS if peer.command == "py-spy"], ids=lambda peer: peer.name)
def test_a_peer_is_asked_the_same(peer: object, tmp_path: Path) -> None:
    """The table's other columns can say yes: py-spy finds the frame of a plain lock, and leaves the program alive."""
    assert there(peer)  # type: ignore[arg-type]
    lock = next(exhibit for exhibit in EXHIBITS if exhibit.name == "lock")
    assert visit(peer, lock, tmp_path) == "found"  # type: ignore[arg-type]
