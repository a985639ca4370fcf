"""What happened, in order: for tests, for diagnosis, for the command line's output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from o2_lambda.emulator.clock import Clock


class Fact(NamedTuple):
    """One thing that happened: milliseconds since the emulator started, what kind, and its particulars."""

    t_ms: float
    kind: str
    detail: dict[str, Any]


class OutputLine(NamedTuple):
    """One record a process wrote: `function` or `extension:NAME`, and its text."""

    source: str
    line: str


@dataclass(frozen=True)
class Delivery:
    """One POST (or TCP write) of telemetry. `status` is 0 when no answer came; `events` are those it completes."""

    t_ms: float
    subscriber: str
    body: bytes
    events: list[dict[str, Any]]
    attempt: int
    status: int
    duplicate: bool = False


class Timeline:
    """Collects facts, output and deliveries, and tells listeners of each as it comes."""

    def __init__(self, clock: Clock) -> None:
        self.facts: list[Fact] = []
        self.output: list[OutputLine] = []
        self.deliveries: list[Delivery] = []
        self.telemetry_sent: dict[str, list[dict[str, Any]]] = {}
        self.on_output: list[Callable[[OutputLine], None]] = []
        self.on_fact: list[Callable[[Fact], None]] = []
        self._clock = clock
        self._origin_ms = clock.mono_ms()

    def now_ms(self) -> float:
        """Return milliseconds since the start."""
        return self._clock.mono_ms() - self._origin_ms

    def note(self, kind: str, **detail: Any) -> Fact:
        """Record a fact."""
        fact = Fact(self.now_ms(), kind, detail)
        self.facts.append(fact)
        for listener in self.on_fact:
            listener(fact)
        return fact

    def wrote(self, source: str, line: str) -> None:
        """Record a line of output."""
        entry = OutputLine(source, line)
        self.output.append(entry)
        for listener in self.on_output:
            listener(entry)

    def delivered(self, delivery: Delivery) -> None:
        """Record an attempt to deliver; a first success also counts as sent."""
        self.deliveries.append(delivery)
        self.note(
            "telemetry.post",
            subscriber=delivery.subscriber,
            status=delivery.status,
            bytes=len(delivery.body),
            events=[event["type"] for event in delivery.events],
            attempt=delivery.attempt,
            duplicate=delivery.duplicate,
        )
        if delivery.status // 100 == 2 and not delivery.duplicate:  # noqa: PLR2004 - HTTP success
            self.telemetry_sent.setdefault(delivery.subscriber, []).extend(delivery.events)


class Observed:
    """Read access to a timeline, for whatever keeps one as `record`."""

    record: Timeline

    @property
    def timeline(self) -> list[Fact]:
        """Everything that happened, in order."""
        return self.record.facts

    @property
    def output(self) -> list[OutputLine]:
        """What the runtime and the extensions wrote, in order."""
        return self.record.output

    @property
    def telemetry_sent(self) -> dict[str, list[dict[str, Any]]]:
        """Events accepted by each subscriber, in order."""
        return self.record.telemetry_sent

    @property
    def deliveries(self) -> list[Delivery]:
        """Every POST of telemetry, failed ones included."""
        return self.record.deliveries
