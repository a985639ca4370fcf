"""Settings: the environment as a checked `Config`. The one source of the settings table and of `--help`."""

from __future__ import annotations

from binascii import a2b_base64

from o2_lambda.extension.core.flush import AUTO, STRATEGIES
from o2_lambda.extension.core.url import ConfigError, Url, parse_url, quoted, shown, unquote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

LOG_TYPES = ("function", "platform", "extension")
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
    "message",
    "level",
)
LEVELS = ("DEBUG", "INFO", "NOTICE", "WARN", "ERROR")
OTLP_PORT = 4318
SECRET_LENGTH_MIN = 4  # what is shorter would mask half of every line
LOCAL_HOSTS = ("localhost", "localhost.", "::1", "::", "0.0.0.0", "sandbox", "sandbox.localdomain")  # noqa: S104 - told apart, not bound


class Setting:
    """One setting. `kind`: text, integer, boolean, choice, list or url; `low` and `high` bound an integer."""

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
        "Whole value of the header: `Basic <base64>`.",
        required=True,
        secret=True,
    ),
    Setting("O2_ENDPOINT", "url", "https://api.openobserve.ai", "Base URL of OpenObserve, a path is kept."),
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
        "O2_SERVICE", "text", "", "Service name on log records; default `OTEL_SERVICE_NAME`, then the function's name."
    ),
    Setting("O2_ENV", "text", "", "Deployment environment on log records."),
    Setting("O2_LOG_TYPES", "list", ",".join(LOG_TYPES), "Which telemetry is sent.", choices=LOG_TYPES),
    Setting(
        "O2_LOG_FIELDS",
        "list",
        ",".join(LOG_FIELDS),
        "Fields added to log records beside `_timestamp` and `requestId`; `none` for none.",
        choices=(*LOG_FIELDS, "none"),
    ),
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
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")
_ALIASES = {"O2_LOG_LEVEL": "LOG_LEVEL", "O2_SERVICE": "OTEL_SERVICE_NAME"}
# Headers for the SDK's own connection, and `organization`, which would override the organization of the path.
_HEADERS_KEPT_BACK = (
    "organization",
    "host",
    "connection",
    "content-type",
    "content-length",
    "content-encoding",
    "transfer-encoding",
)
_LEVEL_NAMES = {"TRACE": "DEBUG", "WARNING": "WARN", "CRITICAL": "ERROR", "FATAL": "ERROR", "OFF": "ERROR"}


class Config:
    """The checked settings. Build it with `load`; every setting is an attribute in lower case without `O2_`."""

    authorization_header: str
    batch_size: int
    ca_cert: str
    endpoint: Url
    env: str
    flush_budget_ms: int
    flush_interval_ms: int
    flush_strategy: str
    initial_retry_delay_ms: int
    log_fields: frozenset[str]
    log_level: str
    log_types: frozenset[str]
    max_buffer_size_mb: int
    max_retries: int
    max_retry_delay_ms: int
    organization_id: str
    otlp_port: int
    proxy: Url | None
    request_timeout_ms: int
    service: str
    stream: str
    strict: bool
    telemetry_port: int
    traces_stream: str

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.otlp_urls: dict[str, Url] = {}  # signal -> where its export requests go
        self.otlp_named: frozenset[str] = frozenset()  # the signals whose URL the user gave, with these headers
        self.otlp_headers: dict[str, str] = {}
        self.function_name = ""
        self.region = ""

    def secrets(self) -> tuple[str, ...]:
        """The texts that must never be printed, in every shape in which a server might repeat them; longest first."""
        values = {self.authorization_header, *self.otlp_headers.values()} - {self.otlp_headers.get("stream-name")}
        if self.proxy is not None:
            values |= {self.proxy.userinfo, unquote(self.proxy.userinfo)}
        for value in tuple(values):
            token = value.partition(" ")[2].strip()
            values |= {token, _decoded(token)}
        values |= {value.partition(":")[2] for value in tuple(values)}
        values |= {quoted(value) for value in tuple(values)}
        return tuple(sorted((value for value in values if len(value) >= SECRET_LENGTH_MIN), key=len, reverse=True))


def load(environ: Mapping[str, str]) -> Config:
    """The settings of an environment. Raises ConfigError for the first that cannot be used."""
    config = Config()
    for setting in SETTINGS:
        raw = environ.get(setting.name, "").strip()
        alias = _ALIASES.get(setting.name)
        if not raw and alias:
            raw = environ.get(alias, "").strip()
            if alias == "LOG_LEVEL" and _level(raw) not in LEVELS:
                raw = ""  # LOG_LEVEL is the function's own as well: words we do not know are not our business
        if not raw and setting.required:
            raise ConfigError(f"{setting.name} environment variable is required")
        value = _convert(setting, raw) if raw else setting.default
        if setting.kind == "list" and isinstance(value, str):
            value = frozenset(value.split(","))
        setattr(config, setting.name[3:].lower(), value)
    config.function_name = environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
    config.region = environ.get("AWS_REGION", "")
    if isinstance(config.endpoint, str):
        config.endpoint = parse_url("O2_ENDPOINT", config.endpoint)
    config.proxy = config.proxy or None
    _check(config)
    _find_otlp_upstream(config, environ)
    return config


def _convert(setting: Setting, raw: str) -> Any:
    if setting.kind == "integer":
        return _integer(setting, raw)
    if setting.kind == "boolean":
        if raw.lower() not in _TRUE + _FALSE:
            raise ConfigError(f"{setting.name} must be true or false, got {shown(raw)}")
        return raw.lower() in _TRUE
    if setting.kind == "choice":
        word = _level(raw) if setting.choices is LEVELS else raw.lower()
        if word not in setting.choices:
            raise ConfigError(f"{setting.name} must be one of {', '.join(setting.choices)}, got {shown(raw)}")
        return word
    if setting.kind == "list":
        words = frozenset(word.strip() for word in raw.split(",") if word.strip())
        for word in sorted(words):
            if word not in setting.choices:
                raise ConfigError(f"{setting.name} knows {', '.join(setting.choices)}, not {shown(word)}")
        return words - {"none"}
    if not _is_header_value(raw):
        raise ConfigError(f"{setting.name} contains a control character or one outside ASCII; remove it")
    return parse_url(setting.name, raw) if setting.kind == "url" else raw


def _integer(setting: Setting, raw: str) -> int:
    if not (raw.isascii() and raw.removeprefix("-").isdigit()):
        raise ConfigError(f"{setting.name} must be a whole number, got {shown(raw)}")
    if len(raw) > 12 or not setting.low <= int(raw) <= setting.high:  # noqa: PLR2004 - far beyond every bound
        raise ConfigError(f"{setting.name} must be from {setting.low} to {setting.high}, got {shown(raw)}")
    return int(raw)


def _check(config: Config) -> None:
    """Rules over several settings."""
    scheme, _, credential = config.authorization_header.partition(" ")
    if scheme not in ("Basic", "Bearer") or not credential.strip():
        raise ConfigError("O2_AUTHORIZATION_HEADER must be 'Basic <base64 of user:secret>'; it has another form")
    for name, value in (("O2_ORGANIZATION_ID", config.organization_id), ("O2_STREAM", config.stream)):
        if not _is_segment(value):
            raise ConfigError(f"{name} must be letters, digits and . _ - : only, got {shown(value)}")
    if config.endpoint.userinfo:
        raise ConfigError("O2_ENDPOINT must not contain credentials; put them into O2_AUTHORIZATION_HEADER")
    if config.proxy is not None and config.proxy.scheme != "http":
        raise ConfigError("O2_PROXY must start with http://; the tunnel inside it is encrypted all the same")
    if _is_own_receiver(config.endpoint, config):
        raise ConfigError("O2_ENDPOINT is the extension's own OTLP receiver; set it to OpenObserve's URL")
    _strip_api_path(config)
    if config.endpoint.scheme == "http":
        config.warnings.append(
            f"O2_ENDPOINT {config.endpoint} is not encrypted: logs and credentials travel in the clear"
        )


def _strip_api_path(config: Config) -> None:
    """A pasted ingestion URL is shortened to the base that is meant."""
    for suffix in (f"/api/{config.organization_id}", "/api"):
        if config.endpoint.path.endswith(suffix):
            config.endpoint.path = config.endpoint.path.removesuffix(suffix)
            config.warnings.append(f"O2_ENDPOINT should end before {suffix}; using {config.endpoint}")
            return


def _find_otlp_upstream(config: Config, environ: Mapping[str, str]) -> None:
    """Where export requests go: OpenObserve by default, or the URL that a user gave to the SDK.

    Users of the reference set OTEL_EXPORTER_OTLP_ENDPOINT to OpenObserve's own URL; that means the upstream. A local
    address means this very extension and is passed over, so that it can never post to itself.
    """
    base = Url(*config.endpoint.origin, f"{config.endpoint.path}/api/{config.organization_id}", "")
    named = _foreign_url(config, environ, "OTEL_EXPORTER_OTLP_ENDPOINT")
    for signal, word in (("traces", "TRACES"), ("metrics", "METRICS"), ("otlp_logs", "LOGS")):
        whole = _foreign_url(config, environ, f"OTEL_EXPORTER_OTLP_{word}_ENDPOINT")
        root = named or base
        path = f"{root.path}/v1/{word.lower()}"
        config.otlp_urls[signal] = whole or Url(*root.origin, path, "")
        if whole or named:
            config.otlp_named |= {signal}
    for item in environ.get("OTEL_EXPORTER_OTLP_HEADERS", "").split(","):
        key, found, value = item.partition("=")
        key = key.strip().lower()
        if (
            config.otlp_named
            and found
            and key not in _HEADERS_KEPT_BACK
            and _is_segment(key)
            and _is_header_value(unquote(value))
        ):
            config.otlp_headers[key] = unquote(value.strip())


def _foreign_url(config: Config, environ: Mapping[str, str], name: str) -> Url | None:
    value = environ.get(name, "").strip()
    if not value:
        return None
    try:
        url = parse_url(name, value)
    except ConfigError as error:
        config.warnings.append(f"{error}; ignored")
        return None
    return None if _is_local(url) else url


def _is_local(url: Url) -> bool:
    return url.host in LOCAL_HOSTS or url.host.startswith(("127.", "::ffff:127."))


def _is_own_receiver(url: Url, config: Config) -> bool:
    return _is_local(url) and config.otlp_port != 0 and url.port == config.otlp_port


def _is_segment(value: str) -> bool:
    letters = all(char.isascii() and (char.isalnum() or char in "._-:") for char in value)
    return letters and value.strip(".") != ""  # . and .. would be taken for steps of the path


def _is_header_value(value: str) -> bool:
    return value.isascii() and value.isprintable()


def _decoded(token: str) -> str:
    """The `user:secret` of a Basic credential; empty for what is none."""
    try:
        return a2b_base64(token).decode()
    except ValueError:
        return ""


def _level(raw: str) -> str:
    return _LEVEL_NAMES.get(raw.upper(), raw.upper())


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
