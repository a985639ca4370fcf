"""The environment as a checked `Config`."""

from __future__ import annotations

from o2_lambda.extension.core.lines import LEVELS
from o2_lambda.extension.core.masking import shapes
from o2_lambda.extension.core.url import ConfigError, Url, is_segment, parse_url, shown, unquote
from o2_lambda.extension.settings import SETTINGS
from o2_lambda.extension.target import OPENOBSERVE, OpenObserve, Target, additional, check_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from o2_lambda.extension.core.aws import Access
    from o2_lambda.extension.settings import Setting

LOCAL_HOSTS = ("localhost", "localhost.", "::1", "::", "0.0.0.0", "sandbox", "sandbox.localdomain")  # noqa: S104 - told apart, not bound


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
_NO_UTF8 = "\ufffd"  # what `boot.environment` makes of foreign bytes
_LEVEL_NAMES = {"TRACE": "DEBUG", "WARNING": "WARN", "CRITICAL": "ERROR", "FATAL": "ERROR", "OFF": "ERROR"}


class Config:
    """The checked settings. Build it with `load`; every setting is an attribute in lower case without `O2_`."""

    additional_endpoints: str
    authorization_header: str
    authorization_secret: str
    batch_size: int
    ca_cert: str
    emit_base_aliases: bool
    endpoint: Url
    enhanced_metrics: bool
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
    secret_failure: str
    service: str
    stream: str
    strict: bool
    telemetry_port: int
    traces_stream: str

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.aws: Access | None = None  # only where a secret is to be fetched
        self.openobserve: OpenObserve  # of O2_ENDPOINT
        self.targets: list[Target] = []  # all places that telemetry goes to, that of O2_ENDPOINT first
        self.otlp_urls: dict[str, Url] = {}  # signal -> where its export requests go
        self.otlp_named: frozenset[str] = frozenset()  # the signals whose URL the user gave, with these headers
        self.otlp_headers: dict[str, str] = {}
        self.function_name = ""
        self.memory_mb = 0
        self.region = ""

    def secrets(self) -> tuple[str, ...]:
        """The texts that must never be printed, in every shape in which a server might repeat them; longest first."""
        values = {target.authorization for target in self.targets} | set(self.otlp_headers.values())
        values -= {self.otlp_headers.get("stream-name", "")}
        if self.proxy is not None:
            values |= {self.proxy.userinfo, unquote(self.proxy.userinfo)}
        if self.aws is not None:
            values |= self.aws.secrets()
        return shapes(values)


def load(environ: Mapping[str, str]) -> Config:
    """The settings of an environment. Raises ConfigError for the first that cannot be used."""
    config = Config()
    for setting in SETTINGS:
        name = setting.name
        raw = environ.get(name, "").strip()
        alias = _ALIASES.get(name)
        if not raw and alias:
            name = alias
            raw = environ.get(alias, "").strip()
            if alias == "LOG_LEVEL" and _level(raw) not in LEVELS:
                raw = ""  # LOG_LEVEL is the function's own as well: words we do not know are not our business
        if not raw and setting.required:
            raise ConfigError(f"{setting.name} environment variable is required")
        value = _convert(setting, name, raw) if raw else setting.default
        if setting.kind == "list" and isinstance(value, str):
            value = frozenset(value.split(","))
        setattr(config, setting.name[3:].lower(), value)
    config.function_name = environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
    config.region = environ.get("AWS_REGION", "")
    memory_mb = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    config.memory_mb = int(memory_mb) if memory_mb.isascii() and memory_mb.isdigit() else 0
    if isinstance(config.endpoint, str):
        config.endpoint = parse_url("O2_ENDPOINT", config.endpoint)
    config.proxy = config.proxy or None
    _check(config)
    _find_otlp_upstream(config, environ)
    _find_targets(config)
    if any(target.secret is not None for target in config.targets):
        _find_aws(config, environ)
    return config


def check_files(config: Config) -> None:
    """Raises ConfigError for a file that cannot be used; apart from `load`, which serves other machines as well."""
    if config.ca_cert:
        from o2_lambda.extension.io.tls import check_ca  # noqa: PLC0415 - costly, and only for who sets it

        check_ca(config.ca_cert)


def _convert(setting: Setting, name: str, raw: str) -> Any:
    """The value that a setting has under one of its names. Raises ConfigError."""
    if setting.kind == "integer":
        return _integer(setting, raw)
    if setting.kind == "boolean":
        if raw.lower() not in _TRUE + _FALSE:
            raise ConfigError(f"{name} must be true or false, got {shown(raw)}")
        return raw.lower() in _TRUE
    if setting.kind == "choice":
        word = _level(raw) if setting.choices is LEVELS else raw.lower()
        if word not in setting.choices:
            raise ConfigError(f"{name} must be one of {', '.join(setting.choices)}, got {shown(raw)}")
        return word
    if setting.kind == "list":
        words = frozenset(word.strip() for word in raw.split(",") if word.strip())
        for word in sorted(words):
            if word not in setting.choices:
                raise ConfigError(f"{name} knows {', '.join(setting.choices)}, not {shown(word)}")
        return words - {"none"}
    _check_text(setting, name, raw)
    return parse_url(name, raw) if setting.kind == "url" else raw


def _check_text(setting: Setting, name: str, raw: str) -> None:
    if setting.kind == "name":
        if not raw.isprintable() or _NO_UTF8 in raw:
            raise ConfigError(f"{name} contains a control character or bytes that are no UTF-8; remove them")
    elif not _is_header_value(raw):
        raise ConfigError(f"{name} contains a control character or one outside ASCII; remove it")


def _integer(setting: Setting, raw: str) -> int:
    if not (raw.isascii() and raw.removeprefix("-").isdigit()):
        raise ConfigError(f"{setting.name} must be a whole number, got {shown(raw)}")
    if len(raw) > 12 or not setting.low <= int(raw) <= setting.high:  # noqa: PLR2004 - far beyond every bound
        raise ConfigError(f"{setting.name} must be from {setting.low} to {setting.high}, got {shown(raw)}")
    return int(raw)


def _check(config: Config) -> None:
    """Rules over several settings."""
    for name, value in (("O2_ORGANIZATION_ID", config.organization_id), ("O2_STREAM", config.stream)):
        if not is_segment(value):
            raise ConfigError(f"{name} must be letters, digits and . _ - : only, got {shown(value)}")
    if config.authorization_header and config.authorization_secret:
        raise ConfigError("O2_AUTHORIZATION_HEADER and O2_AUTHORIZATION_SECRET exclude each other; set one of them")
    if not config.authorization_header and not config.authorization_secret:
        raise ConfigError("O2_AUTHORIZATION_HEADER environment variable is required, or O2_AUTHORIZATION_SECRET")
    if config.authorization_header:
        check_header("O2_AUTHORIZATION_HEADER", config.authorization_header)
    if config.proxy is not None and config.proxy.scheme != "http":
        raise ConfigError("O2_PROXY must start with http://; the tunnel inside it is encrypted all the same")
    _check_endpoint(config, "O2_ENDPOINT", config.endpoint, config.organization_id)


def _check_endpoint(config: Config, name: str, endpoint: Url, organization: str) -> None:
    """What holds for the base URL of any OpenObserve; a pasted ingestion URL is shortened to what is meant."""
    if endpoint.userinfo:
        home = "O2_AUTHORIZATION_HEADER" if name == "O2_ENDPOINT" else "authorization or secret"
        raise ConfigError(f"{name} must not contain credentials; put them into {home}")
    if _is_own_receiver(endpoint, config):
        raise ConfigError(f"{name} is the extension's own OTLP receiver; set it to OpenObserve's URL")
    for suffix in (f"/api/{organization}", "/api"):
        if endpoint.path.endswith(suffix):
            endpoint.path = endpoint.path.removesuffix(suffix)
            config.warnings.append(f"{name} should end before {suffix}; using {endpoint}")
            break
    if endpoint.scheme == "http":
        config.warnings.append(f"{name} {endpoint} is not encrypted: logs and credentials travel in the clear")


def _find_targets(config: Config) -> None:
    """Where everything goes. The credentials of one origin are never for another, so each origin is a target."""
    streams = {"stream": config.stream, "traces_stream": config.traces_stream}
    main = OpenObserve(OPENOBSERVE, config.endpoint, config.organization_id, **streams)
    main.authorization = config.authorization_header
    if config.authorization_secret:
        from o2_lambda.extension.core.secret import Reference  # noqa: PLC0415 - only for who names one

        main.secret = Reference("O2_AUTHORIZATION_SECRET", config.authorization_secret)
    config.openobserve, config.targets = main, [main]
    for signal in sorted(config.otlp_named):
        url = config.otlp_urls[signal]
        target = next((each for each in config.targets if each.serves(url)), None)
        if target is None:
            target = Target(url.authority)
            config.targets.append(target)
        fields = main.fields[signal]
        del main.urls[signal]
        target.urls[signal] = url
        target.fields[signal] = {**fields, **config.otlp_headers}

    def check(name: str, endpoint: Url, organization: str) -> None:
        _check_endpoint(config, name, endpoint, organization)

    config.targets += additional(config.additional_endpoints, config.organization_id, config.stream, check)


def _find_aws(config: Config, environ: Mapping[str, str]) -> None:
    from o2_lambda.extension.core.aws import Access  # noqa: PLC0415 - only for who names a secret

    config.aws = Access(environ)
    for endpoint in config.aws.endpoints.values():
        if endpoint is not None and endpoint.scheme == "http":
            config.warnings.append(f"AWS_ENDPOINT_URL {endpoint} is not encrypted: the secret travels in the clear")
            break


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
            and is_segment(key)
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


def _is_header_value(value: str) -> bool:
    return value.isascii() and value.isprintable()


def _level(raw: str) -> str:
    return _LEVEL_NAMES.get(raw.upper(), raw.upper())
