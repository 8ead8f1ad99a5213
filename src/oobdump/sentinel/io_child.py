"""The child that touches the dump root for the sentinel, and may be lost to a hung file system.

In: commands from the sentinel (note an end, ask for a pending signal, bring dumps home), file
events of the root. Out: reports (workers, who was asked, claims, commits). It relays the inbox:
accepts what was dropped and rings whoever is asked on this machine. The rule only this module
keeps: it decides nothing about time; what is due is the sentinel's business.
"""

from __future__ import annotations

import os
import select
import time
from typing import Any

from oobdump.channels.bell import SEATED
from oobdump.election.lock import lock_path
from oobdump.election.orders import Orders
from oobdump.errors import StoreError
from oobdump.identity import Machine, start_ticks
from oobdump.sentinel.ends import Ends
from oobdump.sentinel.lines import Lines, Message, say
from oobdump.sentinel.requests import Requests
from oobdump.sentinel.roll import Roll
from oobdump.store import atomic, sentinels
from oobdump.watch import Watch

__all__ = ["IoChild", "run"]

IN_FLIGHT_S = 0.1
"""Between two looks while somebody is waited for."""

TROUBLE_S = 5.0
"""After an error of the root: a full or foreign directory may heal."""


def run(orders: Orders, commands: int, reports: int) -> None:
    """Runs until the sentinel closes its end of the commands."""
    IoChild(orders, commands, reports).loop()


class IoChild:
    """One root's eyes and hands."""

    def __init__(self, orders: Orders, commands: int, reports: int) -> None:
        self._orders, self._layout = orders, orders.layout
        self._commands, self._reports = Lines(commands), reports
        machine = Machine.here()
        parent, lock = os.getppid(), lock_path(orders.runtime, orders.layout.job_dir, machine)
        self._seat = sentinels.Seat(machine, parent, start_ticks(parent) or 0, time.time(), lock)
        self._watch = Watch("events" if orders.watch == "off" else orders.watch, orders.poll_s)
        self._roll = Roll(self._layout, machine)
        self._requests = Requests(orders, self._seat.name, self._roll)
        self._ends = Ends(orders, self._seat.name)
        self._seated = False
        self._todo: list[Message] = []
        self._poll = select.poll()

    def loop(self) -> None:
        """Looks whenever something tells it to, or it is time."""
        self._watch.open()
        self._poll.register(self._commands.descriptor, select.POLLIN)
        if self._watch.descriptor >= 0:
            self._poll.register(self._watch.descriptor, select.POLLIN)
        pause: float | None = 0.0
        while not self._commands.ended:
            told = {descriptor for descriptor, _ in self._poll.poll(None if pause is None else pause * 1000)}
            commands = self._commands.read() if self._commands.descriptor in told else []
            if self._commands.ended:
                break
            pause = self._pass(commands, told)
        self._leave()

    def _pass(self, commands: list[Message], told: set[int]) -> float | None:
        """One go at everything; how long to sleep afterwards, None until something happens."""
        self._todo += commands
        try:
            if not told or self._watch.descriptor in told:
                _drain(self._watch.descriptor)
                self._look()
            while self._todo:
                self._obey(self._todo[0])
                self._todo.pop(0)
            self._requests.look_in_flight(self._say)
            self._ends.carry(self._roll.gone, self._say)
        except (OSError, StoreError):
            pause: float | None = TROUBLE_S  # what could not be done is kept, and tried again then
        else:
            pause = self._pause()
        for command in commands:  # "heard, and not hung": after the root was touched
            self._say({"t": "ack", "n": command["n"]})
        return pause

    def _look(self) -> None:
        """The whole job directory: who is there, what was dropped, what was asked."""
        self._open_directories()
        for entry in self._roll.look():
            self._say(self._roll.document(entry))
            if entry.alive() is not False:
                self._roll.ring(entry, SEATED)
            self._ends.expect()
        self._requests.look(self._say)

    def _open_directories(self) -> None:
        layout = self._layout
        atomic.make_tree(layout.root, layout.job_dir, layout.roster, layout.inbox, layout.dumps)
        self._watch.renew(layout.inbox, layout.dumps, layout.roster)
        if not self._seated:
            sentinels.sweep(layout, self._seat.name)
            sentinels.take(layout, self._seat)
            self._seated = True

    def _obey(self, command: Message) -> None:
        """One command; one that is heard twice (its first hearer was lost) does no harm."""
        what = command["t"]
        if what == "end":
            entry = self._roll.end(command["worker"], command["wait_status"], self._seat.name)
            if entry is not None:
                self._say(self._roll.document(entry))
            self._ends.expect()
        elif what == "pending":
            self._requests.ask_for_signal(command["worker"], command["signal"], self._say)
        elif what == "home":
            self._ends.expect()
        elif what == "settled":
            self._requests.settled((command["id"], command["worker"]))

    def _pause(self) -> float | None:
        waits = [IN_FLIGHT_S] * self._requests.in_flight
        waits += [self._orders.poll_s] * self._watch.polls
        waits += [wait for wait in (self._requests.again_s, self._ends.again_s) if wait is not None]
        return min(waits, default=None)

    def _say(self, message: dict[str, Any]) -> None:
        if not say(self._reports, message):
            raise SystemExit(0)  # the sentinel is gone

    def _leave(self) -> None:
        """The sentinel left, or was killed: of a killed one the next sentinel removes the file."""
        if self._seated:
            try:
                sentinels.leave(self._layout, self._seat.name)
            except OSError:
                pass


def _drain(descriptor: int) -> None:
    if descriptor >= 0:
        try:
            while os.read(descriptor, 65536):
                pass
        except OSError:
            pass
