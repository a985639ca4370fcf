"""Finds the command that runs a handler: Python's, Node's and Java's runtime clients, or any command."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from o2_lambda.emulator.errors import ConfigError

NODE_CLIENT = "aws-lambda-ric"
JAVA_CLIENT = "aws-lambda-java-runtime-interface-client"
JAVA_CLIENT_CLASS = "com.amazonaws.services.lambda.runtime.api.client.AWSLambda"
VERSION_LIMIT_S = 10


@dataclass(frozen=True)
class Runtime:
    """A command that speaks the Runtime API, and what AWS would call its execution environment."""

    command: list[str]
    execution_env: str


def resolve(name: str, handler: str, task_root: Path) -> Runtime:
    """Return the runtime `name`: `python`, `node`, `java`, or a command line. Raises ConfigError when it cannot run."""
    if name == "python":
        return _python(handler, task_root)
    if name == "node":
        return _node(handler, task_root)
    if name == "java":
        return _java(handler, task_root)
    try:
        command = shlex.split(name)
    except ValueError as error:
        raise ConfigError(f"the runtime command {name!r} cannot be parsed: {error}") from None
    if not command:
        raise ConfigError("the runtime command is empty: give python, node, java or a command")
    found = shutil.which(command[0]) or shutil.which(str(task_root / command[0]))
    if not found:
        raise ConfigError(f"the runtime command {command[0]} was not found or is not executable")
    return Runtime([str(Path(found).absolute()), *command[1:]], "AWS_Lambda_provided.al2023")


def _python(handler: str, task_root: Path) -> Runtime:
    module = _module(handler, "app.handler")
    base = task_root / module.replace(".", "/")
    if not base.with_suffix(".py").is_file() and not (base / "__init__.py").is_file():
        raise ConfigError(f"the handler {handler} was not found: there is no {base.with_suffix('.py')}")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Runtime([sys.executable, "-m", "awslambdaric"], f"AWS_Lambda_python{version}")


def _node(handler: str, task_root: Path) -> Runtime:
    module = _module(handler, "index.handler")
    if not any((task_root / f"{module}{suffix}").is_file() for suffix in (".js", ".mjs", ".cjs")):
        raise ConfigError(f"the handler {handler} was not found: there is no {task_root / module}.js, .mjs or .cjs")
    node = shutil.which("node")
    if not node:
        raise ConfigError("node was not found on PATH: install Node.js")
    for folder in (task_root, Path.cwd()):
        package = folder / "node_modules" / NODE_CLIENT
        if (package / "package.json").is_file():
            script = _node_script(package)
            return Runtime([node, str(script)], f"AWS_Lambda_nodejs{_node_major(node)}.x")
    raise ConfigError(f"{NODE_CLIENT} was not found: run npm install {NODE_CLIENT} in {task_root}")


def _node_script(package: Path) -> Path:
    entry = json.loads((package / "package.json").read_text()).get("bin")
    path = entry.get(NODE_CLIENT) if isinstance(entry, dict) else entry
    script = package / str(path)
    if not path or not script.is_file():
        raise ConfigError(f"{package} has no command {NODE_CLIENT}: install it again")
    return script


def _node_major(node: str) -> str:
    match = re.match(r"v(\d+)", _version(node))
    return match[1] if match else "22"


def _java(handler: str, task_root: Path) -> Runtime:
    """Classes in the task root and jars in its lib folder, as Lambda has them; the client is one of the jars."""
    java = shutil.which("java")
    if not java:
        raise ConfigError("java was not found on PATH: install a Java runtime")
    if not any((task_root / "lib").glob(f"{JAVA_CLIENT}-*.jar")):
        raise ConfigError(f"{JAVA_CLIENT} was not found: copy com.amazonaws:{JAVA_CLIENT} to {task_root / 'lib'}")
    match = re.match(r"\S+ (\d+)", _version(java))
    command = [java, "-cp", f"{task_root}:{task_root}/lib/*", JAVA_CLIENT_CLASS, handler]
    return Runtime(command, f"AWS_Lambda_java{match[1] if match else '21'}")


def _version(program: str) -> str:
    answer = subprocess.run(  # noqa: S603 - the program found on PATH
        [program, "--version"], capture_output=True, text=True, timeout=VERSION_LIMIT_S, check=False
    )
    return answer.stdout


def _module(handler: str, example: str) -> str:
    module, _, function = handler.rpartition(".")
    if not module or not function:
        raise ConfigError(f"the handler {handler!r} must be a module and a function, such as {example}")
    return module
