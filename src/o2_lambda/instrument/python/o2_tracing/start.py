"""Installs the tracer into a process that is about to become a Lambda runtime."""

from __future__ import annotations

import atexit
import os
import sys
from time import monotonic_ns

from . import VERSION, handler, protobuf, settings
from .exporter import Exporter
from .hooks import Finder
from .tracer import Tracer, report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType
    from typing import Callable

    from .exporter import Queued

RUNTIME_CLIENT = "awslambdaric.bootstrap"
LAMBDA_NAMES = ("aws-lambda", "aws_lambda")
# Module -> the patch of o2_tracing.patches, and the names that OTEL_PYTHON_DISABLED_INSTRUMENTATIONS knows it by.
PATCHES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("http.client", "http_client", ("http.client", "urllib")),
    ("urllib3.connectionpool", "urllib3", ("urllib3",)),
    ("botocore.client", "botocore", ("botocore", "boto3")),
    ("aiobotocore.client", "botocore", ("botocore", "aiobotocore")),
    ("httpx", "httpx", ("httpx",)),
    ("aiohttp.client", "aiohttp", ("aiohttp-client", "aiohttp")),
    ("redis.client", "redis", ("redis",)),
    ("redis.cluster", "redis", ("redis",)),
    ("redis.asyncio.client", "redis", ("redis",)),
    ("redis.asyncio.cluster", "redis", ("redis",)),
    ("psycopg", "psycopg", ("psycopg",)),
    ("psycopg2", "psycopg2", ("psycopg2",)),
    ("pymysql.cursors", "pymysql", ("pymysql",)),
    ("pymongo.monitoring", "pymongo", ("pymongo",)),
    ("sqlalchemy", "sqlalchemy", ("sqlalchemy",)),
)
NANOSECONDS_PER_MS = 1_000_000


def install(environ: Mapping[str, str]) -> Tracer:
    """Hooks the runtime client, so that its handler is traced, and the clients the function may use."""
    chosen = settings.read(environ, report)
    exporter = Exporter(
        chosen.address, _encoder(environ), lambda: monotonic_ns() // NANOSECONDS_PER_MS, report,
        announces=chosen.is_extension,
    )  # fmt: skip
    tracer = Tracer(chosen, exporter)
    if not chosen.traces(*LAMBDA_NAMES):  # every other span lies below the invocation's
        return tracer
    patches = {RUNTIME_CLIENT: lambda module: handler.patch(module, tracer)}
    for module_name, patch_name, names in PATCHES:
        if chosen.traces(*names):
            patches[module_name] = _patch(patch_name, tracer)
    sys.meta_path.insert(0, Finder(patches))
    os.register_at_fork(after_in_child=lambda: exporter.after_fork(is_invoked=tracer.invocation is not None))
    atexit.register(exporter.close)
    return tracer


def _patch(name: str, tracer: Tracer) -> Callable[[ModuleType], None]:
    def apply(module: ModuleType) -> None:
        package = __import__(f"{__package__}.patches", fromlist=[name])
        getattr(package, name).patch(module, tracer)

    return apply


def _encoder(environ: Mapping[str, str]) -> Callable[[list[Queued]], bytes]:
    """Encodes requests; the resource is read at the first, since a snapshot learns its instance when it is restored."""
    prefix: list[bytes] = []

    def encode(spans: list[Queued]) -> bytes:
        if not prefix:
            from . import resource

            prefix.append(protobuf.resource(resource.attributes(environ)))
        return protobuf.request(prefix[0], VERSION, spans)

    return encode
