"""The exact environments AWS gives to an extension and to a runtime. Nothing of the developer's own leaks in."""

from __future__ import annotations

import os
from pathlib import Path

from o2_lambda.emulator import credentials_api
from o2_lambda.emulator.config import CREDENTIAL_NAMES, EXAMPLE_CREDENTIALS, LambdaConfig

SANDBOX_PATH = "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin"
SANDBOX_LIBRARY_PATH = "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib"
XRAY_DAEMON = ("169.254.79.129", "2000")
CREDENTIAL_SET = frozenset(CREDENTIAL_NAMES)


def _shared(config: LambdaConfig, runtime_api: str) -> dict[str, str]:
    customer = {name: value for name, value in config.environment.items() if name not in CREDENTIAL_SET}
    credentials = {name: config.environment.get(name, EXAMPLE_CREDENTIALS[name]) for name in CREDENTIAL_NAMES}
    if "AWS_ACCESS_KEY_ID" in config.environment and "AWS_SESSION_TOKEN" not in config.environment:
        del credentials["AWS_SESSION_TOKEN"]  # long-lived keys have none; a made-up one would be refused
    if config.snap_start:  # keys in a snapshot would be old, and everybody's
        credentials = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{runtime_api}{credentials_api.PATH}",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": credentials_api.token(config),
        }
    return {
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PATH": SANDBOX_PATH,
        "LD_LIBRARY_PATH": SANDBOX_LIBRARY_PATH,
        **customer,
        **credentials,
        "AWS_REGION": config.region,
        "AWS_DEFAULT_REGION": config.region,
        "AWS_LAMBDA_RUNTIME_API": runtime_api,
        "AWS_LAMBDA_FUNCTION_NAME": config.function_name,
        "AWS_LAMBDA_FUNCTION_VERSION": config.function_version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(config.memory_mb),
        "AWS_LAMBDA_INITIALIZATION_TYPE": config.initialization_type,
        "AWS_LAMBDA_LOG_FORMAT": config.log_format,
        "AWS_LAMBDA_LOG_LEVEL": config.log_level,
    }


def extension_environment(config: LambdaConfig, runtime_api: str) -> dict[str, str]:
    """Return what an extension sees; `runtime_api` is `host:port`."""
    return {**_shared(config, runtime_api), **config.extension_environment_extra}


def runtime_environment(
    config: LambdaConfig, runtime_api: str, *, log_stream: str, log_fd: int | None
) -> dict[str, str]:
    """Return what the runtime sees: the extension's variables and those AWS keeps for the runtime alone."""
    host, port = XRAY_DAEMON
    environment = {
        **_shared(config, runtime_api),
        "AWS_EXECUTION_ENV": config.execution_env,
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{config.function_name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": log_stream,
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "AWS_XRAY_DAEMON_ADDRESS": f"{host}:{port}",
        "_AWS_XRAY_DAEMON_ADDRESS": host,
        "_AWS_XRAY_DAEMON_PORT": port,
        "LAMBDA_TASK_ROOT": str(config.task_root),
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "_HANDLER": config.handler,
    }
    interpreter = Path(config.runtime_command[0])
    if interpreter.is_absolute():  # the runtime's own commands, such as `python3`, live beside its interpreter
        environment["PATH"] = f"{environment['PATH']}{os.pathsep}{interpreter.parent}"
    if log_fd is not None:
        environment["_LAMBDA_TELEMETRY_LOG_FD"] = str(log_fd)
    if config.durable:  # where the function's SDK finds the part of Lambda's API that it checkpoints with
        environment.setdefault("AWS_ENDPOINT_URL_LAMBDA", f"http://{runtime_api}")
    if config.managed:
        environment["AWS_LAMBDA_MAX_CONCURRENCY"] = str(config.max_concurrency)
    return {**environment, **config.runtime_environment_extra}
