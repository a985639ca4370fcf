"""Java for the tracing bench: the project's own example, and how a runtime process is started.

The official tracer is the same agent at the same version, started as the community's layer starts it: by
JAVA_TOOL_OPTIONS, with all that it knows, both of Java's compilers where the command line does not say otherwise.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from typing import TYPE_CHECKING

from o2_lambda.emulator.runtimes import resolve
from o2_lambda.layer.build import project_root
from o2_lambda.layer.java import AGENT
from o2_lambda.layer.maven import fetched
from o2_lambda.layer.store import Store

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLE = project_root() / "examples" / "java"
LAMBDAS_OWN = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]  # as Lambda starts Java since version 17


class Java:
    """The Java of a folder with `bin/java`."""

    handler = "example.Hello::handleRequest"
    variant = "java"

    def __init__(self, folder: str) -> None:
        self._path = f"{folder}/bin:{os.environ['PATH']}"
        done = subprocess.run([f"{folder}/bin/java", "--version"], capture_output=True, text=True, check=True)
        version = done.stdout.partition(" ")[2].partition(" ")[0]
        if not version[:1].isdigit():
            raise ValueError("it is no Java")
        self.title = f"Java {version}"
        self._java = f"{folder}/bin/java"

    def install(self) -> None:
        """Makes everything ready that `start` needs."""
        _function()

    def write(self, function: str, task: Path) -> None:
        """Puts a function into its folder; there is but one."""
        if function != "trivial":
            raise SystemExit("Java has the trivial function alone: --functions trivial")
        shutil.copytree(_function(), task, dirs_exist_ok=True)

    def start(self, task: Path, official: str) -> tuple[list[str], dict[str, str]]:
        """Command and variables of a runtime process; `official` is the endpoint of the official tracer, if any."""
        _, *arguments = resolve("java", self.handler, task).command
        environment = {"PATH": self._path, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769"}
        if official:
            agent = fetched(Store(project_root() / ".cache" / "layer"), AGENT)
            environment |= {
                "JAVA_TOOL_OPTIONS": f"-javaagent:{agent}",
                "OTEL_EXPORTER_OTLP_ENDPOINT": official,
                "OTEL_RESOURCE_ATTRIBUTES": "service.name=bench",
            }
        return [self._java, *LAMBDAS_OWN, *arguments], environment


@cache
def _function() -> Path:
    """The example without its SDK, built once, into .cache."""
    folder = project_root() / ".cache" / "bench" / "java"
    task = folder / "task"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(EXAMPLE, folder)
    subprocess.run(["mvn", "-q", "-B", "compile", "dependency:copy-dependencies"], cwd=folder, check=True)
    shutil.copytree(folder / "target" / "classes", task)
    shutil.copytree(folder / "target" / "dependency", task / "lib")
    (task / "example" / "Traced.class").unlink()
    for jar in task.glob("lib/opentelemetry-*.jar"):
        jar.unlink()
    return task
