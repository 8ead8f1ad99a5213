"""A real ``torchrun`` job hangs and explains itself: ``make demo``.

In: a Python with torch and oobdump (the one that runs this). Out: a transcript of a 4-rank
Gloo job (``demo_job.py``) in which one rank, chosen at random, waits for a shard that never
comes; of a request dropped with plain ``touch``; of the stacks merged over ranks; and of the diagnosis.

The demo itself never helps the reader: which rank was chosen is said at the end. It
ends within its deadlines, leaves the dumps and no process, and exits with 0 only if all
ranks answered and the chosen one alone is where it should be.
"""

from __future__ import annotations

import array
import importlib.util
import os
import random
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

RANKS = 4
STEPS = 100
STALLS_AT_STEP = 3
ROWS = 32
NUMBERS_A_ROW = 17
"""A target and 16 features: what ``demo_job.py`` reads."""

JOB = "demo"
JOB_FILE = Path(__file__).resolve().parent / "demo_job.py"
ODD_FUNCTION = "load_next_shard"

STARTS_WITHIN_S = 90.0
"""Five processes import torch; on two cold cores that alone has taken 30 s."""

STILL_FOR_S = 1.0
"""A step of the job takes milliseconds: a second without one context switch is a hang."""

ANSWERS_WITHIN_S = 20.0
"""Answers take milliseconds; the demo says so, and waits longer only to be able to say who did not answer."""

ENDS_WITHIN_S = 10.0
MARK = "DEMO_JOB_MARK"
"""A variable in the environment of every process of the job, and of no other."""


class DemoError(Exception):
    """The demo could not be shown; the message says how far it came."""


def say(text: str = "") -> None:
    """One line of the transcript."""
    print(text, flush=True)


def write_shards(data: Path, odd_rank: int) -> int:
    """Every rank's shards; the odd one's next is a FIFO that nobody writes. Its write end, to be kept open."""
    for rank in range(RANKS):
        (data / f"rank{rank}").mkdir(parents=True)
        for step in range(STALLS_AT_STEP + 1):
            if (rank, step) != (odd_rank, STALLS_AT_STEP):
                (data / f"rank{rank}" / f"step{step}.f32").write_bytes(shard(rank // 2, step))
    fifo = data / f"rank{odd_rank}" / f"step{STALLS_AT_STEP}.f32"
    os.mkfifo(fifo, 0o600)
    return os.open(fifo, os.O_RDWR)


def shard(group: int, step: int) -> bytes:
    """Rows for the ranks of one tensor-parallel group: noise with the mean of the features as target."""
    noise = random.Random(1000 * group + step)  # noqa: S311  # numbers to train on
    numbers = array.array("f")
    for _ in range(ROWS):
        features = [noise.uniform(-1, 1) for _ in range(NUMBERS_A_ROW - 1)]
        numbers.extend([sum(features) / len(features), *features])
    return numbers.tobytes()


def launch(place: Path, mark: str) -> subprocess.Popen[bytes]:
    """The job under ``torchrun``, on the loopback interface; stderr goes to a file."""
    launcher = ["-m", "torch.distributed.run", "--nnodes=1", f"--nproc-per-node={RANKS}"]
    meeting = ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1"]
    words = [*launcher, *meeting, str(JOB_FILE), f"--data={place / 'data'}", f"--steps={STEPS}"]
    say(f"$ python {shlex.join(words)}")
    with (place / "stderr").open("wb") as stderr:
        return subprocess.Popen(
            [sys.executable, *words],
            env=job_environment(place, mark),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )


def job_environment(place: Path, mark: str) -> dict[str, str]:
    """What the job is told: where its dumps go, which interface to use, and to stay on one thread."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("OOBDUMP_")}
    return {
        **ours,
        MARK: mark,
        "OOBDUMP_DIR": str(place / "dumps"),
        "OOBDUMP_JOB": JOB,
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
    }


def lines_of(job: subprocess.Popen[bytes], deadline: float) -> Iterator[str]:
    """The job's lines as they come; ends at the deadline or with the job's output."""
    fd, rest = job.stdout.fileno() if job.stdout else -1, b""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while (left_s := deadline - time.monotonic()) > 0:
        if not poll.poll(left_s * 1000):
            return
        received = os.read(fd, 65536)
        if not received:
            return
        *lines, rest = (rest + received).split(b"\n")
        yield from (line.decode(errors="replace") for line in lines)


def wait_for_last_step(job: subprocess.Popen[bytes], place: Path) -> None:
    """Until every rank has finished the step before the one that hangs."""
    last = re.compile(rf"\[rank (\d+)\] step {STALLS_AT_STEP - 1} ")
    there: set[str] = set()
    for line in lines_of(job, time.monotonic() + STARTS_WITHIN_S):
        say(f"  {line}")
        there.update(last.findall(line))
        if len(there) == RANKS:
            return
    raise DemoError(f"the job did not get as far as step {STALLS_AT_STEP}:\n{(place / 'stderr').read_text()[-4000:]}")


def wait_until_still(job: subprocess.Popen[bytes], mark: str) -> None:
    """Until the main thread of every rank has not run for a while."""
    deadline = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline:
        before = [switches(pid) for pid in rank_pids(job, mark)]
        time.sleep(STILL_FOR_S)
        if len(before) == RANKS and before == [switches(pid) for pid in rank_pids(job, mark)]:
            return
    raise DemoError("the job goes on, although one of its ranks has nothing to read")


def switches(pid: int) -> list[str]:
    """How often the main thread started and stopped running so far, and its state."""
    status = read(f"/proc/{pid}/task/{pid}/status").decode()
    return re.findall(r"^(?:State|\w+_ctxt_switches):.*$", status, re.MULTILINE)


def rank_pids(job: subprocess.Popen[bytes], mark: str) -> list[int]:
    """The ranks: the direct children of the ``torchrun`` agent."""
    parent = f"PPid:\t{job.pid}\n"
    return [pid for pid in processes(mark) if parent in read(f"/proc/{pid}/status").decode()]


def processes(mark: str) -> list[int]:
    """Every living process of the job, by the mark in its environment; ours has none."""
    entry = f"{MARK}={mark}".encode()
    pids = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    return [pid for pid in pids if entry in read(f"/proc/{pid}/environ").split(b"\0")]


def read(path: str) -> bytes:
    """A file in ``/proc``; empty if the process is gone or not ours."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def ask(job_dir: Path) -> float:
    """Drop the request, as a person would; when."""
    command = ["touch", str(job_dir / "requests" / "stacks")]
    say(f"$ {shlex.join(command)}")
    subprocess.run(command, check=True)
    return time.monotonic()


def wait_for_answers(job_dir: Path, asked_at: float) -> list[Path]:
    """The dumps that are committed when all ranks have answered, or at the deadline."""
    while True:
        dumps = sorted(path.parent for path in job_dir.glob("dumps/*/rank*/manifest.json"))
        seconds = time.monotonic() - asked_at
        if len(dumps) >= RANKS or seconds > ANSWERS_WITHIN_S:
            say(f"{len(dumps)} of {RANKS} ranks have answered, {seconds:.2f} s after the request.")
            return dumps
        time.sleep(0.005)


def show_stacks(place: Path) -> int:
    """Run the command that a person would, and let it print."""
    command = ["-m", "oobdump", "stacks", "--dir", str(place / "dumps"), "--job", JOB]
    say(f"$ python {shlex.join(command)}")
    return subprocess.run([sys.executable, *command], check=False).returncode


def show_diagnosis(place: Path, odd_rank: int) -> bool:
    """Have the job diagnosed, as a person would; whether the page blames the chosen rank and the line it is in."""
    command = ["-m", "oobdump", "diagnose", "--dir", str(place / "dumps"), "--job", JOB]
    say(f"$ python {shlex.join(command)}")
    done = subprocess.run([sys.executable, *command], stdout=subprocess.PIPE, text=True, check=False)
    say(done.stdout)
    verdict = " ".join(done.stdout.partition("coverage:")[0].split())
    return done.returncode == 1 and f"rank {odd_rank} did not enter" in verdict and ODD_FUNCTION in verdict


def ranks_in(function: str, dumps: list[Path]) -> list[int]:
    """The ranks that have this function on a stack."""
    name = function.encode()
    here = [dump for dump in dumps if any(name in part.read_bytes() for part in dump.glob("stacks*"))]
    return sorted(int(dump.name.split(".")[0].removeprefix("rank")) for dump in here)


def judge(odd_rank: int, dumps: list[Path]) -> bool:
    """Say which rank was chosen, and whether the dumps show just that."""
    found = ranks_in(ODD_FUNCTION, dumps)
    right = found == [odd_rank] and len(dumps) == RANKS
    say(f"The rank that was made to stop is rank {odd_rank}: its next shard is a FIFO that nobody writes.")
    verdict = "it stands out." if right else "that is not as it should be."
    say(f"The dumps have {ODD_FUNCTION} on the stacks of ranks {found}: {verdict}")
    return right


def end(job: subprocess.Popen[bytes], mark: str) -> None:
    """SIGTERM to the agent, then SIGKILL to whoever of the job is left, each by its pid."""
    job.terminate()
    try:
        job.wait(ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        job.kill()
    deadline = time.monotonic() + ENDS_WITHIN_S
    while (left := processes(mark)) and time.monotonic() < deadline:
        for pid in left:
            kill(pid)
        time.sleep(0.02)
    job.wait()
    if job.stdout:
        job.stdout.close()
    if left:
        raise DemoError(f"processes {left} do not end")
    say("The job has ended; no process of it is left.")


def kill(pid: int) -> None:
    """SIGKILL, unless it ended by itself meanwhile."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@contextmanager
def hung_job(place: Path, odd_rank: int) -> Iterator[None]:
    """The job, hanging; ended with the block."""
    mark = uuid.uuid4().hex
    kept_open = write_shards(place / "data", odd_rank)
    job = launch(place, mark)
    try:
        wait_for_last_step(job, place)
        wait_until_still(job, mark)
        say(f"No rank has moved for {STILL_FOR_S:g} s: the job hangs.\n")
        yield
    finally:
        end(job, mark)
        os.close(kept_open)
        shutil.rmtree(place / "data")


def show(place: Path) -> bool:
    """The whole demo; whether all went as promised."""
    odd_rank = random.randrange(RANKS)  # noqa: S311  # nobody gains by guessing it
    job_dir = place / "dumps" / JOB
    with hung_job(place, odd_rank):
        dumps = wait_for_answers(job_dir, ask(job_dir))
        say()
        code = show_stacks(place)
        say()
        blamed = show_diagnosis(place, odd_rank)
        right = judge(odd_rank, dumps) and blamed
    say(f"The dumps are in {job_dir / 'dumps'}")
    return right and code == 0


def stop_at_signal(number: int, _frame: FrameType | None) -> None:
    """Let SIGTERM end the demo the way Ctrl-C does: with its job."""
    raise SystemExit(128 + number)


def main() -> int:
    """Command line; 0 if all went as promised."""
    if importlib.util.find_spec("torch") is None:
        say(f"{sys.executable} has no torch: run `make demo`, or `make demo PYTHON=…` with a Python that has it")
        return 2
    signal.signal(signal.SIGTERM, stop_at_signal)
    started, place = time.monotonic(), Path(tempfile.mkdtemp(prefix="oobdump-demo-"))
    try:
        right = show(place)
    except DemoError as error:
        say(f"The demo failed: {error}\nWhat it left is in {place}")
        return 1
    say(f"It took {time.monotonic() - started:.0f} s.")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
