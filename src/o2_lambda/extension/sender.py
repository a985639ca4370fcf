"""A destination's sender: peek, send, acknowledge. Which batch goes upstream when, and what its answer means for it.

A batch stays in the queue until a verdict takes it out; one request is in flight at a time.
"""

from __future__ import annotations

from o2_lambda.extension.core import verdict
from o2_lambda.extension.core.batch import split
from o2_lambda.extension.core.flush import Patience
from o2_lambda.extension.core.ledger import SIGNALS
from o2_lambda.extension.core.masking import excerpt
from o2_lambda.extension.core.model import Request
from o2_lambda.extension.core.retry import Backoff
from o2_lambda.extension.settings import PASSIVE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from o2_lambda.extension.config import Config
    from o2_lambda.extension.core.batch import Batch
    from o2_lambda.extension.core.buffer import Queue
    from o2_lambda.extension.core.ledger import Ledger
    from o2_lambda.extension.core.lines import Lines
    from o2_lambda.extension.core.model import Actions, Now, Outcome
    from o2_lambda.extension.core.secret import Fault, Secret
    from o2_lambda.extension.target import Target

NOUNS = {"logs": "logs", "traces": "spans", "metrics": "data points", "otlp_logs": "log records"}
UNAUTHORIZED = (401, 403)
# A request that was in flight over a freeze of this length (wall-clock time) gets no answer any more: what is held must
# not wait for its timeout.
FREEZE_MS_MAX = 20_000
# Finding one bad item among O2_BATCH_SIZE's largest value takes 17 halvings; more in a row mean that all are refused.
FRUITLESS_SPLITS_MAX = 20
REFUSALS_MAX = 3  # at shutdown; in between one may be a passing fault of a gateway


class Sender:
    """Owns a destination's request in flight, the pauses between attempts, and what is known of its server."""

    def __init__(self, number: int, config: Config, queue: Queue, ledger: Ledger, lines: Lines) -> None:
        self.number = number  # of its target in the configuration
        self.target: Target = config.targets[number]
        self.queue = queue
        self.ledger = ledger
        self.patience = Patience()
        self._config = config
        self._lines = lines
        self.backoff = Backoff(
            failures_max=config.max_retries,
            initial_ms=config.initial_retry_delay_ms,
            max_ms=config.max_retry_delay_ms,
        )
        self.in_flight: Request | None = None
        self.flush_wanted = False  # once, or until nothing is held: batches that still fill go as well
        self._fruitless = 0  # splits in a row without anything delivered
        self._refusals = 0  # answers in a row that only a person can change
        self._sent_ms = 0  # when the request in flight set out
        self._seen_events = self._seen_wall_ms = 0  # how many and when, at that moment or the last event since
        self._is_slow = False  # the last answer came after O2_REQUEST_TIMEOUT_MS, or not at all
        self._flight_events = 0  # how many lifecycle events there had been when the request set out
        self._is_forgiven = False  # a failure was put down to a freeze, and no answer has come since
        self._drain_until_ms: int | None = None
        self.left_over = False  # the last hold ended with something unsent: it goes beside the next invocation
        self.is_retired = False
        self.gave_up = ""  # why nothing will ever be sent: O2_SECRET_FAILURE=passive and no credentials
        self.secret: Secret | None = None
        if self.target.secret is not None and config.aws is not None:
            from o2_lambda.extension.core.secret import Secret  # noqa: PLC0415 - only for who names one

            self.secret = Secret(self.target.secret, config.aws)

    @property
    def is_hopeless(self) -> bool:
        """Whether to stop trying at shutdown: the credentials have been refused again and again."""
        return self._refusals >= REFUSALS_MAX and self.in_flight is None

    def is_in_vain(self, now_ms: int) -> bool:
        """Whether nothing is on its way or may set out now, or waiting for it has not been worth it lately.

        The pause after a failure is not waited for: the customer would pay for time in which nothing happens.
        """
        pauses = self.in_flight is None and not self.backoff.may_send(now_ms)
        return self.is_retired or self.backoff.is_open or pauses or not self.patience.may_hold(now_ms)

    def retire(self) -> None:
        """Nothing is taken or sent any more; what is held is accounted for."""
        self.is_retired = True
        for batch in self.queue.retire():
            self.ledger.dropped(batch.stream[0], batch.count, "no_credentials")

    def begin_drain(self, until_ms: int, now: Now) -> None:
        """Shutdown: everything goes, evidence of failures first, and no pause is longer than the time left allows."""
        self._drain_until_ms = until_ms
        self.backoff.hurry(now.ms)

    def consider(self, actions: Actions, now: Now, *, events: int, everything: bool) -> None:
        """Puts the next request into `actions`, or the time when there may be one.

        Full batches always go; what still fills goes as well if `everything` must, or while a flush is wanted.
        `events`: see `answered`.
        """
        if self.in_flight is not None:
            self._notice_freeze(actions, now, events)
            return
        if self.secret is not None and not self.secret.header and not self.backoff.failures:
            self._fetch(self.secret, actions, now, events=events)  # ahead of need
            return
        if self.queue.is_empty:
            self.flush_wanted = False
            return
        urgent_first = self._drain_until_ms is not None
        batch = self.queue.next_batch(urgent_first=urgent_first)
        if batch is None and not (everything or self.flush_wanted):
            return
        if not self.backoff.may_send(now.ms):
            actions.wake_by(self.backoff.not_before_ms)
            return
        if self.secret is not None and self.secret.is_due(now.wall_ms):
            self._fetch(self.secret, actions, now, events=events)
            return
        if batch is None:
            self.flush_wanted = False
            self.queue.seal_all()
            batch = self.queue.next_batch(urgent_first=urgent_first)
        if batch is None:
            return
        self.queue.in_flight = batch
        self._set_out(self._request(batch, now), actions, now, events=events)

    def _notice_freeze(self, actions: Actions, now: Now, events: int) -> None:
        """Gives the request in flight up where an event has come after so long that its connection will have died."""
        if events != self._seen_events:
            if now.wall_ms - self._seen_wall_ms > FREEZE_MS_MAX:
                actions.abort.add(self.number)
            self._seen_events, self._seen_wall_ms = events, now.wall_ms

    def answered(self, outcome: Outcome, now: Now, dice: float, *, events: int, parked: bool) -> None:
        """The request in flight has come to its end.

        `events` counts the lifecycle events so far, `parked` says that the sandbox may have been frozen until just now.
        """
        request, self.in_flight = self.in_flight, None
        if self.is_retired:
            return
        if request is None:
            raise AssertionError("an answer to nothing that was asked")
        batch = request.batch
        if batch is not None:
            self.queue.in_flight = None
            self.ledger.requests += 1
            self.ledger.bytes_out += outcome.bytes_out
            self._is_slow = now.ms - self._sent_ms >= self._config.request_timeout_ms
        if outcome.status:
            self._is_forgiven = False
        may_have_been_frozen = parked or events != self._flight_events
        if not outcome.status and may_have_been_frozen and not self._is_forgiven:
            # Time stood still meanwhile: the connection died of the freeze, not of the server. That is a guess, good
            # for one try: else a server that is down would be asked on and on beside frequent invocations, unnoticed.
            self._is_forgiven = True
            self.ledger.retries += 1
        elif batch is None:
            self._fetched(outcome, now, dice)
        elif not outcome.status:
            self._failed("transport", outcome.error, now, dice)
        else:
            self._judge(batch, outcome, now, dice)

    def _judge(self, batch: Batch, outcome: Outcome, now: Now, dice: float) -> None:
        ruling = verdict.judge(
            batch.stream, batch.count, outcome.status, outcome.body, outcome.retry_after, now.wall_ms // 1000
        )
        self._refusals = self._refusals + 1 if ruling.kind == verdict.CREDENTIALS else 0
        if ruling.kind == verdict.DELIVERED:
            self._delivered(batch, ruling, now)
        elif ruling.kind == verdict.RETRY:
            self._failed(ruling.reason, ruling.detail, now, dice, retry_after_ms=ruling.retry_after_ms)
        elif ruling.kind == verdict.SPLIT:
            self._split(batch, ruling, now, dice)
        elif ruling.kind == verdict.CREDENTIALS:
            self._refused(outcome.status, ruling, now, dice)
        else:
            self._drop(batch, ruling.reason)
            text = f"{self.target.label} request failed with status {outcome.status}: {ruling.detail}"
            # Once a minute: the line is telemetry itself, and sent to the same server it would cause the next one.
            self._lines.warn(
                f"fatal {self.number}", f"{text}; {batch.count} {NOUNS[batch.stream[0]]} dropped", now, "ERROR"
            )

    def _request(self, batch: Batch, now: Now) -> Request:
        signal, content_type = batch.stream
        target = self.target
        headers = {"content-type": content_type, "content-encoding": "gzip"}
        authorization = self.secret.header if self.secret is not None else target.authorization
        if authorization:
            headers["authorization"] = authorization
        headers.update(target.fields[signal])
        timeout_ms = self._config.request_timeout_ms
        if self._drain_until_ms is not None:
            left_ms = max(1, self._drain_until_ms - now.ms)
            # Who was too slow once gets all the time that is left: sent anew, the same would be stored again and again.
            timeout_ms = left_ms if self._is_slow else min(timeout_ms, left_ms)
        return Request(batch, target.urls[signal], list(headers.items()), timeout_ms)

    def _set_out(self, request: Request, actions: Actions, now: Now, *, events: int) -> None:
        self._flight_events = self._seen_events = events
        self._sent_ms, self._seen_wall_ms = now.ms, now.wall_ms
        self.in_flight = request
        actions.send.append((self.number, request))

    def _fetch(self, secret: Secret, actions: Actions, now: Now, *, events: int) -> None:
        """Asks for the credentials instead of sending."""
        request = secret.request(now.wall_ms)
        if isinstance(request, Request):
            if self._drain_until_ms is not None:
                request.timeout_ms = min(request.timeout_ms, max(1, self._drain_until_ms - now.ms))
            self._set_out(request, actions, now, events=events)
        else:
            self._without_credentials(request, now, 0.5)  # nobody was asked: nothing to spread over time
            actions.wake_by(self.backoff.not_before_ms)

    def _fetched(self, outcome: Outcome, now: Now, dice: float) -> None:
        secret = self.secret
        if secret is None:
            raise AssertionError("an answer to nothing that was asked")
        fault = secret.answered(outcome, now.wall_ms)
        if fault is not None and secret.header and not secret.is_refused:
            self._lines.warn(f"secret {self.number}", f"{fault.text}; what is known of it is used on", now)
        elif fault is not None:
            self._without_credentials(fault, now, dice)
        elif secret.header:
            self.backoff.succeed()
            self._lines.add("INFO", f"Credentials read from {secret.reference}")

    def _without_credentials(self, fault: Fault, now: Now, dice: float) -> None:
        if fault.lasting:
            self._refusals += 1
            pause_ms = self.backoff.give_up(now.ms, dice)
        else:
            pause_ms = self.backoff.fail(now.ms, dice)
        never_had_any = self.secret is None or not self.secret.header
        if self._config.secret_failure == PASSIVE and self.backoff.is_open and never_had_any:
            self.gave_up = fault.text
            return
        if self._drain_until_ms is not None:
            self.backoff.hurry(now.ms)
        pause = f"everything is held, next attempt in {pause_ms / 1000:.1f}s"
        self._lines.warn(f"secret {self.number}", f"{fault.text}; {pause}", now, "ERROR")

    def _delivered(self, batch: Batch, ruling: verdict.Verdict, now: Now) -> None:
        signal = batch.stream[0]
        noun = NOUNS[signal]
        self.queue.remove(batch)
        self._fruitless = 0
        if self.backoff.is_open:
            self._lines.add("NOTICE", f"{self.target.label} answers again")
        self.backoff.succeed()
        self.ledger.delivered(signal, batch.count - ruling.rejected)
        if ruling.rejected:
            self.ledger.rejected(signal, ruling.rejected, ruling.reason)
            why = excerpt(ruling.reason, verdict.DETAIL_LENGTH_MAX)
            text = f"{self.target.label} refused {ruling.rejected} of {batch.count} {noun}: {why}"
            self._lines.warn(f"rejected {self.number}", text, now)
        self._lines.add("INFO", f"Successfully sent {batch.count - ruling.rejected} {noun} to {self.target.label}")

    def _split(self, batch: Batch, ruling: verdict.Verdict, now: Now, dice: float) -> None:
        self._fruitless += 1
        if self._fruitless > FRUITLESS_SPLITS_MAX and ruling.reason == verdict.NOT_STORED:
            self._failed(ruling.reason, ruling.detail, now, dice)
            return
        self.backoff.succeed()
        halves = split(batch) if self._fruitless <= FRUITLESS_SPLITS_MAX else [batch]
        if len(halves) > 1:
            self.queue.replace(batch, halves)
            self.ledger.retries += 1
            text = f"Retry in two halves of {batch.count} {NOUNS[batch.stream[0]]}: {ruling.reason} {ruling.detail}"
            self._lines.add("INFO", text)
            return
        self._drop(batch, ruling.reason)
        noun = NOUNS[batch.stream[0]]
        self._lines.warn(
            f"item {self.number}",
            f"{self.target.label} cannot take {batch.count} {noun} ({ruling.reason}): {ruling.detail}; dropped",
            now,
            "ERROR",
        )

    def _refused(self, status: int, ruling: verdict.Verdict, now: Now, dice: float) -> None:
        if status in UNAUTHORIZED and self.secret is not None and self.secret.refused(now.wall_ms):
            self.ledger.retries += 1  # rotated, perhaps: it is fetched anew, and this sent again
            return
        pause_ms = self.backoff.give_up(now.ms, dice)
        if self._drain_until_ms is not None:
            self.backoff.hurry(now.ms)
        source = "O2_AUTHORIZATION_HEADER" if self.secret is None else self.secret.reference
        advice = f"check {source}" if status in UNAUTHORIZED else "check O2_ENDPOINT"
        text = f"{self.target.label} request failed with status {status}: {ruling.detail}"
        pause = f"sending pauses {pause_ms / 1000:.1f}s, nothing is given up"
        self._lines.warn(f"refused {self.number}", f"{text}; {pause}; {advice}", now, "ERROR")

    def _failed(self, reason: str, detail: str, now: Now, dice: float, *, retry_after_ms: int = 0) -> None:
        was_open = self.backoff.is_open
        pause_ms = self.backoff.fail(now.ms, dice, retry_after_ms=retry_after_ms)
        self.ledger.retries += 1
        if self._drain_until_ms is not None:
            self.backoff.hurry(now.ms)
        words = reason.replace("_", " ")
        text = detail if reason == "transport" else f"{self.target.label} request failed with {words}: {detail}"
        if not was_open:
            attempt = f"{self.backoff.failures}/{self.backoff.failures_max}"
            self._lines.add("INFO", f"Retry attempt {attempt} failed: {text}")
        if self.backoff.is_open and not was_open:
            held = sum(self.queue.items_held(signal) for signal in SIGNALS)
            pause = f"next attempt in {pause_ms / 1000:.1f}s"
            self._lines.warn(
                f"open {self.number}",
                f"{self.target.label} cannot be reached ({text}): holding {held} items, {pause}",
                now,
            )

    def _drop(self, batch: Batch, reason: str) -> None:
        self.queue.remove(batch)
        self.ledger.dropped(batch.stream[0], batch.count, reason)
