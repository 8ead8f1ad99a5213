"""Puts one exhibit on show for another tool: started bare, armed for that tool if it needs it, and asked.

In: a ``Peer`` and an ``Exhibit``. Out: one word: ``found``, ``missed`` (what it said lacks a frame), ``silent``
(it said nothing in time), ``killed`` or ``froze`` (what it did to the program).
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from support import proc, programs
from zoo.exhibits import Exhibit
from zoo.keepers import KEEPERS
from zoo.peers import Peer

__all__ = ["can_visit", "visit"]

NOT_OURS = frozenset({"fill_disk", "remount_read_only", "freeze_disk", "kill_when_claimed"})
"""What is done to a dump directory, or to an answer of oobdump's, is nothing to another tool."""


def can_visit(exhibit: Exhibit) -> bool:
    """Whether there is anything to ask: a process that lives, and hangs of itself."""
    return not exhibit.ends and exhibit.keeper not in NOT_OURS


def visit(peer: Peer, exhibit: Exhibit, directory: Path) -> str:
    """Asks once. Raises ``ProgramError`` if the program does not get to its hang."""
    keeper, place = KEEPERS[exhibit.keeper], directory / "p"
    with ExitStack() as stack:
        env = {**exhibit.env, "PROGRAM_PEER": peer.arm}
        program = stack.enter_context(programs.running(exhibit.program, place, bare=True, env=env))
        before = {pid: proc.look(pid, pid).state for pid in program.pids}
        keeper.when_hung(program)
        stack.callback(keeper.undo, program)
        held = {pid: proc.look(pid, pid).state for pid in program.pids}
        said = "".join(peer.ask(program, pid) for pid in program.pids)
        after = {pid: proc.look(pid, pid).state for pid in program.pids}
    if not all(after.values()):
        return "killed"
    if any(after[pid] in "Tt" and held[pid] not in "Tt" for pid in before):
        return "froze"
    if not said:
        return "silent"
    return "found" if all(frame in said for frame in exhibit.frames) else "missed"
