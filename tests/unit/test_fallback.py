"""Bringing home what a root would not take: whole, once, and never at another worker's cost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import strategies
from oobdump.request import AcceptedRequest, HandlerCall, Request
from oobdump.response import Part
from oobdump.store import reader
from oobdump.store.fallback import bring_home
from oobdump.store.writer import DumpWriter

ME = strategies.identity_of(os.getpid(), 0)
NEIGHBOUR = strategies.identity_of(os.getppid(), 1)
ACCEPTED = AcceptedRequest("r", Request((HandlerCall("ping"),)), (ME.worker, NEIGHBOUR.worker), 1.0, "client")


@pytest.fixture
def home(tmp_path):
    """The root."""
    return strategies.job_at(tmp_path / "home")


@pytest.fixture
def away(tmp_path):
    """A directory of this machine."""
    return strategies.job_at(tmp_path / "away")


def write(layout, who=ME, body=b"pong", *, commit=True):
    """A dump, whole or not."""
    writer = DumpWriter(layout, "r", who)
    writer.publish(ACCEPTED)
    writer.claim(("ping",), 1.0)
    record = writer.write_part(Part("ping", "ok", 200, "text/plain", "txt", body))
    if commit:
        writer.commit((record,), "responsive", {}, 2.0)


def pong(layout, who=ME):
    """What a committed dump's part says, None if there is no such dump."""
    dump = reader.read_dump(layout, "r", who.worker)
    return reader.part_bytes(dump, dump.parts[0]) if dump.found == "committed" else None


def test_a_dump_comes_home(home, away):
    """It stands under the root with its request, and nothing of it is left here."""
    write(away)
    assert bring_home(away, home, "r", ME.worker) is True
    assert pong(home) == b"pong"
    assert reader.open_request(home, "r") == ACCEPTED
    assert os.listdir(away.dumps) == []
    assert sorted(os.listdir(home.dump("r", ME.worker))) == ["claim.json", "manifest.json", "ping.txt"]


def test_a_neighbours_dump_stays_until_it_is_brought(home, away):
    """Workers of one machine share the directory, and each carries its own."""
    write(away)
    write(away, NEIGHBOUR, b"mine")
    bring_home(away, home, "r", ME.worker)
    assert (pong(home), pong(away, NEIGHBOUR)) == (b"pong", b"mine")
    bring_home(away, home, "r", NEIGHBOUR.worker)
    assert pong(home, NEIGHBOUR) == b"mine"
    assert os.listdir(away.dumps) == []


def test_bringing_again_is_nothing_to_do(home, away):
    """Who was interrupted after the work may repeat it; it is home."""
    write(away)
    bring_home(away, home, "r", ME.worker)
    assert bring_home(away, home, "r", ME.worker) is True
    assert pong(home) == b"pong"


def test_what_was_never_committed_is_not_moved(home, away):
    """A writer that is still at it, or died, keeps what it has; there is nothing to bring."""
    write(away, commit=False)
    assert bring_home(away, home, "r", ME.worker) is False
    assert os.path.exists(f"{away.dump('r', ME.worker)}/ping.txt")
    assert os.listdir(home.dumps) == []


def test_what_is_nowhere_is_not_there(home, away):
    """A cleaner of ``/tmp`` was faster: that is an answer, not an error to be repeated for ever."""
    assert bring_home(away, home, "r", ME.worker) is False


def test_a_claim_that_the_root_took_stays(home, away):
    """The root hung after the claim: the same dump goes on there."""
    write(home, commit=False)
    write(away)
    os.unlink(f"{home.dump('r', ME.worker)}/ping.txt")
    assert bring_home(away, home, "r", ME.worker) is True
    assert pong(home) == b"pong"


def test_a_dump_that_was_committed_at_home_after_all_wins(home, away):
    """The hung write came through late: its parts are not replaced, and the copy goes."""
    write(home, body=b"late")
    write(away)
    assert bring_home(away, home, "r", ME.worker) is True
    assert pong(home) == b"late"
    assert os.listdir(away.dumps) == []


def test_a_root_that_still_refuses_keeps_the_copy(home, away):
    """The error is the kernel's, and the dump is still here."""
    write(away)
    os.rmdir(home.dumps)
    with pytest.raises(FileNotFoundError):
        bring_home(away, home, "r", ME.worker)
    assert pong(away) == b"pong"


def test_temporary_files_stay_behind(home, away):
    """What a killed writer left is nobody's."""
    write(away)
    Path(away.dump("r", ME.worker), ".ping.txt.7.1.tmp").touch()
    bring_home(away, home, "r", ME.worker)
    assert [name for name in os.listdir(home.dump("r", ME.worker)) if name.startswith(".")] == []
