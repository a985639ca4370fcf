"""Who speaks: what every record and every metric of this sandbox says of function and environment."""

from __future__ import annotations

from o2_lambda.extension.core.jsonscan import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from o2_lambda.extension.config import Config
    from o2_lambda.extension.core.model import Sandbox


def static_fields(config: Config, sandbox: Sandbox) -> str:
    """The JSON members that are equal on every log record, without braces. Unknown and unwanted ones are left out."""
    values = {
        "function_name": sandbox.function_name or config.function_name,
        "function_version": sandbox.function_version,
        "region": config.region,
        "account": sandbox.account,
        "service_name": config.service or sandbox.function_name or config.function_name,
        "env": config.env,
    }
    return ",".join(f'"{name}":{quote(value)}' for name, value in values.items() if value and name in config.log_fields)


def resource(config: Config, sandbox: Sandbox) -> dict[str, str]:
    """The attributes of the OpenTelemetry resource; unknown ones are empty. Few values each: no sandbox, no request."""
    name = sandbox.function_name or config.function_name
    return {
        "service.name": config.service or name,
        "deployment.environment": config.env,
        "cloud.provider": "aws",
        "cloud.region": config.region,
        "cloud.account.id": sandbox.account,
        "faas.name": name,
        "faas.version": sandbox.function_version,
    }
