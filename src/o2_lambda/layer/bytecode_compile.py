"""Runs inside each Python for which there is to be byte code, in WebAssembly too: compiles for that version."""

import json
import marshal
import sys
from importlib.util import MAGIC_NUMBER, cache_from_source, source_hash

UNCHECKED_HASH = (1).to_bytes(4, "little")  # PEP 552: never compared with the source


def compiled(request: str) -> str:
    """Compiles JSON {path at which a file will lie: source}.

    The answer is JSON, too: under "files" each path of a .pyc with its content in hexadecimal. Docstrings are left out:
    nobody reads them inside a function.
    """
    files = {}
    for path, source in sorted(json.loads(request).items()):
        data = source.encode()
        code = compile(data, path, "exec", dont_inherit=True, optimize=2)
        content = MAGIC_NUMBER + UNCHECKED_HASH + source_hash(data) + marshal.dumps(code)
        files[cache_from_source(path, optimization="")] = content.hex()
    major, minor = sys.version_info[:2]
    return json.dumps({"python": f"{major}.{minor}", "files": files})
