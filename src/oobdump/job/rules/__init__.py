"""The rules by name, in the order in which they count.

In: a picture of a job. Out: the findings of all rules that apply; the first is the verdict. The rule
only this module keeps is the order: a rank that cannot go on explains everything behind it; a job
that goes on is not hung, whatever its history; a difference between calls explains a wait; and what
a missing rank does is more than that it is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from oobdump.job.blame import Picture
from oobdump.job.rules.finding import Confidence, Finding, Rule
from oobdump.job.rules.gone import gil_held, process_dead, stopped
from oobdump.job.rules.groups import deadlock_over_groups
from oobdump.job.rules.mismatch import different_collective, order_mismatch, shape_mismatch
from oobdump.job.rules.missing import checkpoint_io, dataloader_stuck, missing_rank, store_wait
from oobdump.job.rules.pace import not_hung, straggler
from oobdump.job.rules.unknown import unknown

__all__ = ["PAGE", "RULES", "Confidence", "Finding", "Rule", "findings"]

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "process-dead": process_dead,
        "stopped": stopped,
        "gil-held": gil_held,
        "straggler": straggler,
        "not-hung": not_hung,
        "order-mismatch": order_mismatch,
        "different-collective": different_collective,
        "shape-mismatch": shape_mismatch,
        "deadlock-over-groups": deadlock_over_groups,
        "dataloader-stuck": dataloader_stuck,
        "checkpoint-io": checkpoint_io,
        "store-wait": store_wait,
        "missing-rank": missing_rank,
        "unknown": unknown,
    }
)

PAGE = "docs/reference/verdicts.md"
"""Where each rule has its section, under its own name."""


def findings(seen: Picture) -> tuple[Finding, ...]:
    """What every rule finds, the verdict first; never empty."""
    found = (rule(seen) for rule in RULES.values())
    return tuple(each for each in found if each is not None)
