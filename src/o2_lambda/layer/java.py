"""The OpenTelemetry Java agent for the java variant of the layer, as released, from the Maven repository."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, NamedTuple

from o2_lambda.layer.notices import Component
from o2_lambda.layer.process import LayerError, UnavailableError, require, run
from o2_lambda.layer.store import digest

if TYPE_CHECKING:
    from pathlib import Path

    from o2_lambda.layer.store import Store

COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
_APACHE_LICENSE = "META-INF/licenses/jackson-core-"  # the agent holds the text as that of a part of it
_BUNDLED = "META-INF/licenses/licenses.md"


class Artifact(NamedTuple):
    """A jar of the Maven repository."""

    group: str
    name: str
    version: str
    sha256: str


AGENT = Artifact(
    "io.opentelemetry.javaagent",
    "opentelemetry-javaagent",
    "2.33.1",
    "e43a270df53c6f423e0ab157be9c27ccc01d5dc3232e162fe54777573db2f149",
)


def fetched(store: Store, artifact: Artifact) -> Path:
    """The artifact's jar, fetched once by mvn, whose own configuration says from where. Raises LayerError."""

    def make(output: Path, scratch: Path) -> None:
        require("mvn")
        coordinates = f"{artifact.group}:{artifact.name}:{artifact.version}"
        command = ["mvn", "--batch-mode", COPY, f"-Dartifact={coordinates}", f"-DoutputDirectory={output}"]
        try:
            run(command, cwd=scratch, log=scratch / "mvn.log")
        except LayerError as error:
            raise UnavailableError(f"{coordinates} cannot be fetched: {error}") from None
        (jar,) = output.iterdir()
        if (found := digest(jar.read_bytes())) != artifact.sha256:
            raise LayerError(f"{jar.name} has sha256 {found}, pinned is {artifact.sha256}: do not use it")

    return store.result(artifact.name, artifact, make) / f"{artifact.name}-{artifact.version}.jar"


def component(jar: Path) -> Component:
    """What the notices say about the agent; the licences of its own parts lie inside the jar as well."""
    with zipfile.ZipFile(jar) as archive:
        apache = next(name for name in archive.namelist() if name.startswith(_APACHE_LICENSE) and "LICENSE" in name)
        text = archive.read(apache).decode() + "\n" + archive.read(_BUNDLED).decode()
    return Component(
        AGENT.name,
        AGENT.version,
        "Apache-2.0",
        "OpenTelemetry Authors",
        AGENT.sha256,
        text,
        "CONTAINS",
        f"pkg:maven/{AGENT.group}/{AGENT.name}@{AGENT.version}",
    )
