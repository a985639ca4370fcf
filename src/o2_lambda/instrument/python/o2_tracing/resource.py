"""The resource: what this process is. Attributes that the user sets win."""

from __future__ import annotations

import sys

from . import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

MEBIBYTE = 1 << 20


def attributes(environ: Mapping[str, str]) -> dict[str, Any]:
    """Resource attributes by OpenTelemetry's conventions for AWS Lambda."""
    name = environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
    found: dict[str, Any] = {
        "service.name": name or "unknown_service",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "o2-lambda",
        "telemetry.sdk.version": VERSION,
        "process.runtime.name": sys.implementation.name,
        "process.runtime.version": ".".join(str(part) for part in sys.version_info[:3]),
        "cloud.provider": "aws",
        "cloud.platform": "aws_lambda",
        "cloud.region": environ.get("AWS_REGION", ""),
        "faas.name": name,
        "faas.version": environ.get("AWS_LAMBDA_FUNCTION_VERSION", ""),
        "faas.instance": environ.get("AWS_LAMBDA_LOG_STREAM_NAME", ""),
    }
    memory_mb = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    if memory_mb.isdigit():
        found["faas.max_memory"] = int(memory_mb) * MEBIBYTE
    group = environ.get("AWS_LAMBDA_LOG_GROUP_NAME")
    if group:
        found["aws.log.group.names"] = [group]
    for item in environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","):
        key, equals, value = item.partition("=")
        if equals and key.strip():
            found[_unquote(key.strip())] = _unquote(value.strip())
    service = environ.get("OTEL_SERVICE_NAME")
    if service:
        found["service.name"] = service
    return {key: value for key, value in found.items() if value != ""}


def _unquote(value: str) -> str:
    if "%" not in value:
        return value
    from urllib.parse import unquote  # costs more than the rest of this module; few need it

    return unquote(value)
