"""Where a command looks: ``--dir`` and ``--job``, which every command has.

In: options and ``OOBDUMP_*``. Out: a ``Place``, and from it the ``Layout`` of one job or of all.
The rule only this module keeps: a root that somebody else made is not read, because whoever
made it decides what it says.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from oobdump.cli.exit_codes import ExitCode
from oobdump.cli.failure import CommandError
from oobdump.client import find_job, jobs
from oobdump.config import default_root
from oobdump.errors import ForeignDirectory, StoreError
from oobdump.identity import safe
from oobdump.store.layout import Layout

__all__ = ["Place", "json_option", "place_options"]


@dataclass(frozen=True)
class Place:
    """A root, and a job if one was named."""

    root: str
    job: str | None = None

    @classmethod
    def of(cls, directory: str | None, job: str | None) -> Place:
        """From the options; a job's name is made a directory's name as the worker makes it."""
        return cls(os.path.abspath(directory or default_root()), safe(job) if job else None)

    def layout(self) -> Layout:
        """The job that is meant. Raises ``CommandError`` if it cannot be told, ``ForeignDirectory``."""
        _check_owner(self.root)
        try:
            return find_job(self.root, self.job)
        except ForeignDirectory:
            raise
        except StoreError as error:
            raise CommandError(str(error), ExitCode.USAGE) from None

    def layouts(self) -> list[Layout]:
        """The job that was named, else all jobs of the root."""
        if self.job is not None:
            return [self.layout()]
        _check_owner(self.root)
        return list(jobs(self.root))


def _check_owner(path: str) -> None:
    try:
        owner = os.stat(path).st_uid
    except FileNotFoundError:
        return
    if os.geteuid() != 0 and owner not in (0, os.geteuid()):
        raise ForeignDirectory(
            f"{path} belongs to uid {owner}, not to us (uid {os.geteuid()}) or to root, so it is not read; "
            "give another one with --dir"
        )


def place_options(command: Callable[..., int]) -> Callable[..., int]:
    """Adds ``--dir`` and ``--job``; the command gets a ``Place`` as its first argument."""

    @click.option(
        "--dir",
        "directory",
        envvar="OOBDUMP_DIR",
        metavar="DIR",
        help="Root of the dumps.  [default: OOBDUMP_DIR, else this user's directory under /tmp]",
    )
    @click.option(
        "--job",
        envvar="OOBDUMP_JOB",
        metavar="JOB",
        help="Name of the job.  [default: OOBDUMP_JOB, else the only one there, or the only one that runs]",
    )
    @functools.wraps(command)
    def placed(*arguments: Any, directory: str | None, job: str | None, **options: Any) -> int:
        return command(Place.of(directory, job), *arguments, **options)

    return placed


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object with a schema_version.")
