"""What a pickle would do, told from its opcodes; nothing of it runs.

In: bytes. Out: ``Description``: protocol, size, the globals it names and whether oobdump's reader
would take each, persistent ids, what is wrong with it. Reads with ``pickletools``, which only
names opcodes. Only this module says in words what a pickle is.
"""

from __future__ import annotations

import pickletools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from oobdump.codecs import pickle_codec

__all__ = ["MAX_OPCODES", "Description", "describe"]

MAX_OPCODES = 2_000_000
"""A recorder trace of 2,000 entries with stacks has some 800,000; two million take about two seconds."""

_GLOBALS_SHOWN = 40
_NAME_CHARS = 200

_TEXTS = frozenset(
    {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING"}
)
_KEEP = frozenset({"MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "PROTO", "FRAME"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_CALLS = frozenset({"REDUCE", "NEWOBJ", "NEWOBJ_EX", "INST", "OBJ", "BUILD"})
_PERSISTENT = frozenset({"PERSID", "BINPERSID"})


@dataclass(frozen=True)
class Description:
    """What is known of a pickle without running it; ``refused`` are the globals that our reader would not take."""

    size: int
    protocol: int
    opcodes: int
    ended: bool
    allowed: Mapping[str, int]
    refused: Mapping[str, int]
    calls: int
    persistent: int
    buffers: int
    problem: str = ""
    trailing: int = 0

    @property
    def plain(self) -> dict[str, Any]:
        """As plain values, for ``--json`` and for a page."""
        return {
            "pickle": f"protocol {self.protocol}, {self.size:,} bytes, {self.opcodes:,} opcodes",
            "calls": self.calls,
            "globals": dict(self.allowed),
            "globals that oobdump refuses": dict(self.refused),
            **({"persistent ids": self.persistent} if self.persistent else {}),
            **({"buffers kept elsewhere": self.buffers} if self.buffers else {}),
            **({"problem": self.problem} if self.problem else {}),
            **({"bytes behind its end": self.trailing} if self.trailing else {}),
        }


def describe(data: bytes) -> Description:
    """What the pickle names and asks for. Raises nothing, whatever the bytes are."""
    look = _Look()
    problem, ended, at = "", False, 0
    try:
        for opcode, argument, position in _opcodes(data):
            look.see(opcode.name, argument)
            ended, at = opcode.name == "STOP", position or 0
            if look.count >= MAX_OPCODES and not ended:
                problem = f"only its first {MAX_OPCODES:,} opcodes were looked at"
                break
    except Exception as error:  # noqa: BLE001 - pickletools raises what the argument's reader raised
        problem = f"torn or no pickle: {str(error)[:_NAME_CHARS]}"
    return look.description(data, problem, ended=ended, trailing=len(data) - at - 1 if ended else 0)


def _opcodes(data: bytes) -> Iterator[tuple[Any, Any, int | None]]:
    return pickletools.genops(data)


class _Look:
    """What the opcodes so far amount to. Of the stack only the two topmost texts are followed."""

    def __init__(self) -> None:
        self.count = self.protocol = self.calls = self.persistent = self.buffers = 0
        self.names: Counter[tuple[str, str]] = Counter()
        self._memo: dict[int, str | None] = {}
        self._top: list[str | None] = []

    def see(self, name: str, argument: Any) -> None:
        self.count += 1
        if name == "PROTO":
            self.protocol = argument
        elif name in ("GLOBAL", "INST"):
            module, _, attribute = str(argument).partition(" ")
            self.names[module[:_NAME_CHARS], attribute[:_NAME_CHARS]] += 1
        elif name == "STACK_GLOBAL":
            self.names[self._stacked()] += 1
        elif name in ("EXT1", "EXT2", "EXT4"):
            self.names["copyreg's registry", f"extension {argument}"] += 1
        self.calls += name in _CALLS
        self.persistent += name in _PERSISTENT
        self.buffers += name == "NEXT_BUFFER"
        self._follow(name, argument)

    def _follow(self, name: str, argument: Any) -> None:
        if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            key = len(self._memo) if name == "MEMOIZE" else argument
            self._memo[key] = self._top[-1] if self._top else None
        if name in _KEEP:
            return
        text = self._memo.get(argument) if name in _GETS else None
        if name in _TEXTS:
            text = str(argument)[:_NAME_CHARS]
        self._top = [*self._top[-1:], text]

    def _stacked(self) -> tuple[str, str]:
        module, name = [None, None, *self._top][-2:]
        return (module, name) if module is not None and name is not None else ("?", "a name that is computed")

    def description(self, data: bytes, problem: str, *, ended: bool, trailing: int) -> Description:
        names = self.names.most_common(_GLOBALS_SHOWN)
        allowed = {".".join(name): count for name, count in names if pickle_codec.allows(*name)}
        refused = {".".join(name): count for name, count in names if not pickle_codec.allows(*name)}
        return Description(
            size=len(data),
            protocol=self.protocol,
            opcodes=self.count,
            ended=ended,
            allowed=allowed,
            refused=refused,
            calls=self.calls,
            persistent=self.persistent,
            buffers=self.buffers,
            problem=problem,
            trailing=trailing,
        )
