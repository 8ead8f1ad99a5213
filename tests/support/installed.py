"""A Python in which oobdump is installed, as far as ``oobdump run`` can tell; made in a tenth of a second.

In: an empty directory. Out: ``Installed``: a virtual environment whose site directory names the sources,
the packages of the Python that runs the tests, and holds the very ``.pth`` file that the wheel puts there,
with console scripts as pip writes them. That a wheel does put it there is a test of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.programs import SOURCES, TOKEN

PTH = SOURCES / "oobdump" / "arming" / "zzz_oobdump_arm.pth"

SCRIPTS = {"oobdump": "oobdump.__main__:main", "torchrun": "torch.distributed.run:main"}

WITHIN_S = 120.0
"""An import of torch on a loaded machine takes ten seconds or more."""


@dataclass(frozen=True)
class Installed:
    """``bin`` holds ``python``, ``oobdump`` and ``torchrun``."""

    bin: Path

    @property
    def python(self) -> str:
        """The interpreter."""
        return str(self.bin / "python")

    @property
    def run(self) -> tuple[str, str, str]:
        """What stands before a command that is to be armed."""
        return (str(self.bin / "oobdump"), "run", "--")

    def environment(self, place: Path, **extra: str) -> dict[str, str]:
        """Everything that is made goes into ``place``; no PYTHONPATH, and nothing else that configures Python."""
        ours = {n: v for n, v in os.environ.items() if not n.startswith(("OOBDUMP_", "PYTHON", "PROGRAM_"))}
        return {
            **ours,
            "PATH": f"{self.bin}{os.pathsep}{ours.get('PATH', os.defpath)}",
            "OOBDUMP_DIR": str(place / "dumps"),
            "OOBDUMP_JOB": "job",
            "OOBDUMP_RUNTIME_DIR": str(place / "run"),
            "OOBDUMP_FALLBACK_DIR": str(place / "fallback"),
            "OMP_NUM_THREADS": "1",
            "GLOO_SOCKET_IFNAME": "lo",
            **extra,
        }

    def call(self, place: Path, *words: str, env: dict[str, str] | None = None, **how: Any) -> Any:
        """Runs ``oobdump run -- WORDS`` to its end."""
        return self.call_as_it_is(place, *self.run, *words, env=env, **how)

    def call_as_it_is(self, place: Path, *words: str, env: dict[str, str] | None = None, **how: Any) -> Any:
        """Runs a command to its end."""
        given = {"capture_output": True, "text": True, "timeout": WITHIN_S, **how}
        return subprocess.run(words, check=False, env=self.environment(place, **(env or {})), **given)

    def start(self, place: Path, words: Sequence[str], token: str = "", **extra: str) -> subprocess.Popen[bytes]:
        """Starts a command, its output in files; whoever carries the token belongs to it."""
        place.mkdir(parents=True, exist_ok=True)
        env = self.environment(place, **({TOKEN: token} if token else {}), **extra)
        with (place / "stdout").open("wb") as out, (place / "stderr").open("wb") as err:
            return subprocess.Popen(
                words, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
            )


def install(directory: Path, python: str = sys.executable) -> Installed:
    """Makes the environment."""
    if python != sys.executable:
        raise ValueError("only for the Python that runs this")
    venv.EnvBuilder(symlinks=True).create(directory)
    site = directory / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    borrowed = [entry for entry in sys.path if entry.endswith(("site-packages", "dist-packages"))]
    (site / "borrowed.pth").write_text("\n".join([str(SOURCES), *borrowed]) + "\n")
    (site / PTH.name).write_bytes(PTH.read_bytes())
    for name, where in SCRIPTS.items():
        module, _, function = where.partition(":")
        text = f"#!{directory}/bin/python\nimport re\nimport sys\nfrom {module} import {function}\n"
        text += f"if __name__ == '__main__':\n    sys.exit({function}())\n"
        (directory / "bin" / name).write_text(text)
        (directory / "bin" / name).chmod(0o755)
    return Installed(directory / "bin")
