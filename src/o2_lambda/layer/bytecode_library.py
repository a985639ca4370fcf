"""Runs inside a CPython built for WebAssembly: compiles what its start imports, which is there as source only."""

import json
import marshal
import sys
from importlib.util import MAGIC_NUMBER, source_hash
from typing import Any
from zipimport import zipimporter

UNCHECKED_HASH = (1).to_bytes(4, "little")  # PEP 552: never compared with the source


def compiled(_request: str) -> str:
    """The byte code of all that has been imported out of zips, as JSON: {path of the .pyc in its zip: hexadecimal}."""
    found = {}
    for name, module in list(sys.modules.items()):
        spec: Any = getattr(module, "__spec__", None)
        loader = getattr(spec, "loader", None)
        if isinstance(loader, zipimporter):
            source = loader.get_source(name) or ""
            code = marshal.dumps(compile(source, spec.origin, "exec", dont_inherit=True))
            path = spec.origin.removeprefix(f"{loader.archive}/")
            found[f"{path}c"] = (MAGIC_NUMBER + UNCHECKED_HASH + source_hash(source.encode()) + code).hex()
    return json.dumps(found)
