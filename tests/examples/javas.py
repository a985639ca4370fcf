"""The Java runtimes of this machine, and those that scripts/setup-javas has brought."""

from __future__ import annotations

import re
from pathlib import Path

from o2_lambda.layer.build import project_root

VERSIONS = ("11", "17", "21", "25")  # that Lambda offers
INSTALLED, BROUGHT = Path("/usr/lib/jvm"), project_root() / ".cache" / "javas"


def folders() -> dict[str, Path]:
    """The folder of `java` for each version that is here."""
    found = {}
    for release in sorted([*BROUGHT.glob("*/release"), *INSTALLED.glob("*/release")]):
        version = re.search(r'^JAVA_VERSION="(\d+)', release.read_text(), re.MULTILINE)
        if version and (release.parent / "bin" / "java").exists():
            found[version[1]] = release.parent / "bin"
    return found
