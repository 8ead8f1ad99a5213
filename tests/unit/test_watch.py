"""How a dropped file is noticed: by the kernel's events where it has them all, else by looking."""

from __future__ import annotations

import os
import resource
import select
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import strategies
from oobdump import linux
from oobdump.watch import Watch, delivers_events, file_system_of

pytestmark = pytest.mark.skipif(not linux.AVAILABLE, reason="only Linux has file events")

WITHIN_MS = 5_000


@pytest.fixture
def inbox(tmp_path):
    """A directory on a local file system."""
    path = tmp_path / "requests"
    path.mkdir()
    return path


@pytest.fixture
def watch(inbox):
    """A watch of it that hears everything."""
    made = Watch("auto", 1.0)
    made.open()
    made.renew(str(inbox))
    yield made
    made.close()


def heard(watch, within_ms=WITHIN_MS):
    """Whether the descriptor became readable; what it had to say is taken."""
    poll = select.poll()
    poll.register(watch.descriptor, select.POLLIN)
    if not poll.poll(within_ms):
        return False
    while poll.poll(0):
        os.read(watch.descriptor, 65536)
    return True


# -- events ----------------------------------------------------------------------------------------------------------


def moved_there(inbox):
    """As ``oobdump request`` does."""
    other = inbox.parent / "other"
    other.touch()
    other.rename(inbox / "stacks")


WAYS = {
    "touch": lambda inbox: (inbox / "stacks").touch(),
    "write": lambda inbox: (inbox / "a.json").write_text("{}"),
    "rename inside": lambda inbox: (inbox / ".a").rename(inbox / "a"),
    "move there": moved_there,
    "link": lambda inbox: os.link(inbox / ".a", inbox / "a"),
    "mkdir": lambda inbox: (inbox / "a").mkdir(),
    "symlink": lambda inbox: (inbox / "a").symlink_to("b"),
    "mkfifo": lambda inbox: os.mkfifo(inbox / "a"),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_every_way_to_drop_is_heard(inbox, watch, way):
    """However a file comes there, the descriptor becomes readable."""
    (inbox / ".a").touch()
    heard(watch)
    way(inbox)
    assert heard(watch)


def test_what_is_no_drop_is_not_heard(inbox, watch):
    """Looking, reading and taking away wake nobody up."""
    (inbox / "a").touch()
    heard(watch)
    os.listdir(inbox)
    (inbox / "a").read_bytes()
    (inbox / "a").unlink()
    assert not heard(watch, 0)


def test_events_are_said(watch, inbox):
    """A local file system tells everything: nobody polls."""
    assert (watch.events, watch.polls, watch.why) == (True, False, "")
    assert watch.describe() == {"events": True, "poll_s": None}
    watch.renew(str(inbox))
    assert watch.describe() == {"events": True, "poll_s": None}


def test_a_directory_that_is_made_again_is_watched_again(inbox, watch):
    """Its removal is heard, and so is what is dropped into the next one of that name."""
    inbox.rmdir()
    assert heard(watch)
    watch.renew(str(inbox))
    assert (watch.events, watch.polls) == (False, True)
    assert "No such file" in watch.describe()["why"]
    inbox.mkdir()
    watch.renew(str(inbox))
    assert watch.describe() == {"events": True, "poll_s": None}
    (inbox / "a").touch()
    assert heard(watch)


def test_a_directory_that_was_replaced_is_watched(inbox, watch):
    """Moved away and made anew, between two looks."""
    inbox.rename(inbox.parent / "away")
    assert heard(watch)
    inbox.mkdir()
    watch.renew(str(inbox))
    heard(watch, 0)
    (inbox / "a").touch()
    assert heard(watch)


def test_an_overflow_is_an_event_like_any_other(inbox, watch):
    """More files than the kernel's queue holds: it is still only "look", and the next file is heard too."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 50_000:
        pytest.skip(f"the queue holds {limit} events here")
    names = [f"{inbox}/a", f"{inbox}/b"]
    for number in range(limit + 10):
        os.close(os.open(names[number % 2], os.O_WRONLY | os.O_CREAT))
    assert heard(watch)
    assert not heard(watch, 0)
    (inbox / "c").touch()
    assert heard(watch)


# -- polling ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "opens", "polls"),
    [("auto", True, False), ("events", True, False), ("poll", False, True), ("off", False, False)],
)
def test_modes(inbox, mode, opens, polls):
    """What was asked for; ``off`` neither hears nor looks."""
    watch = Watch(mode, 0.5)
    watch.open()
    watch.renew(str(inbox))
    assert (watch.descriptor >= 0, watch.events, watch.polls) == (opens, opens, polls)
    assert watch.describe() == {"events": opens, "poll_s": 0.5 if polls else None}
    watch.close()
    watch.close()
    assert watch.descriptor == -1


@pytest.mark.parametrize(
    ("kind", "events"), [("ext4", True), ("tmpfs", True), ("nfs4", False), ("fuse.sshfs", False), ("", False)]
)
def test_which_file_systems_tell_everything(kind, events):
    """Those of one machine; whatever is not known may be written elsewhere."""
    assert delivers_events(kind) is events


@pytest.mark.parametrize(("mode", "polls"), [("auto", True), ("events", False)])
def test_a_shared_file_system_is_looked_at_as_well(inbox, monkeypatch, mode, polls):
    """Events of this node and looks for the others', unless events alone were asked for."""
    monkeypatch.setattr("oobdump.watch.file_system_of", lambda _path: "lustre")
    watch = Watch(mode, 2.0)
    watch.open()
    watch.renew(str(inbox))
    assert (watch.events, watch.polls) == (True, polls)
    assert ("lustre" in watch.describe().get("why", "")) is polls
    watch.close()


def test_a_directory_that_was_replaced_is_judged_anew(inbox, monkeypatch):
    """The new one may be on another file system."""
    kinds = iter(["ext4", "lustre"])
    monkeypatch.setattr("oobdump.watch.file_system_of", lambda _path: next(kinds))
    watch = Watch("auto", 1.0)
    watch.open()
    watch.renew(str(inbox))
    watch.renew(str(inbox))
    assert watch.polls is False
    inbox.rename(inbox.parent / "away")
    inbox.mkdir()
    watch.renew(str(inbox))
    assert watch.polls is True
    watch.close()


def test_a_link_is_judged_by_where_it_leads(tmp_path):
    """A scratch directory is often a link from a local disk to a shared one."""
    memory = Path("/dev/shm")
    if file_system_of("/dev/shm") != "tmpfs" or file_system_of(str(tmp_path)) == "tmpfs":
        pytest.skip("needs two file systems")
    (tmp_path / "scratch").symlink_to(memory)
    watch, seen = Watch("auto", 1.0), []
    watch.open()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("oobdump.watch.delivers_events", lambda kind: bool(seen.append(kind)))
        watch.renew(f"{tmp_path}/scratch")
    watch.close()
    assert seen == ["tmpfs"]


@pytest.mark.parametrize("mode", ["auto", "events"])
def test_without_an_inotify_instance_it_polls_and_says_so(inbox, mode):
    """Real: a child that has no descriptor left."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
            watch = Watch(mode, 1.0)
            watch.open()
            watch.renew(str(inbox))
            said = watch.describe()
            code = 0 if (said["events"], said["poll_s"]) == (False, 1.0) and "Too many open files" in said["why"] else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# -- mountinfo -------------------------------------------------------------------------------------------------------

components = st.text(st.characters(exclude_characters="/\0\n", exclude_categories=("Cs",)), min_size=1, max_size=6)
points = st.lists(components, max_size=3).map(lambda words: "/" + "/".join(words))
kinds = st.sampled_from(["ext4", "nfs4", "tmpfs", "fuse.sshfs"])


def escaped(text):
    """As the kernel writes a mount point (proc(5))."""
    return text.replace("\\", "\\134").replace(" ", "\\040").replace("\t", "\\011").replace("\n", "\\012")


def mountinfo(mounts):
    """A table of mounts, optional fields and all."""
    return "".join(
        f"{number} 1 8:1 / {escaped(point)} rw,relatime shared:1 master:2 - {kind} /dev/x rw\n"
        for number, (point, kind) in enumerate(mounts)
    )


@strategies.FEW
@given(st.lists(st.tuples(points, kinds), max_size=5), points)
def test_the_nearest_mount_above_a_path_counts(mounts, path):
    """The longest mount point that the path is at or below; of two at the same place the later one."""
    above = [(len(point), number, kind) for number, (point, kind) in enumerate(mounts) if is_above(point, path)]
    assert file_system_of(path, mountinfo(mounts)) == (max(above)[2] if above else "")


def is_above(point, path):
    """Whether a path is at a mount point or below it, by its components."""
    words = [word for word in point.split("/") if word]
    return [word for word in path.split("/") if word][: len(words)] == words


@strategies.FEW
@given(points, kinds, components)
def test_a_name_that_only_begins_alike_is_elsewhere(point, kind, more):
    """``/data`` is not above ``/database``."""
    assume(point != "/")
    assert file_system_of(point + more, mountinfo([(point, kind)])) == ""


@pytest.mark.parametrize("text", ["", "\n", "x", "1 2 3 4", "36 35 98:0 / /mnt rw", "a b c d /mnt - ", " - ext4"])
def test_a_table_that_is_none_says_nothing(text):
    """An unknown file system is looked at: nothing is assumed."""
    assert file_system_of("/mnt/x", text) == ""


def test_the_real_table():
    """``/proc`` is there, and is what it is."""
    assert file_system_of("/proc/self") == "proc"
    assert file_system_of("/") != ""
