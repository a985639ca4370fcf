"""Where telemetry goes: one target for O2_ENDPOINT, one for each other server of OTLP data, one for each additional."""

from __future__ import annotations

from o2_lambda.extension.core.jsonscan import SCAN_ERRORS, Pairs, loads
from o2_lambda.extension.core.ledger import SIGNALS
from o2_lambda.extension.core.url import ConfigError, Url, is_segment, parse_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from o2_lambda.extension.core.secret import Reference

OPENOBSERVE = "OpenObserve"
ADDITIONAL = "O2_ADDITIONAL_ENDPOINTS"
ADDITIONAL_MAX = 4  # each has a thread and a connection of its own
_WORDS = {"traces": "traces", "metrics": "metrics", "otlp_logs": "logs"}  # signal -> last step of its path
_MEMBERS = ("endpoint", "organization", "stream", "traces_stream", "authorization", "secret")


class Target:
    """A server, and what it wants to see in a request for each signal that goes there."""

    def __init__(self, label: str) -> None:
        self.label = label  # what lines call it
        self.urls: dict[str, Url] = {}  # signal -> where its requests go
        self.fields: dict[str, dict[str, str]] = {}  # signal -> further headers
        self.authorization = ""
        self.secret: Reference | None = None
        self.is_additional = False  # it gets everything once more, in a ledger of its own

    @property
    def first_url(self) -> Url:
        """One of them, to connect to ahead of need."""
        return next(iter(self.urls.values()))

    def serves(self, url: Url) -> bool:
        """Whether a URL is on this server."""
        return any(each.origin == url.origin for each in self.urls.values())

    def __repr__(self) -> str:
        return f"<Target {self.label}>"


class OpenObserve(Target):
    """An organization of an OpenObserve and the streams in it."""

    def __init__(self, label: str, endpoint: Url, organization: str, *, stream: str, traces_stream: str) -> None:
        super().__init__(label)
        self.endpoint = endpoint
        self.organization = organization
        self.stream = stream
        base = f"{endpoint.path}/api/{organization}"
        self.urls = {signal: Url(*endpoint.origin, f"{base}/v1/{word}", "") for signal, word in _WORDS.items()}
        self.urls["logs"] = Url(*endpoint.origin, f"{base}/{stream}/_json", "")
        self.fields = stream_fields(stream, traces_stream)


def stream_fields(stream: str, traces_stream: str) -> dict[str, dict[str, str]]:
    """The headers that name the streams of OTLP data; metrics are stored by their names, logs by the path."""
    streams = {"traces": traces_stream, "otlp_logs": stream}
    return {signal: {"stream-name": streams[signal]} if streams.get(signal) else {} for signal in SIGNALS}


def check_header(name: str, value: str) -> None:
    """Raises ConfigError, which does not show it, for a value that is no credential."""
    scheme, _, credential = value.partition(" ")
    if scheme not in ("Basic", "Bearer") or not credential.strip():
        raise ConfigError(f"{name} must be 'Basic <base64 of user:secret>'; it has another form")


def additional(
    text: str, organization: str, stream: str, check_endpoint: Callable[[str, Url, str], None]
) -> list[OpenObserve]:
    """The targets of O2_ADDITIONAL_ENDPOINTS; organization and stream are those of O2_ENDPOINT where not given.

    Raises ConfigError, which shows no value: there may be credentials in it. So does `check_endpoint`, which gets each
    endpoint under a name, and its organization.
    """
    if not text:
        return []
    try:
        items = loads(text)
    except SCAN_ERRORS:
        items = None
    if type(items) is not list or not all(type(item) is Pairs for item in items):
        raise ConfigError(f'{ADDITIONAL} must be a JSON array of objects like {{"endpoint":"https://…","secret":"…"}}')
    if len(items) > ADDITIONAL_MAX:
        raise ConfigError(f"{ADDITIONAL} holds {len(items)} destinations; {ADDITIONAL_MAX} are the most")
    targets = []
    for index, item in enumerate(items):
        name = f"{ADDITIONAL}[{index}]"
        members = {"organization": organization, "stream": stream, **_members(item, name)}
        targets.append(_target(members, name, check_endpoint))
    return targets


def _members(item: Pairs, name: str) -> dict[str, str]:
    members = {}
    for key, value in item:
        if key not in _MEMBERS:
            raise ConfigError(f"{name} knows {', '.join(_MEMBERS)}; something else is in it")
        if not isinstance(value, str) or not (value.isascii() and value.isprintable()):
            raise ConfigError(f"{name}.{key} must be a string of visible ASCII")
        members[key] = value.strip()
    for key in ("organization", "stream"):
        if not is_segment(members.get(key, "x")):
            raise ConfigError(f"{name}.{key} must be letters, digits and . _ - : only")
    if not members.get("endpoint"):
        raise ConfigError(f"{name}.endpoint is required")
    if bool(members.get("authorization")) == bool(members.get("secret")):
        raise ConfigError(f"{name} needs either authorization or secret")
    return members


def _target(members: dict[str, str], name: str, check_endpoint: Callable[[str, Url, str], None]) -> OpenObserve:
    organization = members["organization"]
    endpoint = parse_url(f"{name}.endpoint", members["endpoint"])
    check_endpoint(f"{name}.endpoint", endpoint, organization)
    streams = {"stream": members["stream"], "traces_stream": members.get("traces_stream", "")}
    target = OpenObserve(f"{endpoint.authority}/{organization}", endpoint, organization, **streams)
    target.is_additional = True
    if members.get("secret"):
        from o2_lambda.extension.core.secret import Reference  # noqa: PLC0415 - only for who names one

        target.secret = Reference(f"{name}.secret", members["secret"])
    else:
        target.authorization = members["authorization"]
        check_header(f"{name}.authorization", target.authorization)
    return target
