"""What the emulator is asked to be: one function, its runtime, its extensions and its environment."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from o2_lambda.emulator.errors import ConfigError
from o2_lambda.emulator.faults import Faults

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ON_DEMAND = "on-demand"
PROVISIONED = "provisioned-concurrency"
SNAP_START = "snap-start"
MANAGED = "lambda-managed-instances"
INITIALIZATION_TYPES = (ON_DEMAND, PROVISIONED, SNAP_START, MANAGED)
RESTORE_LIMIT_MS = 10_000  # AWS: the runtime's after-restore hooks included
LOG_FORMATS = ("Text", "JSON")
MEMORY_MB_MIN, MEMORY_MB_MAX = 128, 32768  # 10240 on demand; managed instances go up to 32 GB
TIMEOUT_MS_MAX = 900_000
MEMORY_MB_PER_CPU = 1769  # AWS: at this much memory a function has one full virtual CPU

CREDENTIAL_NAMES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
EXAMPLE_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",  # the ids AWS's own documentation uses
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_SESSION_TOKEN": "example-session-token",
}
# Lambda refuses a function configuration that sets one of these.
RESERVED_NAMES = frozenset({
    "_HANDLER", "_X_AMZN_TRACE_ID", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_EXECUTION_ENV", "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT",
    "LAMBDA_RUNTIME_DIR",
})  # fmt: skip


@dataclass
class LambdaConfig:
    """One function and the environment it runs in. Times in milliseconds, memory in MB.

    `extensions` are files as they would lie in `/opt/extensions`; `extensions_dir` is such a folder. Each is started
    in the order of its base name and has to register under that name. `runtime_command` speaks the Runtime API; the
    handler is appended to it unless `pass_handler` is false.
    """

    runtime_command: Sequence[str | Path]
    handler: str = ""
    task_root: Path = field(default_factory=Path.cwd)
    extensions: Sequence[Path] = ()
    extensions_dir: Path | None = None
    function_name: str = "my-function"
    function_version: str = "$LATEST"
    memory_mb: int = 128
    timeout_ms: int = 3000
    init_timeout_ms: int | None = None  # None: 10 s on demand, else max(130 s, timeout), as on AWS
    region: str = "us-east-1"
    account_id: str = "123456789012"
    environment: Mapping[str, str] = field(default_factory=dict)
    extension_environment_extra: Mapping[str, str] = field(default_factory=dict)
    runtime_environment_extra: Mapping[str, str] = field(default_factory=dict)
    log_format: str = "Text"
    log_level: str = "INFO"
    initialization_type: str = ON_DEMAND
    snapshot_age_ms: float = 0  # SnapStart: how long the snapshot lies; the platform's wall clock jumps by it
    max_concurrency: int = 1  # managed instances only: invocations side by side
    execution_env: str = f"AWS_Lambda_python3.{sys.version_info.minor}"
    runtime_version: str = ""  # "" derives it from `execution_env`
    durable: bool = False  # a durable function: `runtimeVersion` says so, see `durable.execute`
    tracing_active: bool = True
    freeze: bool = True
    eager_init: bool = True  # False: initialise within the first invoke, as AWS does on demand
    pass_handler: bool = True
    log_fd: bool = True  # offer `_LAMBDA_TELEMETRY_LOG_FD` to the runtime
    cpu_quota: float | None = None  # CPUs for everything in the sandbox; 0.07 is what 128 MB get
    enforce_memory: bool = False  # kill a runtime that goes over `memory_mb`, as Lambda does
    sigterm_grace_ms: int = 300
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        """Validate; raises ConfigError with one line."""
        self.task_root = Path(self.task_root).resolve()
        if not self.runtime_command:
            raise ConfigError("the runtime command is empty: give a command that speaks the Lambda Runtime API")
        if not self.task_root.is_dir():
            raise ConfigError(f"the task root {self.task_root} is not a folder")
        _one_of("initialization_type", self.initialization_type, INITIALIZATION_TYPES)
        _one_of("log_format", self.log_format, LOG_FORMATS)
        _between("memory_mb", self.memory_mb, MEMORY_MB_MIN, MEMORY_MB_MAX)
        _between("timeout_ms", self.timeout_ms, 1, TIMEOUT_MS_MAX)
        if self.managed:
            self.log_format = "JSON"  # the only format managed instances have
            self.freeze = False
        for name in self.environment:
            if name in RESERVED_NAMES:
                raise ConfigError(f"the environment variable {name} is reserved by Lambda: remove it")
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
                raise ConfigError(f"the environment variable name {name!r} is not valid: letters, digits and _ only")

    @property
    def managed(self) -> bool:
        """Whether this is Lambda Managed Instances."""
        return self.initialization_type == MANAGED

    @property
    def snap_start(self) -> bool:
        """Whether the environment is restored from a snapshot that is taken after its init."""
        return self.initialization_type == SNAP_START

    @property
    def init_limit_ms(self) -> float:
        """How long the init phase may take."""
        if self.init_timeout_ms is not None:
            return self.init_timeout_ms
        return 10_000 if self.initialization_type == ON_DEMAND else max(130_000, self.timeout_ms)

    @property
    def function_arn(self) -> str:
        """The unqualified ARN of the function."""
        return f"arn:aws:lambda:{self.region}:{self.account_id}:function:{self.function_name}"

    @property
    def version_label(self) -> str:
        """What `platform.initStart` calls the runtime, such as `python:3.13.v1`."""
        if self.runtime_version:
            return self.runtime_version
        match = re.fullmatch(r"AWS_Lambda_([a-z]+)([\d.]*)(?:\.x)?", self.execution_env)
        name = f"{match[1]}:{match[2] or '1'}".rstrip(".") if match else "provided:al2023"
        return f"{name}.DurableFunction.v1" if self.durable else f"{name}.v1"

    def extension_files(self) -> list[Path]:
        """Return what `/opt/extensions` holds: the non-directory entries in the order of their names."""
        files = [Path(path).resolve() for path in self.extensions]
        if self.extensions_dir is not None:
            if not Path(self.extensions_dir).is_dir():
                raise ConfigError(f"the extensions folder {self.extensions_dir} does not exist")
            files += [path.resolve() for path in Path(self.extensions_dir).iterdir() if not path.is_dir()]
        return sorted(files, key=lambda path: path.name)


def is_executable(path: Path) -> bool:
    """Whether `path` is a file that may be started."""
    return path.is_file() and os.access(path, os.X_OK)


def _one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


def _between(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name} must be between {low} and {high}, got {value}")
