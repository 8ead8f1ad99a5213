"""The dump that somebody makes for a worker which cannot answer: ``<worker>.outside/``, whole or absent.

In: whom it is about, and who makes it. Out: a directory that appears under its name by one
rename, its manifest in it. The rules only this module keeps: of several that climb for the same
worker the first that is ready wins, and what the others made is gone; the claim spares work and
decides nothing, so that a claim of somebody who died or came to a halt is simply taken over.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import time
from dataclasses import dataclass
from typing import Any

from oobdump.identity import Identity, Machine, is_alive, start_ticks
from oobdump.store import atomic
from oobdump.store.layout import OUTSIDE, Layout
from oobdump.store.reader import has_outside
from oobdump.store.writer import DumpWriter

__all__ = ["OutsideDump"]

_MAX_CLAIM_BYTES = 2**16
_counter = itertools.count(1)

_SOMEBODY_WAS_FIRST = (errno.ENOTEMPTY, errno.EEXIST)


@dataclass(frozen=True)
class OutsideDump:
    """One try to make a worker's outside dump. ``claim``, then ``writer`` as for any dump, then ``publish``."""

    layout: Layout
    request_id: str
    identity: Identity
    writer: DumpWriter

    @classmethod
    def of(cls, layout: Layout, request_id: str, identity: Identity, by: str) -> OutsideDump:
        """A try of this process; ``by`` is ``sentinel`` or ``client``."""
        hidden = f".{identity.worker}{OUTSIDE}.{os.getpid()}.{time.time_ns()}.{next(_counter)}"
        return cls(layout, request_id, identity, DumpWriter(layout, request_id, identity, answered_by=by, name=hidden))

    @property
    def directory(self) -> str:
        """Where the dump will be."""
        return self.layout.dump(self.request_id, self.identity.worker + OUTSIDE)

    def claim(self, for_s: float) -> bool:
        """Whether to go on: nobody has such a dump, nor is anybody else who lives at it. Raises ``OSError``."""
        if has_outside(self.layout, self.request_id, self.identity.worker):
            return False
        data = _claim(time.time() + for_s)
        if atomic.publish(self._claim_path, data):
            return True
        if _stands(self._claim_path):
            return False
        atomic.replace(self._claim_path, (data,))
        return True

    def publish(self) -> bool:
        """Makes the committed dump visible; False if somebody was first."""
        try:
            os.rename(self.writer.directory, self.directory)
        except OSError as error:
            if error.errno not in _SOMEBODY_WAS_FIRST:
                raise
            return False
        finally:
            self.drop()
        return True

    def drop(self) -> None:
        """Removes what this try has made and not published, its claim too."""
        shutil.rmtree(self.writer.directory, ignore_errors=True)
        try:
            os.unlink(self._claim_path)
        except OSError:
            pass

    @property
    def _claim_path(self) -> str:
        return self.layout.dump(self.request_id, f".{self.identity.worker}{OUTSIDE}.claim")


def _claim(until: float) -> bytes:
    here, pid = Machine.here(), os.getpid()
    document = {
        "host": here.host,
        "boot": here.boot,
        "pid_namespace": here.pid_namespace,
        "pid": pid,
        "start_ticks": start_ticks(pid),
        "until_s": until,
    }
    return json.dumps(document).encode("ascii")


def _stands(path: str) -> bool:
    """Whether the claim is of somebody who may still be at it."""
    try:
        claim: Any = json.loads(atomic.read_bounded(path, _MAX_CLAIM_BYTES))
        machine = Machine(claim["host"], claim["boot"], claim["pid_namespace"])
        alive = is_alive(machine, claim["pid"], claim["start_ticks"])
        return alive is not False and time.time() < float(claim["until_s"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
