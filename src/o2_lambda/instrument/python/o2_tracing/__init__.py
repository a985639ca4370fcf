"""Traces of a Python function on AWS Lambda: what runs inside the customer's process.

Pure standard library for Python 3.9 and later. At import it loads nothing beyond C modules (see
tests/instrument/test_start.py): `_socket` and `_contextvars` are not the runtime client's, but what sends or waits in
most functions loads them as well. Everything is wrapped so that the function cannot notice.

As it ships, this module's byte code holds that of all others: to find and read a file costs a start more than most of
the modules take to run. On a Python that it was not made for, they are imported from their sources.
"""

from __future__ import annotations

import sys
from marshal import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

VERSION = "0.1.0"
SCOPE = "o2_lambda"
MODULES: dict[str, tuple[bool, bytes]] = {}  # name -> whether it is a package, marshalled code; the build fills it in


class _Bundle:
    """Finds and loads what is in MODULES. Python asks it for what it looks for in this package's folders alone."""

    def find_spec(self, name: str, _target: ModuleType | None = None) -> Any:
        """Python's import protocol; None for what is not there."""
        found = MODULES.get(name)
        if found is None:
            return None
        loader: Any = self
        spec = type(__spec__)(name, loader)
        if found[0]:
            folder = f"{__path__[0]}/{name.rpartition('.')[2]}"
            spec.submodule_search_locations = [folder]
            sys.path_importer_cache[folder] = self
        return spec

    def create_module(self, _spec: Any) -> None:
        """Python's import protocol: None for a module of the usual kind."""

    def exec_module(self, module: ModuleType) -> None:
        """Runs a module's code, once."""
        exec(loads(MODULES.pop(module.__name__)[1]), module.__dict__)  # noqa: S102, S302 - our own


if MODULES:
    sys.path_importer_cache[__path__[0]] = _Bundle()
