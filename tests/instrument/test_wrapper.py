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
    (opt / "o2" / "java").mkdir()
    (opt / "o2" / "java" / "opentelemetry-javaagent.jar").touch()
    (opt / "o2" / "java" / "o2-tracing.jar").touch()
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
    run.agent = f"-javaagent:{opt / 'o2' / 'java' / 'opentelemetry-javaagent.jar'}"
    run.extension = opt / "o2" / "java" / "o2-tracing.jar"
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
        ({"name": "bootstrap"}, "no tracer for"),
        ({"name": "ruby"}, "no tracer for"),
        ({"name": "dotnet"}, "no tracer for"),
        ({"name": "javac"}, "no tracer for"),
        ({"name": "python2"}, "no tracer for"),
        ({"lacking": "python"}, "boot.py is missing"),
        ({"name": "java", "lacking": "java"}, "java variant of the layer"),
        (
            {"name": "java", "JAVA_TOOL_OPTIONS": "-javaagent:/opt/aws-opentelemetry-agent.jar"},
            "an OpenTelemetry agent",
        ),
        ({"name": "java", "O2_OTLP_PORT": "0"}, "O2_OTLP_PORT=0"),
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


@pytest.mark.parametrize("name", ["python3.12", "java", "ruby"])
def test_switched_off_every_runtime_starts_as_given(run: Any, name: str) -> None:
    """The switch comes before any question of who can be traced."""
    ran = run("first", name=name, O2_TRACING="off")
    assert (ran.arguments, ran.errors) == (["first"], [])


JAVA_DEFAULTS = {
    "OTEL_EXPORTER_OTLP_ENDPOINT": RECEIVER,
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "5000",
    "OTEL_BSP_SCHEDULE_DELAY": "5000",
    "OTEL_BSP_EXPORT_TIMEOUT": "5000",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_LOGS_EXPORTER": "none",
    "OTEL_INSTRUMENTATION_AWS_LAMBDA_FLUSH_TIMEOUT": "2000",
    "OTEL_JAVA_EXPORTER_OTLP_RETRY_DISABLED": "true",
    "OTEL_INSTRUMENTATION_COMMON_DEFAULT_ENABLED": "false",
    "OTEL_INSTRUMENTATION_AWS_LAMBDA_ENABLED": "true",
    "OTEL_INSTRUMENTATION_JDBC_ENABLED": "true",
    "OTEL_SERVICE_NAME": "orders",
}


def test_java_starts_with_the_agent_and_the_fast_compiler_alone(run: Any) -> None:
    """In argv, not in JAVA_TOOL_OPTIONS: nothing is printed, no child inherits it. Lambda's own options come later."""
    ran = run("-XX:+UseSerialGC", "-cp", "a b", "Main", "x::y", name="java")
    assert ran.arguments == [run.agent, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", "a b", "Main", "x::y"]
    assert {name: ran.variables.get(name) for name in JAVA_DEFAULTS} == JAVA_DEFAULTS
    assert ran.variables["OTEL_JAVAAGENT_EXTENSIONS"] == str(run.extension)
    assert ran.errors == []


def test_a_java_users_own_extensions_of_the_agent_come_first(run: Any) -> None:
    """Ours is one more of them."""
    variables = run("Main", name="java", OTEL_JAVAAGENT_EXTENSIONS="/opt/a.jar,/opt/b").variables
    assert variables["OTEL_JAVAAGENT_EXTENSIONS"] == f"/opt/a.jar,/opt/b,{run.extension}"


def test_the_agent_starts_without_our_extension_of_it(run: Any) -> None:
    """One line says what is missing."""
    run.extension.unlink()
    ran = run("Main", name="java")
    assert ran.arguments[0] == run.agent
    assert "OTEL_JAVAAGENT_EXTENSIONS" not in ran.variables
    (line,) = ran.errors
    assert "o2-tracing.jar is missing" in line


def test_java11_loses_the_option_that_would_triple_the_agents_start(run: Any) -> None:
    """Unless the user has chosen how to compile."""
    given = ["-XX:-TieredCompilation", "Main"]
    assert run(*given, name="java").arguments == [run.agent, "-XX:TieredStopAtLevel=1", "Main"]
    chosen = run(*given, name="java", JAVA_TOOL_OPTIONS="-XX:TieredStopAtLevel=4")
    assert chosen.arguments == [run.agent, *given]


def test_what_a_java_user_sets_stays(run: Any) -> None:
    """Each default yields; one library can be left out, or all be taken in."""
    own = {
        name: "own"
        for name in JAVA_DEFAULTS
        if name.startswith("OTEL_INSTR") or name.endswith(("DELAY", "EXPORTER", "DISABLED"))
    }
    variables = run("Main", name="java", **own).variables
    assert {name: variables[name] for name in own} == own
    variables = run("Main", name="java", OTEL_INSTRUMENTATION_JDBC_ENABLED="false").variables
    assert variables["OTEL_INSTRUMENTATION_JDBC_ENABLED"] == "false"
    variables = run("Main", name="java", OTEL_INSTRUMENTATION_COMMON_DEFAULT_ENABLED="true").variables
    assert "OTEL_INSTRUMENTATION_JDBC_ENABLED" not in variables


@pytest.mark.parametrize(
    ("memory_mb", "expected_ms"),
    [("", "2000"), ("128", "2000"), ("512", "1953"), ("1769", "565"), ("10240", "500"), ("512 MB", "2000")],
)
def test_a_java_function_waits_for_its_flush_in_proportion_to_its_cpu(
    run: Any, memory_mb: str, expected_ms: str
) -> None:
    """Between half a second and two; what is no number counts as no memory size."""
    variables = run("Main", name="java", AWS_LAMBDA_FUNCTION_MEMORY_SIZE=memory_mb).variables
    assert variables["OTEL_INSTRUMENTATION_AWS_LAMBDA_FLUSH_TIMEOUT"] == expected_ms


def test_java_is_told_where_it_runs(run: Any) -> None:
    """The user's resource attributes stand last, where they win."""
    lambdas = {
        "AWS_REGION": "eu-west-1",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_LOG_STREAM_NAME": "2026/01/02/[$LATEST]ab",
    }
    variables = run("Main", name="java", OTEL_RESOURCE_ATTRIBUTES="faas.name=mine", **lambdas).variables
    assert variables["OTEL_RESOURCE_ATTRIBUTES"] == (
        "cloud.provider=aws,cloud.platform=aws_lambda,cloud.region=eu-west-1,faas.name=orders,"
        "faas.version=$LATEST,faas.instance=2026/01/02/[$LATEST]ab,faas.name=mine"
    )


@pytest.mark.parametrize(
    "file", ["lib/opentelemetry-sdk-trace-1.57.0.jar", "io/opentelemetry/sdk/OpenTelemetrySdk.class"]
)
def test_a_java_function_with_an_sdk_of_its_own_is_left_to_it(run: Any, tmp_path: Path, file: str) -> None:
    """It gets the receiver's address and no agent, unless the user asks for the agent."""
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).touch()
    ran = run("-XX:-TieredCompilation", "Main", name="java", LAMBDA_TASK_ROOT=str(tmp_path))
    assert ran.arguments == ["-XX:-TieredCompilation", "Main"]
    assert ran.variables["OTEL_EXPORTER_OTLP_ENDPOINT"] == RECEIVER
    assert "OTEL_METRICS_EXPORTER" not in ran.variables
    wanted = run("Main", name="java", LAMBDA_TASK_ROOT=str(tmp_path), OTEL_JAVAAGENT_ENABLED="true")
    assert wanted.arguments[0] == run.agent


def test_without_a_command_it_says_so() -> None:
    """Nothing to run is the caller's mistake: exit status 64, as sysexits has it."""
    done = subprocess.run(["sh", str(WRAPPER)], capture_output=True, text=True, check=False, env={}, timeout=30)
    assert done.returncode == 64
    assert "no command given" in done.stderr


def test_node_is_told_to_load_our_handler(run: Any, tmp_path: Path) -> None:
    """The function's own is kept for us; a client that takes the handler as an argument is told the same."""
    node = Path(run.boot).parents[1] / "node"
    node.mkdir()
    (node / "handler.js").touch()
    task = {"LAMBDA_TASK_ROOT": str(tmp_path), "_HANDLER": "src/app.run.it"}
    ran = run("index.mjs", "a b", "src/app.run.it", name="node", **task)
    assert ran.arguments == ["index.mjs", "a b", f"{node}/handler.handler"]
    assert (ran.variables["O2_TRACED_HANDLER"], ran.errors) == ("src/app.run.it", [])
    assert ran.variables["OTEL_EXPORTER_OTLP_TIMEOUT"] == "1000"
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "app.mjs").touch()
    assert run("src/app.run.it", name="node", **task).arguments == [f"{node}/module.handler"]


@pytest.mark.parametrize("handler", ["../app.run", "app", ""])
def test_node_refuses_a_bad_handler_itself(run: Any, handler: str) -> None:
    """What is no handler's name is the runtime's to refuse: it starts untouched."""
    node = Path(run.boot).parents[1] / "node"
    node.mkdir()
    (node / "handler.js").touch()
    ran = run("index.mjs", name="node", _HANDLER=handler)
    assert (ran.arguments, ran.variables, ran.errors) == (["index.mjs"], {}, [])
