"""Each system call of the store fails in turn, or is the last one: what is not there afterwards counts.

For N = 1, 2, 3, … the N-th call of an operation goes wrong, until the operation gets through. After
each go: nothing torn under a final name, no manifest unless every part it lists is whole, nothing
visible but what belongs there, earlier dumps untouched, no descriptor left open.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import strategies
from faults import faulty
from oobdump.errors import StoreError
from oobdump.inbox import Inbox
from oobdump.request import AcceptedRequest, HandlerCall, Request
from oobdump.response import ErrorInfo, Part
from oobdump.store import atomic, fallback, reader, retention, roster
from oobdump.store.layout import CLAIM, MANIFEST, REQUEST, Layout
from oobdump.store.writer import DumpWriter

ME = strategies.identity_of(os.getpid(), 0)
NEIGHBOUR = strategies.identity_of(os.getppid(), 1)

PARTS = (
    Part("stacks", "ok", 200, "application/json", "json", b'{"threads": []}' * 5),
    Part("stacks", "ok", 200, "application/msgpack", "msgpack", memoryview(b"second call of the same handler")),
    Part("claim", "ok", 200, "application/json", "json", bytearray(b"[]" * 700)),
    Part("ping", "timeout", 504, "text/plain", "txt", b"Handler ping failed", 1.0, ErrorInfo("timeout", "\ud800", "")),
    Part("empty", "ok", 200),
)
REQUESTED = Request(tuple(HandlerCall(part.handler) for part in PARTS))
FILES = {
    "stacks.json": bytes(PARTS[0].body),
    "stacks.2.msgpack": bytes(PARTS[1].body),
    "claim.part.json": bytes(PARTS[2].body),
    "ping.txt": bytes(PARTS[3].body),
}
"""What a whole dump of these parts holds, beside claim and manifest."""

FULL = (faulty.fails(errno.ENOSPC), faulty.changes)
BROKEN = (faulty.fails(errno.EIO), faulty.every)
FAULTS = {
    "full disk": FULL,
    "no descriptors": (faulty.fails(errno.EMFILE), faulty.opens),
    "answer lost": (faulty.acts_and_fails(errno.EIO), faulty.changes),
}
"""What goes wrong, and with which calls."""


@pytest.fixture
def tmp_path():
    """In memory where there is such a file system: thousands of small files wait for nobody's disk."""
    shared = "/dev/shm"
    made = tempfile.mkdtemp(dir=shared if os.access(shared, os.W_OK) else None)
    yield Path(made)
    shutil.rmtree(made)


every_fault = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
with_a_broken_disk = pytest.mark.parametrize("fault", [*FAULTS.values(), BROKEN], ids=[*FAULTS, "broken disk"])


def write_dump(layout, request_id, identity=ME, *, durable=False, at=1.0):
    """One whole dump, as the dispatcher writes it."""
    writer = DumpWriter(layout, request_id, identity, durable)
    writer.publish(AcceptedRequest(request_id, REQUESTED, (ME.worker, NEIGHBOUR.worker), at, "client"))
    writer.claim(tuple(part.handler for part in PARTS), 1.0)
    counts = [sum(part.handler == earlier.handler for earlier in PARTS[: n + 1]) for n, part in enumerate(PARTS)]
    records = tuple(writer.write_part(part, nth) for part, nth in zip(PARTS, counts, strict=True))
    writer.commit(records, "responsive", {}, 2.0)


def snapshot(directory):
    """All that is below a directory: types, contents and times."""
    found = {}
    for path in sorted(Path(directory).rglob("*")):
        stat = path.lstat()
        found[str(path)] = (stat.st_ino, stat.st_mtime_ns, path.read_bytes() if path.is_file() else None)
    return found


def descriptors():
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))


@dataclass
class Place:
    """A job with an earlier dump, and a neighbour's dump of the request that is about to be answered."""

    layout: Layout
    numbers: itertools.count = field(default_factory=itertools.count)
    request_id: str = ""
    before: dict = field(default_factory=dict)
    open_before: int = field(default_factory=descriptors)

    def fresh(self):
        """A request that nobody but a neighbour has answered; the one before is forgotten."""
        shutil.rmtree(self.layout.request_dir(self.request_id or "none"), ignore_errors=True)
        self.request_id = f"r{next(self.numbers)}"
        write_dump(self.layout, self.request_id, NEIGHBOUR)
        self.before = snapshot(self.layout.dumps)

    def write(self, *, durable=False):
        """The operation."""
        write_dump(self.layout, self.request_id, durable=durable)

    def check(self, attempt):
        """The invariants, whatever happened; then that the same writer gets through afterwards."""
        directory = self.layout.dump(self.request_id, ME.worker)
        visible = set(os.listdir(directory) if os.path.exists(directory) else ())
        visible = {name for name in visible if not name.startswith(".")}
        assert visible <= {CLAIM, MANIFEST, *FILES}, str(attempt)
        for name in visible - {CLAIM, MANIFEST}:
            assert Path(directory, name).read_bytes() == FILES[name], f"{name} is torn after {attempt}"
        if CLAIM in visible:
            assert json.loads(Path(directory, CLAIM).read_bytes())["worker"] == ME.worker
        dump = reader.read_dump(self.layout, self.request_id, ME.worker)
        if MANIFEST in visible:
            assert_committed(dump)
        else:
            assert dump.found == "partial", str(attempt)
        after = snapshot(self.layout.dumps)
        kept = {path for path in self.before if path != self.layout.request_dir(self.request_id)}
        assert {path: after[path] for path in kept} == {path: self.before[path] for path in kept}, str(attempt)
        assert {path for path in after if not path.startswith(directory)} == set(self.before), str(attempt)
        assert descriptors() == self.open_before, str(attempt)
        self.write()
        assert_committed(reader.read_dump(self.layout, self.request_id, ME.worker))


def assert_committed(dump):
    """A manifest stands: it lists every part, and every part is what it says."""
    assert dump.found == "committed", dump.why
    assert [part.handler for part in dump.parts] == [part.handler for part in PARTS]
    assert [reader.part_bytes(dump, record) for record in dump.parts] == [bytes(part.body) for part in PARTS]


@pytest.fixture
def place(tmp_path):
    """A job with one earlier dump."""
    layout = strategies.job_at(tmp_path / "root", [ME])
    write_dump(layout, "earlier")
    return Place(layout)


# -- a dump ----------------------------------------------------------------------------------------------------------


@with_a_broken_disk
def test_a_call_that_fails_leaves_no_torn_dump(place, fault):
    """Whichever call fails, and whether or not it had acted: the dump is whole or recognisably partial."""
    place.fresh()
    for attempt in faulty.each_call(place.write, *fault):
        assert attempt.error is None or isinstance(attempt.error, OSError), str(attempt)
        place.check(attempt)
        place.fresh()
    assert attempt.error is None
    assert attempt.nth > len(FILES)


def test_a_durable_dump_keeps_the_same_rules(place):
    """With the fsyncs, each of which may fail too."""
    place.fresh()
    hit = []
    for attempt in faulty.each_call(lambda: place.write(durable=True), *FULL):
        hit.append(attempt.hit)
        place.check(attempt)
        place.fresh()
    assert hit.count("fsync") == 2 * (len(FILES) + 2)


def test_a_process_that_ends_leaves_no_torn_dump(place):
    """``kill -9`` before any call that changes something, and in the middle of any write.

    The commit is the last thing that happens: only the removal of its temporary file comes after it.
    """
    place.fresh()
    committed = []
    for attempt in faulty.each_end(place.write):
        committed.append(os.path.exists(place.layout.manifest(place.request_id, ME.worker)))
        place.check(attempt)
        place.fresh()
    assert attempt.nth > 40
    assert committed == sorted(committed)
    assert committed.count(True) == 2


def test_short_writes_make_whole_files(place):
    """The kernel may take fewer bytes than it was given, each time."""
    place.fresh()
    real = os.write
    try:
        os.write = lambda descriptor, data: real(descriptor, bytes(data)[:7])
        place.write()
    finally:
        os.write = real
    assert_committed(reader.read_dump(place.layout, place.request_id, ME.worker))


def test_a_failed_write_leaves_no_temporary_file(place):
    """Where the disk allows it, what was begun is removed: a full disk is not filled further."""
    place.fresh()
    for attempt in faulty.each_call(place.write, *FULL):
        left = [path for path in Path(place.layout.dumps).rglob(".*") if path.is_file()]
        assert not left or attempt.hit == "unlink", str(attempt)
        for path in left:
            path.unlink()
        place.fresh()


# -- accepting and rejecting -----------------------------------------------------------------------------------------


@dataclass
class Drop:
    """One file in the inbox at a time, and where it may be afterwards."""

    layout: Layout
    content: bytes
    name: str = ""
    numbers: itertools.count = field(default_factory=itertools.count)

    def fresh(self):
        """Drops the next one."""
        self.name = f"r{next(self.numbers)}.json"
        self.path().write_bytes(self.content)

    def path(self):
        """Where it was dropped."""
        return Path(self.layout.inbox, self.name)

    def look(self):
        """One acceptor, whom nothing but this file concerns; a failure is its own to report."""
        look = Inbox(self.layout, "client").look(whole=(self.name,))
        if look.problems:
            raise OSError(look.problems)

    def accepted(self):
        """The requests that this file became."""
        found = (reader.open_request(self.layout, request_id) for request_id in reader.request_ids(self.layout))
        return [request for request in found if request is not None and request.source["name"] == self.name]

    def rejected(self):
        """Whether it is among the rejected ones, and with its reason."""
        moved = Path(self.layout.rejected, self.name)
        reason = Path(f"{moved}.error.json")
        if moved.exists():
            assert json.loads(reason.read_bytes())["file"] == self.name
        return moved.exists()


def check_not_lost(drop, attempt):
    """The file is in the inbox still, or became one request, or was rejected with its reason."""
    accepted = drop.accepted()
    assert len(accepted) <= 1, str(attempt)
    assert drop.path().exists() or accepted or drop.rejected(), f"lost after {attempt}"
    visible = [name for name in os.listdir(drop.layout.inbox) if not name.startswith(".")]
    assert set(visible) <= {drop.name}, str(attempt)


GOOD, BAD = b'{"handlers": "ping"}', b'{"handlers": ""}'


@every_fault
@pytest.mark.parametrize("content", [GOOD, BAD], ids=["accepted", "rejected"])
def test_a_call_that_fails_loses_no_request(tmp_path, content, fault):
    """Whichever call of an acceptor fails, the next look decides the file, and only once."""
    drop = Drop(strategies.job_at(tmp_path / "root", [ME]), content)
    drop.fresh()
    for attempt in faulty.each_call(drop.look, *fault):
        check_not_lost(drop, attempt)
        drop.look()
        assert not drop.path().exists(), str(attempt)
        assert (len(drop.accepted()), drop.rejected()) == ((1, False) if content is GOOD else (0, True)), str(attempt)
        drop.fresh()
    assert attempt.nth > 3


@pytest.mark.parametrize("content", [GOOD, BAD], ids=["accepted", "rejected"])
def test_an_acceptor_that_ends_loses_no_request(tmp_path, content):
    """``kill -9`` at any call: whoever looks next finds the file, or its request."""
    drop = Drop(strategies.job_at(tmp_path / "root", [ME]), content)
    drop.fresh()
    for attempt in faulty.each_end(drop.look):
        check_not_lost(drop, attempt)
        drop.look()
        assert not drop.path().exists(), str(attempt)
        assert (len(drop.accepted()), drop.rejected()) == ((1, False) if content is GOOD else (0, True)), str(attempt)
        drop.fresh()
    assert attempt.nth > 5


# -- the roster ------------------------------------------------------------------------------------------------------


def test_a_roster_entry_is_the_old_or_the_new_one(tmp_path):
    """Registering again, or noting the end, never leaves a worker without a whole entry."""
    layout = strategies.job_at(tmp_path / "root", [ME])
    old = roster.read_entry(layout, ME.worker)
    new = roster.Entry(ME, 0, {"bell": {"path": "/new"}})
    for attempt in itertools.chain(
        faulty.each_call(lambda: roster.write(layout, new), *FULL),
        faulty.each_call(lambda: roster.note_end(layout, old, at=1.0, by="client", how="found gone"), *BROKEN),
        faulty.each_end(lambda: roster.write(layout, new)),
    ):
        entry = roster.read_entry(layout, ME.worker)
        assert entry == old or entry.channels == new.channels or entry.ended, str(attempt)
        assert [name for name in os.listdir(layout.roster) if not name.startswith(".")] == [f"{ME.worker}.json"]
        roster.write(layout, old)


# -- bringing home ---------------------------------------------------------------------------------------------------


@dataclass
class Away:
    """Dumps of two workers of this machine that their root did not take."""

    home: Layout
    away: Layout
    numbers: itertools.count = field(default_factory=itertools.count)
    request_id: str = ""

    def fresh(self):
        """Both answer the next request; the root has taken only the claim of one."""
        self.request_id = f"r{next(self.numbers)}"
        for identity in (ME, NEIGHBOUR):
            write_dump(self.away, self.request_id, identity)
        DumpWriter(self.home, self.request_id, ME).claim(("ping",), 1.0)

    def bring(self):
        """The operation."""
        fallback.bring_home(self.away, self.home, self.request_id, ME.worker)

    def check(self, attempt):
        """The dump is whole at home, or whole away; the neighbour's is away still."""
        dumps = [reader.read_dump(layout, self.request_id, ME.worker) for layout in (self.home, self.away)]
        if dumps[0].found == "committed":
            assert_committed(dumps[0])
        else:
            assert dumps[0].found == "partial", str(attempt)
            assert_committed(dumps[1])
        assert_committed(reader.read_dump(self.away, self.request_id, NEIGHBOUR.worker))
        self.bring()
        assert_committed(reader.read_dump(self.home, self.request_id, ME.worker))


@pytest.fixture
def away(tmp_path):
    """A root and a fallback directory."""
    return Away(strategies.job_at(tmp_path / "home"), strategies.job_at(tmp_path / "away"))


@with_a_broken_disk
def test_a_call_that_fails_on_the_way_home_loses_nothing(away, fault):
    """The copy goes only after the home manifest stands; the next try gets it home."""
    away.fresh()
    for attempt in faulty.each_call(away.bring, *fault):
        away.check(attempt)
        away.fresh()
    assert attempt.nth > len(FILES)


def test_a_carrier_that_ends_loses_nothing(away):
    """``kill -9`` at any call on the way home, removing the copy included."""
    away.fresh()
    for attempt in faulty.each_end(away.bring):
        away.check(attempt)
        away.fresh()
    assert attempt.nth > 30


# -- retention -------------------------------------------------------------------------------------------------------


def fill(layout):
    """Three old requests that are over."""
    for age, name in enumerate("cba", 1):
        if not os.path.exists(layout.request_dir(name)):
            at = time.time() - 10_000 * age
            write_dump(layout, name, at=at)
            os.utime(layout.request_dir(name), (at, at))


def check_whole_or_gone(layout, attempt):
    """What is still listed is whole, and the newest is always there."""
    listed = reader.request_ids(layout)
    assert "c" in listed, str(attempt)
    assert set(listed) <= {"a", "b", "c"}, str(attempt)
    for request_id in listed:
        assert_committed(reader.read_dump(layout, request_id, ME.worker))


def test_forgetting_takes_whole_requests(tmp_path):
    """Whichever call fails or is the last, no reader meets half a request, and the next run ends the work."""
    layout = strategies.job_at(tmp_path / "root", [ME])

    def run():
        retention.run(layout, retention.Bounds(count=1))

    fill(layout)
    for attempt in itertools.chain(faulty.each_call(run, *BROKEN), faulty.each_end(run)):
        check_whole_or_gone(layout, attempt)
        run()
        assert os.listdir(layout.dumps) == ["c"], str(attempt)
        fill(layout)


def test_forgetting_needs_no_free_byte(tmp_path):
    """On a full disk, where nothing can be made, old requests can still be removed."""
    layout = strategies.job_at(tmp_path / "root", [ME])
    fill(layout)

    def refuse(call):
        if call.name == "open" and not call.arguments[1] & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):
            return call.make()
        raise OSError(errno.ENOSPC, call.name)

    making = ("open", "write", "link", "mkdir")
    with pytest.MonkeyPatch.context() as patch:
        for name in making:
            real = getattr(os, name)
            patch.setattr(os, name, lambda *a, _n=name, _r=real, **o: refuse(faulty.Call(_n, _r, a, o)))
        assert retention.run(layout, retention.Bounds(count=1)) == ["a", "b"]
    assert os.listdir(layout.dumps) == ["c"]


# -- who is tested ---------------------------------------------------------------------------------------------------


def test_a_foreign_directory_is_an_error_of_its_own(place):
    """A squatted directory is no failed call: the writer says so, and writes nothing there."""
    place.fresh()
    target = Path(place.layout.root, "elsewhere")
    target.mkdir(0o700)
    os.symlink(target, place.layout.dump(place.request_id, ME.worker))
    with pytest.raises(StoreError):
        place.write()
    assert os.listdir(target) == []


def test_the_injector_reaches_every_call(tmp_path):
    """The search is not empty: each kind of call that the store makes is hit."""
    layout = strategies.job_at(tmp_path / "root", [ME])
    numbers = itertools.count()

    def write():
        write_dump(layout, f"r{next(numbers)}", durable=True)

    hit = {attempt.hit for attempt in faulty.each_call(write, *BROKEN)}
    assert hit == {
        "open",
        "fchmod",
        "write",
        "fsync",
        "close",
        "link",
        "rename",
        "mkdir",
        "lstat",
        "stat",
        "unlink",
        "",
    }
    assert REQUEST not in os.listdir(layout.dumps)
    assert atomic.read_bounded(layout.manifest(f"r{next(numbers) - 1}", ME.worker), 10_000)
