"""A dump root that hangs, for real: an ext4 on a loop device, frozen (fsfreeze(8)), so that writers stay in D state."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import dumps, proc, programs
from support.sentinels import end, outside, sentinel

MEGABYTES = 24


@dataclass
class Root:
    """A mount that can be frozen."""

    path: Path
    frozen: bool = False

    def freeze(self) -> None:
        """From here on whoever writes waits."""
        subprocess.run(["fsfreeze", "-f", str(self.path)], check=True)
        self.frozen = True

    def thaw(self) -> None:
        """Whoever waited goes on."""
        if self.frozen:
            subprocess.run(["fsfreeze", "-u", str(self.path)], check=True)
            self.frozen = False


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    """A file system of its own, thawed and let go at the end."""
    if os.geteuid() or not all(map(shutil.which, ("fsfreeze", "mkfs.ext4", "mount"))):
        pytest.skip("needs root, fsfreeze and mkfs.ext4 to make a file system that hangs")
    image, point = tmp_path / "image", tmp_path / "mount"
    point.mkdir()
    with image.open("wb") as file:
        file.truncate(MEGABYTES * 2**20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    mounted = subprocess.run(
        ["mount", "-o", "loop", str(image), str(point)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no loop mount here: {mounted.stderr.strip()}")
    point.chmod(0o700)
    made = Root(point)
    try:
        yield made
    finally:
        made.thaw()
        dumps.until(lambda: not unmount(point), "the file system is let go", 60)


def unmount(point: Path) -> str:
    """What umount says; nothing if it is done."""
    return subprocess.run(["umount", str(point)], capture_output=True, text=True, check=False).stderr


@pytest.mark.slow
def test_a_root_that_hangs_after_the_question(tmp_path: Path, places: dict[str, str], root: Root) -> None:
    """The answer from outside goes to the fallback directory, the sentinel stays awake, and brings it home later."""
    env = {**places, "OOBDUMP_DIR": str(root.path), "OOBDUMP_GRACE_S": "3"}
    job_dir, fallback = root.path / "job", Path(places["OOBDUMP_FALLBACK_DIR"]) / "job"
    with programs.running("c_wait_gil_held", tmp_path / "held", env=env):
        pid = sentinel(job_dir)
        dumps.drop(job_dir, "stacks")
        dumps.until(lambda: dumps.request_ids(job_dir), "the request accepted")
        root.freeze()
        (away,) = outside(fallback, within_s=90)
        assert "wait_in_c_with_gil" in set(dumps.words(away.value("stacks")))
        assert proc.look(pid, pid).state in ("S", "R")
        root.thaw()
        (home,) = outside(job_dir, within_s=60)
        assert home.manifest["state"] == "gil-held"
        dumps.until(lambda: not outside_of(fallback), "the copy is gone", 60)
        assert sentinel(job_dir) == pid


@pytest.mark.slow
def test_a_worker_that_dies_while_its_dump_is_away(tmp_path: Path, places: dict[str, str], root: Root) -> None:
    """Its dump is in the fallback directory, and nobody of its own can bring it home: the sentinel does."""
    env = {**places, "OOBDUMP_DIR": str(root.path), "OOBDUMP_STORE_TIMEOUT_S": "0.5"}
    job_dir, fallback = root.path / "job", Path(places["OOBDUMP_FALLBACK_DIR"]) / "job"
    with programs.running("idle", tmp_path / "idle", env=env) as program:
        dumps.wait_for_roster(job_dir, program.pids)
        pid = sentinel(job_dir)
        root.freeze()
        os.kill(program.pid, signal.SIGUSR1)
        (away,) = dumps.wait_for_dumps(fallback, within_s=60)
        end(program.pid)
        assert proc.look(pid, pid).state in ("S", "R")
        root.thaw()
        program.wait_for_exit(60)
        (home,) = dumps.wait_for_dumps(job_dir, within_s=60)
        assert (home.request_id, home.worker) == (away.request_id, away.worker)
        (entry,) = dumps.until(lambda: [e for e in dumps.roster(job_dir).values() if e["ended"]], "its end noted", 60)
        assert entry["ended"]["by"] == f"sentinel.{entry['host']}.{pid}"


def outside_of(job_dir: Path) -> list[dumps.Dump]:
    """Committed dumps from outside, as they are now."""
    return [dump for dump in dumps.committed(job_dir) if dump.worker.endswith(".outside")]
