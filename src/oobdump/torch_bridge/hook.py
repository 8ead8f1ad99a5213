"""A look at the moment when a module (``torch.distributed``) has been imported, by whoever imports it.

In: a function. Out: it is called once, in the importing thread, after the module's code has run.
The rules only this module keeps: nothing is imported for it; the loader stays the one that the
import system found (only its ``exec_module`` is replaced, for one run), so that ``reload``,
``find_spec`` and readers of ``__loader__`` see nothing of ours; nothing raised here reaches the
import; and ``remove`` gives ``sys.meta_path`` back.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from oobdump.threads import Latch

__all__ = ["WATCHED", "ImportHook"]

WATCHED = "torch.distributed"
"""Its code makes PyTorch's control plane; ``import torch`` runs it too."""


class ImportHook:
    """A finder that finds nothing itself. ``install`` and ``remove`` may be called in any order and again."""

    def __init__(self, when_there: Callable[[], object], watched: Collection[str] = (WATCHED,)) -> None:
        self._when_there = when_there
        self._watched = frozenset(watched)
        self._called = Latch()

    def install(self) -> None:
        """From now on the import is seen."""
        if not self.installed:
            sys.meta_path.insert(0, self)

    def remove(self) -> None:
        """The import is not seen any more.

        The list is replaced, not changed: an import in another thread may be going through it, and taking an
        entry away before its place would make it skip a finder.
        """
        if self.installed:
            sys.meta_path = [finder for finder in sys.meta_path if finder is not self]

    @property
    def installed(self) -> bool:
        """Whether the import system asks us."""
        return any(finder is self for finder in sys.meta_path)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The import system's question: always None but for what is watched, which another finder finds."""
        if name not in self._watched:
            return None
        spec = self._found_by_others(name, path, target)
        try:
            self._tap(spec)
        except Exception:  # noqa: BLE001, S110 - a loader that cannot be tapped still loads
            pass
        return spec

    def _found_by_others(self, name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        for finder in [*sys.meta_path]:
            ask = None if isinstance(finder, ImportHook) else getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = None if ask is None else ask(name, path, target)
            if spec is not None:
                return spec
        return None

    def _tap(self, spec: ModuleSpec | None) -> None:
        """The loader's next run of this module's code is followed by ours."""
        loader: Any = None if spec is None else spec.loader
        run = getattr(loader, "exec_module", None)
        if run is None:
            return

        def exec_module(module: ModuleType) -> None:
            if loader.__dict__.get("exec_module") is exec_module:
                del loader.exec_module
            run(module)
            if getattr(module, "__name__", None) in self._watched:
                self._act()

        loader.exec_module = exec_module

    def _act(self) -> None:
        if self.installed and self._called.trip():
            try:
                self._when_there()
            except BaseException:  # noqa: BLE001, S110 - the program's import must not fail for us
                pass
