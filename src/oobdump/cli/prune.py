"""``oobdump prune``: remove old dumps, as whole requests.

In: bounds. Out: what was removed, or with ``--dry-run`` what would be. What may go is decided in
``store.retention``: never a request in progress, never the newest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import click

from oobdump.cli import output, units
from oobdump.cli.exit_codes import ExitCode
from oobdump.cli.place import Place, json_option, place_options
from oobdump.config import settings
from oobdump.store import retention
from oobdump.store.retention import Bounds

__all__ = ["prune"]

SCHEMA_VERSION = 1


def _read_by(parse: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """An option's text read by ``parse``, its ``ValueError`` as a usage error."""

    def read(ctx: click.Context, parameter: click.Parameter, text: str | None) -> Any:
        try:
            return None if text is None else parse(text)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, parameter) from None

    return read


@click.command()
@click.option("--keep", type=click.IntRange(min=1), metavar="N", help="Keep the newest N requests.")
@click.option(
    "--older-than",
    callback=_read_by(units.parse_seconds),
    metavar="AGE",
    help="Remove what is older (90s, 30m, 12h, 7d).",
)
@click.option(
    "--max-bytes",
    callback=_read_by(units.parse_bytes),
    metavar="SIZE",
    help="Keep the newest up to this size (500M, 10G).",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@json_option
@place_options
def prune(
    place: Place, *, keep: int | None, older_than: float | None, max_bytes: int | None, dry_run: bool, as_json: bool
) -> int:
    """Remove old dumps of a job, as whole requests; never one in progress, never the newest.

    Without a bound: by OOBDUMP_KEEP, OOBDUMP_KEEP_S and OOBDUMP_KEEP_BYTES, as the workers do it.
    """
    layout = place.layout()
    now = time.time()
    kept = retention.survey(layout, now)
    doomed = retention.plan(kept, _bounds(keep, older_than, max_bytes), now)
    gone = doomed if dry_run else retention.apply(layout, doomed)
    size = {each.id: each.bytes for each in kept}
    left = [request_id for request_id in doomed if request_id not in gone]
    if as_json:
        output.emit(
            {
                "schema_version": SCHEMA_VERSION,
                "job": layout.job,
                "dry_run": dry_run,
                "removed": [{"request_id": request_id, "bytes": size[request_id]} for request_id in gone],
                "not_removed": left,
                "kept": len(kept) - len(gone),
            }
        )
    else:
        _print(gone, size, len(kept) - len(gone), "would be removed" if dry_run else "removed")
    for request_id in left:
        output.note(f"{request_id} could not be removed: is {layout.dumps} ours and writable?")
    return ExitCode.PARTIAL if left else ExitCode.FINE


def _bounds(keep: int | None, older_than: float | None, max_bytes: int | None) -> Bounds:
    if keep is None and older_than is None and max_bytes is None:
        chosen = settings()
        return Bounds(chosen.keep, chosen.keep_s, chosen.keep_bytes)
    return Bounds(keep or 0, float("inf") if older_than is None else older_than, max_bytes or 0)


def _print(gone: list[str], size: dict[str, int], kept: int, verb: str) -> None:
    if gone:
        output.table(("id", "size", ""), [(name, units.size(size[name]), verb) for name in gone], right=("size",))
    total = units.size(sum(size[name] for name in gone))
    output.sentence(f"{len(gone)} {'request' if len(gone) == 1 else 'requests'} {verb} ({total}), {kept} kept")
