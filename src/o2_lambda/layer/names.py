"""Names by which users know what is built: architectures, variants, files."""

from __future__ import annotations

ARCHITECTURES = ("x86_64", "arm64")
VARIANTS = FULL, CORE, JAVA = ("full", "core", "java")
DEFAULT_VARIANTS = (FULL, CORE)  # the others have inputs of their own, and are built where they are asked for
EXECUTABLE = "o2-lambda-extension"


def suffix(arch: str, variant: str) -> str:
    """How the names of a zip and of a layer end; the full variant has no name of its own."""
    return arch if variant == FULL else f"{variant}-{arch}"


def zip_name(arch: str, variant: str) -> str:
    """The file name under which users find a zip."""
    return f"{EXECUTABLE}-{suffix(arch, variant)}.zip"
