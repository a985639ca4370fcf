"""The OpenTelemetry Java agent for the java variant of the layer, as released, from the Maven repository."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

from o2_lambda.layer.maven import Artifact
from o2_lambda.layer.notices import Component

if TYPE_CHECKING:
    from pathlib import Path

_APACHE_LICENSE = "META-INF/licenses/jackson-core-"  # the agent holds the text as that of a part of it
_BUNDLED = "META-INF/licenses/licenses.md"


AGENT = Artifact(
    "io.opentelemetry.javaagent",
    "opentelemetry-javaagent",
    "2.33.1",
    "e43a270df53c6f423e0ab157be9c27ccc01d5dc3232e162fe54777573db2f149",
)


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
