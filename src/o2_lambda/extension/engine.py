"""The engine: the one owner of state. Facts go in through methods, `step` says what to do next. It performs nothing.

Times come in as `Now`, chance as `dice` (uniform in [0, 1)); lines to print come out through `lines`.
"""

from __future__ import annotations

from o2_lambda.extension.core import flush, otlp, telemetry, verdict
from o2_lambda.extension.core.batch import LOGS, split
from o2_lambda.extension.core.buffer import Buffer
from o2_lambda.extension.core.flush import Hold, RateGauge
from o2_lambda.extension.core.jsonscan import get, quote
from o2_lambda.extension.core.ledger import SIGNALS, Ledger
from o2_lambda.extension.core.lifecycle import Lifecycle
from o2_lambda.extension.core.retry import Backoff
from o2_lambda.extension.core.telemetry import Splicer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from o2_lambda.extension.config import Config, Url
    from o2_lambda.extension.core.batch import Batch
    from o2_lambda.extension.core.telemetry import Fact, Parsed

SHUTDOWN_RESERVE_MS = 200  # of the two seconds: for the last lines and the exit
SETTLE_MS = 60  # at shutdown: silence after which the telemetry is complete; two of Lambda's shortest buffering times
SETTLE_WITHOUT_REPORT_MS = 300  # the same while the last invocation's platform.report is still owed
WARNING_INTERVAL_MS = 60_000  # between two equal warnings
NOUNS = {"logs": "logs", "traces": "spans", "metrics": "data points", "otlp_logs": "log records"}


class Now:
    """The time in ms: `ms` monotonic, `wall_ms` since the epoch."""

    __slots__ = ("ms", "wall_ms")

    def __init__(self, ms: int, wall_ms: int) -> None:
        self.ms = ms
        self.wall_ms = wall_ms


class Sandbox:
    """What is known of the place where we run. `telemetry` is False where the platform offers none (a local stub)."""

    __slots__ = ("account", "function_name", "function_version", "instance_id", "managed", "telemetry")

    def __init__(
        self,
        *,
        function_name: str,
        function_version: str,
        account: str,
        instance_id: str,
        managed: bool,
        telemetry: bool,
    ) -> None:
        self.function_name = function_name
        self.function_version = function_version
        self.account = account
        self.instance_id = instance_id  # 16 hex digits, new for every process: the first half of every event id
        self.managed = managed
        self.telemetry = telemetry


class Request:
    """One request to make upstream: a batch and how to send it."""

    __slots__ = ("batch", "headers", "timeout_ms", "url")

    def __init__(self, batch: Batch, url: Url, headers: list[tuple[str, str]], timeout_ms: int) -> None:
        self.batch = batch
        self.url = url
        self.headers = headers
        self.timeout_ms = timeout_ms


class Outcome:
    """What became of a request: an HTTP answer (`status` > 0), or an `error` of the way there."""

    __slots__ = ("body", "bytes_out", "error", "retry_after", "status")

    def __init__(
        self, *, status: int = 0, body: bytes = b"", retry_after: bytes | None = None, error: str = ""
    ) -> None:
        self.status = status
        self.body = body
        self.retry_after = retry_after
        self.error = error
        self.bytes_out = 0


class Actions:
    """What to do now, and when to come back at the latest (monotonic ms, None: only on a new fact)."""

    __slots__ = ("exit", "poll_next", "send", "wake_ms")

    def __init__(self) -> None:
        self.send: Request | None = None
        self.poll_next = False
        self.exit = False
        self.wake_ms: int | None = None

    def wake_by(self, at_ms: int | None) -> None:
        """Moves the wake-up time forward."""
        if at_ms is not None and (self.wake_ms is None or at_ms < self.wake_ms):
            self.wake_ms = at_ms


class Engine:
    """Owns buffer, ledger, lifecycle and decisions of one sandbox."""

    def __init__(self, config: Config, sandbox: Sandbox, now: Now) -> None:
        self.config = config
        self.sandbox = sandbox
        self.ledger = Ledger()
        self.lifecycle = Lifecycle()
        self.lines: list[tuple[str, str]] = []  # (level, text) to print
        self.buffer = Buffer(bytes_max=config.max_buffer_size_mb << 20, batch_items_max=config.batch_size)
        self._backoff = Backoff(
            failures_max=config.max_retries,
            initial_ms=config.initial_retry_delay_ms,
            max_ms=config.max_retry_delay_ms,
        )
        self._splicer = Splicer(
            instance_id=sandbox.instance_id,
            static_fields=static_fields(config, sandbox),
            types=config.log_types,
            fields=config.log_fields,
            follow_start=not sandbox.managed,
        )
        self._rate = RateGauge()
        self._hold: Hold | None = None
        self._request_id = ""
        self._done_id = ""  # the request of the last runtimeDone
        self._reported_id = ""  # the request of the last report
        self._waits_for_done = sandbox.telemetry and not sandbox.managed
        self._flush_wanted = False
        self._interval_at_ms = now.ms + config.flush_interval_ms
        self._in_flight: Request | None = None
        self._flight_events = 0  # how many lifecycle events there had been when the request set out
        self._events = 0
        self._credentials_refused = False
        self._shutdown_ms: int | None = None  # when SHUTDOWN came
        self._drain_until_ms = 0
        self._telemetry_at_ms = now.ms
        self._warned_ms: dict[str, int] = {}

    # Facts

    def next_event(self, event: Any, now: Now) -> None:
        """An answer to `/next`: INVOKE or SHUTDOWN, as nested `Pairs`."""
        kind = get(event, "eventType")
        self._events += 1
        self._interval_at_ms = now.ms + self.config.flush_interval_ms
        self._splicer.thaw(now.ms)
        deadline_ms = now.ms + (get(event, "deadlineMs") or 0) - now.wall_ms
        if kind == "SHUTDOWN":
            self._begin_shutdown(deadline_ms, now)
        elif kind == "INVOKE":
            self._begin_invocation(event, deadline_ms, now)
        else:
            self.lifecycle.move("OTHER")
            self._log("WARN", f"Unknown event {kind!r:.40} from the Extensions API ignored")

    def telemetry(self, body: bytes | bytearray, connection: int, now: Now, dice: float) -> None:
        """A Telemetry API payload."""
        self._telemetry_at_ms = now.ms
        parsed = self._splicer.feed(body, now_ms=now.ms, now_us=now.wall_ms * 1000, connection=connection)
        self._take(parsed, now, dice)

    def telemetry_lost(self, reason: str) -> None:
        """A payload that could not be taken in; how many events it held is unknown, it counts as one."""
        self.ledger.received("logs", 1)
        self.ledger.dropped("logs", 1, reason)

    def export(self, signal: str, content_type: str, body: bytes, now: Now) -> int:
        """An OTLP export request; returns the HTTP status to answer. Raises `OtlpError` for what is none (400)."""
        count = otlp.count(signal, content_type, body)
        if count == 0:
            return 200
        if self.buffer.bytes_held + self._splicer.half_bytes + len(body) > self.buffer.bytes_max:
            return 503
        items = otlp.json_array(signal, body) if content_type == otlp.JSON else body
        stream = (signal, content_type)
        self.ledger.received(signal, count)
        self.buffer.add(stream, items, count, now_ms=now.ms)  # type: ignore[arg-type] # a Stream is a plain tuple at run time
        return 200

    def answered(self, outcome: Outcome, now: Now, dice: float) -> None:
        """The request in flight has come to its end."""
        request, self._in_flight = self._in_flight, None
        if request is None:
            raise AssertionError("an answer without a request")
        batch = request.batch
        batch.in_flight = False
        self.ledger.requests += 1
        self.ledger.bytes_out += outcome.bytes_out
        if not outcome.status:
            self._transport_failed(outcome.error, now, dice)
            return
        ruling = verdict.judge(
            batch.stream, batch.count, outcome.status, outcome.body, outcome.retry_after, now.wall_ms // 1000
        )
        self._credentials_refused = ruling.kind == verdict.CREDENTIALS
        if ruling.kind == verdict.DELIVERED:
            self._delivered(batch, ruling)
        elif ruling.kind == verdict.RETRY:
            self._failed(ruling.reason, ruling.detail, now, dice, retry_after_ms=ruling.retry_after_ms)
        elif ruling.kind == verdict.SPLIT:
            self._split(batch, ruling)
        elif ruling.kind == verdict.CREDENTIALS:
            pause_ms = self._backoff.give_up(now.ms, dice)
            status, detail = outcome.status, ruling.detail
            self._warn("credentials", f"OpenObserve request failed with status {status}: {detail}", now, "ERROR")
            advice = "check O2_AUTHORIZATION_HEADER" if status in (401, 403) else "check O2_ENDPOINT"
            self._warn("held", f"Sending pauses {pause_ms / 1000:.1f}s, nothing is given up; {advice}", now)
        else:
            self._drop(batch, ruling.reason)
            self._log("ERROR", f"OpenObserve request failed with status {outcome.status}: {ruling.detail}; dropped")

    def step(self, now: Now, dice: float, *, receiving: bool, receiving_bytes: int = 0) -> Actions:
        """What to do now. `receiving`: a listener is in the middle of a body, of which `receiving_bytes` are held."""
        actions = Actions()
        half_expires_ms = self._splicer.half_expires_ms
        if half_expires_ms is not None and now.ms >= half_expires_ms:
            self._take(self._splicer.expire_half(now.wall_ms * 1000), now, dice)
            if self._hold is not None:  # the second half carried runtimeDone as well
                self._function_done(now)
        self._shed(receiving_bytes, now)
        if self.lifecycle.state == "DRAINING":
            self._drain(actions, now, receiving=receiving)
        elif self._hold is not None:
            self._consider_letting_go(actions, now, dice, receiving=receiving)
        elif self.lifecycle.state == "RUNNING":
            actions.poll_next = True
            self.lifecycle.move("LET_GO")
        self._consider_interval(actions, now)
        if not actions.exit:
            self._consider_sending(actions, now)
        actions.wake_by(self._splicer.half_expires_ms)
        return actions

    # Lifecycle

    def _begin_invocation(self, event: Any, deadline_ms: int, now: Now) -> None:
        self.lifecycle.move("INVOKE")
        self.ledger.invocations += 1
        if self._request_id and self._waits_for_done and self._done_id != self._request_id:
            self._log("WARN", "No platform.runtimeDone for the last invocation: sending beside the function instead")
            self._waits_for_done = False
        self._rate.record(now.ms)
        self._request_id = get(event, "requestId") or ""
        self._splicer.begin_invocation(self._request_id, telemetry.trace_id_of(get(event, "tracing", "value")))
        strategy = self.config.flush_strategy
        if strategy == flush.AUTO:
            strategy = self._rate.strategy(now.ms)
        if not self._waits_for_done or strategy == flush.CONTINUOUS:
            self._flush_wanted = True
            return
        self._hold = Hold(started_ms=now.ms, deadline_ms=deadline_ms, budget_ms=self.config.flush_budget_ms)
        if self._done_id == self._request_id:
            self._function_done(now)

    def _function_done(self, now: Now) -> None:
        if self._hold is not None:
            self._hold.function_done(now.ms)
            self._flush_wanted = True

    def _consider_letting_go(self, actions: Actions, now: Now, dice: float, *, receiving: bool) -> None:
        hold = self._hold
        if hold is None:
            return
        all_sent = self.buffer.is_empty and not receiving
        # No attempt will come before the hold ends anyway: waiting for it would be paid for nothing.
        futile = self._in_flight is None and self._backoff.not_before_ms >= hold.until_ms
        if not hold.is_over(now.ms, all_sent=all_sent, circuit_open=self._backoff.is_open or futile):
            actions.wake_by(hold.until_ms)
            return
        if hold.done_ms is not None:
            self.ledger.held_invocation(now.ms - hold.done_ms)
            if self._in_flight is not None and not self._backoff.is_open:
                # The budget went by without an answer: as bad as a failure for whoever waits. A late success undoes it.
                self._backoff.fail(now.ms, dice)
        self._hold = None
        actions.poll_next = True
        self.lifecycle.move("LET_GO")

    def _consider_interval(self, actions: Actions, now: Now) -> None:
        """Sends every interval where nothing else makes it: beside the function, and in long invocations."""
        hold = self._hold
        if hold is not None and self.config.flush_strategy != flush.PERIODIC:
            long_at_ms = hold.started_ms + flush.LONG_INVOCATION_MS
            self._interval_at_ms = max(self._interval_at_ms, long_at_ms)
        if now.ms >= self._interval_at_ms:
            self._interval_at_ms = now.ms + self.config.flush_interval_ms
            self._flush_wanted = True
        if not self.buffer.is_empty:
            actions.wake_by(self._interval_at_ms)

    def _begin_shutdown(self, deadline_ms: int, now: Now) -> None:
        self.lifecycle.move("SHUTDOWN")
        self._hold = None
        self._shutdown_ms = now.ms
        self._drain_until_ms = max(now.ms, deadline_ms - SHUTDOWN_RESERVE_MS)
        self._flush_wanted = True
        self._backoff.hurry(now.ms)
        seconds = max(0, deadline_ms - now.ms) / 1000
        self._log("NOTICE", f"Starting shutdown sequence with {seconds:.1f}s deadline")

    def _drain(self, actions: Actions, now: Now, *, receiving: bool) -> None:
        owes_report = self._waits_for_done and self._request_id != self._reported_id
        settle_ms = SETTLE_WITHOUT_REPORT_MS if owes_report else SETTLE_MS
        if not self.sandbox.telemetry:
            settle_ms = 0
        quiet_at_ms = max(self._shutdown_ms or 0, self._telemetry_at_ms) + settle_ms
        is_quiet = now.ms >= quiet_at_ms and not receiving and self._splicer.half_expires_ms is None
        is_sent = self.buffer.is_empty or (self._credentials_refused and self._in_flight is None)
        if (is_quiet and is_sent) or now.ms >= self._drain_until_ms:
            self._finish()
            actions.exit = True
            return
        actions.wake_by(self._drain_until_ms)
        if now.ms < quiet_at_ms:
            actions.wake_by(quiet_at_ms)

    def _finish(self) -> None:
        self.lifecycle.move("DRAINED")
        *_rest, held = self.ledger.totals()
        if held:
            self._log("ERROR", f"Final flush incomplete: {held} items could not be delivered before the deadline")
        else:
            self._log("NOTICE", "Final flush completed successfully")
        self.lines.append(("", self.ledger.as_json()))

    # Buffer

    def _take(self, parsed: Parsed, now: Now, dice: float) -> None:
        self.ledger.excluded("logs", parsed.excluded)
        self.ledger.received("logs", len(parsed.events))
        self.ledger.malformed += parsed.malformed
        events = parsed.events
        start = 0
        while start < len(events):
            chunk = events[start : start + max(1, min(self.buffer.room(LOGS), CHUNK_EVENTS_MAX))]
            start += len(chunk)
            items = ",".join(chunk).encode("latin-1")
            self.buffer.add(LOGS, items, len(chunk), now_ms=now.ms, urgent=parsed.urgent)
        for fact in parsed.facts:
            self._platform_fact(fact, now)

    def _platform_fact(self, fact: Fact, now: Now) -> None:
        if fact.type == "platform.runtimeDone":
            self._done_id = fact.request_id or self._request_id
            if self._done_id == self._request_id:
                self._function_done(now)
            self._waits_for_done = self.sandbox.telemetry and not self.sandbox.managed
        elif fact.type == "platform.report":
            self._reported_id = fact.request_id or self._request_id
        elif fact.type == "platform.logsDropped":
            records = get(fact.record, "droppedRecords")
            self.ledger.platform_logs_dropped += records if isinstance(records, int) else 0
            self._log("WARN", f"Lambda dropped {records} log records before they reached the extension")

    def _shed(self, receiving_bytes: int, now: Now) -> None:
        for batch in self.buffer.shed(self._splicer.half_bytes + receiving_bytes):
            self.ledger.dropped(batch.stream[0], batch.count, "buffer_full")
            self._warn(
                "buffer", "Log buffer full, dropping oldest batch; raise O2_MAX_BUFFER_SIZE_MB to hold more", now
            )

    def _drop(self, batch: Batch, reason: str) -> None:
        self.buffer.remove(batch)
        self.ledger.dropped(batch.stream[0], batch.count, reason)

    # Upstream

    def _consider_sending(self, actions: Actions, now: Now) -> None:
        if self._in_flight is not None:
            return
        if self.buffer.is_empty:
            self._flush_wanted = False
            return
        draining = self.lifecycle.state == "DRAINING"
        batch = self.buffer.next_batch(urgent_first=draining)
        if batch is None and not self._flush_wanted:
            return
        if not self._backoff.may_send(now.ms):
            actions.wake_by(self._backoff.not_before_ms)
            return
        if batch is None:
            self.buffer.seal_all()
            batch = self.buffer.next_batch(urgent_first=draining)
        if batch is None:
            return
        batch.in_flight = True
        self._flight_events = self._events
        actions.send = self._in_flight = self._request(batch, now)

    def _request(self, batch: Batch, now: Now) -> Request:
        config = self.config
        signal, content_type = batch.stream
        headers = [("Content-Type", content_type), ("Content-Encoding", "gzip")]
        url = self.upstream_url(signal)
        if signal != "logs" and config.otlp_headers:
            headers += list(config.otlp_headers.items())
        if signal == "logs" or "authorization" not in config.otlp_headers:
            headers.append(("Authorization", config.authorization_header))
        stream = {"traces": config.traces_stream, "otlp_logs": config.stream}.get(signal, "")
        if stream and "stream-name" not in config.otlp_headers:
            headers.append(("stream-name", stream))
        timeout_ms = config.request_timeout_ms
        if self.lifecycle.state == "DRAINING":
            timeout_ms = min(timeout_ms, max(1, self._drain_until_ms - now.ms))
        return Request(batch, url, headers, timeout_ms)

    def upstream_url(self, signal: str) -> Url:
        """Where a signal's requests go."""
        config = self.config
        if signal != "logs":
            return config.otlp_urls[signal]
        url = config.endpoint
        return type(url)(*url.origin, f"{url.path}/api/{config.organization_id}/{config.stream}/_json", "")

    def _delivered(self, batch: Batch, ruling: verdict.Verdict) -> None:
        signal = batch.stream[0]
        self.buffer.remove(batch)
        if self._backoff.is_open:
            self._log("NOTICE", "OpenObserve answers again")
        self._backoff.succeed()
        self.ledger.delivered(signal, batch.count - ruling.rejected)
        if ruling.rejected:
            self.ledger.rejected(signal, ruling.rejected, ruling.reason)
            noun = NOUNS[signal]
            self._log("WARN", f"OpenObserve refused {ruling.rejected} of {batch.count} {noun}: {ruling.reason:.200}")
        self._log("INFO", f"Successfully sent {batch.count - ruling.rejected} {NOUNS[signal]} to OpenObserve")

    def _split(self, batch: Batch, ruling: verdict.Verdict) -> None:
        self._backoff.succeed()
        halves = split(batch)
        if len(halves) > 1:
            self.buffer.replace(batch, halves)
            self.ledger.retries += 1
            self._log("INFO", f"Retry in two halves of {batch.count} {NOUNS[batch.stream[0]]}: {ruling.reason}")
            return
        self._drop(batch, ruling.reason)
        self._log("ERROR", f"OpenObserve cannot take an item ({ruling.reason}): {ruling.detail}; dropped")

    def _transport_failed(self, error: str, now: Now, dice: float) -> None:
        if self._flight_events != self._events:
            # Time stood still meanwhile: the connection died of the freeze, not of the server.
            self.ledger.retries += 1
            return
        self._failed("transport", error, now, dice)

    def _failed(self, reason: str, detail: str, now: Now, dice: float, *, retry_after_ms: int = 0) -> None:
        was_open = self._backoff.is_open
        pause_ms = self._backoff.fail(now.ms, dice, retry_after_ms=retry_after_ms)
        self.ledger.retries += 1
        if self.lifecycle.state == "DRAINING":
            self._backoff.hurry(now.ms)
        text = (
            detail if reason == "transport" else f"OpenObserve request failed with {reason.replace('_', ' ')}: {detail}"
        )
        if not was_open:
            self._log("INFO", f"Retry attempt {self._backoff.failures}/{self._backoff.failures_max} failed: {text}")
        if self._backoff.is_open and not was_open:
            held = sum(self.buffer.items_held(signal) for signal in SIGNALS)
            pause = f"next attempt in {pause_ms / 1000:.1f}s"
            self._warn("open", f"OpenObserve cannot be reached ({text}): holding {held} items, {pause}", now)

    # Lines

    def _log(self, level: str, text: str) -> None:
        self.lines.append((level, text))

    def _warn(self, key: str, text: str, now: Now, level: str = "WARN") -> None:
        """A line that may repeat is printed once a minute."""
        last_ms = self._warned_ms.get(key)
        if last_ms is None or now.ms - last_ms >= WARNING_INTERVAL_MS:
            self._warned_ms[key] = now.ms
            self._log(level, text)


CHUNK_EVENTS_MAX = 512  # events joined at a time: bounds the copy in memory, and how far a batch overshoots 1 MiB


def static_fields(config: Config, sandbox: Sandbox) -> str:
    """The JSON members that are equal on every log record, without braces. Unknown and unwanted ones are left out."""
    values = {
        "function_name": sandbox.function_name or config.function_name,
        "function_version": sandbox.function_version,
        "region": config.region,
        "account": sandbox.account,
        "service_name": config.service or sandbox.function_name or config.function_name,
        "env": config.env,
    }
    return ",".join(f'"{name}":{quote(value)}' for name, value in values.items() if value and name in config.log_fields)
