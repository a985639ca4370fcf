"""The settings: names, kinds, defaults, bounds and meanings. The one source of the README's table and of `--help`."""

from __future__ import annotations

from o2_lambda.extension.boot import OTLP_PORT
from o2_lambda.extension.core.flush import AUTO, STRATEGIES
from o2_lambda.extension.core.lines import LEVELS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LOG_TYPES = ("function", "platform", "extension", "failure")
LOG_FIELDS = (
    "event_id",
    "function_name",
    "function_version",
    "region",
    "account",
    "service_name",
    "env",
    "cold_start",
    "trace_id",
    "span_id",
    "tenant_id",
    "message",
    "level",
)
HOLD, PASSIVE = "hold", "passive"


class Setting:
    """One setting. `low` and `high` bound an integer.

    `kind`: integer, boolean, choice, list, url, text for a header or a path, or name, which goes into records alone.
    """

    __slots__ = ("choices", "default", "doc", "high", "kind", "low", "name", "required", "secret")

    def __init__(
        self,
        name: str,
        kind: str,
        default: Any,
        doc: str,
        *,
        low: int = 0,
        high: int = 2**31 - 1,
        choices: tuple[str, ...] = (),
        required: bool = False,
        secret: bool = False,
    ) -> None:
        self.name = name
        self.kind = kind
        self.default = default
        self.doc = doc
        self.low = low
        self.high = high
        self.choices = choices
        self.required = required
        self.secret = secret


SETTINGS = (
    Setting("O2_ORGANIZATION_ID", "text", "", "Organization in OpenObserve.", required=True),
    Setting(
        "O2_AUTHORIZATION_HEADER",
        "text",
        "",
        "Whole value of the header: `Basic <base64>`. This one or the next is required.",
        secret=True,
    ),
    Setting(
        "O2_AUTHORIZATION_SECRET",
        "text",
        "",
        "Where the header lies instead: name or ARN of a secret, or `ssm:/NAME` or ARN of an SSM parameter; "
        "`#KEY` behind it picks a member of a JSON object.",
    ),
    Setting(
        "O2_SECRET_FAILURE",
        "choice",
        HOLD,
        "While the secret cannot be read: `hold` everything and try again, or stay `passive`.",
        choices=(HOLD, PASSIVE),
    ),
    Setting("O2_ENDPOINT", "url", "https://api.openobserve.ai", "Base URL of OpenObserve, a path is kept."),
    Setting(
        "O2_ADDITIONAL_ENDPOINTS",
        "text",
        "",
        "Further destinations of everything, as a JSON array: "
        '`[{"endpoint":"https://…","organization":"…","stream":"…","secret":"…"}]`.',
        secret=True,
    ),
    Setting("O2_STREAM", "text", "default", "Stream for logs."),
    Setting("O2_TRACES_STREAM", "text", "", "Stream for traces; empty: the server's default."),
    Setting(
        "O2_BATCH_SIZE",
        "integer",
        5000,
        "Most log events in one request; 4 MiB before or 1 MiB after compression also end one.",
        low=1,
        high=100_000,
    ),
    Setting(
        "O2_FLUSH_STRATEGY",
        "choice",
        AUTO,
        "When to send; `auto` is `end` below 10 invocations a minute, else `continuous`.",
        choices=STRATEGIES,
    ),
    Setting(
        "O2_FLUSH_BUDGET_MS", "integer", 1000, "Longest time one invocation is prolonged for sending.", high=900_000
    ),
    Setting(
        "O2_FLUSH_INTERVAL_MS", "integer", 5000, "Interval of periodic and continuous sending.", low=50, high=900_000
    ),
    Setting(
        "O2_MAX_BUFFER_SIZE_MB",
        "integer",
        10,
        "Bound of everything held, compressed; when full the oldest batch is dropped.",
        low=1,
        high=10_240,
    ),
    Setting("O2_REQUEST_TIMEOUT_MS", "integer", 30_000, "Time for one request to OpenObserve.", low=10, high=900_000),
    Setting(
        "O2_MAX_RETRIES",
        "integer",
        3,
        "Failures in a row after which sending pauses and no invocation waits; nothing is given up.",
        high=100,
    ),
    Setting(
        "O2_INITIAL_RETRY_DELAY_MS",
        "integer",
        1000,
        "Longest pause after the first failure; doubles, with jitter.",
        low=1,
        high=900_000,
    ),
    Setting("O2_MAX_RETRY_DELAY_MS", "integer", 30_000, "Longest pause between two attempts.", low=1, high=900_000),
    Setting(
        "O2_SERVICE", "name", "", "Service name on log records; default `OTEL_SERVICE_NAME`, then the function's name."
    ),
    Setting("O2_ENV", "name", "", "Deployment environment on log records."),
    Setting(
        "O2_LOG_TYPES",
        "list",
        ",".join(LOG_TYPES),
        "Which telemetry is sent; `failure` is a record of our own on what timed out, ran out of memory or crashed.",
        choices=LOG_TYPES,
    ),
    Setting(
        "O2_LOG_FIELDS",
        "list",
        ",".join(LOG_FIELDS),
        "Fields added to log records beside `_timestamp` and `requestId`; `none` for none.",
        choices=(*LOG_FIELDS, "none"),
    ),
    Setting(
        "O2_ENHANCED_METRICS",
        "boolean",
        True,
        "Metrics `aws.lambda.enhanced.*` from Lambda's reports, once a minute and at the end.",
    ),
    Setting("O2_EMIT_BASE_ALIASES", "boolean", False, "Also `aws.lambda.duration`, `.errors` and `.invocations`."),
    Setting("O2_LOG_LEVEL", "choice", "INFO", "The extension's own log level; default `LOG_LEVEL`.", choices=LEVELS),
    Setting(
        "O2_PROXY", "url", "", "Proxy for the way to OpenObserve: `http://[user:password@]host:port`.", secret=True
    ),
    Setting("O2_CA_CERT", "text", "", "File or folder of CA certificates to trust instead of the system's."),
    Setting(
        "O2_OTLP_PORT", "integer", OTLP_PORT, "Port of the OTLP receiver on localhost; 0 turns it off.", high=65_535
    ),
    Setting("O2_TELEMETRY_PORT", "integer", 0, "Port of the telemetry listener; 0 picks a free one.", high=65_535),
    Setting(
        "O2_STRICT",
        "boolean",
        False,
        "`true`: a bad setting fails the function's start instead of turning telemetry off.",
    ),
)
BY_NAME = {setting.name: setting for setting in SETTINGS}


def settings_table() -> str:
    """The settings as a Markdown table, for the README."""
    lines = ["| Setting | Default | Meaning |", "|---|---|---|"]
    lines += [
        f"| `{setting.name}` | {_default_shown(setting)} | {setting.doc}{_choices_shown(setting)} |"
        for setting in SETTINGS
    ]
    return "\n".join(lines) + "\n"


def settings_help() -> str:
    """The settings as plain text, for `--help`."""
    lines = []
    for setting in SETTINGS:
        default = _default_shown(setting).replace("`", "")
        lines.append(f"  {setting.name:<26} {(setting.doc + _choices_shown(setting)).replace('`', '')} [{default}]")
    return "\n".join(lines) + "\n"


def _default_shown(setting: Setting) -> str:
    if setting.required:
        return "required"
    if setting.kind == "list" and setting.default == ",".join(c for c in setting.choices if c != "none"):
        return "all"
    text = str(setting.default).lower() if setting.kind == "boolean" else str(setting.default)
    return f"`{text}`" if text else "-"


def _choices_shown(setting: Setting) -> str:
    return (
        " One of " + ", ".join(f"`{choice}`" for choice in setting.choices) + "."
        if setting.kind == "choice"
        else (
            " Any of " + ", ".join(f"`{choice}`" for choice in setting.choices if choice != "none") + "."
            if setting.kind == "list"
            else ""
        )
    )
