"""What is made here of the platform's events beside forwarding them: records of failures, and metrics."""

from __future__ import annotations

from o2_lambda import __version__
from o2_lambda.extension.core import evidence, otlp
from o2_lambda.extension.core.batch import LOGS
from o2_lambda.extension.core.evidence import Evidence
from o2_lambda.extension.core.metrics import Metrics
from o2_lambda.extension.identity import resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from o2_lambda.extension.config import Config
    from o2_lambda.extension.core.buffer import Buffer
    from o2_lambda.extension.core.evidence import Finding
    from o2_lambda.extension.core.model import Now, Sandbox
    from o2_lambda.extension.core.telemetry import Fact, Splicer
    from o2_lambda.extension.destinations import Destinations

METRICS_INTERVAL_MS = 60_000  # between two exports of metrics: one request more a minute, beside the function


class Testimony:
    """Puts records and points into the buffer, counted in the ledger."""

    def __init__(
        self,
        config: Config,
        sandbox: Sandbox,
        now: Now,
        *,
        splicer: Splicer,
        buffer: Buffer,
        destinations: Destinations,
    ) -> None:
        self._splicer = splicer
        self._buffer = buffer
        self._destinations = destinations
        self._tells_failures = evidence.TYPE in config.log_types
        self._evidence = Evidence(config.memory_mb, side_by_side=sandbox.managed)
        self._metrics: Metrics | None = None
        if config.enhanced_metrics:
            aliases = config.emit_base_aliases
            self._metrics = Metrics(resource(config, sandbox), __version__, aliases=aliases, now_us=now.wall_ms * 1000)
        self._metrics_at_ms = now.ms + METRICS_INTERVAL_MS
        self._is_last = False

    def began(self, request_id: str, now: Now) -> None:
        """INVOKE has come."""
        self._evidence.began(request_id, now.wall_ms * 1000)

    def hear(self, fact: Fact, now: Now) -> None:
        """A platform event."""
        finding = self._evidence.hear(fact, self._splicer.tail)
        if finding is not None:
            self._tell(finding)
        if self._metrics is not None:
            self._metrics.hear(fact, finding)
            self._export(self._metrics, now)

    def conclude(self, shutdown_reason: str, now: Now) -> None:
        """The last telemetry is in: what has not been told is told now."""
        self._is_last = True
        for finding in self._evidence.shut_down(shutdown_reason, now.wall_ms * 1000, self._splicer.tail):
            self._tell(finding)
            if self._metrics is not None:
                self._metrics.fail(finding)
        if self._metrics is not None:
            self._export(self._metrics, now)

    def _tell(self, finding: Finding) -> None:
        if self._tells_failures:
            record = self._splicer.synthesized(finding.request_id, finding.time_us, finding.members)
            self._destinations.received("logs", 1)
            self._destinations.ledger.synthesized += 1
            self._buffer.add(LOGS, record.encode("latin-1"), 1, urgent=True)

    def _export(self, metrics: Metrics, now: Now) -> None:
        """Adds the metrics to the buffer when it is time; at the end it always is."""
        if not (self._is_last or metrics.is_full or now.ms >= self._metrics_at_ms):
            return
        self._metrics_at_ms = now.ms + METRICS_INTERVAL_MS
        body, count = metrics.take(now.wall_ms * 1000)
        if count:
            self._destinations.received("metrics", count)
            stream = ("metrics", otlp.PROTOBUF)
            self._buffer.add(stream, body, count)  # type: ignore[arg-type] # a Stream is a plain tuple at run time
