"""Acceptors killed at random while request files are dropped: each is accepted exactly once, none is lost.

In: numbers of acceptors, request files and kills. Out: one row; a finding for each file that was
accepted twice or never, that was rejected, or whose answer is missing, for each asked worker without
an outcome, and for each torn dump. The acceptors are real workers: each accepts, rings and answers.

Files are dropped in three ways, at random: whole by one rename, written in place, and as ``touch``
does it. The rule that the killer keeps: some acceptor that lives is older than every file in the
inbox, for a file that nobody was there for is rejected, and rightly so.
"""

from __future__ import annotations

import collections
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ground

from oobdump.client import Client
from oobdump.identity import Machine, name_of
from oobdump.request import AcceptedRequest
from oobdump.store import reader, roster
from support import dumps, programs

ACCEPTORS = 8
REQUESTS = 10_000
KILLS = 300

BURST = 40
BURSTS = 50
"""At least so many, so that a short campaign has its kills between them too."""

MAX_BACKLOG = 400
"""Files in the inbox beyond which nothing is dropped: enough for several looks of each acceptor."""

PAUSE_S = 0.02
ASKS_ALL = 0.25
"""Share of the JSON requests that ask every rank; the others ask any one, as the disk has its limits."""

SETTLED_WITHIN_S = 600.0
EXPIRES_IN_S = 7200
"""Longer than the campaign, so that no answer is refused for its age."""

TOUCHED = "ping"
"""A name that is touched must be a handler's, so many drops have the same: they are told apart by count."""


@dataclass
class Crowd:
    """The acceptors by rank, and the names of those that live."""

    place: ground.Workplace
    members: dict[int, programs.Running] = field(default_factory=dict)
    launched: int = 0

    def launch(self, rank: int) -> None:
        """Start the acceptor of a rank, without waiting for it."""
        environment = {**self.place.environment, "RANK": str(rank)}
        directory = self.place.path / f"acceptor-{self.launched}"
        self.launched += 1
        self.members[rank] = programs.launch(programs.PROGRAMS["idle"], directory, env=environment)

    def names(self) -> set[str]:
        """The workers that live, by the names that they have in the roster."""
        host = Machine.here().host
        return {name_of(rank, host, running.pid) for rank, running in self.members.items()}

    def kill(self, chance: random.Random) -> bool:
        """Kill one at random and start another; False if that would leave a file for which nobody was there."""
        rank = chance.choice(sorted(self.members))
        kept = self.names() - {name_of(rank, Machine.here().host, self.members[rank].pid)}
        entries, _ = roster.read(self.place.layout)
        oldest = min((entry.registered_ns for entry in entries if entry.worker in kept), default=sys.maxsize)
        if oldest >= oldest_file_ns(self.place):
            return False
        self.members[rank].stop()
        self.launch(rank)
        return True

    def note_deaths(self) -> None:
        """An acceptor that ended by itself is a finding."""
        for rank, running in list(self.members.items()):
            if running.popen.poll() is not None:
                self.place.findings.append(f"acceptor {rank} ended by itself: {running.stderr[-500:]}")
                self.launch(rank)

    def stop(self) -> None:
        """Kill all."""
        for running in self.members.values():
            running.stop()


@dataclass
class Dropper:
    """Drops request files, and knows how many of each name."""

    inbox: Path
    chance: random.Random
    dropped: collections.Counter[str] = field(default_factory=collections.Counter)

    def drop(self) -> None:
        """One file, in one of the three ways."""
        number = self.dropped.total()
        way = self.chance.choice((self.renamed, self.renamed, self.in_place, self.touched))
        self.dropped[way(number)] += 1

    def renamed(self, number: int) -> str:
        """Whole at once."""
        return dumps.drop(self.inbox.parent, f"renamed-{number}.json", self.content()).name

    def in_place(self, number: int) -> str:
        """Under its final name from the first byte on, and with its times set at the end."""
        name, content = f"in-place-{number}.json", self.content()
        descriptor = os.open(self.inbox / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, content[: len(content) // 2])
            os.write(descriptor, content[len(content) // 2 :])
            os.utime(descriptor)
        finally:
            os.close(descriptor)
        return name

    def touched(self, number: int) -> str:
        """As ``touch`` does it; while an earlier one is there that would be no new request, so another way is used."""
        try:
            descriptor = os.open(self.inbox / TOUCHED, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return self.in_place(number)
        try:
            os.utime(descriptor)
        finally:
            os.close(descriptor)
        return TOUCHED

    def content(self) -> bytes:
        """A request for every rank or for any one."""
        target = "all" if self.chance.random() < ASKS_ALL else "any"
        return json.dumps({"handlers": ["ping"], "targets": target, "expires_in_s": EXPIRES_IN_S}).encode()


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; 1 if anything was accepted twice, lost or left without an outcome."""
    parser = ground.parser(__doc__)
    parser.add_argument("--acceptors", type=int, default=ACCEPTORS)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--seed", type=int, default=None, help="for the same drops and kills")
    options = parser.parse_args(argv)
    chance, note = ground.chance(options.seed)
    with ground.workplace("acceptors") as place:
        row = campaign(place, options.acceptors, options.requests, options.kills, chance)
    return ground.show("acceptors", [row], place.findings, [note], as_json=options.json)


def campaign(
    place: ground.Workplace, acceptors: int, requests: int, kills: int, chance: random.Random
) -> dict[str, Any]:
    """Drop, kill, wait, look."""
    crowd = Crowd(place)
    try:
        for rank in range(acceptors):
            crowd.launch(rank)
        dumps.wait_for_roster(Path(place.layout.job_dir), [running.pid for running in crowd.members.values()], 60.0)
        began = time.monotonic()
        dropper = Dropper(Path(place.layout.inbox), chance)
        killed = drop_and_kill(crowd, dropper, requests, kills)
        settle(crowd)
        seconds = time.monotonic() - began
        accepted, outcomes = look(place, crowd, dropper)
    finally:
        crowd.stop()
    return {
        "acceptors": acceptors,
        "dropped": dropper.dropped.total(),
        "kills": killed,
        "accepted": len(accepted),
        "by": len({request.accepted_by for request in accepted}),
        "asked": outcomes.total(),
        **{name: outcomes[name] for name in ("answered", "dead", "neither")},
        "seconds": round(seconds, 1),
    }


def drop_and_kill(crowd: Crowd, dropper: Dropper, requests: int, kills: int) -> int:
    """Bursts of files, and a kill now and then, until there was enough of both; the number of kills."""
    killed, chance, burst = 0, dropper.chance, max(1, min(BURST, requests // BURSTS))
    deadline = time.monotonic() + SETTLED_WITHIN_S
    while (left := requests - dropper.dropped.total()) or killed < kills:
        if time.monotonic() > deadline:
            crowd.place.findings.append(f"after {killed} kills {left} files were not dropped within the deadline")
            break
        if left and len(dropped_files(crowd.place)) < MAX_BACKLOG:
            for _ in range(min(left, chance.randint(1, burst))):
                dropper.drop()
        if killed < kills and (not left or chance.random() < burst * kills / requests):
            killed += crowd.kill(chance)
        crowd.note_deaths()
        time.sleep(chance.uniform(0, PAUSE_S))
    return killed


def dropped_files(place: ground.Workplace) -> list[str]:
    """The files in the inbox that are somebody's request; others have a dot in front."""
    return [name for name in os.listdir(place.layout.inbox) if not name.startswith(".")]


def oldest_file_ns(place: ground.Workplace) -> int:
    """When the oldest file of the inbox was dropped, by the file system's clock; now, if there is none."""
    oldest = time.time_ns()
    for name in dropped_files(place):
        try:
            oldest = min(oldest, os.stat(f"{place.layout.inbox}/{name}").st_ctime_ns)
        except FileNotFoundError:
            continue  # accepted meanwhile
    return oldest


def settle(crowd: Crowd) -> None:
    """Wait until the inbox is empty and every asked worker that lives has answered, or time is up."""
    layout, deadline = crowd.place.layout, time.monotonic() + SETTLED_WITHIN_S
    waiting: set[tuple[str, str]] = set()
    known: set[str] = set()
    while dropped_files(crowd.place) or not known or waiting:
        if time.monotonic() > deadline:
            return  # what is missing is found by who looks
        for request_id in set(reader.request_ids(layout)) - known:
            request = reader.open_request(layout, request_id)
            if request is not None:
                known.add(request_id)
                waiting |= {(request_id, worker) for worker in request.asked}
        living = crowd.names()
        waiting = {one for one in waiting if one[1] in living and not reader.has_manifest(layout, *one)}
        crowd.note_deaths()
        time.sleep(PAUSE_S)


def look(
    place: ground.Workplace, crowd: Crowd, dropper: Dropper
) -> tuple[list[AcceptedRequest], collections.Counter[str]]:
    """What was accepted, how the asked workers ended, and what is wrong with either."""
    layout = place.layout
    ids = reader.request_ids(layout)
    accepted = [request for request_id in ids if (request := reader.open_request(layout, request_id)) is not None]
    place.findings += miscounted(dropper.dropped, collections.Counter(str(r.source["name"]) for r in accepted))
    rejected = dumps.rejected(Path(layout.job_dir))
    place.findings += [f"{name} was rejected: {why['reason']}" for name, why in rejected.items()]
    place.findings += [f"{name} is still in the inbox" for name in dropped_files(place)]
    place.findings += ["a dump is only in the fallback directory"] * (place.path / "fallback").exists()
    place.findings += ground.damage(layout, ids)[1]
    outcomes = collections.Counter(end for request in accepted for end in ends(place, crowd, request))
    return accepted, outcomes


def miscounted(dropped: collections.Counter[str], accepted: collections.Counter[str]) -> list[str]:
    """Names that were not accepted as often as they were dropped."""
    names = sorted({*dropped, *accepted})
    return [
        f"{name} was dropped {dropped[name]} times and accepted {accepted[name]} times"
        for name in names
        if dropped[name] != accepted[name]
    ]


def ends(place: ground.Workplace, crowd: Crowd, request: AcceptedRequest) -> list[str]:
    """How each asked worker ended, as a client of the project is told."""
    found = []
    for outcome in Client(place.layout).outcomes(request):
        dead = outcome.worker not in crowd.names()
        if outcome.status == "ok":
            found.append("answered")
        elif dead and outcome.state in ("killed", "gone"):  # told, or found out
            found.append("dead")
        else:
            found.append("neither")
            place.findings.append(f"{request.id}: {outcome.worker} is {outcome.status}, {outcome.state}: {outcome.why}")
    return found


if __name__ == "__main__":
    sys.exit(main())
