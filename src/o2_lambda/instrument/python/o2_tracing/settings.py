"""Reads OpenTelemetry's environment variables. A bad value costs one line on stderr, and the default holds."""

from __future__ import annotations

from . import sampling
from .spans import Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Callable

    from .sampling import Sampler

    Report = Callable[[str], None]

LOCAL_NAMES = ("localhost", "127.0.0.1", "0.0.0.0")  # noqa: S104 - told apart, not bound
LOCAL_HOST = "127.0.0.1"  # not `localhost`: a look-up would cost more than the export
RECEIVER_PORT = 4318
PORTS = 65_536
PATH = "/v1/traces"
# What other services may send; only the first two go out, as OpenTelemetry's default has it.
PROPAGATORS_READ = ("tracecontext", "baggage", "b3", "xray")
PROPAGATORS_WRITTEN = ("tracecontext", "baggage")
PROPAGATORS = ("tracecontext", "baggage", "b3", "b3multi", "xray")
ALIASES = {"xray-lambda": "xray"}  # its own source, `_X_AMZN_TRACE_ID`, is a link here and never a parent
ALL = "*"  # of the instrumentations
COUNT_DEFAULT = 128


class Settings:
    """What the environment asks for.

    `address` is (host, port, path) of the OTLP receiver, always on this machine; `is_extension` tells whether it is the
    extension's and not a collector of the user's own.
    """

    __slots__ = ("address", "disabled", "extracts", "injects", "is_extension", "limits", "sampler")

    def __init__(
        self,
        address: tuple[str, int, str],
        disabled: frozenset[str],
        extracts: tuple[str, ...],
        injects: tuple[str, ...],
        limits: Limits,
        sampler: Sampler,
        *,
        is_extension: bool,
    ) -> None:
        self.address = address
        self.is_extension = is_extension
        self.disabled = disabled
        self.extracts = extracts
        self.injects = injects
        self.limits = limits
        self.sampler = sampler

    def traces(self, *names: str) -> bool:
        """Whether the instrumentation that has these names is wanted."""
        return self.disabled.isdisjoint(names) and ALL not in self.disabled


def read(environ: Mapping[str, str], report: Report) -> Settings:
    """Reads all settings; `report` gets one line for each bad value."""
    extracts, injects = _propagators(environ, report)
    disabled = frozenset(_names(environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "")))
    address = _address(environ)
    return Settings(
        address, disabled, extracts, injects, _limits(environ, report), _sampler(environ, report),
        is_extension=address == _extension(environ),
    )  # fmt: skip


def _names(value: str) -> tuple[str, ...]:
    return tuple(name.strip().lower() for name in value.split(",") if name.strip())


def _sampler(environ: Mapping[str, str], report: Report) -> Sampler:
    name = environ.get("OTEL_TRACES_SAMPLER", "").strip().lower() or sampling.DEFAULT
    try:
        return sampling.sampler(name, environ.get("OTEL_TRACES_SAMPLER_ARG", "").strip())
    except ValueError as error:
        report(f"{error}; every trace is recorded")
        return sampling.sampler(sampling.DEFAULT, "")


def _propagators(environ: Mapping[str, str], report: Report) -> tuple[tuple[str, ...], tuple[str, ...]]:
    aliases = [ALIASES.get(name, name) for name in _names(environ.get("OTEL_PROPAGATORS", ""))]
    named = tuple(dict.fromkeys(aliases))
    if not named:
        return PROPAGATORS_READ, PROPAGATORS_WRITTEN
    known = tuple(name for name in named if name in PROPAGATORS)
    unknown = [name for name in named if name not in PROPAGATORS and name != "none"]
    if unknown:
        report(f"OTEL_PROPAGATORS names {', '.join(unknown)}, which is not one of {', '.join(sorted(PROPAGATORS))}")
    return known, known


def _address(environ: Mapping[str, str]) -> tuple[str, int, str]:
    for name, path in (("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ""), ("OTEL_EXPORTER_OTLP_ENDPOINT", PATH)):
        scheme, _, rest = environ.get(name, "").strip().partition("://")
        place, slash, folder = rest.partition("/")
        host, _, port = place.partition(":")
        if scheme == "http" and host in LOCAL_NAMES and _is_port(port):
            whole = slash + folder if not path else (slash + folder).rstrip("/") + path
            return LOCAL_HOST, int(port), whole or "/"
    return _extension(environ)


def _extension(environ: Mapping[str, str]) -> tuple[str, int, str]:
    port = environ.get("O2_OTLP_PORT", "").strip()
    return LOCAL_HOST, int(port) if _is_port(port) else RECEIVER_PORT, PATH


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) < PORTS


def _limits(environ: Mapping[str, str], report: Report) -> Limits:
    def number(default: int, *names: str) -> int:
        for name in names:
            value = environ.get(name, "").strip()
            if value.isdigit():
                return int(value)
            if value:
                report(f"{name} is {value}, not a number of 0 or more; the default holds")
        return default

    count = number(COUNT_DEFAULT, "OTEL_ATTRIBUTE_COUNT_LIMIT")
    return Limits(
        attributes=number(count, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"),
        events=number(COUNT_DEFAULT, "OTEL_SPAN_EVENT_COUNT_LIMIT"),
        links=number(COUNT_DEFAULT, "OTEL_SPAN_LINK_COUNT_LIMIT"),
        event_attributes=number(count, "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT"),
        link_attributes=number(count, "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT"),
        value_length=number(0, "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"),
    )
