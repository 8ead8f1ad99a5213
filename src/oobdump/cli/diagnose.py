"""``oobdump diagnose``: ask everybody, merge, and say in one sentence what is wrong.

In: a running job, dumps that were taken before, or what other tools left. Out: the page of
``report.diagnosis``, or the document of ``job.diagnosis_plain``. The rule only this module keeps:
exit code 0 is said of a job that is not hung, and of nothing else.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from oobdump.cli import asking, finding, output, units
from oobdump.cli.colours import style
from oobdump.cli.exit_codes import ExitCode
from oobdump.cli.failure import CommandError
from oobdump.cli.place import Place, json_option, place_options
from oobdump.client import Client, Outcome
from oobdump.errors import StoreError
from oobdump.gather import FIRST_CALLS, MAX_SAMPLES, Plan, Progress, Sample, family, of_dumps, open_samples, take
from oobdump.gathered import read_files, read_samples
from oobdump.job.diagnosis import Diagnosis, Provenance
from oobdump.job.diagnosis import diagnose as judge
from oobdump.job.diagnosis_plain import diagnosis_to_plain
from oobdump.offline.reading import read
from oobdump.report.diagnosis import render
from oobdump.request import AcceptedRequest, Request
from oobdump.store import roster

__all__ = ["diagnose"]

NOT_HUNG = "not-hung"


class _Span(click.ParamType[float]):
    """A span of time, as people write it."""

    name = "span"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """In seconds."""
        try:
            return value if isinstance(value, float) else units.parse_seconds(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command()
@click.option(
    "--samples",
    type=click.IntRange(1, MAX_SAMPLES),
    default=Plan.samples,
    show_default=True,
    metavar="N",
    help="How often everybody is asked: one sample does not tell stuck from slow.",
)
@click.option("--every", type=_Span(), default=f"{Plan.every_s:g}s", show_default=True, help="From sample to sample.")
@click.option("--dump", metavar="ID|latest", help="Ask nobody: diagnose this request's dumps.")
@click.option("--from", "path", metavar="PATH", help="Ask nobody: diagnose what is in this file or directory.")
@json_option
@place_options
def diagnose(place: Place, *, samples: int, every: float, dump: str | None, path: str | None, as_json: bool) -> int:
    r"""Ask every worker of a job, and say which rank hangs, where, and why; exits with 0 if the job is not hung.

    --from takes a directory of dumps (also copied from elsewhere), the flight recorder files of PyTorch,
    as torchfrtrace reads them, or what `py-spy dump --json` printed.
    """
    if dump is not None and path is not None:
        raise click.UsageError("--dump and --from are two sources: give one", click.get_current_context())
    if path is not None:
        found = _from_path(path)
    else:
        found = _asked(place, samples, every) if dump is None else _from_dumps(place, dump)
    if as_json:
        output.emit(diagnosis_to_plain(found))
    else:
        output.say(*render(found, width=output.page_width(), style=style()))
    return ExitCode.FINE if found.verdict.rule == NOT_HUNG else ExitCode.FINDING


def _asked(place: Place, samples: int, every: float) -> Diagnosis:
    """A diagnosis of a job that runs."""
    client = Client(place.layout())
    plan = Plan(samples, every, _targets(client))
    asking.check(client, plan.targets)
    began = time.time()
    with _live_line(plan) as progress:
        taken = take(client, plan, progress)
    return _diagnosis(client, taken, "asked", plan.every_s, began)


def _from_dumps(place: Place, dump: str) -> Diagnosis:
    """A diagnosis of requests that were answered before."""
    client = Client(place.layout())
    chosen = _chosen(client, dump)
    return _of_samples(client, open_samples(client, family(client.layout, chosen)))


def _of_samples(client: Client, taken: Sequence[Sample], notes: Sequence[str] = ()) -> Diagnosis:
    times = [sample.accepted.accepted_at for sample in taken]
    every = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0
    return _diagnosis(client, taken, "dumps", every, times[0], notes)


def _from_path(path: str) -> Diagnosis:
    """A diagnosis of what was copied here, by oobdump or another tool."""
    try:
        found = read(path)
    except StoreError as error:
        raise CommandError(str(error), ExitCode.NO_DUMPS) from None
    if found.layout is None:
        provenance = Provenance("files", directory=found.path, notes=found.notes)
        return judge(read_files(found.traces, found.stacks), provenance)
    client = Client(found.layout)
    if found.accepted is None:
        asked = AcceptedRequest(found.request_id, Request(FIRST_CALLS), (), 0.0, "")
        taken = [of_dumps(found.dumps, asked)]
    else:
        taken = open_samples(client, family(found.layout, found.request_id))
    return _of_samples(client, taken, found.notes)


def _chosen(client: Client, dump: str) -> str:
    """The request that is meant; what several samples have in common means them all."""
    layout = client.layout
    if dump != finding.LATEST:
        together = {tuple(family(layout, each.id)) for each in finding.listed(layout) if each.id.startswith(dump)}
        if len(together) == 1:
            return together.pop()[0]
    return finding.find(layout, dump, lambda accepted: any(call.name == "stacks" for call in accepted.request.calls)).id


def _diagnosis(
    client: Client, taken: Sequence[Sample], source: str, every_s: float, began: float, notes: Sequence[str] = ()
) -> Diagnosis:
    layout = client.layout
    entries, problems = client.workers() if source == "asked" else roster.read(layout)  # what was copied stays as it is
    provenance = Provenance(
        source=source,
        job=layout.job,
        directory=layout.dumps,
        requests=tuple(sample.accepted.id for sample in taken),
        samples=len(taken),
        every_s=every_s,
        taken_at=began,
        seconds=time.time() - began if source == "asked" else None,
        command=shlex.join(["--dir", layout.root, "--job", layout.job]),
        notes=(*notes, *problems),
    )
    return judge(read_samples(taken, entries, every_s), provenance)


def _targets(client: Client) -> tuple[str, ...]:
    """All ranks, and their armed children: a rank may wait for one."""
    children = any(e.identity.role == "child" and e.alive() is not False for e in client.workers()[0])
    return ("all", "child") if children else ("all",)


@contextmanager
def _live_line(plan: Plan) -> Iterator[Progress]:
    """A line that follows the samples."""
    latest: dict[int, tuple[AcceptedRequest, Sequence[Outcome]]] = {}
    began = time.monotonic()

    def progress(number: int, accepted: AcceptedRequest, known: Sequence[Outcome]) -> None:
        latest[number] = (accepted, known)

    def line() -> str:
        seconds = time.monotonic() - began
        if not latest:
            return f"asking, {seconds:.1f} s"
        number = max(latest)
        accepted, known = latest[number]
        return f"sample {number} of {plan.samples}: {asking.progress_line(accepted.asked, known, seconds)}"

    with asking.live(line):
        yield progress
