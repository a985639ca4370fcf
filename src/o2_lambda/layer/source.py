"""A layer straight from this checkout: for the demo, for tests, for trying a change without building."""

from __future__ import annotations

import sys
from compileall import compile_dir
from functools import cache
from pathlib import Path

EXTENSION_NAME = "o2-lambda-extension"

# Isolated as the built executable is: no site-packages, no user files, no PYTHON* variables.
_LAUNCHER = """\
#!{interpreter} -ISE
import sys
sys.path.insert(0, {source!r})
from o2_lambda.extension.main import main
main(sys.argv)
"""


def write_extension(folder: Path, *, interpreter: str = sys.executable) -> Path:
    """Writes an executable `o2-lambda-extension` that runs the extension from source; returns its path."""
    source = Path(__file__).resolve().parents[2]
    if interpreter == sys.executable:
        _compile(source / "o2_lambda" / "extension")
    path = folder / EXTENSION_NAME
    path.write_text(_LAUNCHER.format(interpreter=interpreter, source=str(source)))
    path.chmod(0o755)
    return path


@cache
def _compile(folder: Path) -> None:
    """Makes what is missing of the byte code, so that the first start is as quick as all others; or does not."""
    compile_dir(folder, quiet=2)
