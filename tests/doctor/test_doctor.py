"""``oobdump doctor`` finds what is broken for real: a full disk, a foreign directory, a dead bell, a stolen signal."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from oobdump import doctor
from support import dumps, neighbours, programs

WITHIN_S = 100.0
NOTHING: Mapping[str, str] = {}


def namespaces() -> bool:
    """Whether this user may mount: in a namespace of its own."""
    unshare = shutil.which("unshare")
    return (
        bool(unshare) and not subprocess.run([str(unshare), "-m", "true"], check=False, capture_output=True).returncode
    )


mounts = pytest.mark.skipif(not namespaces(), reason="`unshare -m` is not permitted here, so nothing can be mounted")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to somebody else")


def run_doctor(
    *words: object,
    root: Path,
    env: Mapping[str, str] = NOTHING,
    wrap: Sequence[str] = (),
    python: str = sys.executable,
) -> tuple[int, dict[str, Any]]:
    """The exit code and the object of ``doctor --json``; each finding is of a kind that its check announces."""
    command = [*wrap, python, "-m", "oobdump", "doctor", "--json", *map(str, words)]
    places = {"OOBDUMP_DIR": str(root), "OOBDUMP_RUNTIME_DIR": str(root.parent / "run")}
    environ = programs.client_environment(**{**places, **env})
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def findings(*words: object, root: Path, **how: Any) -> dict[str, dict[str, Any]]:
    """The findings by code; the exit code is 1 exactly if one is more than a note."""
    code, document = run_doctor(*words, root=root, **how)
    found = {finding["code"]: finding for finding in document["findings"]}
    assert code == int(any(finding["severity"] != "note" for finding in found.values())), document
    kinds = {check.name: {kind.code for kind in check.kinds} for check in doctor.CHECKS}
    for check in document["checks"]:
        assert {*check["codes"]} <= kinds[check["name"]], check
    return found


def only(check: str) -> tuple[str, str]:
    """Does this check alone: importing torch takes seconds."""
    return "--check", check


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root as a worker makes it."""
    path = tmp_path / "root"
    path.mkdir(mode=0o700)
    return path


# -- the tables ------------------------------------------------------------------------------------------------------


def test_codes_are_told_apart_and_say_what_to_do() -> None:
    """Each code stands for one kind, and each kind says what it means and what comes next."""
    codes = [kind.code for kind in doctor.KINDS]
    assert len(codes) == len(set(codes))
    assert all(kind.means and kind.next_step for kind in doctor.KINDS)
    assert len({check.name for check in doctor.CHECKS}) == len(doctor.CHECKS)


def subject(tmp_path: Path) -> doctor.Subject:
    """This machine, with nothing in it."""
    from oobdump.config import settings
    from oobdump.store.layout import Layout

    return doctor.Subject(settings({}), {}, Layout(str(tmp_path), "job"))


def test_a_check_that_hangs_is_a_finding_and_stops_no_other(tmp_path: Path) -> None:
    """One that waits in the kernel for ever (a FIFO that nobody writes) is given up at its deadline."""
    os.mkfifo(tmp_path / "fifo")
    check = doctor.Check("stuck", "machine", "", (), lambda _: [(tmp_path / "fifo").read_bytes()], deadline_s=0.2)
    done = doctor.do(check, subject(tmp_path))
    assert [finding.code for finding in done.findings] == ["check-hangs"]
    os.close(os.open(tmp_path / "fifo", os.O_RDWR))


def test_a_check_that_fails_is_a_finding(tmp_path: Path) -> None:
    """What nobody foresaw is said, with the check's name."""

    def fail(_subject: doctor.Subject) -> list[doctor.Finding]:
        raise OSError(5, "Input/output error")

    (finding,) = doctor.do(doctor.Check("broken", "machine", "", (), fail), subject(tmp_path)).findings
    assert (finding.code, finding.seen) == ("check-failed", "broken: OSError: [Errno 5] Input/output error")


# -- this machine ----------------------------------------------------------------------------------------------------


def test_a_place_that_is_well_has_no_finding(root: Path) -> None:
    """Without any worker: a private directory, with room, that takes files and FIFOs and tells of new ones."""
    checks = ("root", "job", "writing", "room", "fallback", "runtime", "events", "ptrace", "py-spy", "python")
    words = [word for check in checks for word in only(check)]
    assert findings(*words, root=root) == {}
    assert [*root.parent.iterdir()] == [root]
    assert [*root.iterdir()] == []


def test_the_text_names_the_finding_and_the_next_step(root: Path) -> None:
    """What ``--json`` says is in the text, too."""
    root.chmod(0o777)
    environ = programs.client_environment(OOBDUMP_DIR=str(root))
    done = subprocess.run(
        [*programs.OOBDUMP, "doctor", *only("root")], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    said = " ".join(done.stdout.split())
    assert f"root-foreign: {root} is writable by others" in said
    assert "next: set another directory with OOBDUMP_DIR" in said
    assert f"1 check of this machine, {root} and 0 workers (error: 1, warning: 0, note: 0)" in said


def test_a_root_that_is_not_there_is_a_note(tmp_path: Path) -> None:
    """It is made by the first worker, so the exit code is 0."""
    found = findings(*only("root"), *only("writing"), *only("room"), *only("events"), root=tmp_path / "none" / "root")
    assert [*found] == ["root-missing"]


def test_an_unknown_check_is_a_wrong_command_line(root: Path) -> None:
    """Exit code 2, and the checks that there are."""
    done = subprocess.run(
        [*programs.OOBDUMP, "doctor", "--check", "x"],
        capture_output=True,
        text=True,
        check=False,
        env=programs.client_environment(OOBDUMP_DIR=str(root)),
    )
    assert done.returncode == 2
    assert "'runtime'" in done.stderr


@as_root
def test_a_root_of_somebody_else(root: Path) -> None:
    """The owner is named."""
    os.chown(root, 12345, 12345)
    found = findings(*only("root"), root=root)
    assert "12345" in found["root-foreign"]["seen"]


@as_root
def test_a_job_of_somebody_else_and_an_open_one(root: Path) -> None:
    """Each directory of the job is looked at."""
    job = root / "job"
    for name in ("roster", "requests", "dumps"):
        (job / name).mkdir(parents=True, mode=0o700)
    job.chmod(0o755)
    os.chown(job / "dumps", 12345, 12345)
    found = findings(*only("job"), "--job", "job", root=root)
    assert found["job-open"]["evidence"]["path"] == str(job)
    assert found["job-foreign"]["evidence"] == {"path": str(job / "dumps"), "uid": 12345}


def mounted(options: str, at: Path, then: str = "") -> list[str]:
    """A prefix for a command: a file system of memory is mounted there, for this command alone."""
    return [
        "unshare",
        "-m",
        "sh",
        "-c",
        f'mount -t tmpfs -o {options} none {at} && {then or "true"} && exec "$@"',
        "sh",
    ]


@mounts
def test_a_read_only_root(root: Path) -> None:
    """A real file is tried, so that a mount option shows."""
    found = findings(*only("writing"), *only("room"), root=root, wrap=mounted("ro", root))
    assert "Read-only file system" in found["root-takes-no-file"]["seen"]


@mounts
def test_a_full_root(root: Path) -> None:
    """Some bytes are left, and a dump does not fit."""
    fill = f"head -c 40000 /dev/zero > {root}/x; mkdir -m 700 {root}/job {root}/job/roster"
    found = findings(
        *only("writing"), *only("room"), root=root, wrap=mounted("size=64k,nr_inodes=50,mode=700", root, fill)
    )
    assert "No space left on device" in found["root-takes-no-file"]["seen"]
    assert found["space-low"]["evidence"]["free_bytes"] < 65536
    assert found["inodes-low"]["evidence"]["free"] < 50


@mounts
def test_nowhere_to_fall_back_to(root: Path) -> None:
    """The fallback directory is tried, too."""
    env = {"OOBDUMP_FALLBACK_DIR": str(root)}
    found = findings(*only("fallback"), root=root, env=env, wrap=mounted("ro,mode=700", root))
    assert "Read-only file system" in found["fallback-none"]["seen"]


def test_nowhere_for_a_bell(root: Path) -> None:
    """A directory that can never be made; and one whose socket's path is too long for a Unix socket."""
    assert "runtime-none" in findings(*only("runtime"), root=root, env={"OOBDUMP_RUNTIME_DIR": "/proc/self/none"})
    long = root.parent / ("x" * 100)
    found = findings(*only("runtime"), root=root, env={"OOBDUMP_RUNTIME_DIR": str(long)})
    assert [*found] == ["socket-path-long"]


def test_a_runtime_directory_that_is_set_and_cannot_be_used(root: Path) -> None:
    """Missing, as on many compute nodes, or open to others: a note, since /tmp serves."""
    root.chmod(0o777)
    for path, why in (("/proc/none", "is not there"), (str(root), "is writable by others (mode 0777)")):
        env = {"XDG_RUNTIME_DIR": path, "OOBDUMP_RUNTIME_DIR": ""}
        found = findings(*only("runtime"), root=root.parent, env=env)
        assert [*found] == ["xdg-unusable"]
        assert found["xdg-unusable"]["seen"] == f"XDG_RUNTIME_DIR is {path!r}, which {why}"


def limited(name: str) -> list[str]:
    """A prefix for a command: in a user namespace of its own, that may have none of these."""
    return ["unshare", "-U", "-r", "sh", "-c", f'echo 0 > /proc/sys/user/{name} && exec "$@"', "sh"]


@mounts
@pytest.mark.parametrize("what", ["instances", "watches"])
def test_inotify_is_used_up(what: str, root: Path) -> None:
    """The kernel's real refusal, and its limit."""
    found = findings(*only("events"), root=root, wrap=limited(f"max_inotify_{what}"))
    assert found[f"inotify-{what}"]["evidence"] == {"limit": 0}


@mounts
def test_a_file_system_that_may_be_written_elsewhere(root: Path) -> None:
    """Any kind that is not known to be of this machine alone is named; here one that memory pages are."""
    wrap = ["unshare", "-m", "sh", "-c", f'mount -t hugetlbfs -o mode=700 none {root} && exec "$@"', "sh"]
    found = findings(*only("events"), root=root, wrap=wrap)
    assert found["events-of-this-node-only"]["evidence"]["file_system"] == "hugetlbfs"


def without_site(tmp_path: Path) -> tuple[str, dict[str, str]]:
    """A Python outside its environment, with that environment's packages on PYTHONPATH, and nothing on PATH."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(os.path.realpath(sys.executable))
    paths = [str(programs.SOURCES), *(path for path in sys.path if "site-packages" in path)]
    return str(python), {"PYTHONPATH": os.pathsep.join(paths), "PATH": "/usr/bin:/bin"}


def test_a_python_without_py_spy_that_run_cannot_arm(root: Path, tmp_path: Path) -> None:
    """Neither the program nor the .pth file belongs to this Python."""
    python, env = without_site(tmp_path)
    found = findings(*only("py-spy"), *only("run"), root=root, python=python, env=env)
    assert {*found} == {"pyspy-missing", "run-does-not-arm"}


def test_a_py_spy_that_does_not_work(root: Path, tmp_path: Path) -> None:
    """What it says is shown."""
    python, env = without_site(tmp_path)
    py_spy = Path(python).with_name("py-spy")
    py_spy.write_text("#!/bin/sh\necho 'Error: no such thing' >&2\nexit 3\n")
    py_spy.chmod(0o755)
    found = findings(*only("py-spy"), root=root, python=python, env=env)
    assert found["pyspy-fails"]["evidence"] == {"path": str(py_spy), "code": 3}
    assert "Error: no such thing" in found["pyspy-fails"]["seen"]


def test_torch_is_there_or_is_not(root: Path) -> None:
    """A note where it is not; where it is, its recorder is said to be off if the variable says so."""
    found = findings(*only("torch"), *only("recorder"), root=root, env={"TORCH_FR_BUFFER_SIZE": "0"})
    assert [*found] == (["recorder-off"] if importlib.util.find_spec("torch") else ["torch-missing"])


def test_lightning_in_a_slurm_job_is_foreseen(root: Path) -> None:
    """Where it is installed, and SIGUSR1 is what we would take; not with another signal."""
    slurm, there = {"SLURM_JOB_ID": "1"}, importlib.util.find_spec("pytorch_lightning") is not None
    assert [*findings(*only("lightning"), root=root, env=slurm)] == ["signal-wanted"] * there
    other = {**slurm, "OOBDUMP_SIGNALS": "SIGUSR2=ping"}
    assert findings(*only("lightning"), root=root, env=other) == {}


# -- workers ---------------------------------------------------------------------------------------------------------

OF_WORKERS = [word for check in doctor.CHECKS if check.about == "worker" for word in only(check.name)]


def of_worker(program: programs.Running, *words: object, **how: Any) -> dict[str, dict[str, Any]]:
    """What is found in a worker."""
    dumps.wait_for_roster(program.job_dir, program.pids)
    return findings(*OF_WORKERS, *words, root=program.root, **how)


def test_a_worker_that_is_well_has_no_finding(tmp_path: Path) -> None:
    """By job, by pid and by name; it was asked, and answered."""
    with programs.running("lock", tmp_path / "p") as program:
        (name,) = dumps.wait_for_roster(program.job_dir, program.pids)
        for words in ((), ("--pid", program.pid), ("--worker", name), ("--job", "job")):
            assert of_worker(program, *words) == {}
        assert len(dumps.committed(program.job_dir)) == 4


def test_a_stopped_worker(tmp_path: Path) -> None:
    """It is stopped, so it does not answer."""
    with programs.running("lock", tmp_path / "p") as program:
        dumps.wait_for_roster(program.job_dir, program.pids)
        os.kill(program.pid, signal.SIGSTOP)
        found = of_worker(program, "--pid", program.pid)
        assert {*found} == {"worker-stopped", "no-answer"}
        assert found["worker-stopped"]["evidence"]["state"].startswith("T")


def test_a_bell_whose_fifo_was_removed(tmp_path: Path) -> None:
    """Somebody cleaned the runtime directory: file events still bring it the request."""
    with programs.running("lock", tmp_path / "p", env={"OOBDUMP_RUNTIME_DIR": str(tmp_path / "run")}) as program:
        dumps.wait_for_roster(program.job_dir, program.pids)
        (fifo,) = (tmp_path / "run").rglob("*.fifo")
        fifo.unlink()
        found = of_worker(program)
        assert [*found] == ["bell-lost"]
        assert "No such file or directory" in found["bell-lost"]["seen"]


@pytest.mark.slow
def test_a_held_gil_shows_in_the_pending_signal(tmp_path: Path) -> None:
    """A bare ``kill`` is a bit in ShdPnd that stays, and nothing is answered."""
    with programs.running("c_wait_gil_held", tmp_path / "p") as program:
        dumps.wait_for_roster(program.job_dir, program.pids)
        os.kill(program.pid, signal.SIGUSR1)
        found = of_worker(program)
        assert {*found} == {"signal-pending", "no-answer"}
        assert int(found["signal-pending"]["evidence"]["ShdPnd"], 16) == 1 << (signal.SIGUSR1 - 1)


RESET = """
import oobdump, signal, sys, time
oobdump.start()
signal.signal(signal.SIGUSR1, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
print("ready", flush=True)
time.sleep(600)
"""
KEPT = """
import oobdump, signal, sys, time
oobdump.start()
before = signal.signal(signal.SIGUSR1, lambda *_: None)
print("ready", flush=True)
time.sleep(600)
"""
NOT_DUMPABLE = """
import ctypes, oobdump, time
oobdump.start()
ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def worker(root: Path):
    """Starts a program of some lines, and says when it is ready."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *wrap: str, **env: str) -> subprocess.Popen[str]:
        environ = programs.client_environment(
            OOBDUMP_DIR=str(root), OOBDUMP_JOB="job", OOBDUMP_RUNTIME_DIR=str(root.parent / "run"), **env
        )
        command = [*wrap, sys.executable, "-c", code]
        started.append(process := subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True))
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        dumps.wait_for_roster(root / "job", [process.pid])
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_signal_that_would_kill(worker, root: Path) -> None:
    """Somebody gave it back to the default and opened the mask: neither caught nor blocked."""
    process = worker(RESET)
    found = findings(*OF_WORKERS, root=root)
    assert [*found] == ["signal-not-armed"]
    assert found["signal-not-armed"]["worker"].endswith(f".{process.pid}")


def test_a_signal_that_somebody_took(worker, root: Path) -> None:
    """Taken over, with our handler kept for later: only the worker itself can tell, and names the function."""
    worker(KEPT)
    found = findings(*OF_WORKERS, root=root)
    assert found["signal-taken"]["evidence"] == {"signal": "SIGUSR1", "owner": "__main__.<lambda>"}


def test_a_signal_that_was_left_to_another(tmp_path: Path) -> None:
    """What ``start()`` said is repeated, and that the channel is off is a note."""
    with neighbours.running("plain_handler", tmp_path / "p", "last", env={"WAIT": "sleep"}) as neighbour:
        found = of_worker(neighbour.running)
        assert {*found} == {"worker-problem", "signal-off"}
        assert "_neighbour.note_signal" in found["worker-problem"]["seen"]


@as_root
def test_a_worker_whose_memory_may_not_be_read(worker, root: Path) -> None:
    """Not dumpable, and nobody here has SYS_PTRACE: tried for real."""
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv (util-linux) is not installed")
    less = ("setpriv", "--bounding-set=-sys_ptrace")
    worker(NOT_DUMPABLE, *less)
    found = findings(*OF_WORKERS, root=root, wrap=less)
    assert [*found] == ["worker-unreadable"]
    assert found["worker-unreadable"]["evidence"]["sys_ptrace"] is False
    assert findings(*OF_WORKERS, root=root) == {}


@pytest.mark.torch
@pytest.mark.slow
def test_a_worker_with_its_recorder_off(worker, root: Path) -> None:
    """By the environment that it was started with, where torch is loaded."""
    worker("import torch, torch.distributed\n" + KEPT.replace("before = ", "#"), TORCH_FR_BUFFER_SIZE="0")
    found = findings(*OF_WORKERS, root=root)
    assert found["recorder-off"]["evidence"] == {"variable": "TORCH_FR_BUFFER_SIZE", "value": "0"}


def test_a_worker_that_is_gone_and_one_elsewhere(worker, root: Path) -> None:
    """A pid that is nobody's; an entry of another machine is a note, as its own answer is missing."""
    process = worker(KEPT)
    process.kill()
    process.wait()
    assert [*findings(*OF_WORKERS, "--pid", process.pid, root=root)] == ["not-armed"]
    (entry,) = (root / "job" / "roster").glob("*.json")
    document = {**json.loads(entry.read_text()), "host": "elsewhere", "ended": None}
    document["worker"] = f"proc.elsewhere.{process.pid}"
    entry.with_name(f"{document['worker']}.json").write_text(json.dumps(document))
    found = findings(*OF_WORKERS, root=root)
    assert {*found} == {"worker-elsewhere", "no-answer"}


def test_a_process_that_is_not_armed(root: Path) -> None:
    """It is in no roster, and a request signal may end it."""
    found = findings(*OF_WORKERS, "--pid", os.getpid(), root=root)
    assert f"process {os.getpid()} is in no roster" in found["not-armed"]["seen"]
