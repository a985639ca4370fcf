"""The layer zips: what is in them, and where they are written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import certifi

from o2_lambda.layer import notices
from o2_lambda.layer.certificates import hashed_folder
from o2_lambda.layer.linking import EXECUTABLE, Builder
from o2_lambda.layer.packing import Entry, write_zip
from o2_lambda.layer.store import Store
from o2_lambda.layer.toolchain import TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterable

VARIANTS = ("full", "core")
CA_FOLDER = "o2/ca"  # below /opt
TRACING_FOLDER = "o2"  # below /opt; /opt/python would be on the function's own path
WRAPPER = "otel-instrument"
INSTRUMENT = Path(__file__).parents[1] / "instrument"


def project_root() -> Path:
    """The checkout that this package is run from."""
    return Path(__file__).parents[3]


def build(arches: Iterable[str], variants: Iterable[str], target: Path, cache: Path) -> list[Path]:
    """Builds the zips into the folder `target`, one per architecture and variant; returns their paths.

    Raises LayerError where an input or a tool is missing or fails.
    """
    builder = Builder(Store(cache))
    wanted = list(variants)
    paths = []
    for arch in arches:
        core = _entries(builder, arch)
        for variant in wanted:
            path = target / zip_name(arch, variant)
            write_zip(path, core | tracing_entries() if variant == "full" else core)
            paths.append(path)
    return paths


def zip_name(arch: str, variant: str) -> str:
    """The file name under which users find a zip; the full variant has no name of its own."""
    return f"{EXECUTABLE}-{arch}.zip" if variant == "full" else f"{EXECUTABLE}-{variant}-{arch}.zip"


def tracing_entries() -> dict[str, Entry]:
    """The wrapper and what it starts: pure source, the same for both architectures and every Python."""
    files = {WRAPPER: Entry((INSTRUMENT / WRAPPER).read_bytes(), executable=True)}
    for path in sorted((INSTRUMENT / "python").rglob("*.py")):
        files[f"{TRACING_FOLDER}/{path.relative_to(INSTRUMENT).as_posix()}"] = Entry(path.read_bytes())
    return files


def _entries(builder: Builder, arch: str) -> dict[str, Entry]:
    executable = builder.executable(TARGETS[arch]).read_bytes()
    files = {f"extensions/{EXECUTABLE}": Entry(executable, executable=True)}
    files |= {f"{CA_FOLDER}/{name}": Entry(pem) for name, pem in hashed_folder(certifi.contents()).items()}
    return files | notices.entries(notices.components(builder.inputs, project_root()), files)
