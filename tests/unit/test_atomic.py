"""Whole or absent, private, and never somebody else's: directories and files on a real file system."""

from __future__ import annotations

import itertools
import os
import socket
import stat
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

import strategies
from oobdump.errors import ForeignDirectory
from oobdump.store import atomic

SOMEBODY = 12345
"""A uid that is not ours."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request):
    """Each umask that a program may have."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path):
    """The permission bits of what stands there."""
    return stat.S_IMODE(os.lstat(path).st_mode)


# -- private directories ---------------------------------------------------------------------------------------------


def test_a_directory_is_private_whatever_the_umask(tmp_path, umask):
    """It is made with 0700, and found again."""
    path = f"{tmp_path}/a"
    atomic.private_dir(path)
    atomic.private_dir(path)
    assert mode(path) == 0o700


@pytest.mark.parametrize("open_mode", [0o755, 0o777, 0o1777, 0o2700, 0o500])
def test_a_directory_of_ours_is_closed_to_others(tmp_path, open_mode):
    """One that was opened to others, or closed to us, is put right."""
    path = tmp_path / "a"
    path.mkdir()
    path.chmod(open_mode)
    atomic.private_dir(str(path))
    assert mode(path) == 0o700


@needs_root
def test_a_directory_that_somebody_else_made_is_not_used(tmp_path):
    """It is detected, and left as it is."""
    path = tmp_path / "a"
    path.mkdir(0o755)
    os.chown(path, SOMEBODY, SOMEBODY)
    with pytest.raises(ForeignDirectory, match=f"uid {SOMEBODY}"):
        atomic.private_dir(str(path))
    assert mode(path) == 0o755


def link(path):
    """A link to a directory of ours."""
    os.mkdir(f"{path}.target", 0o755)
    os.symlink(f"{path}.target", path)


SQUATTERS = {
    "link": link,
    "dangling link": lambda path: os.symlink("nowhere", path),
    "file": lambda path: open(path, "w").close(),
    "fifo": os.mkfifo,
    "socket": lambda path: socket.socket(socket.AF_UNIX).bind(path),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("squat", SQUATTERS.values(), ids=SQUATTERS)
def test_what_is_no_directory_is_not_used(tmp_path, squat):
    """A link leads where its maker wants; it is not followed, not even by ``chmod``."""
    path = f"{tmp_path}/a"
    squat(path)
    with pytest.raises(ForeignDirectory, match="not a directory"):
        atomic.private_dir(path)
    assert not os.path.exists(f"{path}.target") or mode(f"{path}.target") == 0o755


# -- the root --------------------------------------------------------------------------------------------------------


def test_a_root_is_made_private_with_its_parents(tmp_path, umask):
    """A root that nobody made yet is ours alone, and so is what leads to it."""
    path = f"{tmp_path}/a/b/root"
    atomic.shared_root(path)
    atomic.shared_root(path)
    assert [mode(f"{tmp_path}/a"), mode(f"{tmp_path}/a/b"), mode(path)] == [0o700 & ~umask] * 3


@pytest.mark.parametrize("allowed", [0o700, 0o750, 0o755, 0o1777, 0o1775])
def test_a_root_that_others_cannot_replace_is_used_as_it_is(tmp_path, allowed):
    """Others may read there; where they may write, the directory must be sticky."""
    tmp_path.chmod(allowed)
    atomic.shared_root(str(tmp_path))
    assert mode(tmp_path) == allowed


@pytest.mark.parametrize("refused", [0o777, 0o775, 0o770, 0o702])
def test_a_root_that_others_can_write_in_is_refused(tmp_path, refused):
    """Anyone could put a job's directory there first, and take ours away."""
    tmp_path.chmod(refused)
    with pytest.raises(ForeignDirectory, match="chmod go-w"):
        atomic.shared_root(str(tmp_path))


@needs_root
def test_a_root_that_somebody_else_made_is_refused(tmp_path):
    """However private it is: its owner can change that."""
    os.chown(tmp_path, SOMEBODY, SOMEBODY)
    with pytest.raises(ForeignDirectory, match=f"uid {SOMEBODY}"):
        atomic.shared_root(str(tmp_path))


def test_a_root_may_be_a_link_of_ours(tmp_path):
    """People link their scratch directory."""
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to("real")
    atomic.shared_root(f"{tmp_path}/root")


@needs_root
def test_a_root_that_somebody_else_linked_is_refused(tmp_path):
    """A link in ``/tmp`` that leads to a directory of ours is still theirs."""
    (tmp_path / "real").mkdir(0o700)
    (tmp_path / "root").symlink_to("real")
    os.chown(tmp_path / "root", SOMEBODY, SOMEBODY, follow_symlinks=False)
    with pytest.raises(ForeignDirectory, match="link"):
        atomic.shared_root(f"{tmp_path}/root")


def test_a_file_is_no_root(tmp_path):
    """A file in the place of the root is said as such."""
    (tmp_path / "root").touch()
    with pytest.raises(ForeignDirectory, match="not a directory"):
        atomic.shared_root(f"{tmp_path}/root")


@needs_root
def test_no_directory_of_a_tree_may_be_somebody_elses(tmp_path):
    """Each one is looked at, from the root down."""
    below = [f"{tmp_path}/job", f"{tmp_path}/job/dumps"]
    atomic.make_tree(str(tmp_path), *below)
    for path in below:
        os.chown(path, SOMEBODY, SOMEBODY)
        with pytest.raises(ForeignDirectory):
            atomic.make_tree(str(tmp_path), *below)
        os.chown(path, os.geteuid(), os.getegid())
    atomic.make_tree(str(tmp_path), *below)


# -- files -----------------------------------------------------------------------------------------------------------

chunks = st.lists(
    st.binary(max_size=20).flatmap(lambda data: st.sampled_from([data, bytearray(data), memoryview(data)]))
)


@strategies.FEW
@given(chunks=chunks)
def test_a_file_holds_what_was_written(chunks, tmp_path_factory):
    """Any kind of bytes, in any pieces; the size is told."""
    path = f"{tmp_path_factory.getbasetemp()}/file"
    assert atomic.replace(path, chunks) == sum(map(len, chunks))
    assert atomic.read_bounded(path, 10_000) == b"".join(map(bytes, chunks))


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777], ids=oct, indirect=True)
@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_private_and_alone(tmp_path, umask, durable):
    """Mode 0600 whatever the umask, and no temporary file stays."""
    atomic.replace(f"{tmp_path}/a", [b"one"], durable=durable)
    assert atomic.publish(f"{tmp_path}/b", b"two", durable=durable) is True
    assert umask in (0o000, 0o022, 0o777)
    assert {name: mode(tmp_path / name) for name in os.listdir(tmp_path)} == {"a": 0o600, "b": 0o600}


def test_replace_takes_the_place_of_what_was_there(tmp_path):
    """Who has the old file open keeps it whole."""
    path = f"{tmp_path}/a"
    atomic.replace(path, [b"old"])
    with open(path, "rb") as old:
        atomic.replace(path, [b"new", b"er"])
        assert old.read() == b"old"
    assert atomic.read_bounded(path, 10) == b"newer"


def test_replace_does_not_write_through_a_link(tmp_path):
    """A link in the place of the file is replaced, and its target is left alone."""
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "a").symlink_to("target")
    atomic.replace(f"{tmp_path}/a", [b"new"])
    assert (tmp_path / "target").read_bytes() == b"old"
    assert not (tmp_path / "a").is_symlink()


def test_publish_never_replaces(tmp_path):
    """The first one stands; who comes later is told."""
    path = f"{tmp_path}/a"
    assert atomic.publish(path, b"first") is True
    assert atomic.publish(path, b"second") is False
    assert atomic.read_bounded(path, 10) == b"first"
    assert os.listdir(tmp_path) == ["a"]
    os.symlink("nowhere", f"{tmp_path}/b")
    assert atomic.publish(f"{tmp_path}/b", b"second") is False


def test_one_of_many_publishers_wins(tmp_path):
    """Threads that publish at once: for each file exactly one is told that it was first, and its bytes stand."""
    names, count = [f"{tmp_path}/{number}" for number in range(50)], 8
    start, won = threading.Barrier(count), [[] for _ in range(count)]

    def publish(me):
        start.wait()
        won[me] = [name for name in names if atomic.publish(name, b"%d" % me)]

    threads = [threading.Thread(target=publish, args=(me,)) for me in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(itertools.chain(*won)) == sorted(names)
    assert all(atomic.read_bounded(name, 9) == b"%d" % me for me in range(count) for name in won[me])
    assert len(os.listdir(tmp_path)) == len(names)


def test_what_an_earlier_process_left_behind_is_not_in_the_way(tmp_path):
    """In a container each start has the same pid: temporary names must not come again with it."""
    code = "import os, sys; os.getpid = lambda: 7; sys.path[:0] = {!r}; from oobdump.store import atomic; "
    leave = code + "atomic._forget = os.rename = lambda *_: None; atomic.replace({!r}, [b'torn'])"
    for _ in range(2):
        run_python(leave.format(os.sys.path, f"{tmp_path}/a"))
    left = [name for name in os.listdir(tmp_path) if name.startswith(".a.7.")]
    assert len(left) == len(os.listdir(tmp_path)) == 2
    run_python((code + "atomic.replace({!r}, [b'whole'])").format(os.sys.path, f"{tmp_path}/a"))
    assert atomic.read_bounded(f"{tmp_path}/a", 9) == b"whole"


def run_python(code):
    """One line in a fresh interpreter."""
    done = os.spawnl(os.P_WAIT, os.sys.executable, os.sys.executable, "-c", code)
    assert done == 0


# -- reading ---------------------------------------------------------------------------------------------------------


def test_reads_no_more_than_the_limit(tmp_path):
    """The limit itself is read; one byte more is refused before it is read."""
    atomic.replace(f"{tmp_path}/a", [b"x" * 100])
    assert atomic.read_bounded(f"{tmp_path}/a", 100) == b"x" * 100
    with pytest.raises(ValueError, match="100 bytes"):
        atomic.read_bounded(f"{tmp_path}/a", 99)


def test_a_file_that_grows_while_it_is_read_is_still_bounded():
    """Files of ``/proc`` say that they are empty, and others grow."""
    assert os.stat("/proc/self/status").st_size == 0
    assert b"Pid:" in atomic.read_bounded("/proc/self/status", 100_000)
    with pytest.raises(ValueError, match="more than the 10 bytes"):
        atomic.read_bounded("/proc/self/status", 10)


@pytest.mark.parametrize("path", ["/dev/zero", "/"])
def test_devices_and_directories_are_not_read(path):
    """Nothing that never ends."""
    with pytest.raises(ValueError, match="not a regular file"):
        atomic.read_bounded(path, 10)


def test_fifos_and_links_are_not_read(tmp_path):
    """A FIFO does not block its reader, and a link is not followed."""
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ValueError, match="not a regular file"):
        atomic.read_bounded(f"{tmp_path}/fifo", 10)
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic"):
        atomic.read_bounded(f"{tmp_path}/link", 10_000)
