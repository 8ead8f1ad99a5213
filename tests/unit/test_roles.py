"""Who answers for a rank: what a command line runs, and what a process is below those above it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oobdump import roles
from oobdump.identity import Identity, ancestors, name_of
from oobdump.python_line import PythonLine, known_as, read


@pytest.mark.parametrize(
    ("words", "kind", "program", "rest"),
    [
        ([], "none", "", []),
        (["-"], "none", "", []),
        (["-i"], "none", "", []),
        (["a.py", "-x"], "script", "a.py", ["-x"]),
        (["-u", "-W", "ignore", "-Xutf8", "-X", "dev", "a.py", "-c"], "script", "a.py", ["-c"]),
        (["-Werror", "--check-hash-based-pycs", "never", "a.py"], "script", "a.py", []),
        (["-m", "torch.distributed.run", "--nnodes=1"], "module", "torch.distributed.run", ["--nnodes=1"]),
        (["-Immodule", "x"], "module", "module", ["x"]),
        (["-Ic", "pass", "x"], "text", "pass", ["x"]),
        (["-cpass"], "text", "pass", []),
        (["-c"], "text", "", []),
        (["--", "-a.py"], "script", "-a.py", []),
    ],
    ids=str,
)
def test_a_command_line_is_read(words: list[str], kind: str, program: str, rest: list[str]) -> None:
    """Where the interpreter's options end and the program begins."""
    line = read(["python", *words])
    assert (line.kind, line.program, line.words) == (kind, program, tuple(rest))


@given(
    st.lists(st.sampled_from(["-u", "-E", "-I", "-sB", "-W", "-Xdev", "ignore", "--", "x"]), max_size=4),
    st.sampled_from([["a.py"], ["-m", "mod"], ["-c", "print(1)"]]),
)
def test_python_itself_reads_it_so(flags: list[str], program: list[str]) -> None:
    """No words raise, and a program that follows complete options is found."""
    line = read(["python", *flags, *program])
    if not {"-W", "ignore", "--", "x"} & {*flags}:
        assert (line.kind, line.program) == (read(["python", *program]).kind, program[-1])
    assert line.flags <= set("uEIsB")


def test_flags_of_a_real_command_line() -> None:
    """``sys.orig_argv`` of a real process is read as that process runs."""
    code = "import sys; print(sys.orig_argv[1:] == ['-sI', '-X', 'utf8', '-c', sys.argv[0] or sys.orig_argv[5], 'x'])"
    words = [sys.executable, "-sI", "-X", "utf8", "-c", code, "x"]
    assert subprocess.run(words, check=True, capture_output=True, text=True).stdout == "False\n"
    line = read(words)
    assert (line.flags, line.kind, line.words) == ({"s", "I"}, "text", ("x",))


@pytest.mark.parametrize(
    ("words", "known"),
    [
        (["/venv/bin/torchrun", "train.py"], "launcher"),
        (["-m", "torch.distributed.run", "train.py"], "launcher"),
        (["-u", "-m", "torch.distributed.launch"], "launcher"),
        (["/usr/bin/accelerate", "launch", "train.py"], "launcher"),
        (["/usr/bin/accelerate", "env"], None),
        (["-c", "from multiprocessing.resource_tracker import main;main(5)"], "helper"),
        (["-c", "from multiprocessing.forkserver import main; main(7, 8, [], **{})"], "helper"),
        (["-c", "from multiprocessing.spawn import spawn_main; spawn_main(tracker_fd=5)"], None),
        (["/venv/bin/oobdump", "ps"], "oobdump"),
        (["-m", "oobdump", "ps"], "oobdump"),
        (["train.py", "torchrun"], None),
        ([], None),
    ],
    ids=str,
)
def test_launchers_and_helpers_are_known(words: list[str], known: str | None) -> None:
    """By what they run; words of the program say nothing."""
    assert known_as(read(["python", *words])) == known


PLAIN = read(["python", "train.py"])


def identity(**variables: str) -> Identity:
    """This process's, as a launcher would have marked it."""
    return Identity.here(variables, job="job")


def role(line: PythonLine, above: Sequence[str] = (), ranked_by: str | None = None, **variables: str) -> str:
    """The role below these workers."""
    return roles.role_below(identity(**variables), line, variables, lambda name: name in above, lambda _name: ranked_by)


def parent(rank: int | None) -> str:
    """The name that the parent of this process has with that rank."""
    here = identity()
    return name_of(rank, here.host, ancestors(os.getpid())[0])


def test_the_first_with_a_rank_is_the_rank() -> None:
    """Nobody above, or only workers of other ranks."""
    assert role(PLAIN, RANK="3") == "rank"
    assert role(PLAIN, [parent(None), parent(2)], RANK="3") == "rank"


def test_below_a_worker_with_the_same_rank_is_a_child() -> None:
    """Without any rank too: a program's children are not the program."""
    assert role(PLAIN, [parent(3)], RANK="3") == "child"
    assert role(PLAIN, [parent(None)]) == "child"
    assert role(PLAIN) == "other"


def test_a_helper_is_neither() -> None:
    """A resource tracker carries its rank's number and does none of its work."""
    helper = read(["python", "-c", "from multiprocessing.resource_tracker import main;main(5)"])
    assert role(helper, [parent(0)], RANK="0") == "other"
    assert role(helper, RANK="0") == "other"


def test_a_launcher_has_no_rank() -> None:
    """Under ``srun torchrun`` the agent has the node's number, which is no rank."""
    agent = roles.own(identity(SLURM_PROCID="0", WORLD_SIZE="2"), read(["python", "torchrun"]))
    assert (agent.rank, agent.role, agent.worker.startswith("proc.")) == (None, "other", True)
    assert "rank" not in agent.sources
    assert roles.own(identity(RANK="0"), PLAIN).rank == 0


def test_ranks_from_two_variables_are_told_apart() -> None:
    """``SLURM_PROCID`` of an unknown launcher and ``RANK`` of what it starts may be the same number."""
    both = {"RANK": "0", "SLURM_PROCID": "0"}
    assert role(PLAIN, [parent(0)], "SLURM_PROCID", **both) == "rank"
    assert role(PLAIN, [parent(0)], "RANK", **both) == "child"
    assert role(PLAIN, [parent(0)], None, **both) == "child"
    assert role(PLAIN, [parent(0)], "SLURM_PROCID", RANK="0", SLURM_PROCID="1") == "child"


def test_a_forked_child_is_a_child_unless_it_has_a_rank_of_its_own() -> None:
    """A program may fork its ranks and give each its number."""
    assert roles.after_fork(identity(RANK="1"), PLAIN, identity(RANK="1")).role == "child"
    assert roles.after_fork(identity(), PLAIN, identity()).role == "child"
    assert roles.after_fork(identity(RANK="1"), PLAIN, identity()).role == "rank"
