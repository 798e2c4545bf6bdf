"""Presidio and spaCy without torch and transformers, which they import for engines unused here.

Those two take four fifths of the start of a process that reads text, and every worker starts anew.
Whoever imports them later, or has done so before, finds them as ever.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_READERS = frozenset({"presidio_analyzer", "spacy", "thinc"})
_UNUSED = ("torch", "transformers")


class _Lightly(Loader):
    """Runs a module while what it need not have seems not to be installed."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        with ExitStack() as stack:
            for name in _UNUSED:
                if name not in sys.modules:
                    # What the import system takes for "there is no such module".
                    sys.modules[name] = None  # type: ignore[assignment]
                    stack.callback(sys.modules.pop, name, None)
            self._loader.exec_module(module)


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _READERS:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Lightly(spec.loader)
        return spec


def install() -> None:
    """From now on the packages are imported so."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
