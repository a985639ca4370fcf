"""Patches modules right after the function has imported them; what it never imports costs nothing."""

from __future__ import annotations

import sys

from .frames import drop_frame
from .tracer import report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, Callable

    Patch = Callable[[ModuleType], None]


class Finder:
    """An importer that finds nothing itself: it lets the others find, and patches what they load. Never fails."""

    def __init__(self, patches: dict[str, Patch]) -> None:
        self._patches = patches
        self._searching = ""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Python's import protocol; None for everything that is not to be patched."""
        if name not in self._patches or self._searching == name:
            return None
        before, self._searching = self._searching, name
        try:
            spec = _find(name, path, target, self)
        finally:
            self._searching = before
        if spec is not None:
            self._watch(spec, name)
        return spec

    def _watch(self, spec: Any, name: str) -> None:
        """Makes the loader tell when it has executed the module."""
        loader = spec.loader
        execute: Callable[[ModuleType], None] | None = getattr(loader, "exec_module", None)
        if execute is None:
            return

        def exec_module(module: ModuleType) -> None:
            try:
                execute(module)
            except BaseException as error:
                drop_frame(error)
                raise
            if module.__name__ == name:  # a zip file has one loader for all its modules
                self._apply(name, module)

        try:
            loader.exec_module = exec_module
        except AttributeError:  # a loader without a place for it: the module stays as it is
            return

    def _apply(self, name: str, module: ModuleType) -> None:
        patch = self._patches.pop(name, None)
        if patch is None:
            return
        loader = getattr(module.__spec__, "loader", None)
        if loader is not None:
            loader.__dict__.pop("exec_module", None)
        try:
            patch(module)
        except Exception as problem:
            report(f"{name} is not traced: {problem!r}")


def _find(name: str, path: Any, target: Any, own: Finder) -> Any:
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        if finder is not own and find is not None:
            spec = find(name, path, target)
            if spec is not None:
                return spec
    return None
