"""What the functions build with their SDKs, as events; and how it looks in the backend's columns."""

from __future__ import annotations

import json
import re
import time
from typing import Any

Json = Any

# The largest integers each SDK can hold: Python's are 64 bits wide, JavaScript's are exact up to 53.
INTEGERS_MAX = {"python": 2**63 - 1, "node": 2**53 - 1}

RESOURCE = {"service.name": "shop", "deployment.environment": "tést", "host.cpus": 2, "empty": ""}


def attributes(integer_max: int) -> dict[str, Json]:
    """Every kind of attribute value, at its edges."""
    return {
        "text": "plain",
        "text.empty": "",
        "text.unicode": 'grüße 日本 🎉 \u0000 " \\ \n',
        "text.long": "x" * 5000,
        "Text-With.Case": "Kept",
        "yes": True,
        "no": False,
        "integer.zero": 0,
        "integer.negative": -42,
        "integer.max": integer_max,
        "integer.min": -integer_max,
        "number": 0.1,
        "number.tiny": -1.25e-7,
        "number.large": 2**52 - 0.5,
        "texts": ["a", "", "ü"],
        "integers": [1, -2, integer_max],
        "numbers": [0.5, -1.5],
        "switches": [True, False],
        "nothing": [],
    }


def spans(integer_max: int) -> list[dict[str, Json]]:
    """A tree of three, a trace of its own beside it; every kind and status, events and links."""
    linked = {
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "span_id": "b7ad6b7169203331",
        "attributes": {"why": "retry"},
    }
    child = {
        "name": "SELECT größe",
        "kind": "CLIENT",
        "attributes": {"db.system": "duckdb", "rows": -1},
        "status": "OK",
    }
    failed = {
        "name": "",
        "kind": "INTERNAL",
        "attributes": {},
        "status": "ERROR",
        "message": "no book\nleft",
        "events": [{"name": "exception", "attributes": {"exception.type": "KeyError", "exception.message": "bøøk"}}],
    }
    return [
        {
            "name": "GET /orders/{id}",
            "kind": "SERVER",
            "attributes": attributes(integer_max),
            "events": [{"name": "start", "attributes": {}}, {"name": "hälf", "attributes": {"done": 0.5, "n": -3}}],
            "links": [linked],
            "children": [child, failed],
        },
        {"name": "queue", "kind": "PRODUCER", "attributes": {}},
        {"name": "worker", "kind": "CONSUMER", "attributes": {}},
    ]


def metrics(integer_max: int) -> list[dict[str, Json]]:
    """Every kind of instrument, whole numbers and fractions, positive and negative."""

    def metric(kind: str, name: str, *points: tuple[float, dict[str, Json]]) -> dict[str, Json]:
        found = [{"value": value, "attributes": labels} for value, labels in points]
        return {"kind": kind, "name": name, "unit": "1", "description": f"a {kind}, ünit", "points": found}

    return [
        metric("counter", "orders", (3, {"kind": "book"}), (4, {"kind": "book"}), (1, {"kind": "lämp"})),
        metric("counter", "weight", (0.25, {}), (0.5, {})),
        metric("up_down_counter", "stock", (5, {"shelf": 1}), (-12, {"shelf": 1})),
        metric("gauge", "temperature", (-7.5, {"room": "a"}), (21.25, {"room": "b"})),
        metric("gauge", "serial", (min(integer_max, 2**53 - 1), {})),
        metric("histogram", "latency", (1, {}), (40, {}), (30_000, {})),
        metric("histogram", "size.exponential", (0.5, {}), (4, {}), (4, {})),
    ]


def logs(integer_max: int) -> list[dict[str, Json]]:
    """Bodies of every shape, severities from end to end. Times are whole milliseconds, which both SDKs can hold."""
    now_ms = time.time_ns() // 1_000_000
    structure = {"order": 7, "deep": {"list": [1, "zwei", False]}}
    bodies: list[Json] = ["plain", "grüße 日本 🎉\nsecond line", "", structure, integer_max, -0.5]
    severities = [(1, "TRACE"), (9, "INFO"), (13, "WARN"), (17, "ERROR"), (21, "FATAL"), (24, "FATAL4")]
    return [
        {
            "time": (now_ms + number) * 1_000_000,
            "time_ms": now_ms + number,
            "severity": severity,
            "level": level,
            "body": body,
            "attributes": attributes(integer_max) if number == 0 else {"n": number},
        }
        for number, (body, (severity, level)) in enumerate(zip(bodies, severities, strict=True))
    ]


def columns(members: dict[str, Json], prefix: str = "") -> dict[str, Json]:
    """The columns that members get: lower-case names, objects taken apart, arrays as JSON text, empty ones left out."""
    found: dict[str, Json] = {}
    for name, value in members.items():
        column = prefix + re.sub(r"[^a-z0-9_]", "_", name.lower())
        if isinstance(value, dict):
            found |= columns(value, f"{column}_")
        elif isinstance(value, list):
            if value:
                found[column] = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        else:
            found[column] = value
    return found
