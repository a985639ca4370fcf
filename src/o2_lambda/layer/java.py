"""What the java variant of the layer holds: the OpenTelemetry Java agent as released, and our extension of it.

The extension is compiled here, against the classes of the agent itself: it cannot be of another version than the one
that it runs in. The compiler is Eclipse's, pinned and out of the Maven repository as the agent is: it gives the same
bytes on every Java from version 11 on, which javac does not.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from o2_lambda.layer.maven import Artifact
from o2_lambda.layer.notices import Component
from o2_lambda.layer.packing import Entry, write_zip
from o2_lambda.layer.process import require, run

if TYPE_CHECKING:
    from o2_lambda.layer.store import Store

_APACHE_LICENSE = "META-INF/licenses/jackson-core-"  # the agent holds the text as that of a part of it
_BUNDLED = "META-INF/licenses/licenses.md"


AGENT = Artifact(
    "io.opentelemetry.javaagent",
    "opentelemetry-javaagent",
    "2.33.1",
    "e43a270df53c6f423e0ab157be9c27ccc01d5dc3232e162fe54777573db2f149",
)
COMPILER = Artifact(  # the last that Java 11 can run
    "org.eclipse.jdt",
    "ecj",
    "3.32.0",
    "07e034c44a019c0c6394a06ee7b5c344e5518f6083c0fd046f2d8fd16a6760e2",
)
_FAST = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")  # two thirds of the CPU time
# As the agent itself: for Java 8. Stack traces name lines, and what a newer agent deprecates ends the build.
_OPTIONS = ("-source", "8", "-target", "8", "-encoding", "UTF-8", "-proc:none", "-g:source,lines", "-failOnWarning")
_HIDDEN, _HIDDEN_SUFFIX = "inst/", ".classdata"  # how the agent keeps its classes from the function's class loaders
_CLASSES = (
    *(f"{_HIDDEN}io/opentelemetry/{part}/" for part in ("sdk", "exporter")),
    "io/opentelemetry/javaagent/shaded/io/opentelemetry/",
)


def extension(store: Store, agent: Path, compiler: Path, sources: Path) -> bytes:
    """The jar of our extension, compiled from the folder `sources`; other files there go into it as they are.

    `agent` and `compiler` are the jars of AGENT and COMPILER. Raises LayerError.
    """
    files = {path.relative_to(sources).as_posix(): path for path in sorted(sources.rglob("*")) if path.is_file()}

    def make(output: Path, scratch: Path) -> None:
        require("java")
        classes, compiled = scratch / "agent", scratch / "compiled"
        _unpack_classes(agent, classes)
        command: list[str | Path] = ["java", *_FAST, "-jar", compiler, *_OPTIONS, "-classpath", classes, "-d", compiled]
        run([*command, *(path for name, path in files.items() if name.endswith(".java"))], log=scratch / "ecj.log")
        entries = {name: Entry(path.read_bytes()) for name, path in files.items() if not name.endswith(".java")}
        for path in compiled.rglob("*.class"):
            entries[path.relative_to(compiled).as_posix()] = Entry(path.read_bytes())
        write_zip(output / "extension.jar", entries)

    folder = store.result("java-extension", [AGENT, COMPILER, _OPTIONS, files, Path(__file__)], make)
    return (folder / "extension.jar").read_bytes()


def _unpack_classes(agent: Path, folder: Path) -> None:
    """What an extension is compiled against: the agent's SDK and exporters, and the API under its names in there."""
    with zipfile.ZipFile(agent) as jar:
        for name in jar.namelist():
            if name.startswith(_CLASSES) and name.endswith((".class", _HIDDEN_SUFFIX)):
                path = folder / name.removeprefix(_HIDDEN).replace(_HIDDEN_SUFFIX, ".class")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(jar.read(name))


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
