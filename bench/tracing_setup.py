"""What the tracing bench installs: for each interpreter the functions' packages, and the official tracer's.

The official one is built as the community's layer for Lambda is: `opentelemetry-instrument` starts the runtime, the
handler is wrapped by the AWS Lambda instrumentation, every instrumentation of the list is there.
"""

from __future__ import annotations

import platform
import subprocess
import zipfile
from functools import cache
from typing import TYPE_CHECKING

from o2_lambda.layer.build import build, project_root

if TYPE_CHECKING:
    from pathlib import Path

FUNCTION_PACKAGES = ("awslambdaric==4.2.2", "boto3==1.44.5", "requests==2.34.2")
OTEL, CONTRIB = "1.43.0", "0.64b0"
INSTRUMENTATIONS = (
    *("aiohttp-client", "asgi", "asyncpg", "aws-lambda", "boto3sqs", "botocore", "celery", "dbapi", "django"),
    *("elasticsearch", "falcon", "fastapi", "flask", "grpc", "httpx", "jinja2", "mysql", "psycopg2", "pymemcache"),
    *("pymongo", "pymysql", "pyramid", "redis", "requests", "sqlalchemy", "sqlite3", "starlette", "tornado", "urllib"),
    *("urllib3", "wsgi"),
)
OFFICIAL_PACKAGES = (
    f"opentelemetry-distro=={CONTRIB}",
    f"opentelemetry-sdk=={OTEL}",
    f"opentelemetry-exporter-otlp-proto-http=={OTEL}",
    *(f"opentelemetry-instrumentation-{name}=={CONTRIB}" for name in INSTRUMENTATIONS),
)
# What the layer's own wrapper module does.
OTEL_WRAPPER = """\
import os
from importlib import import_module
from opentelemetry.instrumentation.aws_lambda import AwsLambdaInstrumentor
AwsLambdaInstrumentor().instrument()
module, _, name = os.environ["ORIG_HANDLER"].rpartition(".")
lambda_handler = getattr(import_module(module), name)
"""


@cache
def installed(interpreter: str, kind: str, packages: tuple[str, ...]) -> Path:
    """A folder with packages for an interpreter, byte code included; installed once, into the project's cache."""
    version = subprocess.run([interpreter, "-V"], capture_output=True, text=True, check=True).stdout.split()[1]
    folder = project_root() / ".cache" / "bench" / f"{kind}-{version}"
    recipe = "\n".join(packages)
    stamp = folder / "installed"
    if not stamp.exists() or stamp.read_text() != recipe:
        print(f"Installing {kind} for Python {version} ...", flush=True)
        command = [
            interpreter,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--root-user-action=ignore",
            "--only-binary=:all:",
        ]
        subprocess.run([*command, "--upgrade", "--target", folder, *packages], check=True)
        if kind == "official":
            (folder / "otel_wrapper.py").write_text(OTEL_WRAPPER)
        subprocess.run([interpreter, "-m", "compileall", "-q", folder], check=False)  # templates in it are no Python
        stamp.write_text(recipe)
    return folder


def unpacked_layer(folder: Path) -> Path:
    """Builds the full layer and unpacks it; the wrapper may be run."""
    arch = "x86_64" if platform.machine() == "x86_64" else "arm64"
    (path,) = build([arch], ["full"], folder, project_root() / ".cache" / "layer")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    (folder / "otel-instrument").chmod(0o755)
    return folder
