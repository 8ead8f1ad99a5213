"""The page of a diagnosis, in the order of the questions: what is wrong, who was heard, who stands apart.

In: ``Diagnosis``, a width in cells, a style. Out: lines without line ends. The rules only this module
keeps: the first forty lines are enough, so that every section has a bound and says what it leaves out;
no line is wider than asked but a command, which is there to be pasted; and nothing that came from a
file reaches a line but through ``harmless``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from oobdump.job.collectives import Collectives, Group, Wait
from oobdump.job.diagnosis import Apart, Coverage, Diagnosis
from oobdump.job.evidence import Worker
from oobdump.job.merge import StackClass
from oobdump.job.progress import Motion
from oobdump.job.ranks import format_ranks
from oobdump.job.rules import PAGE
from oobdump.job.wording import place, ranks_text, seconds, user_place, verb
from oobdump.report.diagnosis_notes import commands, made
from oobdump.report.harmless import cells, clip, harmless, wrap
from oobdump.report.text import MIN_WIDTH, PLAIN, WIDTH, Kind, Style

__all__ = ["render"]

_EVIDENCE, _OUTLIERS, _CLASSES, _GROUPS, _WAITS, _MACHINES, _SILENT = 6, 4, 5, 4, 4, 2, 4
"""Entries shown of each section: together with headings about forty lines."""

_SET_CELLS = 16
"""Of a folded set in a column."""

_INDENT = "  "

_MIB = 2**20

Line = tuple[Kind, str]
_Section = Callable[[Diagnosis], Iterator[Line]]


def render(diagnosis: Diagnosis, *, width: int = WIDTH, style: Style = PLAIN) -> Iterator[str]:
    """The whole page."""
    width = max(width, MIN_WIDTH)
    for section in _SECTIONS:
        for kind, text in section(diagnosis):
            lines = wrap(harmless(text), width, indent=_hanging(text)) if kind != "note" else [harmless(text)]
            yield from (style.mark(kind, line) for line in lines)


def _hanging(text: str) -> str:
    """Continued lines stand a little deeper than their first."""
    return " " * (len(text) - len(text.lstrip(" ")) + 2)


# -- what is wrong, and who said so ----------------------------------------------------------------------------------


def _verdict(diagnosis: Diagnosis) -> Iterator[Line]:
    verdict = diagnosis.verdict
    yield "summary", f"{verdict.rule} ({verdict.confidence} confidence): {verdict.summary}"
    for text in verdict.evidence[:_EVIDENCE]:
        yield "frame", f"{_INDENT}- {text}"
    yield from _rest(len(verdict.evidence) - _EVIDENCE, "sentences")
    if diagnosis.others:
        yield "members", f"{_INDENT}also: {'; '.join(f'{each.rule}: {each.summary}' for each in diagnosis.others[:2])}"
    yield "members", f"{_INDENT}what this means: {PAGE}#{verdict.rule}"


def _coverage(diagnosis: Diagnosis) -> Iterator[Line]:
    found, evidence = diagnosis.coverage, diagnosis.evidence
    yield "heading", f"coverage: {_coverage_text(found)}"
    samples = (
        "one sample" if evidence.samples == 1 else f"{evidence.samples} samples, {seconds(evidence.every_s)} apart"
    )
    yield "members", f"{_INDENT}{samples}; flight recorder of {found.recorders} ranks"
    if found.absent:
        yield "problem", f"{_INDENT}{ranks_text(found.absent)}: no such worker is in the roster"
    quiet = (*found.outside, *found.silent)
    for worker in quiet[:_SILENT]:
        yield "problem", f"{_INDENT}{_who((worker,))} (pid {worker.pid} on {worker.host}): {worker.state}: {worker.why}"
    yield from _rest(len(quiet) - _SILENT, "workers that did not answer")


def _coverage_text(found: Coverage) -> str:
    said = [f"{len(found.answered)} of {found.workers} workers answered"]
    if found.expected:
        said.append(f"the job has {found.expected} ranks")
    if found.outside:
        said.append(f"{len(found.outside)} were read from outside")
    if found.silent:
        said.append(f"{len(found.silent)} could not be read")
    return ", ".join(said)


# -- who stands where ------------------------------------------------------------------------------------------------


def _outliers(diagnosis: Diagnosis) -> Iterator[Line]:
    found = diagnosis.outliers
    yield "heading", "outliers:" if found else "outliers: none"
    for each in found[:_OUTLIERS]:
        hosts = sorted({worker.host for worker in each.workers})
        on = f" on {hosts[0]}" if len(hosts) == 1 else f" on {len(hosts)} hosts"
        thread = "" if each.thread == "MainThread" else f" {each.thread}"
        yield "outlier", f"{_INDENT}{_who(each.workers)}{on}{thread}: {_stands(each)}"
    yield from _rest(len(found) - _OUTLIERS, "outliers")


def _stands(each: Apart) -> str:
    """The user's innermost frame, and what it called."""
    if each.stack is None:
        return user_place(None)
    inner = each.stack[-1] if each.stack else None
    called = f", in {place(inner)}" if inner is not None and each.user is not None and inner != each.user else ""
    return f"{user_place(each.stack)}{called}"


def _classes(diagnosis: Diagnosis) -> Iterator[Line]:
    merged = diagnosis.evidence.merged
    main = [each for each in merged.classes if each.thread == "MainThread"]
    found = main or list(merged.classes)
    others = len(merged.classes) - len(found)
    yield "heading", f"classes of stacks: {len(found)} of the main thread, {others} of other threads"
    for each in found[:_CLASSES]:
        yield "frame", f"{_INDENT}{_class_text(each, merged.fold(each.members))}"
    yield from _rest(len(found) - _CLASSES, "classes")


def _class_text(each: StackClass, members: str) -> str:
    inner = each.frames[-1] if each.frames else None
    where = user_place(each.frames)
    called = f", in {place(inner)}" if inner is not None and place(inner) not in where else ""
    return f"{len(each.members):>5}  {_column(members)}  {where}{called}"


# -- what the collectives say ----------------------------------------------------------------------------------------


def _groups(diagnosis: Diagnosis) -> Iterator[Line]:
    collectives = diagnosis.evidence.collectives
    waited = {wait.group for wait in collectives.waits}
    found = sorted(collectives.groups, key=lambda each: (each.key not in collectives.wavefront, each.key not in waited))
    if not found:
        yield "heading", "collectives: nothing was recorded"
        return
    yield "heading", f"collectives: {len(found)} process group{verb(found, '', 's')}"
    for each in found[:_GROUPS]:
        yield "frame", f"{_INDENT}{_group_text(each, collectives)}"
    yield from _rest(len(found) - _GROUPS, "groups")


def _group_text(group: Group, collectives: Collectives) -> str:
    mark = " (the waiting ends here)" if group.key in collectives.wavefront else ""
    at = "; ".join(_position(each.entered, each.completed, each.ranks) for each in group.positions[:3])
    more = f"; {len(group.positions) - 3} more places" if len(group.positions) > 3 else ""  # noqa: PLR2004 - a line
    unheard = f"; not heard: {format_ranks(group.unheard)}" if group.unheard else ""
    return f"{group.key.label} [{format_ranks(group.members)}] {group.backend}{mark}: {at}{more}{unheard}"


def _position(entered: int | None, completed: int | None, ranks: Iterable[int]) -> str:
    if entered is None:
        return f"[{format_ranks(ranks)}] entered no call"
    ended = "has ended it" if entered == completed else "not ended"
    return f"[{format_ranks(ranks)}] entered call {entered}, {ended}"


def _waits(diagnosis: Diagnosis) -> Iterator[Line]:
    found = diagnosis.evidence.collectives.waits
    if not found:
        blame = diagnosis.seen.blame
        text = "none is recorded"
        if blame is not None:
            text = f"by the stacks, {ranks_text(blame.waiting)} for {ranks_text(blame.ranks)}"
        yield "heading", f"who waits for whom: {text}"
        return
    yield "heading", "who waits for whom:"
    for wait in found[:_WAITS]:
        yield "frame", f"{_INDENT}{_wait_text(wait)}"
    yield from _rest(len(found) - _WAITS, "waits")


def _wait_text(wait: Wait) -> str:
    on = wait.on | wait.unheard
    where = f"{wait.group.label}, call {wait.seq} ({wait.op.name})"
    if not on:
        return f"{ranks_text(wait.waiting)} {verb(wait.waiting, 'is', 'are')} all in {where}, and it has not ended"
    return f"{ranks_text(wait.waiting)} {verb(wait.waiting, 'waits', 'wait')} for {ranks_text(on)}: {where}"


# -- what moved, on which machine ------------------------------------------------------------------------------------


def _progress(diagnosis: Diagnosis) -> Iterator[Line]:
    by_pace: dict[str, set[int]] = {}
    for rank, each in diagnosis.seen.motions.items():
        by_pace.setdefault(each.pace, set()).add(rank)
    said = [f"[{format_ranks(ranks)}] {_PACES[pace]}" for pace, ranks in by_pace.items()]
    span = max((each.span_s for each in diagnosis.seen.motions.values()), default=0.0)
    during = f" in {seconds(span)}" if span else ""
    yield "heading", f"progress between samples{during}: {'; '.join(said) or 'nobody was seen'}"


_PACES = {
    "advances": "completed collectives",
    "moves": "moved from function to function",
    "computes": "used a processor, in the same functions",
    "still": "stood still",
    "once": "seen once",
    "unseen": "not seen",
}


def _machines(diagnosis: Diagnosis) -> Iterator[Line]:
    workers = [worker for each in diagnosis.outliers if each.named for worker in each.workers]
    lines = [text for worker in workers if (text := _facts(worker, _motion(diagnosis, worker)))]
    if not lines:
        return
    yield "heading", "machine, of the outliers:"
    yield from (("frame", f"{_INDENT}{line}") for line in lines[:_MACHINES])
    yield from _rest(len(lines) - _MACHINES, "workers")


def _motion(diagnosis: Diagnosis, worker: Worker) -> Motion | None:
    return None if worker.rank is None else diagnosis.seen.motions.get(worker.rank)


def _facts(worker: Worker, motion: Motion | None) -> str:
    facts = next((look.facts for look in reversed(worker.looks) if look.facts is not None), None)
    if facts is None:
        return ""
    used = None if motion is None else motion.cpu_s
    said = (
        f"main thread in state {facts.main_state}" if facts.main_state else "",
        f"processor {seconds(used)}" if used is not None else "",
        f"{facts.rss_bytes // _MIB} MiB resident" if facts.rss_bytes is not None else "",
        f"{facts.threads} threads" if facts.threads is not None else "",
        f"{facts.descriptors} of {facts.descriptors_limit} descriptors" if facts.descriptors_limit else "",
        f"load {facts.load:.1f}" if facts.load is not None else "",
    )
    return f"{_who((worker,))} on {worker.host}: {', '.join(filter(None, said))}"


# -- what next, and where it is from ---------------------------------------------------------------------------------


def _next(diagnosis: Diagnosis) -> Iterator[Line]:
    yield "heading", "next:"
    for step in diagnosis.verdict.next_steps[:2]:
        yield "frame", f"{_INDENT}{step}"
    for command in commands(diagnosis):
        yield "note", f"{_INDENT}$ {command}"


def _provenance(diagnosis: Diagnosis) -> Iterator[Line]:
    yield from (("members", text) for text in made(diagnosis))


_SECTIONS: Sequence[_Section] = (
    _verdict,
    _coverage,
    _outliers,
    _classes,
    _groups,
    _waits,
    _progress,
    _machines,
    _next,
    _provenance,
)
"""In the order of the questions."""


def _rest(count: int, what: str) -> Iterator[Line]:
    if count > 0:
        yield "members", f"{_INDENT}and {count} more {what}: --json has them"


def _who(workers: Sequence[Worker]) -> str:
    ranks = [worker.rank for worker in workers if worker.rank is not None]
    names = [worker.member.worker for worker in workers if worker.rank is None]
    return " and ".join([*([ranks_text(ranks)] if ranks else []), *names[:3]])


def _column(members: str) -> str:
    text = clip(f"[{members}]", _SET_CELLS)
    return text + " " * (_SET_CELLS - cells(text))
