"""Scenarios with a name: the rows of docs/reliability.md, each also a test. One thing goes wrong in each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from o2_lambda.backend.faults import Reset
from tests.chaos.schedule import Schedule, Step
from tests.chaos.troubles import BLACK_HOLE, BY_NAME, DOWN, HEALTHY, Trouble

if TYPE_CHECKING:
    from collections.abc import Iterator

QUICK = {"O2_INITIAL_RETRY_DELAY_MS": "100", "O2_MAX_RETRY_DELAY_MS": "1000"}


def steps(*, upstream: Trouble | None = None, heals: bool = False, **changes: Any) -> tuple[Step, ...]:
    """Four invocations of 50 lines: the trouble comes with the second; with `heals` it goes before the last."""
    calm = {"lines": 50, "width": 100, "sleep_ms": 20}
    struck = Step({**calm, **changes.pop("event", {})}, upstream, **changes)
    return (Step(calm), struck, Step(calm), Step(calm, HEALTHY if heals else None))


def weather(trouble: Trouble | None, invocations: int = 20, **settings: str) -> Schedule:
    """Short invocations under one weather: what each is prolonged by."""
    event = {"lines": 10, "width": 100, "sleep_ms": 5}
    first = Step(event, trouble)
    return Schedule("weather", (first, *(Step(event) for _ in range(invocations - 1))), settings, timeout_ms=300_000)


def _upstream() -> Iterator[tuple[str, tuple[Step, ...], dict[str, Any]]]:
    yield "nothing goes wrong", steps(), {}
    yield "two requests get 503", steps(upstream=Trouble("503", {"status": 503}, count=2)), {}
    yield "429 with Retry-After: 1", steps(upstream=Trouble("429", {"status": 429, "retry_after": "1"}, count=1)), {}
    yield "connections reset in the request", steps(upstream=Trouble("", {"reset": Reset.IN_BODY}, count=2)), {}
    lost = Trouble("", {"reset": Reset.BEFORE_ANSWER}, count=1, loses_answers=True)
    yield "one answer lost after storing", steps(upstream=lost), {}
    yield "kept connection reset while frozen", steps(cut="reset"), {}
    yield "kept connection forgotten by a NAT while frozen", steps(cut="forget"), {}
    yield "OpenObserve restarts while frozen", steps(restart=True), {}
    yield "OpenObserve down for two invocations", steps(upstream=DOWN, heals=True), {}
    yield "OpenObserve down to the end", steps(upstream=DOWN), {}
    yield "black hole: requests are never answered", steps(upstream=BLACK_HOLE), {"timeout_ms": 3500}
    yield "answers take 5 s", steps(upstream=Trouble("", {"latency_ms": 5000}, loses_answers=True)), {}
    dribble = Trouble("", {"slow_loris_ms": 20}, loses_answers=True)
    yield "slow loris: answers dribble", steps(upstream=dribble), {}
    yield "200 that stores nothing, twice", steps(upstream=Trouble("silent loss", {"silent_loss": True}, count=2)), {}
    yield "200 that refuses one record", steps(upstream=Trouble("", {"failed_records": 1}, count=1)), {}
    yield "413 for bodies over 3 KB", steps(upstream=Trouble("", {"body_bytes_max": 3000})), {}
    yield "credentials refused, then accepted", steps(upstream=Trouble("", {"status": 401}), heals=True), {}
    yield "TLS handshake stalls, then works", steps(upstream=BY_NAME["stalled connection"], heals=True), {"tls": True}
    yield (
        "expired certificate, then a good one",
        steps(upstream=BY_NAME["expired certificate"], heals=True),
        {"tls": True},
    )


def _platform() -> Iterator[tuple[str, tuple[Step, ...], dict[str, Any]]]:
    yield "telemetry sent twice", steps(platform={"duplicate_batches": 3}), {}
    yield "telemetry delayed by 200 ms", steps(platform={"delay_posts": 3, "delay_post_ms": 200}), {}
    yield (
        "record of 600 KB split over two POSTs",
        steps(event={"lines": 1, "width": 600_000}, platform={"oversize_split_bytes": 400_000}),
        {},
    )
    yield "platform.runtimeDone missing", steps(platform={"missing_runtime_done": 1}), {"timeout_ms": 2000}
    yield "clock two hours ahead after the freeze", steps(platform={"clock_jump_ms": 7_200_000}), {}
    yield "function times out", steps(event={"ends": "hang"}), {"timeout_ms": 1500}
    yield "function crashes", steps(event={"ends": "crash"}), {}
    yield "function killed, as when out of memory", steps(event={"ends": "kill"}), {}
    yield "a burst of 5000 lines", steps(event={"lines": 5000}), {}


def _places() -> Iterator[tuple[str, tuple[Step, ...], dict[str, Any]]]:
    yield "0.07 CPU", steps(), {"cpus": 0.07, "timeout_ms": 20_000}
    yield "no file descriptors left", steps(event={"spans": 3}), {"confinement": "few descriptors"}
    yield "/tmp full", steps(), {"confinement": "full tmp"}
    noisy = {"lines": 3, "width": 900_000}
    yield "no memory left", steps(event=noisy), {"confinement": "little memory"}
    own = {"confinement": "own name server"}
    yield (
        "DNS: the name is gone, then back",
        (*steps(names="gone", cut="reset")[:3], Step({"lines": 50}, names="good")),
        own,
    )
    yield "DNS: no answer, then one", (*steps(names="silent", cut="reset")[:3], Step({"lines": 50}, names="good")), own
    yield "DNS: no answer to the end", steps(names="silent", cut="reset"), own
    yield "DNS: answers take 0.3 s", steps(names="slow", cut="reset"), own
    yield "DNS: the address changes", (
        Step({"lines": 50}, names="moved", cut="reset"),
        Step({"lines": 50}, names="good"),
        Step({"lines": 50}),
    ), own  # fmt: skip


# What an invocation is prolonged by; the strategy is the one that waits.
WEATHERS = {
    "healthy": weather(None, O2_FLUSH_STRATEGY="end"),
    "answers in 50 ms": weather(Trouble("", {"latency_ms": 50}), O2_FLUSH_STRATEGY="end"),
    "answers in 500 ms": weather(Trouble("", {"latency_ms": 500}), O2_FLUSH_STRATEGY="end"),
    "answers in 5 s": weather(Trouble("", {"latency_ms": 5000}), 8, O2_FLUSH_STRATEGY="end"),
    "every request fails (503)": weather(Trouble("", {"status": 503}), 8, O2_FLUSH_STRATEGY="end"),
    "down (refused)": weather(DOWN, 8, O2_FLUSH_STRATEGY="end"),
}

# The same once the circuit is open: it opens at the first failure here, which the first invocation meets.
_OPEN = {"O2_FLUSH_STRATEGY": "end", "O2_MAX_RETRIES": "1", "O2_REQUEST_TIMEOUT_MS": "300", **QUICK}
OPEN_CIRCUITS = {
    "every request fails (503)": weather(Trouble("", {"status": 503}), 20, **_OPEN),
    "down (refused)": weather(DOWN, 20, **_OPEN),
    "black hole": weather(BLACK_HOLE, 20, **_OPEN),
}

SCENARIOS = {
    name: Schedule(name, played, QUICK, **options)
    for part in (_upstream, _platform, _places)
    for name, played, options in part()
}
