"""Python for the tracing bench: functions, their packages, the official tracer's, and how a runtime is started.

The official one is built as the community's layer for Lambda is: `opentelemetry-instrument` starts the runtime, the
handler is wrapped by the AWS Lambda instrumentation, every instrumentation of the list is there.
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING

from o2_lambda.layer.build import project_root

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


FUNCTIONS = {
    "trivial": "def handler(event, context):\n    return {'statusCode': 200}\n",
    "http": (
        "import os, requests\nsession = requests.Session()\n"
        "def handler(event, context):\n    return session.get(os.environ['SERVICE'] + '/things').json()\n"
    ),
    "aws": (
        "import os, boto3\ntable = boto3.client('dynamodb', endpoint_url=os.environ['SERVICE'])\n"
        "def handler(event, context):\n    return table.list_tables()['TableNames']\n"
    ),
}


class Python:
    """An interpreter, of no virtual environment."""

    handler = "app.handler"
    variant = "full"

    def __init__(self, interpreter: str) -> None:
        self._interpreter = interpreter
        done = subprocess.run([interpreter, "-V"], capture_output=True, text=True, check=True)
        self.title = done.stdout.strip()
        if not self.title.startswith("Python 3."):
            raise ValueError("it is no Python")

    def install(self) -> None:
        """Makes everything ready that `start` needs."""
        _installed(self._interpreter, "function", FUNCTION_PACKAGES)
        _installed(self._interpreter, "official", OFFICIAL_PACKAGES)

    def write(self, function: str, task: Path) -> None:
        """Puts a function into its folder."""
        (task / "app.py").write_text(FUNCTIONS[function])

    def start(self, task: Path, official: str) -> tuple[list[str], dict[str, str]]:
        """Command and variables of a runtime process; `official` is the endpoint of the official tracer, if any."""
        packages = [_installed(self._interpreter, "function", FUNCTION_PACKAGES)]
        command = [self._interpreter, "-m", "awslambdaric", self.handler]
        environment = {}
        if official:
            packages.append(_installed(self._interpreter, "official", OFFICIAL_PACKAGES))
            wrapped = "otel_wrapper.lambda_handler"
            environment = {
                "ORIG_HANDLER": self.handler,
                "_HANDLER": wrapped,
                "OTEL_SERVICE_NAME": "bench",
                "OTEL_EXPORTER_OTLP_ENDPOINT": official,
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                "OTEL_METRICS_EXPORTER": "none",
                "OTEL_LOGS_EXPORTER": "none",
            }
            command = [self._interpreter, str(packages[1] / "bin/opentelemetry-instrument"), *command[:-1], wrapped]
        return command, environment | {"PYTHONPATH": ":".join(map(str, [task, *packages]))}


@cache
def _installed(interpreter: str, kind: str, packages: tuple[str, ...]) -> Path:
    """A folder with packages for an interpreter, byte code included; installed once, into the project's cache."""
    version = subprocess.run([interpreter, "-V"], capture_output=True, text=True, check=True).stdout.split()[1]
    folder = project_root() / ".cache" / "bench" / f"{kind}-{version}"
    recipe = "\n".join(packages)
    stamp = folder / "installed"
    if not stamp.exists() or stamp.read_text() != recipe:
        print(f"Installing {kind} for Python {version} ...", flush=True)
        # By the pip that is here: an interpreter out of a distribution's packages has none.
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        command += ["--root-user-action=ignore", "--only-binary=:all:", "--python-version", version]
        subprocess.run([*command, "--upgrade", "--target", folder, *packages], check=True)
        if kind == "official":
            (folder / "otel_wrapper.py").write_text(OTEL_WRAPPER)
        subprocess.run([interpreter, "-m", "compileall", "-q", folder], check=False)  # templates in it are no Python
        stamp.write_text(recipe)
    return folder
