"""What ``oobdump run`` takes for a Python program, and how it finds it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from oobdump.cli import programs
from oobdump.cli.failure import CommandError


def script(path: Path, text: str) -> str:
    """An executable file."""
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("first", "python"),
    [
        ("#!/usr/bin/python3\n", ("/usr/bin/python3",)),
        ("#!/opt/x/bin/python3.13t -sE\n", ("/opt/x/bin/python3.13t", "-sE")),
        ("#! /usr/bin/pypy3.10 -u", ("/usr/bin/pypy3.10", "-u")),
        ("#!/bin/sh\n'''exec' /very/long/bin/python3 \"$0\" \"$@\"\n' '''\n", ("/very/long/bin/python3",)),
        ("#!/bin/sh\n'''exec' \"/with a space/python3\" \"$0\" \"$@\"\n' '''\n", ("/with a space/python3",)),
        ("#!/bin/bash\npython train.py\n", ()),
        ("#!/bin/sh\nexec python3 train.py\n", ()),
        ("#!/usr/bin/perl\n", ()),
        ("#!\n", ()),
        ("", ()),
        ("\x7fELF", ()),
        ("#!/usr/bin/env perl\n", ()),
        ("#!/usr/bin/env\n", ()),
    ],
    ids=repr,
)
def test_a_script_is_pythons_by_its_first_line(first: str, python: tuple[str, ...], tmp_path: Path) -> None:
    """Only where Python is the next to run; a shell is a shell whatever it starts."""
    path = script(tmp_path / "prog", first)
    assert programs.find([path, "x"], {}).python == python


def test_env_finds_the_python_of_the_environment(tmp_path: Path) -> None:
    """``env python3`` is the first on the program's PATH, with ``-S`` too."""
    (tmp_path / "bin").mkdir()
    mine = script(tmp_path / "bin" / "python3", "")
    environ = {"PATH": str(tmp_path / "bin")}
    assert programs.find([script(tmp_path / "a", "#!/usr/bin/env python3\n")], environ).python == (mine,)
    assert programs.find([script(tmp_path / "b", "#!/usr/bin/env -S python3 -u\n")], environ).python == (mine, "-u")
    assert programs.find([script(tmp_path / "c", "#!/usr/bin/env python3\n")], {"PATH": "/nowhere"}).python == ()


def test_a_binary_is_pythons_by_its_name(tmp_path: Path) -> None:
    """Its own or that of what it is a link to; ``python3-config`` is a script of sh."""
    assert programs.find([sys.executable], {}).python == (sys.executable,)
    (tmp_path / "py").symlink_to(os.path.realpath(sys.executable))
    assert programs.find([str(tmp_path / "py")], {}).python == (str(tmp_path / "py"),)
    assert programs.find(["/bin/sh"], {}).python == ()
    assert programs.find([script(tmp_path / "python3-config", "#!/bin/sh\n")], {}).python == ()


def test_the_line_as_the_interpreter_gets_it(tmp_path: Path) -> None:
    """A script's first line stands before the script."""
    path = script(tmp_path / "prog", "#!/usr/bin/python3 -S\n")
    assert programs.find([path, "x"], {}).line == ("/usr/bin/python3", "-S", path, "x")
    assert programs.find([sys.executable, "-S"], {}).line == (sys.executable, "-S")


def test_path_is_searched_as_a_shell_does(tmp_path: Path) -> None:
    """The first that can be run wins; one that cannot is told only if there is no other."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one" / "prog").write_text("")
    environ = {"PATH": f"{tmp_path}/one:{tmp_path}/two"}
    with pytest.raises(CommandError, match="not executable") as raised:
        programs.find(["prog"], environ)
    assert raised.value.exit_code == 126
    found = script(tmp_path / "two" / "prog", "")
    assert programs.find(["prog"], environ).path == found


@pytest.mark.parametrize("name", ["", "no-such", "./no-such", "/no/such"])
def test_what_is_not_there_is_127(name: str) -> None:
    """Whether with a slash or without; an empty name is no command."""
    with pytest.raises(CommandError) as raised:
        programs.find([name], {"PATH": "/bin"})
    assert raised.value.exit_code == 127


def test_a_fifo_is_not_read(tmp_path: Path) -> None:
    """What is no file cannot be run, and looking at it does not wait."""
    os.mkfifo(tmp_path / "fifo", 0o755)
    with pytest.raises(CommandError):
        programs.find([str(tmp_path / "fifo")], {})
