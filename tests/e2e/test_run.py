"""``oobdump run``: the program is the same program, and it answers."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from support import dumps
from support.installed import PTH, Installed
from support.programs import SOURCES

IS_ARMED = "import sys; print('oobdump.worker' in sys.modules)"
ROLES = "import oobdump.worker as w; i = w.worker().identity; print(i.rank, i.role)"


def lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What a program said, once it is seen to have ended well and complained of nothing."""
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.splitlines()


# -- the program is armed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [[], ["-E"], ["-I"], ["-s"], ["-X", "utf8"], ["-u", "-W", "ignore"]], ids=str)
def test_python_is_armed_whatever_its_flags(flags: list[str], armed: Installed, tmp_path: Path) -> None:
    """Also with -E and -I, which keep a PYTHONPATH and a user's site directory out."""
    assert lines(armed.call(tmp_path, "python", *flags, "-c", IS_ARMED)) == ["True"]


def test_with_dash_s_it_runs_unarmed_and_says_so(armed: Installed, tmp_path: Path) -> None:
    """-S keeps all ``.pth`` files out: a warning with the next step, and the program runs."""
    done = armed.call(tmp_path, "python", "-S", "-c", IS_ARMED)
    assert (done.returncode, done.stdout) == (0, "False\n")
    assert "-S" in done.stderr
    assert "oobdump.start()" in done.stderr


def test_a_module_a_script_a_console_script_and_a_first_line_are_armed(armed: Installed, tmp_path: Path) -> None:
    """However a Python program is named."""
    script = tmp_path / "prog.py"
    script.write_text(f"#!/usr/bin/env python3\n{IS_ARMED}\n")
    script.chmod(0o755)
    for words in (["python", str(script)], ["python", "-m", "prog"], [str(script)], ["./prog.py"], ["prog.py"]):
        path = f"{tmp_path}:{armed.bin}:{os.environ['PATH']}"
        assert lines(armed.call(tmp_path, *words, cwd=tmp_path, env={"PATH": path})) == ["True"], words


def test_the_programs_own_sitecustomize_runs(armed: Installed, tmp_path: Path) -> None:
    """It is found on the program's path as ever, and the program is armed as well."""
    (tmp_path / "sitecustomize.py").write_text("print('mine')")
    done = armed.call(tmp_path, "env", f"PYTHONPATH={tmp_path}", "python", "-c", IS_ARMED)
    assert lines(done) == ["mine", "True"]


def test_arming_twice_is_arming_once(armed: Installed, tmp_path: Path) -> None:
    """A site directory that is read twice, as in some virtual environments, changes nothing."""
    code = "import site, sys, oobdump.worker as w; a = w.worker(); site.main(); print(w.worker() is a)"
    assert lines(armed.call(tmp_path, "python", "-c", code)) == ["True"]


def test_a_subinterpreter_is_not_armed(armed: Installed, tmp_path: Path) -> None:
    """It reads the ``.pth`` file too; a second worker of the same name would take the first one's bell."""
    code = """
import importlib, oobdump.worker as w
for name in ("_interpreters", "_xxsubinterpreters"):
    try:
        interpreters = importlib.import_module(name); break
    except ImportError: pass
try:
    made = interpreters.create("legacy")
except (TypeError, ValueError):
    made = interpreters.create(isolated=False)
failed = interpreters.run_string(made, "import sys; assert 'oobdump.worker' not in sys.modules, 'armed'")
print(failed)
oobdump_dump = w.dump("ping")
"""
    assert lines(armed.call(tmp_path, "python", "-c", code)) == ["None"]


def test_without_the_variable_the_pth_loads_nothing_and_costs_nothing(armed: Installed, tmp_path: Path) -> None:
    """Not one module more; its line takes as long as one look at a variable, up to the noise of the machine."""
    code = f"""
import sys, time
loaded = set(sys.modules)
line, look = open({str(PTH)!r}).read(), 'import os; os.environ.get("SOMETHING")'
exec(line)
def fastest(text):
    took = []
    for _ in range(2000):
        began = time.perf_counter()
        exec(text)
        took.append(time.perf_counter() - began)
    return min(took)
print(sorted(set(sys.modules) - loaded), any("oobdump" in name for name in loaded), fastest(line) < 4 * fastest(look))
"""
    done = armed.call_as_it_is(tmp_path, armed.python, "-c", code)
    assert lines(done) == ["[] False True"]


@pytest.mark.slow
@pytest.mark.parametrize("version", ["standard", "editable"])
def test_the_wheel_brings_the_pth(version: str, armed: Installed, tmp_path: Path) -> None:
    """The wheel's top level, which goes into the site directory, holds the file; so does the editable one's."""
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="hatchling builds the wheel, and is not installed")
    if version == "editable":
        pytest.importorskip("editables", reason="hatchling wants it for editable wheels")
    root = SOURCES.parent
    (built,) = wheel.WheelBuilder(str(root)).build(directory=str(tmp_path / "out"), versions=[version])
    with zipfile.ZipFile(built) as archive:
        assert archive.read(PTH.name) == PTH.read_bytes()
        (points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert b"oobdump = oobdump.__main__:main" in archive.read(points)
        site = tmp_path / "site"
        archive.extractall(site)
    shutil.copy(next(armed.bin.parent.glob("lib/*/site-packages/borrowed.pth")), site / "borrowed.pth")
    code = f"import site; site.addsitedir({str(site)!r}); {IS_ARMED}"
    done = armed.call_as_it_is(tmp_path, sys.executable, "-I", "-c", code, env={"OOBDUMP_ARM": "1"})
    assert lines(done) == ["True"]


# -- it is the same program ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_exit_codes_pass_through(code: int, armed: Installed, tmp_path: Path) -> None:
    """Of a Python program and of a shell."""
    assert armed.call(tmp_path, "python", "-c", f"raise SystemExit({code})").returncode == code
    assert armed.call(tmp_path, "sh", "-c", f"exit {code}").returncode == code


def test_death_by_a_signal_passes_through(armed: Installed, tmp_path: Path) -> None:
    """The process that was started is the program: it is seen to die of the program's signal."""
    assert armed.call(tmp_path, "python", "-c", "import os; os.kill(os.getpid(), 15)").returncode == -15
    assert armed.call(tmp_path, "sh", "-c", "kill -9 $$").returncode == -9


def test_a_shell_keeps_its_trap_and_its_death(armed: Installed, tmp_path: Path) -> None:
    """The signal is not ignored for a shell: bash would lose its trap, the idiom of requeueing under Slurm."""
    trapped = "trap 'echo trapped; exit 3' USR1; kill -USR1 $$; sleep 5"
    done = armed.call(tmp_path, "bash", "-c", trapped)
    assert (done.returncode, done.stdout) == (3, "trapped\n")
    assert armed.call(tmp_path, "sh", "-c", "kill -USR1 $$").returncode == -signal.SIGUSR1


def test_a_python_below_a_shell_is_armed(armed: Installed, tmp_path: Path) -> None:
    """The variable is handed down, whatever stands between."""
    assert lines(armed.call(tmp_path, "sh", "-c", f'python -c "{IS_ARMED}"')) == ["True"]


def test_streams_pass_through(armed: Installed, tmp_path: Path) -> None:
    """stdin, stdout and stderr, byte for byte; a reader that goes away is the program's business."""
    data = bytes(range(256)) * 64
    done = armed.call(tmp_path, "sh", "-c", "cat; cat >&2 </dev/null", input=data, text=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, data, b"")
    words = " ".join(armed.run)
    done = armed.call_as_it_is(tmp_path, "bash", "-c", f"{words} yes | head -1; echo ${{PIPESTATUS[0]}}")
    assert lines(done) == ["y", str(128 + signal.SIGPIPE)]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["no-such-command"], 127, "in no directory of PATH"),
        (["./no-such-command"], 127, "no such file"),
        (["/tmp"], 126, "directory"),
        (["./plain.txt"], 126, "chmod +x"),
        (["./bad_interpreter"], 127, "interpreter"),
        ([], 2, "oobdump run -- python train.py"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_wrong_command_is_told(words: list[str], code: int, says: str, armed: Installed, tmp_path: Path) -> None:
    """Exit codes as env(1) has them, one line on stderr, and what to do."""
    (tmp_path / "plain.txt").write_text("text")
    (tmp_path / "bad_interpreter").write_text("#!/no/such/interpreter\n")
    (tmp_path / "bad_interpreter").chmod(0o755)
    done = armed.call(tmp_path, *words, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert done.stderr.startswith("oobdump: ")
    assert says in done.stderr


def test_a_text_without_a_first_line_is_run_by_sh(armed: Installed, tmp_path: Path) -> None:
    """As execvp(3) does, and so the shell."""
    (tmp_path / "script").write_text('echo "$1"\n')
    (tmp_path / "script").chmod(0o755)
    assert lines(armed.call(tmp_path, "./script", "hello", cwd=tmp_path)) == ["hello"]


def test_a_wrong_setting_is_told_before_the_program_runs(armed: Installed, tmp_path: Path) -> None:
    """Exit code 2, the variable's name, and no program."""
    done = armed.call(tmp_path, "python", "-c", "print('ran')", env={"OOBDUMP_SIGNALS": "SIGNONE=stacks"})
    assert (done.returncode, done.stdout) == (2, "")
    assert "OOBDUMP_SIGNALS" in done.stderr


def test_a_python_without_oobdump_is_told(armed: Installed, tmp_path: Path) -> None:
    """The program runs, and a line says that it will not be armed and what to install where."""
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    done = armed.call(tmp_path, f"{bare}/bin/python", "-c", IS_ARMED)
    assert (done.returncode, done.stdout) == (0, "False\n")
    assert f"{bare}/bin/python -m pip install oobdump" in done.stderr


def test_a_python_for_a_task_of_ours_is_armed_by_nothing(armed: Installed, tmp_path: Path) -> None:
    """What looks at a worker from outside, or opens a foreign file, is no worker itself, whatever it inherits."""
    (tmp_path / "says.py").write_text(
        "import sys\ndef main(word): print(word, [name for name in sys.modules if name.startswith('oobdump')])\n"
    )
    code = (
        f"import subprocess, sys; sys.path.append({str(tmp_path)!r}); from oobdump import bare_python;"
        "subprocess.run(bare_python.command('says', 'hello'), check=True)"
    )
    done = armed.call(tmp_path, "python", "-c", code)
    assert (done.returncode, done.stdout) == (0, "hello []\n"), done.stderr


def test_what_start_refuses_is_told_once_and_the_program_runs(armed: Installed, tmp_path: Path) -> None:
    """A squatted directory: one line for the program and all its children, and no request signal ends them."""
    (tmp_path / "dumps" / "job").mkdir(parents=True)
    os.chown(tmp_path / "dumps" / "job", 12345, 12345)
    code = (
        "import os, subprocess, sys; os.kill(os.getpid(), 10);"
        "subprocess.run([sys.executable, '-c', 'import os; os.kill(os.getpid(), 10)'], check=True); print('ran')"
    )
    done = armed.call(tmp_path, "python", "-c", code)
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert done.stderr.count("not armed") == 1
    assert "12345" in done.stderr


JOB = """
import os, signal, sys, time
say = lambda *words: os.write(1, " ".join(map(str, words)).encode() + b"\\n")  # print is not reentrant
signal.signal(signal.SIGCONT, lambda *_: say("continued"))
try:
    say("tty", *map(os.isatty, range(3)), os.tcgetpgrp(0) == os.getpgrp())
    time.sleep(120)
except KeyboardInterrupt: sys.exit(5)
"""


def test_a_terminal_and_job_control_pass_through(armed: Installed, tmp_path: Path) -> None:
    """Under a shell on a terminal: it is one for the program, ^Z stops it, fg goes on, ^C is a KeyboardInterrupt."""
    (tmp_path / "job.py").write_text(JOB)
    shell = f"{' '.join(armed.run)} python {tmp_path}/job.py; echo stopped $?; fg; echo ended $?"
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve("/bin/bash", ["bash", "-m", "-c", shell], armed.environment(tmp_path))
    shown = bytearray()
    read_until(terminal, shown, b"tty True True True True")
    os.write(terminal, b"\x1a")
    read_until(terminal, shown, b"stopped %d" % (128 + signal.SIGTSTP))
    read_until(terminal, shown, b"continued")
    os.write(terminal, b"\x03")
    read_until(terminal, shown, b"ended 5")
    os.waitpid(pid, 0)
    os.close(terminal)


def read_until(descriptor: int, shown: bytearray, wanted: bytes, within_s: float = 60.0) -> None:
    """Reads what comes out of a terminal until it has shown what is wanted."""
    deadline = time.monotonic() + within_s
    while wanted not in shown:
        assert time.monotonic() < deadline, (wanted, bytes(shown))
        if select.select([descriptor], [], [], 0.2)[0]:
            try:
                shown += os.read(descriptor, 4096)
            except OSError:
                pytest.fail(f"all have left the terminal, which never showed {wanted!r}: {bytes(shown)!r}")


def test_nothing_but_the_documented_is_different(armed: Installed, tmp_path: Path) -> None:
    """A shell under ``run`` finds its variables, signals, mask and descriptors as without, but for OOBDUMP_*.

    Also in the C locale, where Python would set LC_CTYPE for its children.
    """
    look = "env; grep -E 'Sig(Ign|Blk|Cgt)' /proc/self/status; ls /proc/self/fd; ulimit -a; umask; pwd"
    for extra in ({}, {"LC_ALL": "", "LANG": "C"}):
        bare = armed.call_as_it_is(tmp_path, "sh", "-c", look, env=extra)
        under = armed.call(tmp_path, "sh", "-c", look, env=extra)
        told = {*map(without_libc, under.stdout.splitlines())} ^ {*map(without_libc, bare.stdout.splitlines())}
        assert {line.partition("=")[0] for line in told} - {"_"} == {"OOBDUMP_ARM"}, told


def without_libc(line: str) -> str:
    """A mask without signals 32 and 33: the C library's own, which its ``posix_spawn`` ignores in what it starts."""
    if not line.startswith("Sig"):
        return line
    name, _, mask = line.partition(":")
    return f"{name}: {int(mask, 16) & ~(3 << 31):x}"


# -- who is who ------------------------------------------------------------------------------------------------------


def test_first_is_the_rank_and_those_below_are_children(armed: Installed, tmp_path: Path) -> None:
    """A rank, a subprocess, a forked, a spawned and a pool's child, all with RANK=0: one rank, the others children."""
    program = tmp_path / "rank.py"
    program.write_text(
        f"""
import concurrent.futures, multiprocessing, os, subprocess, sys
def me(_=None):
    import oobdump.worker as w
    i = w.worker().identity
    return f"{{i.rank}} {{i.role}}"
def told(queue):
    queue.put(me())
if __name__ == "__main__":
    print("main", me(), flush=True)
    words = [sys.executable, "-c", {ROLES!r}]
    print("subprocess", subprocess.run(words, capture_output=True, text=True).stdout, end="")
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        queue = context.Queue()
        process = context.Process(target=told, args=(queue,))
        process.start()
        print(method, queue.get(timeout=60), flush=True)
        process.join()
        assert process.exitcode == 0, process.exitcode
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        print("pool", pool.submit(me).result(60))
"""
    )
    done = armed.call(tmp_path, "python", str(program), env={"RANK": "0", "WORLD_SIZE": "1"})
    ways = ("subprocess", "fork", "spawn", "forkserver", "pool")
    assert lines(done) == ["main 0 rank", *(f"{way} 0 child" for way in ways)]
    assert [entry["role"] for entry in dumps.roster(tmp_path / "dumps" / "job").values()].count("rank") == 1
    assert not any((tmp_path / "run").rglob("*.fifo")), "every child took its bell away"


def test_children_leave_nothing_behind(armed: Installed, tmp_path: Path) -> None:
    """Forty children by four ways, never asked: at the end the roster knows the parent alone."""
    program = tmp_path / "parent.py"
    program.write_text(
        """
import multiprocessing, os, subprocess, sys
for _ in range(10):
    if (pid := os.fork()) == 0: os._exit(0)
    os.waitpid(pid, 0)
    if (pid := os.fork()) == 0: sys.exit(0)
    os.waitpid(pid, 0)
    child = multiprocessing.get_context("fork").Process(target=int); child.start(); child.join()
    subprocess.run(["true"], check=True)
    if (pid := os.fork()) == 0: os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
"""
    )
    assert lines(armed.call(tmp_path, "python", str(program))) == []
    assert [entry["role"] for entry in dumps.roster(tmp_path / "dumps" / "job").values()] == ["other"]
    assert not any((tmp_path / "run").rglob("*.fifo"))


def test_a_fork_is_not_warned_of_our_threads(armed: Installed, tmp_path: Path) -> None:
    """From 3.12 on a fork beside threads is warned of on stderr: not because of ours."""
    code = "import os, sys; pid = os.fork()\nif pid == 0: os._exit(0)\nprint(os.waitpid(pid, 0)[1])"
    assert lines(armed.call(tmp_path, "python", "-c", code)) == ["0"]


def test_the_command_oobdump_is_not_armed(armed: Installed, tmp_path: Path) -> None:
    """Below an armed program the command asks as ever, and is no worker itself."""
    code = (
        "import subprocess; print(subprocess.run(['oobdump', 'ps', '--json'], capture_output=True, text=True).stdout)"
    )
    done = armed.call(tmp_path, "python", "-c", code)
    assert [worker["role"] for worker in json.loads("\n".join(lines(done)))["workers"]] == ["other"]


@pytest.mark.slow
def test_the_table_of_what_run_changes_is_what_is_seen() -> None:
    """The page in the reference is made from real processes, with and without; here it is made again."""
    words = [sys.executable, str(SOURCES.parent / "tools" / "gen_run_table.py"), "--check"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
