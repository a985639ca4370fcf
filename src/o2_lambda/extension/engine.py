"""The engine: the one owner of state. Facts go in through methods, `step` says what to do next. It performs nothing.

Times come in as `Now`, chance as `dice` (uniform in [0, 1)); lines to print come out through `lines`.
"""

from __future__ import annotations

from o2_lambda.extension.core import evidence, flush, otlp
from o2_lambda.extension.core.batch import LOGS
from o2_lambda.extension.core.buffer import Buffer
from o2_lambda.extension.core.correlate import trace_id_of
from o2_lambda.extension.core.flush import Hold, RateGauge
from o2_lambda.extension.core.jsonscan import get
from o2_lambda.extension.core.lifecycle import Lifecycle
from o2_lambda.extension.core.lines import Lines
from o2_lambda.extension.core.model import Actions
from o2_lambda.extension.core.telemetry import RESTORE_START, Splicer
from o2_lambda.extension.destinations import Destinations
from o2_lambda.extension.identity import static_fields
from o2_lambda.extension.testimony import Testimony

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from o2_lambda.extension.config import Config
    from o2_lambda.extension.core.model import Now, Outcome, Sandbox
    from o2_lambda.extension.core.telemetry import Fact, Parsed

SHUTDOWN_RESERVE_MS = 200  # of the two seconds: for the last lines and the exit; beyond that what a turn takes here
TURN_MS_MAX = 500  # longer ones are not reserved for: most of the two seconds is there for sending
SETTLE_MS = 60  # at shutdown: silence after which the telemetry is complete; two of Lambda's shortest buffering times
SETTLE_WITHOUT_REPORT_MS = 300  # the same while the last invocation's platform.report is still owed
EVIDENCE_RESERVE_MS = 500  # before the end of the drain: a failure is told then, whatever may still be to come
SILENCE_MS = 1000  # of a function, in which there is time to send: the kill comes 2 s after a crash
EARLY_EXPORT_INTERVAL_MS = 200  # bounds the requests that an SDK causes which exports span by span
CHUNK_EVENTS_MAX = 512  # events joined at a time: bounds the copy in memory, and how far a batch overshoots its size


class Engine:
    """Owns buffer, ledger, lifecycle and decisions of one sandbox."""

    def __init__(self, config: Config, sandbox: Sandbox, now: Now) -> None:
        self.config = config
        self.sandbox = sandbox
        self.lifecycle = Lifecycle()
        self.lines = Lines()
        self.buffer = Buffer(bytes_max=config.max_buffer_size_mb << 20, batch_items_max=config.batch_size)
        self.destinations = Destinations(config, self.buffer, self.lines)
        self.ledger = self.destinations.ledger
        self._splicer = Splicer(
            instance_id=sandbox.instance_id,
            static_fields=static_fields(config, sandbox),
            types=config.log_types,
            fields=config.log_fields,
            follow_start=not sandbox.managed,
        )
        self._testimony = Testimony(
            config, sandbox, now, splicer=self._splicer, buffer=self.buffer, destinations=self.destinations
        )
        self._rate = RateGauge()
        self._early_at_ms = now.ms  # from when exports may set out before the invocation's end
        self._hold: Hold | None = None
        self._request_id = ""
        self._done_id = ""  # the request of the last runtimeDone
        self._reported_id = ""  # the request of the last report
        self._started_id: str | None = ""  # that of the last platform.start since INVOKE
        self._waits_for_done = sandbox.telemetry and not sandbox.managed
        self._interval_at_ms = now.ms + config.flush_interval_ms
        self._silence_ms = SILENCE_MS  # after which this invocation sends
        self._let_go_early = False  # the last hold ended at its deadline, before runtimeDone
        self._events = 0  # lifecycle events so far
        self._awaits_restore = sandbox.snap_start
        self._was_restored = False  # until `step` has told it
        self._shutdown_ms: int | None = None  # when SHUTDOWN came
        self._shutdown_reason: str | None = None  # until what it means has been told
        self._drain_until_ms = 0
        self._telemetry_at_ms = now.ms
        self._turn_ms = 0  # what the slowest turn has taken lately: with a small share of a processor, a good deal

    @property
    def awaits_restore(self) -> bool:
        """Whether a snapshot may be taken of us, or has been: `spare_id` must be fresh at every turn."""
        return self._awaits_restore

    def spare_id(self, instance_id: str) -> None:
        """The instance id to take when this turns out to be a sandbox restored from a snapshot."""
        self._splicer.spare_id = instance_id

    @property
    def _is_asleep(self) -> bool:
        """Whether the sandbox may be frozen at any moment: a request that sets out now could lose its answer."""
        return self.lifecycle.state == "PARKED" and self._request_id != "" and self._done_id == self._request_id

    # Facts

    def next_event(self, event: Any, now: Now) -> None:
        """An answer to `/next`: INVOKE or SHUTDOWN, as nested `Pairs`."""
        kind = get(event, "eventType")
        self._events += 1
        self._interval_at_ms = now.ms + self.config.flush_interval_ms
        self._splicer.thaw(now.ms)
        told_ms = get(event, "deadlineMs")
        if kind == "SHUTDOWN":
            self._shutdown_reason = str(get(event, "shutdownReason"))
            self._begin_shutdown(now.ms + self.lifecycle.shutdown_ms(told_ms, now.wall_ms), now)
        elif kind == "INVOKE":
            self._begin_invocation(event, now.ms + self.lifecycle.invocation_ms(told_ms, now.wall_ms), now)
        else:
            self.lifecycle.move("OTHER")
            self.lines.add("WARN", f"Unknown event {kind!r:.40} from the Extensions API ignored")

    def telemetry(self, body: bytes | bytearray, connection: int, now: Now) -> None:
        """A Telemetry API payload."""
        self._telemetry_at_ms = now.ms
        try:
            parsed = self._splicer.feed(body, now_ms=now.ms, now_us=now.wall_ms * 1000, connection=connection)
        except MemoryError:
            self.telemetry_lost("out_of_memory")
            return
        self._take(parsed, now)
        if self._awaits_restore:
            self.destinations.flush()  # what the snapshot holds, every sandbox restored from it would send

    def telemetry_lost(self, reason: str) -> None:
        """A payload that could not be taken in; how many events it held is unknown, it counts as one."""
        self.destinations.lost("logs", 1, reason)

    def export(self, signal: str, content_type: str, body: bytes) -> int:
        """An OTLP export request; returns the HTTP status to answer. Raises `OtlpError` for what is none (400)."""
        count = otlp.count(signal, content_type, body, foreign=True)
        if count == 0:
            return 200
        # Held compressed, it takes less room than now. Counted whole, the largest would be told to come back for ever.
        size = min(len(body), self.buffer.bytes_max // 2)
        if self.buffer.bytes_owed(signal) + self._splicer.half_bytes + size > self.buffer.bytes_max:
            return 503
        items = otlp.json_array(signal, body) if content_type == otlp.JSON else body
        stream = (signal, content_type)
        self.destinations.received(signal, count)
        self.buffer.add(stream, items, count)  # type: ignore[arg-type] # a Stream is a plain tuple at run time
        return 200

    def correlate(self, message: bytes) -> None:
        """A tracer says which trace an invocation belongs to. Raises ValueError for what is no such message."""
        self._splicer.correlate(message)

    def answered(self, outcome: Outcome, now: Now, dice: float, *, destination: int = 0) -> None:
        """A destination's request in flight has come to its end."""
        parked = self.lifecycle.state == "PARKED"
        sender = self.destinations.senders[destination]
        sender.answered(outcome, now, dice, events=self._events, parked=parked)

    def step(self, now: Now, *, receiving: bool, receiving_bytes: int = 0, turn_ms: int = 0) -> Actions:
        """What to do now. `receiving`: a listener is in the middle of a body, of which `receiving_bytes` are held.

        `turn_ms`: how long the facts of this turn, which are of `now`, have taken. That long a deadline can be missed.
        """
        actions = Actions()
        if self.lifecycle.state != "PARKED":  # where a freeze may be part of it
            self._turn_ms = max(self._turn_ms, min(turn_ms, TURN_MS_MAX))
        if self._was_restored:
            self._was_restored = False
            actions.restored = True
            self.destinations.restored(actions)
        half_expires_ms = self._splicer.half_expires_ms
        if half_expires_ms is not None and now.ms >= half_expires_ms:
            self._take(self._splicer.expire_half(now.wall_ms * 1000), now)
            # The second half would have carried the rest of its batch, runtimeDone as well: nobody must wait for that.
            self._function_done(now)
        self.destinations.shed(self._splicer.half_bytes + receiving_bytes, now)
        if self.lifecycle.state == "DRAINING":
            self._drain(actions, now, receiving=receiving, turn_ms=turn_ms)
        elif self._hold is not None:
            self._send_exports_early(now)
            self._send_in_silence(actions, now)
            self._hold.turn_ms = self._turn_ms
            self._consider_letting_go(actions, now, receiving=receiving)
        elif self.lifecycle.state == "RUNNING":
            actions.poll_next = True
            self.lifecycle.move("LET_GO")
        self._consider_interval(actions, now)
        if not actions.exit and not self._is_asleep:
            everything = self.lifecycle.state == "DRAINING" or (
                self._hold is not None and self._hold.done_ms is not None
            )
            self.destinations.consider(actions, now, events=self._events, everything=everything)
        actions.wake_by(self._splicer.half_expires_ms)
        return actions

    def give_up(self) -> None:
        """Nothing will be sent any more: what is held is lost, and said to be."""
        for ledger in self.destinations.ledgers:
            ledger.give_up("internal_error")
        self._print_ledgers()

    # Lifecycle

    def _begin_invocation(self, event: Any, deadline_ms: int, now: Now) -> None:
        self.lifecycle.move("INVOKE")
        self.ledger.invocations += 1
        if self._awaits_restore:  # the event may overtake the telemetry that tells of it
            self._restore()
        if self._let_go_early and self._done_id != self._request_id:
            self.lines.add(
                "WARN", "No platform.runtimeDone for the last invocation: sending beside the function instead"
            )
            self._waits_for_done = False
        self.destinations.begin_invocation(let_go_early=self._let_go_early)
        self._let_go_early = False
        self._silence_ms = SILENCE_MS
        self._turn_ms //= 2
        self._rate.record(now.ms)
        request_id = get(event, "requestId") or ""
        if request_id == self._request_id:
            self._done_id = ""  # retried under the same id: the runtimeDone that was seen is not this one's
            self._started_id = ""  # nor is the report that is still to come
        self._request_id = request_id
        self._testimony.began(request_id, now)
        self._splicer.begin_invocation(self._request_id, trace_id_of(get(event, "tracing", "value")))
        strategy = self.config.flush_strategy
        if strategy == flush.AUTO:
            strategy = self._rate.strategy(now.ms)
        if not self._waits_for_done or strategy == flush.CONTINUOUS:
            self.destinations.flush()
            return
        self._hold = Hold(started_ms=now.ms, deadline_ms=deadline_ms, budget_ms=self.config.flush_budget_ms)
        if self._done_id == self._request_id:
            self._function_done(now)

    def _restore(self) -> None:
        self._awaits_restore = False
        self._was_restored = True
        self._events += 1  # time stood still: what dies of it is no failure
        self._splicer.renew()
        self.destinations.forget_secrets()
        self.lines.add("NOTICE", "Restored from a snapshot: connections are opened anew")

    def _function_done(self, now: Now) -> None:
        if self._hold is not None:
            self._hold.function_done(now.ms)

    def _send_exports_early(self, now: Now) -> None:
        """Traces and metrics set out while Lambda still buffers the log lines: their time upstream is free then."""
        if now.ms >= self._early_at_ms and self.destinations.is_idle and self.buffer.seal_exports():
            self._early_at_ms = now.ms + EARLY_EXPORT_INTERVAL_MS

    def _send_in_silence(self, actions: Actions, now: Now) -> None:
        """What is held goes beside a function that has fallen silent, each time after twice as long a silence.

        Were its runtime dead, and Lambda never said so, nothing else would send it before the process is killed.
        """
        hold = self._hold
        if hold is None or hold.done_ms is not None or self.destinations.is_empty:
            return
        silent_at_ms = max(hold.started_ms, self._telemetry_at_ms) + self._silence_ms
        if now.ms >= silent_at_ms:
            self._silence_ms *= 2
            self.destinations.flush()
        else:
            actions.wake_by(silent_at_ms)

    def _consider_letting_go(self, actions: Actions, now: Now, *, receiving: bool) -> None:
        hold = self._hold
        if hold is None:
            return
        all_sent = self.destinations.is_empty and not receiving
        in_vain = self.destinations.in_vain(now, receiving=receiving)
        if not hold.is_over(now.ms, all_sent=all_sent, in_vain=in_vain):
            actions.wake_by(hold.until_ms)
            return
        self._let_go_early = hold.done_ms is None
        self.destinations.hold_ends(hold, now, receiving=receiving)
        if hold.done_ms is not None:
            self.ledger.held_invocation(now.ms - hold.done_ms)
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
            self.destinations.flush()
        if not self.destinations.is_empty:
            actions.wake_by(self._interval_at_ms)

    def _begin_shutdown(self, deadline_ms: int, now: Now) -> None:
        self.lifecycle.move("SHUTDOWN")
        self._hold = None
        self._shutdown_ms = now.ms
        self._drain_until_ms = max(now.ms, deadline_ms - SHUTDOWN_RESERVE_MS)
        if str(self._shutdown_reason).lower() in evidence.SHUTDOWN_REASONS:
            self.buffer.mark_urgent()  # the last lines and spans before the failure
        self.destinations.begin_drain(self._drain_until_ms, now)
        seconds = max(0, deadline_ms - now.ms) / 1000
        self.lines.add("NOTICE", f"Starting shutdown sequence with {seconds:.1f}s deadline")

    def _drain(self, actions: Actions, now: Now, *, receiving: bool, turn_ms: int) -> None:
        until_ms = self._drain_until_ms - self._turn_ms
        owes_report = self._waits_for_done and self._request_id != self._reported_id
        settle_ms = SETTLE_WITHOUT_REPORT_MS if owes_report else SETTLE_MS
        if not self.sandbox.telemetry:
            settle_ms = 0
        quiet_at_ms = max(self._shutdown_ms or 0, self._telemetry_at_ms) + settle_ms
        is_quiet = now.ms >= quiet_at_ms and not receiving and self._splicer.half_expires_ms is None
        if self._shutdown_reason is not None:
            tell_at_ms = until_ms - EVIDENCE_RESERVE_MS
            if is_quiet or now.ms >= tell_at_ms:
                self._testimony.conclude(self._shutdown_reason, now)
                self._shutdown_reason = None
            else:
                actions.wake_by(tell_at_ms)
        if (is_quiet and self.destinations.is_done) or now.ms + turn_ms >= until_ms:
            self._finish(now)
            actions.exit = True
            return
        self.buffer.seal_urgent()
        actions.wake_by(until_ms)
        if now.ms < quiet_at_ms:
            actions.wake_by(quiet_at_ms)

    def _finish(self, now: Now) -> None:
        self.lifecycle.move("DRAINED")
        if self._splicer.half_expires_ms is not None:  # so that the ledger knows of it
            self._take(self._splicer.expire_half(now.wall_ms * 1000), now)
        held = sum(ledger.totals()[3] for ledger in self.destinations.ledgers)
        if held:
            self.lines.add("ERROR", f"Final flush incomplete: {held} items could not be delivered before the deadline")
        else:
            self.lines.add("NOTICE", "Final flush completed successfully")
        self._print_ledgers()

    def _print_ledgers(self) -> None:
        for ledger in self.destinations.ledgers:
            self.lines.add("", ledger.as_json())

    # Buffer

    def _take(self, parsed: Parsed, now: Now) -> None:
        self.ledger.excluded("logs", parsed.excluded)
        self.destinations.received("logs", len(parsed.events))
        self.ledger.malformed += parsed.malformed
        events = parsed.events
        start = 0
        while start < len(events):
            chunk = events[start : start + max(1, min(self.buffer.room(LOGS), CHUNK_EVENTS_MAX))]
            start += len(chunk)
            items = ",".join(chunk).encode("latin-1")
            self.buffer.add(LOGS, items, len(chunk), urgent=parsed.urgent)
        for fact in parsed.facts:
            self._platform_fact(fact, now)

    def _platform_fact(self, fact: Fact, now: Now) -> None:
        self._testimony.hear(fact, now)
        if fact.type == "platform.runtimeDone":
            self._done_id = fact.request_id or self._request_id
            if self._done_id == self._request_id:
                self._function_done(now)
            self._waits_for_done = self.sandbox.telemetry and not self.sandbox.managed
        elif fact.type == RESTORE_START and (self._awaits_restore or not self.sandbox.snap_start):
            self._restore()
        elif fact.type == "platform.start":
            self._started_id = fact.request_id
            if fact.request_id == self._request_id != "":
                granted_ms = self.lifecycle.invocation_began(fact.time_us // 1000)
                if self._hold is not None:
                    self._hold.granted(granted_ms)
        elif fact.type == "platform.report":
            self._reported_id = fact.request_id or self._request_id
            if self._reported_id == self._request_id == self._started_id:
                self._function_done(now)  # Lambda has gone on without us: runtimeDone went missing
        elif fact.type == "platform.logsDropped":
            records = get(fact.record, "droppedRecords")
            self.ledger.platform_logs_dropped += records if isinstance(records, int) else 0
            self.lines.add("WARN", f"Lambda dropped {records} log records before they reached the extension")
