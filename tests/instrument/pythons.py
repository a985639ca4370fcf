"""The interpreters of Lambda's Python runtimes that this machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "pythons"  # by `make clients`
VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")


@cache
def interpreters() -> dict[str, str]:
    """Version -> interpreter; at least the one that runs the tests. Looks on PATH, at pyenv's place and in .cache."""
    found = {f"{sys.version_info.major}.{sys.version_info.minor}": sys.executable}
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for version in VERSIONS:
        candidates = [
            *sorted(map(str, root.glob(f"versions/{version}.*/bin/python"))),
            shutil.which(f"python{version}"),
            shutil.which(f"python{version}", path=CACHE / version),
        ]
        for candidate in filter(None, candidates):
            if version not in found and _works(candidate, version):
                found[version] = candidate
    return dict(sorted(found.items(), key=lambda item: int(item[0].partition(".")[2])))


def _works(interpreter: str, version: str) -> bool:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([interpreter, "-c", code], capture_output=True, text=True, check=False, timeout=30)
    return done.returncode == 0 and done.stdout.strip() == version
