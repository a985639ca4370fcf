"""Stream names and stream kinds, as OpenObserve forms them."""

from __future__ import annotations

import re
from typing import NamedTuple

LOGS = "logs"
TRACES = "traces"
METRICS = "metrics"
STREAM_TYPES = (LOGS, TRACES, METRICS)

# The stream that OTLP logs and traces go to when no `stream-name` header is sent.
DEFAULT_STREAM = "default"

_STREAM_RUN = re.compile(r"[^a-zA-Z0-9_:]+")
_LABEL_CHARACTER = re.compile(r"[^a-zA-Z0-9_:]")


class StreamKey(NamedTuple):
    """What identifies a stream: two streams of the same name but different types are different streams."""

    organization: str
    stream_type: str
    name: str


def format_stream_name(name: str) -> str:
    """Return the name under which a stream is stored and searched: `My App/1` becomes `my_app_1`."""
    return _STREAM_RUN.sub("_", name).lower()


def format_label_name(name: str) -> str:
    """Return a metric label in the Prometheus alphabet; unlike stream names, each character is replaced by itself."""
    return _LABEL_CHARACTER.sub("_", name)
