"""Jars of the Maven repository, pinned by sha256 and fetched once by mvn, whose own configuration says from where."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from o2_lambda.layer.inputs import check
from o2_lambda.layer.process import LayerError, UnavailableError, require, run

if TYPE_CHECKING:
    from pathlib import Path

    from o2_lambda.layer.store import Store

COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"


class Artifact(NamedTuple):
    """A jar of the repository; `classifier` tells those of one version apart: by machine, where they hold binaries."""

    group: str
    name: str
    version: str
    sha256: str
    classifier: str = ""

    @property
    def coordinates(self) -> str:
        """By what mvn knows it."""
        suffix = f":jar:{self.classifier}" if self.classifier else ""
        return f"{self.group}:{self.name}:{self.version}{suffix}"


def fetched(store: Store, artifact: Artifact) -> Path:
    """The artifact's jar. Raises LayerError."""

    def make(output: Path, scratch: Path) -> None:
        copy_into(output, artifact, scratch)

    (jar,) = store.result(artifact.name, artifact, make).iterdir()
    return jar


def copy_into(folder: Path, artifact: Artifact, scratch: Path) -> Path:
    """The artifact's jar, copied into an empty folder. Raises LayerError."""
    require("mvn")
    command = ["mvn", "--batch-mode", COPY, f"-Dartifact={artifact.coordinates}", f"-DoutputDirectory={folder}"]
    try:
        run(command, cwd=scratch, log=scratch / "mvn.log")
    except LayerError as error:
        raise UnavailableError(f"{artifact.coordinates} cannot be fetched: {error}") from None
    (jar,) = folder.iterdir()
    check(jar, artifact.sha256)
    return jar
