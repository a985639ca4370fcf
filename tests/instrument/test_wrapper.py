"""The exec wrapper under the shells that may be /bin/sh: what it runs, and with which environment."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import o2_lambda

WRAPPER = Path(o2_lambda.__file__).parent / "instrument" / "otel-instrument"
SHELLS = [path for shell in ("dash", "busybox", "bash", "sh") if (path := shutil.which(shell))]
RECEIVER = "http://localhost:4318"
DEFAULTS = {
    "OTEL_EXPORTER_OTLP_ENDPOINT": RECEIVER,
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
    "OTEL_SERVICE_NAME": "orders",
    "OTEL_TRACES_EXPORTER": "otlp",
    "OTEL_LOGS_EXPORTER": "none",
    "OTEL_BSP_SCHEDULE_DELAY": "1",
    "OTEL_BSP_EXPORT_TIMEOUT": "500",
}


class Ran:
    """What the wrapper has run: arguments and the tracing variables, as the interpreter saw them."""

    def __init__(self, output: str, errors: str) -> None:
        lines = output.splitlines()
        self.arguments = [line[1:] for line in lines if line.startswith("|")]
        pairs = dict(line.partition("=")[::2] for line in lines if line.startswith(("OTEL_", "O2_")))
        self.variables = pairs
        self.errors = errors.splitlines()


@pytest.fixture(params=SHELLS)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Runs the wrapper with a stand-in for the interpreter that tells what it was given."""
    shell = request.param
    opt = tmp_path / "opt with space"
    (opt / "o2" / "python").mkdir(parents=True)
    (opt / "o2" / "python" / "boot.py").touch()
    (opt / "python").mkdir()  # a folder of another layer, which is none of ours
    shutil.copy(WRAPPER, opt)

    def run(*arguments: str, name: str = "python3.12", lacking: str = "", **variables: str) -> Ran:
        interpreter = tmp_path / name
        interpreter.write_text('#!/bin/sh\nfor argument in "$@"; do echo "|$argument"; done\nenv\n')
        interpreter.chmod(0o755)
        if lacking:
            shutil.rmtree(opt / "o2" / lacking)
        applet = ["sh"] if shell.endswith("busybox") else []
        command = [shell, *applet, str(opt / WRAPPER.name), str(interpreter), *arguments]
        environment = {"PATH": "/usr/bin:/bin", "AWS_LAMBDA_FUNCTION_NAME": "orders", **variables}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=30)
        return Ran(done.stdout, done.stderr)

    run.boot = str(opt / "o2" / "python" / "boot.py")
    return run


def test_python_starts_through_boot_with_its_arguments_intact(run: Any) -> None:
    """Spaces, quotes and empty arguments come through; nothing is said."""
    ran = run("/var/runtime/bootstrap.py", "a b", "", "it's *")
    assert ran.arguments == [run.boot, "/var/runtime/bootstrap.py", "a b", "", "it's *"]
    assert ran.errors == []


def test_defaults_fill_what_is_unset(run: Any) -> None:
    """A function without any setting gets the receiver and limits that cannot hold it."""
    variables = run("x").variables
    assert {name: variables.get(name) for name in DEFAULTS} == DEFAULTS
    assert "OTEL_PROPAGATORS" not in variables


def test_what_the_user_sets_stays(run: Any) -> None:
    """Each default yields."""
    own = {name: f"own-{name.lower()}" for name in DEFAULTS if name != "OTEL_EXPORTER_OTLP_ENDPOINT"}
    variables = run("x", **own, OTEL_EXPORTER_OTLP_ENDPOINT="http://localhost:9999/x").variables
    assert {name: variables[name] for name in own} == own
    assert variables["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://localhost:9999/x"


@pytest.mark.parametrize(
    "url", ["https://api.openobserve.ai/api/acme", "http://10.0.0.7:5080", "http://localhost.example.com:4318"]
)
def test_an_endpoint_elsewhere_is_for_the_extension(run: Any, url: str) -> None:
    """The function talks to the extension, by HTTP, for every signal."""
    ran = run(
        "x",
        OTEL_EXPORTER_OTLP_ENDPOINT=url,
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{url}/v1/traces",
        OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=f"{url}/v1/logs",
        OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=f"{url}/v1/metrics",
        OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
    )
    assert ran.variables["OTEL_EXPORTER_OTLP_ENDPOINT"] == RECEIVER
    assert ran.variables["OTEL_EXPORTER_OTLP_PROTOCOL"] == "http/protobuf"
    assert not [
        name for name in ran.variables if name.endswith(("TRACES_ENDPOINT", "LOGS_ENDPOINT", "METRICS_ENDPOINT"))
    ]


def test_local_signal_endpoints_stay(run: Any) -> None:
    """A collector beside the function is the user's choice."""
    ran = run("x", OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="http://127.0.0.1:4444/v1/traces")
    assert ran.variables["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] == "http://127.0.0.1:4444/v1/traces"


def test_the_receivers_port_is_the_extensions_setting(run: Any) -> None:
    """O2_OTLP_PORT moves both ends."""
    assert run("x", O2_OTLP_PORT="14318").variables["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://localhost:14318"


def test_a_service_name_among_the_resource_attributes_counts(run: Any) -> None:
    """The function's name does not override it; service.namespace is something else."""
    assert "OTEL_SERVICE_NAME" not in run("x", OTEL_RESOURCE_ATTRIBUTES="a=b,service.name=shop").variables
    named = run("x", OTEL_RESOURCE_ATTRIBUTES="service.namespace=shop").variables
    assert named["OTEL_SERVICE_NAME"] == "orders"


@pytest.mark.parametrize(
    ("name", "value"),
    [("O2_TRACING", "off"), ("O2_TRACING", "OFF"), ("O2_TRACING", "0"), ("O2_TRACING", "false"),
     ("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")],
)  # fmt: skip
def test_switched_off_nothing_changes(run: Any, name: str, value: str) -> None:
    """The command runs as given, with the environment as given, in silence."""
    ran = run("/var/runtime/bootstrap.py", **{name: value})
    assert ran.arguments == ["/var/runtime/bootstrap.py"]
    assert ran.variables == {name: value}
    assert ran.errors == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "java"}, "no tracer for"),
        ({"lacking": "python"}, "boot.py is missing"),
        ({"O2_OTLP_PORT": "0"}, "O2_OTLP_PORT=0"),
    ],
)
def test_where_tracing_is_impossible_the_original_runs(run: Any, options: dict[str, str], words: str) -> None:
    """Unchanged arguments and environment; one line says why."""
    ran = run("first", "second", **options)
    assert ran.arguments == ["first", "second"]
    assert not [name for name in ran.variables if name.startswith("OTEL_")]
    (line,) = ran.errors
    assert line.startswith("o2-lambda: tracing is off: ")
    assert words in line


def test_without_a_command_it_says_so() -> None:
    """Nothing to run is the caller's mistake: exit status 64, as sysexits has it."""
    done = subprocess.run(["sh", str(WRAPPER)], capture_output=True, text=True, check=False, env={}, timeout=30)
    assert done.returncode == 64
    assert "no command given" in done.stderr
