"""URLs of the settings, taken apart and checked."""

from __future__ import annotations

_UNRESERVED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
SHOWN_LENGTH_MAX = 60  # of a bad value in an error line


class ConfigError(ValueError):
    """A setting that cannot be used; the message names it, says what is wrong and what to do."""


class Url:
    """An http or https URL taken apart; `path` has no trailing slash."""

    __slots__ = ("host", "path", "port", "scheme", "userinfo")

    def __init__(self, scheme: str, host: str, port: int, path: str, userinfo: str) -> None:
        self.scheme = scheme
        self.host = host
        self.port = port
        self.path = path
        self.userinfo = userinfo

    @property
    def origin(self) -> tuple[str, str, int]:
        """What a connection is made to."""
        return self.scheme, self.host, self.port

    @property
    def address(self) -> str:
        """Host and port, as a proxy is asked for them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def authority(self) -> str:
        """Host and port as in a Host header: without the port that the scheme stands for."""
        default = 443 if self.scheme == "https" else 80
        return self.address.rpartition(":")[0] if self.port == default else self.address

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


def parse_url(name: str, value: str) -> Url:
    """`value` as a Url. Raises ConfigError in words that name the setting."""
    without_userinfo = value.rpartition("@")[2]  # an error line must not show a password
    scheme, found, rest = value.partition("://")
    scheme = scheme.lower()
    if not found or scheme not in ("http", "https"):
        raise ConfigError(f"{name} must start with https:// or http://, got {shown(without_userinfo)}")
    authority, slash, path = rest.partition("/")
    if "?" in rest or "#" in rest:
        raise ConfigError(f"{name} must not have a query or fragment, got {shown(without_userinfo)}")
    userinfo, _, hostport = authority.rpartition("@")
    host, port = hostport, ""
    if hostport.startswith("["):
        host, _, port = hostport[1:].partition("]")
        port = port.removeprefix(":")
    elif ":" in hostport:
        host, _, port = hostport.rpartition(":")
    bracketed = hostport.startswith("[")
    if (
        not _is_host(host, bracketed=bracketed)
        or (bracketed and "]" not in hostport)
        or not printable(authority + path)
    ):
        raise ConfigError(f"{name} has no usable host name, got {shown(without_userinfo)}")
    if port and not (port.isdigit() and len(port) <= 5 and 0 < int(port) < 65_536):  # noqa: PLR2004 - ports
        raise ConfigError(f"{name} has an unusable port; use a number from 1 to 65535")
    number = int(port) if port else {"https": 443, "http": 80}[scheme]
    return Url(scheme, host.lower(), number, (slash + path).rstrip("/"), userinfo)


def shown(value: str) -> str:
    """A value as an error line shows it; not a credential that was meant for another setting."""
    if value.lstrip("\"' ").lower().startswith(("basic ", "bearer ")):
        return "a credential"
    return repr(value if len(value) <= SHOWN_LENGTH_MAX else value[:SHOWN_LENGTH_MAX] + "…")


def printable(value: str) -> bool:
    """Whether a value can go into a URL as it stands: visible ASCII."""
    return value.isascii() and value.isprintable() and " " not in value and "\\" not in value


def is_segment(value: str) -> bool:
    """Whether a name can be one step of a URL's path as it stands."""
    letters = all(char.isascii() and (char.isalnum() or char in "._-:") for char in value)
    return letters and value.strip(".") != ""  # . and .. would be taken for steps up


def _is_host(host: str, *, bracketed: bool) -> bool:
    extra = ":.%" if bracketed else ".-_"
    return bool(host) and host[0] != "." and all(char.isalnum() or char in extra for char in host)


def quoted(value: str) -> str:
    """Percent-encoding of everything that a URL does not carry as it is."""
    return "".join(chr(byte) if chr(byte) in _UNRESERVED else f"%{byte:02X}" for byte in value.encode())


def unquote(value: str) -> str:
    """Percent-decoding, as in a URL's credentials and in the headers of OTEL_EXPORTER_OTLP_HEADERS."""
    first, *rest = value.encode().split(b"%")
    decoded = first
    for part in rest:
        try:
            decoded += bytes((int(part[:2], 16),)) + part[2:]
        except ValueError:
            decoded += b"%" + part
    return decoded.decode("utf-8", "replace")
