"""The hang zoo as a table: each way to hang, what oobdump says of it and how soon, and what other tools find.

In: names of exhibits (all if none is given). Out: a row each; a finding for a wrong state, a missing
frame, an outcome that is missing or late, and a program that was harmed. The peers' columns are
what was seen of them in this run: they make no finding.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / name) for name in ("tools", "tests", "src")]

from figures import parser, show  # noqa: E402 - found through the line above
from support.programs import ProgramError  # noqa: E402
from zoo import asking, peers, visiting  # noqa: E402
from zoo.exhibits import EXHIBITS, Exhibit  # noqa: E402

_place = partial(tempfile.TemporaryDirectory, prefix="zoo", ignore_cleanup_errors=True)

WORDS = {"found": "yes", "missed": "no", "silent": "-", "killed": "KILLED", "froze": "FROZE"}


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; 1 if a promise is broken."""
    line = parser(__doc__)
    line.add_argument("names", nargs="*", metavar="NAME", help="exhibits; all if none is given")
    line.add_argument("--no-peers", action="store_true", help="ask oobdump only")
    line.add_argument("--slack", type=float, default=0.0, metavar="S", help="seconds more, on a loaded machine")
    given = line.parse_args(argv)
    chosen = [exhibit for exhibit in EXHIBITS if not given.names or exhibit.name in given.names]
    others = () if given.no_peers else tuple(peer for peer in peers.PEERS if peers.there(peer))
    rows, findings, notes = [], [], [f"load {os.getloadavg()[0]:.1f} at the end; promised: {asking.WITHIN_S:g} s"]
    for exhibit in chosen:
        if lack := asking.lacks(exhibit):
            notes.append(f"{exhibit.name}: not shown, {lack}")
            continue
        shown = _shown(exhibit)
        findings += [f"{exhibit.name}: {finding}" for finding in shown.findings]
        if shown.seconds > asking.WITHIN_S + given.slack:
            findings.append(f"{exhibit.name}: answered after {shown.seconds:.1f} s")
        rows.append(_row(shown) | {peer.name: _word(peer, exhibit) for peer in others})
        print(".", end="", file=sys.stderr, flush=True)
    notes += [f"{peer.name}: {_found(peer, rows)} of {len(rows)} found" for peer in others]
    print(file=sys.stderr)
    return show("zoo", rows, findings, notes, as_json=given.json)


def _shown(exhibit: Exhibit) -> asking.Shown:
    with _place() as name:
        try:
            return asking.show(exhibit, Path(name))
        except ProgramError as error:
            return asking.Shown(exhibit, (), (), exhibit.frames, 0.0, (str(error),))


def _word(peer: peers.Peer, exhibit: Exhibit) -> str:
    if not visiting.can_visit(exhibit):
        return ""
    with _place() as name:
        try:
            return WORDS[visiting.visit(peer, exhibit, Path(name))]
        except ProgramError:
            return "never hung"


def _row(shown: asking.Shown) -> dict[str, Any]:
    return {
        "way to hang": shown.exhibit.name,
        "state": ", ".join(dict.fromkeys(shown.states)) or "-",
        "by": ", ".join(dict.fromkeys(shown.answered_by)) or "-",
        "frame": "" if not shown.exhibit.frames else "no" if shown.missing else "yes",
        "s": shown.seconds,
    }


def _found(peer: peers.Peer, rows: Sequence[dict[str, Any]]) -> int:
    return sum(row[peer.name] == WORDS["found"] for row in rows)


if __name__ == "__main__":
    sys.exit(main())
