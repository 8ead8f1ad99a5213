"""What a sentinel is told when it is started, and how that stands on its command line.

In: a worker's settings, or a person's options. Out: ``Orders``, and words that read as such in
``ps``. The rule only this module keeps: what is written by ``words`` is read by ``read``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

from oobdump.config import Settings, default_root, fallback_dirs
from oobdump.store.layout import Layout

__all__ = ["LINGER_S", "Orders"]

LINGER_S = 1.0
"""After the last worker a sentinel stays for this long: ranks of a small job end one after the other."""

_SEPARATOR = ":"


@dataclass(frozen=True)
class Orders:
    """One sentinel's job directory, its places on this node, and its patience.

    ``worker_pid`` is the worker that starts it, 0 if a person does; ``first_s`` is how long it waits for a first
    worker, 0 for as long as it takes.
    """

    root: str
    job: str
    runtime: str
    fallbacks: tuple[str, ...] = ()
    grace_s: float = 2.5
    watch: str = "auto"
    poll_s: float = 1.0
    keep: int = 0
    keep_s: float = 0.0
    keep_bytes: int = 0
    worker_pid: int = 0
    first_s: float = 60.0
    linger_s: float = LINGER_S

    @classmethod
    def of(cls, settings: Settings, job: str, runtime: str, *, worker_pid: int = 0, first_s: float = 60.0) -> Orders:
        """As a worker's settings have it; ``runtime`` is the directory of the job's bells."""
        return cls(
            root=settings.dir or default_root(),
            job=job,
            runtime=runtime,
            fallbacks=tuple(fallback_dirs(settings.fallback_dir)),
            grace_s=settings.grace_s,
            watch=settings.watch,
            poll_s=settings.poll_s,
            keep=settings.keep,
            keep_s=settings.keep_s,
            keep_bytes=settings.keep_bytes,
            worker_pid=worker_pid,
            first_s=first_s,
        )

    @property
    def layout(self) -> Layout:
        """The job's directories."""
        return Layout(self.root, self.job)

    @property
    def fallback_layouts(self) -> list[Layout]:
        """Where dumps wait that the root did not take."""
        return [Layout(root, self.job) for root in self.fallbacks]

    def words(self) -> list[str]:
        """``--root DIR --job NAME …``: one option a field."""
        found: list[str] = []
        for item in fields(self):
            value = getattr(self, item.name)
            text = _SEPARATOR.join(map(_escaped, value)) if isinstance(value, tuple) else str(value)
            found += [f"--{item.name.replace('_', '-')}", text]
        return found

    @classmethod
    def read(cls, words: Sequence[str]) -> Orders:
        """The orders that ``words`` wrote. Raises ``ValueError`` for anything else."""
        given = dict(zip(words[::2], words[1::2], strict=True))
        values: dict[str, object] = {}
        for item in fields(cls):
            text = given.pop(f"--{item.name.replace('_', '-')}", None)
            if text is not None:
                values[item.name] = _READERS[str(item.type)](text)
        if given:
            raise ValueError(f"unknown: {', '.join(given)}")
        return cls(**values)  # type: ignore[arg-type]


def _escaped(path: str) -> str:
    return path.replace("%", "%25").replace(_SEPARATOR, "%3A")


def _paths(text: str) -> tuple[str, ...]:
    pieces = text.split(_SEPARATOR) if text else []
    return tuple(piece.replace("%3A", _SEPARATOR).replace("%25", "%") for piece in pieces)


_READERS: Mapping[str, Callable[[str], object]] = {"str": str, "int": int, "float": float, "tuple[str, ...]": _paths}
