"""Accepting request files, on real directories: each becomes one request, or is rejected with its reason.

Time is the test's: ``Clock`` stands in for the module's, so that nobody waits for a half-written file.
"""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import socket
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

import strategies
from faults import faulty
from oobdump import inbox
from oobdump.inbox import HALF_WRITTEN_S, SETTLED_S, Accept, Ignore, Inbox, Reject, Seen, Wait, decide
from oobdump.request import HandlerCall, Request
from oobdump.store import drops, reader, roster
from oobdump.store.layout import request_id
from oobdump.store.writer import DumpWriter
from oobdump.wire import MAX_REQUEST_BYTES

ME = strategies.identity_of(os.getpid(), 0)
OTHER = strategies.identity_of(os.getppid(), 1)
SOMEBODY = 12345

TICK_S = 0.02
"""Two of the coarsest ticks of a file system's clock: a change after it shows in the times."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self):
        self.ahead = 0.0

    def time(self):
        """Wall clock."""
        return time.time() + self.ahead

    def monotonic(self):
        """The other one."""
        return time.monotonic() + self.ahead


@pytest.fixture
def clock(monkeypatch):
    """The clock of every acceptor in this process."""
    made = Clock()
    monkeypatch.setattr(inbox, "time", made)
    return made


@pytest.fixture
def layout(tmp_path):
    """A job with two ranks, both alive."""
    return strategies.job_at(tmp_path / "root", [ME, OTHER])


@pytest.fixture
def box(layout, clock):
    """An acceptor for whom every file has settled."""
    clock.ahead = 1.0
    return Inbox(layout, "client")


def drop(layout, name, content=b""):
    """Drops a file as ``mv`` does."""
    hidden = Path(layout.inbox, f".{os.getpid()}.tmp")
    hidden.write_bytes(content)
    return hidden.rename(Path(layout.inbox, name))


def reason(layout, name):
    """Why a file was rejected; it must be there itself."""
    assert os.path.lexists(f"{layout.rejected}/{name}")
    return json.loads(Path(layout.rejected, f"{name}.error.json").read_bytes())["reason"]


def names(directory):
    """What people see there."""
    return sorted(name for name in os.listdir(directory) if not name.startswith("."))


# -- the decision ----------------------------------------------------------------------------------------------------

seens = st.builds(
    Seen,
    strategies.raw_names | st.sampled_from(["stacks", "a.json", "a.msgpack", ".a", "a.tmp", ".tmp", "a.json.tmp"]),
    st.integers(0, 9),
    st.integers(0, 9),
    st.integers(0, 9),
    st.sampled_from([0, 5, 6]),
    st.none() | st.binary(max_size=5) | st.sampled_from([b"", b'{"handlers": "a"}', b'{"hand', b'{"handlers": ""}']),
    st.just("unreadable"),
)
seconds = st.floats(0, 5)


@strategies.FEW
@given(seens, seconds, seconds, st.none() | st.integers(0, 9))
def test_every_file_is_decided(seen, age_s, unchanged_s, oldest_ns):
    """Any file at any time is accepted, waited for a bounded time, rejected with a reason, or nobody's yet."""
    decision = decide(seen, age_s, unchanged_s, 5, oldest_ns)
    nobodys = seen.name.startswith(".") or seen.name.endswith(".tmp")
    assert isinstance(decision, Ignore) == nobodys
    if isinstance(decision, Accept):
        assert (seen.uid in (0, 5), seen.data is not None, oldest_ns is not None) == (True, True, True)
        assert seen.ctime_ns >= oldest_ns
        assert age_s >= SETTLED_S
    if isinstance(decision, Wait):
        assert 0 < decision.seconds <= HALF_WRITTEN_S
        assert age_s < SETTLED_S or unchanged_s < HALF_WRITTEN_S
        later = decide(seen, age_s + decision.seconds + 1e-9, unchanged_s + decision.seconds + 1e-9, 5, oldest_ns)
        assert isinstance(later, (Accept, Reject)) or age_s < SETTLED_S
    if isinstance(decision, Reject):
        assert decision.reason.isprintable()
        assert decision.reason


@pytest.mark.parametrize(
    ("seen", "age_s", "unchanged_s", "expected"),
    [
        (Seen("stacks", data=b""), 1, 0, Accept(Request((HandlerCall("stacks"),)))),
        (Seen("stacks", data=b""), 0, 0, Wait(SETTLED_S)),
        (Seen("a.json", data=b'{"handlers": "b"}'), 1, 0, Accept(Request((HandlerCall("b"),)))),
        (Seen("a.json", data=b'{"handlers'), 9, 0.5, Wait(HALF_WRITTEN_S - 0.5)),
        (Seen("a.json", data=b""), 9, 0, Wait(HALF_WRITTEN_S)),
        (Seen("notes.txt", data=b"hello"), 9, 0, Wait(HALF_WRITTEN_S)),
    ],
)
def test_decisions(seen, age_s, unchanged_s, expected):
    """Whole files at once, unfinished ones after their time."""
    assert decide(seen, age_s, unchanged_s, 0, 0) == expected


@pytest.mark.parametrize(
    ("seen", "oldest_ns", "says"),
    [
        (Seen("a.json", data=b"{"), 0, "not a whole json document"),
        (Seen("a.json", data=b""), 0, "not a whole json document"),
        (Seen("a.msgpack", data=b"\x81"), 0, "not a whole msgpack document"),
        (Seen("notes.txt", data=b"hello"), 0, "notes.json"),
        (Seen("notes.txt", data=b""), 0, "handler name"),
        (Seen("a.json", data=b'{"handlers": "a", "x": 1}'), 0, "'x'"),
        (Seen("a", data=b"", uid=7), 0, "uid 7"),
        (Seen("a", data=None, problem="it is a FIFO"), 0, "it is a FIFO"),
        (Seen("a", data=b"", ctime_ns=4), 5, "older than every running worker"),
        (Seen("a", data=b""), None, "no worker of this job is running"),
    ],
)
def test_reasons(seen, oldest_ns, says):
    """What will not become a request is told what is wrong with it."""
    assert re.search(says, decide(seen, 9, 9, 5, oldest_ns).reason)


# -- what is accepted ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "handlers"),
    [
        ("stacks", b"", ["stacks"]),
        ("a.json", b'{"handlers": ["ping", "stacks"]}\n', ["ping", "stacks"]),
        ("a.msgpack", msgpack.packb({"handlers": "ping"}), ["ping"]),
    ],
)
def test_a_file_becomes_a_request(box, layout, name, content, handlers):
    """It vanishes from the inbox, and ``request.json`` says what it was and who is asked."""
    path = drop(layout, name, content)
    found = path.stat()
    look = box.look()
    (accepted,) = look.accepted
    assert not path.exists()
    assert [call.name for call in accepted.request.calls] == handlers
    assert accepted.id == request_id(name, found.st_ino, found.st_mtime_ns)
    assert accepted.asked == (ME.worker, OTHER.worker)
    assert accepted.accepted_by == "client"
    assert accepted.source["name"] == name
    assert reader.open_request(layout, accepted.id) == accepted
    assert stat.S_IMODE(os.stat(layout.request_json(accepted.id)).st_mode) == 0o600
    assert look == inbox.Look(accepted=(accepted,))


def test_a_young_file_is_waited_for_unless_it_is_known_to_be_whole(layout):
    """``touch`` sets a file's times after making it: 10 ms on the real clock, and none for who renamed it there."""
    for name in ("first", "second"):
        drop(layout, name)
    acceptor = Inbox(layout, "client")
    look = acceptor.look(whole=("second",))
    assert [request.source["name"] for request in look.accepted] == ["second"]
    assert 0 < look.again_s <= SETTLED_S
    time.sleep(look.again_s)
    assert [request.source["name"] for request in acceptor.look().accepted] == ["first"]


@pytest.mark.parametrize("name", [".stacks", ".stacks.json", "stacks.tmp", "a.json.tmp", ".tmp"])
def test_a_name_that_is_nobodys_is_left_alone_until_it_is_renamed(box, layout, name):
    """However long it is there and whatever is in it; renamed, it is a request at once."""
    Path(layout.inbox, name).touch()
    assert box.look() == inbox.Look()
    assert os.listdir(layout.inbox) == [name]
    os.rename(f"{layout.inbox}/{name}", f"{layout.inbox}/stacks")
    assert len(box.look().accepted) == 1


def test_a_file_that_is_touched_again_later_is_another_request(box, layout):
    """The same name may come any number of times."""
    ids = []
    for _ in range(3):
        Path(layout.inbox, "stacks").touch()
        (accepted,) = box.look().accepted
        ids.append(accepted.id)
        time.sleep(TICK_S)  # the same name, inode and tick is the same file
    assert len(set(ids)) == 3


def test_a_target_chooses_who_is_asked(box, layout):
    """``asked`` is fixed when the file is accepted."""
    drop(layout, "a.json", b'{"handlers": "ping", "targets": "1"}')
    (accepted,) = box.look().accepted
    assert accepted.asked == (OTHER.worker,)


# -- half-written files ----------------------------------------------------------------------------------------------


def test_a_half_written_file_is_waited_for(box, layout, clock):
    """It stays while it may still grow, and is accepted when it is whole."""
    path = drop(layout, "a.json", b'{"handlers"')
    look = box.look()
    assert (look.accepted, look.rejected, look.left) == ((), (), 1)
    assert 0 < look.again_s <= HALF_WRITTEN_S
    clock.ahead += HALF_WRITTEN_S - 0.1
    assert box.look().left == 1
    with path.open("ab") as file:
        file.write(b': "ping"}')
    assert [request.request.calls[0].name for request in box.look().accepted] == ["ping"]


def test_a_half_written_file_is_rejected_when_it_stands_still(box, layout, clock):
    """Two seconds after its last change, with the reason; each change begins them anew."""
    path = drop(layout, "a.json", b'{"handlers"')
    for _ in range(3):
        assert box.look().left == 1
        clock.ahead += HALF_WRITTEN_S * 0.9
        assert box.look().left == 1
        with path.open("ab") as file:
            file.write(b" ")
        time.sleep(TICK_S)
    assert box.look().left == 1
    clock.ahead += HALF_WRITTEN_S
    assert len(box.look().rejected) == 1
    assert "not a whole json document" in reason(layout, "a.json")
    assert Path(layout.rejected, "a.json").read_bytes().startswith(b'{"handlers"')


def test_two_seconds_are_two_seconds(layout):
    """Once without a clock of ours: whoever looks when it was told to, rejects."""
    drop(layout, "a.json", b"{")
    acceptor, began = Inbox(layout, "client"), time.monotonic()
    while not (look := acceptor.look()).rejected:
        time.sleep(look.again_s)
    assert 1.9 < time.monotonic() - began < 5


# -- what is rejected ------------------------------------------------------------------------------------------------


def test_a_rejected_file_says_what_was_wrong_where_and_what_would_be_right(box, layout):
    """``rejected/<name>`` is the file as it was, ``<name>.error.json`` the reason, both private."""
    drop(layout, "a.json", b'{"handlers": "ping", "timeout": 5}')
    assert box.look().rejected == (f"a.json: {reason(layout, 'a.json')}",)
    assert "timeout_s" in reason(layout, "a.json")
    assert names(layout.inbox) == []
    document = json.loads(Path(layout.rejected, "a.json.error.json").read_bytes())
    assert document.keys() == {"schema_version", "file", "reason", "rejected_at", "by"}
    assert (document["schema_version"], document["file"], document["by"]) == (1, "a.json", "client")
    assert stat.S_IMODE(os.stat(layout.rejected).st_mode) == 0o700
    assert drops.rejection(layout, "a.json") == document["reason"]
    assert drops.rejection(layout, "b.json") == ""


def test_a_second_rejected_file_of_that_name_takes_nothing_from_the_first(box, layout):
    """Both files and both reasons are kept."""
    for key in (b"x", b"y"):
        drop(layout, "a.json", b'{"%b": 1}' % key)
        assert len(box.look().rejected) == 1
    files = [name for name in names(layout.rejected) if not name.endswith(".error.json")]
    assert {Path(layout.rejected, name).read_bytes() for name in files} == {b'{"x": 1}', b'{"y": 1}'}
    assert sorted(names(layout.rejected)) == sorted([*files, *(f"{name}.error.json" for name in files)])


def make_socket(path):
    """A socket that nobody listens at; its name would be too long for ``bind``."""
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def big(path):
    """One byte more than is read; sparse, so that it costs nothing."""
    path.touch()
    os.truncate(path, MAX_REQUEST_BYTES + 1)


ODD = {
    "fifo": (os.mkfifo, "regular file"),
    "directory": (os.mkdir, "regular file"),
    "link to a file": (lambda path: path.symlink_to("/etc/passwd"), "regular file"),
    "link to a device": (lambda path: path.symlink_to("/dev/zero"), "regular file"),
    "dangling link": (lambda path: path.symlink_to("nowhere"), "regular file"),
    "socket": (make_socket, "regular file"),
    "too large": (big, "bytes"),
}


@pytest.mark.timeout(10)
@pytest.mark.parametrize(("make", "says"), ODD.values(), ids=ODD)
def test_what_is_no_file_is_rejected_without_hanging(box, layout, make, says):
    """Nothing that blocks its reader, leads elsewhere or never ends is read; other files are still accepted."""
    make(Path(layout.inbox, "stacks"))
    drop(layout, "ping")
    look = box.look()
    assert [request.source["name"] for request in look.accepted] == ["ping"]
    assert says in reason(layout, "stacks")
    assert names(layout.inbox) == []


@needs_root
@pytest.mark.timeout(10)
def test_a_device_is_rejected(box, layout):
    """Not even a device node of root's is opened."""
    try:
        os.mknod(f"{layout.inbox}/stacks", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("this container may not make devices")
    assert len(box.look().rejected) == 1
    assert "regular file" in reason(layout, "stacks")


@needs_root
def test_a_file_of_somebody_else_is_rejected(box, layout):
    """Whoever can write there could ask in our name; root may."""
    os.chown(drop(layout, "stacks"), SOMEBODY, SOMEBODY)
    assert len(box.look().rejected) == 1
    assert f"uid {SOMEBODY}" in reason(layout, "stacks")


@needs_root
def test_a_file_that_cannot_be_read_is_rejected():
    """An acceptor that is not root says so; a request of root's is accepted where it can be read."""
    with tempfile.TemporaryDirectory() as directory:  # pytest's own directories are closed to others
        os.chown(directory, SOMEBODY, SOMEBODY)
        assert in_child(lambda: as_somebody(Path(directory))) == 0


def as_somebody(directory):
    """Accepts two files of root's as another user."""
    os.setegid(SOMEBODY)
    os.seteuid(SOMEBODY)
    layout = strategies.job_at(directory / "root", [ME])
    os.seteuid(0)
    for name, mode in (("stacks", 0o600), ("ping", 0o644)):
        Path(layout.inbox, name).touch()
        os.chmod(f"{layout.inbox}/{name}", mode)
    os.seteuid(SOMEBODY)
    look = Inbox(layout, "client").look(whole=("stacks", "ping"))
    assert [request.source["name"] for request in look.accepted] == ["ping"]
    assert "cannot be opened: Permission denied" in reason(layout, "stacks")


def in_child(operation):
    """The exit code of an operation in a forked child; its error is on stderr."""
    child = os.fork()
    if child == 0:
        try:
            operation()
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 - told by the exit code
            os.write(2, f"{error!r}\n".encode())
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize(
    "name", ["x" * 255, "é" * 127, "\udcff.json", "a\nb", "\x1b[31m", "a b", "x" * 243 + ".json.error", "-rf"]
)
def test_an_odd_name_is_rejected_like_any_other(box, layout, name):
    """Long names, control characters and what is no Unicode: moved, and with a reason that can be shown."""
    Path(layout.inbox, name).touch()
    look = box.look()
    (said,) = look.rejected or box_after_waiting(box).rejected
    assert names(layout.inbox) == []
    (reason_file,) = [found for found in names(layout.rejected) if found.endswith(".error.json") and found != name]
    document = json.loads(Path(layout.rejected, reason_file).read_bytes())
    assert document["file"] == name
    assert document["reason"].isprintable()
    assert len(names(layout.rejected)) == 2
    assert said


def box_after_waiting(box):
    """The next look, when no half-written file is waited for any more."""
    inbox.time.ahead += HALF_WRITTEN_S
    return box.look()


# -- who is there ----------------------------------------------------------------------------------------------------


def test_a_file_without_workers_is_rejected(tmp_path, clock):
    """Nobody would ever answer it, so that it is said now."""
    layout = strategies.job_at(tmp_path / "root")
    drop(layout, "stacks")
    clock.ahead = 1.0
    Inbox(layout, "client").look()
    assert "no worker of this job is running" in reason(layout, "stacks")


def test_a_file_that_is_older_than_every_worker_is_rejected(tmp_path, clock):
    """It was meant for those who ran before; the oldest that is alive counts, not a dead one."""
    layout = strategies.job_at(tmp_path / "root")
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    roster.write(layout, roster.Entry(replace(strategies.identity_of(child.pid, 0), attempt=7), 0))
    drop(layout, "old")
    time.sleep(TICK_S)
    roster.write(layout, roster.Entry(OTHER, 0))
    child.communicate()
    drop(layout, "new")
    clock.ahead = 1.0
    look = Inbox(layout, "client").look()
    assert [request.source["name"] for request in look.accepted] == ["new"]
    assert "older than every running worker" in reason(layout, "old")
    assert look.accepted[0].asked == (OTHER.worker,)


def test_an_old_time_is_no_old_file(box, layout):
    """``cp -p`` keeps the time of its template; when the file was dropped shows in its ctime."""
    os.utime(drop(layout, "stacks"), (1, 1))
    (accepted,) = box.look().accepted
    assert accepted.id.startswith("19700101T000001.000Z-")


def test_an_unknown_target_is_rejected_with_who_is_there(box, layout):
    """The asker sees whom they could have meant."""
    drop(layout, "a.json", b'{"handlers": "ping", "targets": ["0", "7"]}')
    assert len(box.look().rejected) == 1
    assert "'7'" in reason(layout, "a.json")
    assert ME.worker in reason(layout, "a.json")
    assert OTHER.worker in reason(layout, "a.json")


def test_a_damaged_roster_entry_is_in_nobodys_way(box, layout):
    """Requests go to those who can be read."""
    Path(layout.entry("proc.h.1")).write_bytes(b'{"registered_ns": 1e999}')
    Path(layout.entry(OTHER.worker)).write_bytes(b"{")
    drop(layout, "stacks")
    (accepted,) = box.look().accepted
    assert accepted.asked == (ME.worker,)


def test_without_descriptors_nothing_is_decided(layout):
    """An acceptor that cannot read the roster must not say that nobody is there: the file stays for a better one."""
    drop(layout, "stacks")

    def look_with_ever_more_descriptors():
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        full = list(dup_until_it_fails())
        while os.path.exists(f"{layout.inbox}/stacks"):
            try:
                assert Inbox(layout, "client").look(whole=("stacks",)).rejected == ()
            except OSError as error:
                if error.errno != errno.EMFILE:
                    raise
            os.close(full.pop())

    assert in_child(look_with_ever_more_descriptors) == 0
    assert len(reader.request_ids(layout)) == 1
    assert not os.path.exists(layout.rejected)


def dup_until_it_fails():
    """Every descriptor that this process may still have."""
    while True:
        try:
            yield os.dup(0)
        except OSError:
            return


# -- ids -------------------------------------------------------------------------------------------------------------


def test_an_id_of_the_askers_is_used_once(box, layout):
    """The second file with it is rejected; the first request stays as it was."""
    drop(layout, "a.json", b'{"handlers": "ping", "id": "mine"}')
    (accepted,) = box.look().accepted
    assert accepted.id == "mine"
    drop(layout, "b.json", b'{"handlers": "stacks", "id": "mine"}')
    assert box.look().accepted == ()
    assert "'mine'" in reason(layout, "b.json") or "mine is already used" in reason(layout, "b.json")
    assert reader.open_request(layout, "mine") == accepted


def damaged(path):
    """A ``request.json`` that lost its bytes."""
    path.mkdir(0o700)
    (path / "request.json").touch()


def linked(path):
    """A link in the place of the request's directory."""
    path.symlink_to("/tmp")


def foreign(path):
    """A directory that somebody else made first."""
    path.mkdir(0o700)
    os.chown(path, SOMEBODY, SOMEBODY)


@pytest.mark.parametrize("squat", [damaged, linked, pytest.param(foreign, marks=needs_root)])
def test_an_id_that_cannot_be_used_is_in_nobodys_way(box, layout, squat):
    """A file that names it is rejected; the others are accepted."""
    squat(Path(layout.request_dir("mine")))
    drop(layout, "a.json", b'{"handlers": "ping", "id": "mine"}')
    drop(layout, "0")
    drop(layout, "stacks")
    look = box.look()
    assert [request.source["name"] for request in look.accepted] == ["stacks"]
    assert "mine" in reason(layout, "a.json")


def test_what_a_killed_acceptor_left_is_taken_away(box, layout):
    """The request stands already: the file vanishes, and is no second request."""
    path = drop(layout, "stacks")
    os.link(path, f"{layout.root}/saved")
    (accepted,) = box.look().accepted
    os.link(f"{layout.root}/saved", path)
    seen = inbox.observe(layout.inbox, "stacks")
    document = json.loads(Path(layout.request_json(accepted.id)).read_bytes())
    document["source"]["ctime_ns"] = seen.ctime_ns
    Path(layout.request_json(accepted.id)).write_text(json.dumps(document))
    assert [request.id for request in box.look().accepted] == [accepted.id]
    assert names(layout.inbox) == []
    assert len(reader.request_ids(layout)) == 1


def test_the_same_file_dropped_again_is_told_from_a_leftover(box, layout):
    """Name, inode and time of an earlier request, but linked there anew: rejected with advice, not swallowed."""
    template = drop(layout, ".template")
    os.link(template, f"{layout.inbox}/stacks")
    assert len(box.look().accepted) == 1
    time.sleep(TICK_S)
    os.link(template, f"{layout.inbox}/stacks")
    assert box.look().accepted == ()
    assert "`touch` the file" in reason(layout, "stacks")


# -- many files, many acceptors --------------------------------------------------------------------------------------


def accept_all(layout, expected):
    """Looks until the inbox is empty; returns nothing, since all that counts is on disk."""
    acceptor, deadline = Inbox(layout, f"client.h.{os.getpid()}"), time.monotonic() + 20
    while names(layout.inbox) or len(reader.request_ids(layout)) < expected:
        look = acceptor.look()
        assert not look.problems, look.problems
        assert not look.rejected, look.rejected
        assert time.monotonic() < deadline, names(layout.inbox)
        time.sleep(0.001)


def test_all_acceptors_agree(layout):
    """Four processes at once on 150 files: each file is one request, under the id that it has for everybody."""
    expected = {}
    for number in range(150):
        name, content = (f"h{number}", b"") if number % 2 else (f"{number}.json", b'{"handlers": "ping"}')
        found = drop(layout, name, content).stat()
        expected[request_id(name, found.st_ino, found.st_mtime_ns)] = name
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                accept_all(layout, len(expected))
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    requests = {found: reader.open_request(layout, found) for found in reader.request_ids(layout)}
    assert {found: request.source["name"] for found, request in requests.items()} == expected
    assert not os.path.exists(layout.rejected)


def test_a_look_is_bounded_and_says_that_there_is_more(box, layout):
    """Thousands of files are many looks, not a long one."""
    for number in range(150):
        drop(layout, f"h{number:03d}")
    looks = [box.look() for _ in range(3)]
    assert [len(look.accepted) for look in looks] == [64, 64, 22]
    assert [look.more for look in looks] == [True, True, False]


def test_files_that_stay_hold_up_no_others(box, layout):
    """However many half-written ones there are, the next looks reach what is behind them, and nobody spins."""
    for number in range(200):
        drop(layout, f"{number:03d}.json", b"{")
    drop(layout, "stacks")
    looks = [box.look() for _ in range(4)]
    assert sum(len(look.accepted) for look in looks) == 1
    assert all(look.more == bool(look.accepted) for look in looks)
    assert all(look.again_s for look in looks)


def test_the_own_file_comes_first(box, layout):
    """Whoever dropped one of a thousand files and accepts it itself does not wait for the others."""
    for number in range(200):
        drop(layout, f"h{number:03d}")
    (mine, *_) = box.look(whole=("h150",)).accepted
    assert mine.source["name"] == "h150"


# -- trouble ---------------------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_the_file_and_looks_again(box, layout):
    """Space comes without an event: the look says when it wants to be repeated, and then accepts."""
    drop(layout, "stacks")
    with faulty.injected(1, faulty.fails(28), faulty.changes):
        look = box.look()
    assert len(look.problems) == 1
    assert (look.accepted, look.rejected, look.left) == ((), (), 1)
    assert look.again_s == inbox.TROUBLE_AGAIN_S
    assert not look.more
    assert len(box.look().accepted) == 1


def test_a_missing_inbox_is_an_error_of_the_system(box, layout):
    """Whoever made the directories can make them again."""
    os.rmdir(layout.inbox)
    with pytest.raises(FileNotFoundError):
        box.look()


# -- a file that changes while it is accepted ------------------------------------------------------------------------

FIRST, SECOND, BAD = b'{"handlers": "first"}', b'{"handlers": "second"}', b'{"handlers": ""}'


def renamed_over(layout):
    """Another file is moved there."""
    drop(layout, "a.json", SECOND)


def written_again(layout):
    """The same file gets another content."""
    Path(layout.inbox, "a.json").write_bytes(SECOND)


def made_again(layout):
    """Removed and made again: on ext4 with the same inode."""
    Path(layout.inbox, "a.json").unlink(missing_ok=True)
    Path(layout.inbox, "a.json").write_bytes(SECOND)


def accepted_and_dropped_again(layout):
    """Another acceptor was faster, and the asker asks again: with the same inode, too."""
    Inbox(layout, "faster").look(whole=("a.json",))
    Path(layout.inbox, "a.json").write_bytes(SECOND)


CHANGES = (renamed_over, written_again, made_again, accepted_and_dropped_again)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("before", [FIRST, BAD], ids=["accepted", "rejected"])
def test_a_file_that_changes_while_it_is_looked_at_is_not_lost(tmp_path, clock, change, before):
    """Before any system call of an acceptor the asker may change the file: what it says last is accepted."""
    clock.ahead = 1.0
    layout = strategies.job_at(tmp_path / "root", [ME])

    def look():
        Inbox(layout, "client").look(whole=("a.json",))

    drop_old(layout, before)
    for attempt in faulty.each_call(look, faulty.lets_first(lambda: change(layout))):
        assert attempt.error is None, str(attempt)
        clock.ahead += 1.0
        look()
        assert names(layout.inbox) == [], str(attempt)
        if attempt.hit:
            assert "second" in accepted_handlers(layout), f"lost at {attempt}"
        for request in reader.request_ids(layout):
            os.unlink(layout.request_json(request))
            os.rmdir(layout.request_dir(request))
        drop_old(layout, before)
    assert attempt.nth > 8


def drop_old(layout, content):
    """A file of a minute ago, so that any change shows in its time."""
    long_ago = time.time_ns() - 60 * 10**9
    os.utime(drop(layout, "a.json", content), ns=(long_ago, long_ago))


def to_fifo(path):
    """Nobody will ever write to it."""
    path.unlink()
    os.mkfifo(path)


def to_link(path):
    """It leads to a whole request that is none of this inbox."""
    Path(f"{path}.target.tmp").write_bytes(FIRST)
    path.unlink()
    path.symlink_to(f"{path.name}.target.tmp")


@pytest.mark.timeout(10)
@pytest.mark.parametrize("change", [to_fifo, to_link])
def test_a_file_that_is_swapped_before_it_is_opened_is_not_read(box, layout, change):
    """Between two system calls a file becomes what blocks its reader or leads elsewhere: the next look rejects it."""
    path = drop(layout, "a.json", FIRST)

    def opens_it(call):
        return call.name == "open" and call.arguments[0] == str(path)

    with faulty.injected(1, faulty.lets_first(lambda: change(path)), opens_it) as injector:
        first = box.look()
    assert injector.hit == "open"
    assert first.accepted + box.look().accepted == ()
    assert "regular file" in reason(layout, "a.json")


def test_a_file_that_vanishes_while_it_is_open_was_somebodys(box, layout):
    """Another acceptor, or the asker, took it away: it is not accepted from the open descriptor."""
    path = drop(layout, "a.json", FIRST)

    def looks_at_it(call):
        return call.name == "fstat" and os.readlink(f"/proc/self/fd/{call.arguments[0]}") == str(path)

    with faulty.injected(1, faulty.lets_first(path.unlink), looks_at_it) as injector:
        assert box.look() == inbox.Look()
    assert injector.hit == "fstat"
    assert reader.request_ids(layout) == []


def accepted_handlers(layout):
    """What the requests so far ask for."""
    found = [reader.open_request(layout, request) for request in reader.request_ids(layout)]
    return [call.name for request in found for call in request.request.calls]


def test_a_writer_is_not_confused_with_an_acceptor(layout):
    """An id whose directory a writer made first, before ``request.json`` stands, can still be published."""
    DumpWriter(layout, "mine", ME).claim(("ping",), 1.0)
    drop(layout, "a.json", b'{"handlers": "ping", "id": "mine"}')
    assert len(Inbox(layout, "client").look(whole=("a.json",)).accepted) == 1
