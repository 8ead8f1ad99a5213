"""The end of a diagnosis page: commands ready to paste, and where the evidence is from.

In: ``Diagnosis``. Out: texts. The rule only this module keeps: a command is one line that a shell
takes as it stands, for the job and the directory that were looked at.
"""

from __future__ import annotations

from collections.abc import Iterator

from oobdump._version import __version__
from oobdump.identity import iso
from oobdump.job.diagnosis import Diagnosis
from oobdump.job.ranks import format_ranks

__all__ = ["commands", "made"]

_NOTES = 3


def commands(diagnosis: Diagnosis) -> Iterator[str]:
    """What to run next."""
    where, requests = diagnosis.provenance.command, diagnosis.provenance.requests
    if not where:
        return
    if requests:
        yield f"oobdump stacks {where} {requests[0]}"
    ranks = [worker.rank for each in diagnosis.outliers if each.named for worker in each.workers if worker.answered]
    named = format_ranks(rank for rank in ranks if rank is not None)
    if named and diagnosis.provenance.source == "asked":
        yield f"oobdump request {where} --targets {named} stacks:locals=true"


def made(diagnosis: Diagnosis) -> Iterator[str]:
    """Where all this is from."""
    from_ = diagnosis.provenance
    when = "" if from_.taken_at is None else f" at {iso(from_.taken_at)}"
    took = "" if from_.seconds is None else f", in {from_.seconds:.1f} s"
    job = f" of job {from_.job}" if from_.job else ""
    yield f"from: {from_.source}{job}{when}{took}, by oobdump {__version__}"
    if from_.requests:
        more = f" to {from_.requests[-1].rpartition('.')[2]}" if len(from_.requests) > 1 else ""
        yield f"  dumps: {from_.directory}/{from_.requests[0]}{more}"
    problems = diagnosis.evidence.collectives.problems
    yield from (f"  {each.where or 'a recorder'}: {each.reason}" for each in problems[:_NOTES])
    yield from (f"  {note}" for note in from_.notes[:_NOTES])
