"""Runs inside each Python for which there is to be byte code, in WebAssembly too: compiles for that version."""

import ast
import json
import marshal
import sys
from importlib.util import MAGIC_NUMBER, cache_from_source, source_hash
from types import CodeType
from typing import Any

UNCHECKED_HASH = (1).to_bytes(4, "little")  # PEP 552: never compared with the source
INIT = "/__init__.py"
MODULES = "MODULES"  # what the package calls the table of its modules' byte code


def compiled(request: str) -> str:
    """Compiles a package into the byte code of its `__init__` alone: in that its MODULES holds all others.

    The request is JSON: {"package": path at which its `__init__.py` will lie, "sources": {path: source},
    "slimmer": source of freezer.py}. The answer is JSON, too: the version, path and content in hexadecimal.
    """
    asked = json.loads(request)
    freezer: dict[str, Any] = {"__name__": "freezer"}
    exec(asked["slimmer"], freezer)  # noqa: S102 - this Python may have no way to the file
    init, sources = asked["package"], asked["sources"]
    trees = {path: freezer["Slimmer"]().visit(ast.parse(source, path)) for path, source in sorted(sources.items())}
    package = trees.pop(init)
    modules = {
        _name(init, path): (path.endswith(INIT), marshal.dumps(_code(tree, path))) for path, tree in trees.items()
    }
    for statement in package.body:
        if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", "") == MODULES:
            statement.value = ast.parse(repr(modules), mode="eval").body
    content = MAGIC_NUMBER + UNCHECKED_HASH + source_hash(sources[init].encode()) + marshal.dumps(_code(package, init))
    major, minor = sys.version_info[:2]
    path = cache_from_source(init, optimization="")
    return json.dumps({"python": f"{major}.{minor}", "path": path, "content": content.hex()})


def _name(init: str, path: str) -> str:
    top = init[: -len(INIT)].rpartition("/")[0] + "/"
    return path[len(top) : -len(INIT if path.endswith(INIT) else ".py")].replace("/", ".")


def _code(tree: ast.Module, path: str) -> CodeType:
    code: CodeType = compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True, optimize=2)
    return code
