"""A sandbox around the engine: clocks, platform events and an upstream, without sockets, threads or waiting.

Time moves only where a test says so, and the engine is stepped where its shell would step it: after every fact and at
every wake-up time. After every step the invariants are checked that must hold whatever happens.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from o2_lambda.extension.config import load
from o2_lambda.extension.core import otlp
from o2_lambda.extension.core.flush import DEADLINE_MARGIN_MS
from o2_lambda.extension.core.jsonscan import loads
from o2_lambda.extension.core.ledger import SIGNALS
from o2_lambda.extension.core.model import Now, Outcome, Request, Sandbox
from o2_lambda.extension.engine import Engine
from tests.unit import events

ENVIRON = {
    "O2_ORGANIZATION_ID": "acme",
    "O2_AUTHORIZATION_HEADER": "Basic c2VjcmV0OnNlY3JldA==",
    "O2_ENDPOINT": "https://o2.example",
    "O2_LOG_FIELDS": "event_id",
    "O2_ENHANCED_METRICS": "false",
}
START_MS = 10_000
WALL_OFFSET_MS = 1_767_225_600_000
SEAL_BYTES_MAX = 64 * 1024  # what zlib may still hold back of an open batch, which sealing brings out
STEPS_MAX = 10_000  # between two facts: an engine that asks for more is spinning

Upstream = Callable[["World", Request], "Reply | None"]


class Reply:
    """What the upstream answers, and after how long."""

    def __init__(self, outcome: Outcome, *, after_ms: int = 10) -> None:
        self.outcome = outcome
        self.after_ms = after_ms


def content(request: Request) -> bytes:
    """What the request carries, unpacked."""
    assert request.batch is not None
    return gzip.decompress(request.batch.body)


def stored(request: Request, *, failed: int = 0, error: str = "Too old data") -> Outcome:
    """A server's answer that counts what it really found in the body, `failed` of it refused."""
    assert request.batch is not None
    signal, content_type = request.batch.stream
    if signal != "logs":
        count = otlp.count(signal, content_type, content(request))
        assert count == request.batch.count
        return Outcome(status=200)
    count = len(json.loads(content(request)))
    status = {"name": "default", "successful": count - failed, "failed": failed}
    return Outcome(status=200, body=json.dumps({"code": 200, "status": [status | {"error": error}]}).encode())


def healthy(_world: World, request: Request) -> Reply:
    """An upstream that stores everything within 10 ms."""
    return Reply(stored(request))


def failing(status: int, *, times: int = 10**9, after_ms: int = 10, body: bytes = b"busy") -> Upstream:
    """An upstream that answers with a status so many times, then stores."""

    def answer(world: World, request: Request) -> Reply:
        if len(world.requests) <= times:
            return Reply(Outcome(status=status, body=body), after_ms=after_ms)
        return Reply(stored(request), after_ms=after_ms)

    return answer


def silent(_world: World, _request: Request) -> None:
    """An upstream that never answers: the test does."""


class World:
    """One sandbox. `polls` counts the calls of `/next`, the first one included."""

    def __init__(
        self,
        upstream: Upstream = healthy,
        *,
        managed: bool = False,
        telemetry: bool = True,
        snap_start: bool = False,
        dice: float = 0.5,
        settings: Mapping[str, str] | None = None,
        others: tuple[Upstream, ...] = (),
        **environ: str,
    ) -> None:
        self.upstream = upstream  # of O2_ENDPOINT, and of who takes OTLP data in its place
        self.others = others  # of the additional destinations
        self.ms = START_MS
        self.dice = dice
        self.config = load({**ENVIRON, **(settings or {}), **environ})
        sandbox = Sandbox(
            function_name="f",
            function_version="1",
            account="",
            instance_id=events.INSTANCE_ID,
            managed=managed,
            telemetry=telemetry,
            snap_start=snap_start,
        )
        self.engine = Engine(self.config, sandbox, self.now())
        self.polls = 1
        self.is_polling = True
        self.requests: list[Request] = []
        self.flying: dict[int, Request] = {}  # destination -> its request in flight
        self.replies: dict[int, tuple[int, Outcome]] = {}  # destination -> (when, what) it will answer
        self.aborts = 0
        self.restores = 0
        self.lines: list[tuple[str, str]] = []
        self.wake_ms: int | None = None
        self.exit_ms: int | None = None
        self.passive = ""
        self.deadline_ms = 0
        self.done_ms: int | None = None
        self.hold_ms: list[int] = []  # of each invocation: from runtimeDone to our `/next`
        self.turn_ms = 0  # what each turn takes
        self.skew_ms = 0  # how far Lambda's wall clock is ahead of ours
        self.receiving = False
        self._request_id = ""
        self._numbers = 0

    def now(self) -> Now:
        """The present."""
        return Now(self.ms, WALL_OFFSET_MS + self.ms)

    @property
    def in_flight(self) -> Request | None:
        """The request in flight to O2_ENDPOINT."""
        return self.flying.get(0)

    # Facts

    def invoke(self, request_id: str | None = None, *, timeout_ms: int = 3000) -> str:
        """INVOKE arrives."""
        assert self.is_polling
        self._numbers += 1
        self._request_id = request_id or f"request-{self._numbers}"
        self.deadline_ms = self.ms + timeout_ms
        self.done_ms = None
        self._lifecycle_event(
            {"eventType": "INVOKE", "requestId": self._request_id, "deadlineMs": self._lambda_ms(self.deadline_ms)}
        )
        return self._request_id

    def shutdown(self, *, timeout_ms: int = 2000, reason: str = "spindown") -> None:
        """SHUTDOWN arrives."""
        assert self.is_polling
        self.deadline_ms = self.ms + timeout_ms
        deadline_ms = self._lambda_ms(self.deadline_ms)
        self._lifecycle_event({"eventType": "SHUTDOWN", "shutdownReason": reason, "deadlineMs": deadline_ms})

    def _lifecycle_event(self, event: dict[str, Any]) -> None:
        self.is_polling = False
        self.engine.next_event(loads(json.dumps(event)), self.now())
        self.step()
        self.advance(0)  # what came due while the sandbox was frozen

    def telemetry(self, *sources: str | bytes, connection: int = 1) -> None:
        """One POST of the Telemetry API."""
        self.telemetry_raw(events.payload(*sources).replace(events.TIME.encode(), self._time()), connection=connection)

    def telemetry_raw(self, body: bytes, *, connection: int = 1) -> None:
        """The same with any body."""
        if self.done_ms is None and f'runtimeDone","record":{{"requestId":"{self._request_id}"'.encode() in body:
            self.done_ms = self.ms
        self.engine.telemetry(body, connection, self.now())
        self.step()

    def _time(self) -> bytes:
        ms = self._lambda_ms(self.ms)
        return datetime.fromtimestamp(ms // 1000, UTC).strftime(f"%Y-%m-%dT%H:%M:%S.{ms % 1000:03}Z").encode()

    def _lambda_ms(self, ms: int) -> int:
        return WALL_OFFSET_MS + ms + self.skew_ms

    def log(self, count: int = 1, *, pad: str = "") -> None:
        """The function prints lines, each of them different."""
        sources = []
        for _ in range(count):
            self._numbers += 1
            sources.append(events.line(f"line {self._numbers} {pad}"))
        self.telemetry(*sources)

    def finish(self, *sources: str, status: str = "success") -> None:
        """The function is done: its last lines and runtimeDone arrive."""
        self.telemetry(*sources, events.done(self._request_id, status))

    def report(self) -> None:
        """The report of the last invocation arrives."""
        self.telemetry(events.report(self._request_id))

    def export(self, signal: str, content_type: str, body: bytes) -> int:
        """An SDK sends; returns the status that it gets."""
        status = self.engine.export(signal, content_type, body)
        self.step()
        return status

    def answer(self, outcome: Outcome, destination: int = 0) -> None:
        """A destination answers what is in flight."""
        del self.flying[destination]
        self.replies.pop(destination, None)
        self.engine.answered(outcome, self.now(), self.dice, destination=destination)
        self.step()

    def _due(self) -> list[int]:
        times = [at for at, _outcome in self.replies.values()]
        return times if self.wake_ms is None else [*times, self.wake_ms]

    # Time

    def advance(self, duration_ms: int) -> None:
        """Time passes; answers arrive and the engine wakes when it asked for it."""
        until_ms = self.ms + duration_ms
        for _ in range(STEPS_MAX):
            due = self._due()
            if self.exit_ms is not None or not due or min(due) > until_ms:
                self.ms = until_ms
                return
            self.ms = max(self.ms, min(due))
            answers = [(at, number, outcome) for number, (at, outcome) in self.replies.items() if at <= self.ms]
            if answers:
                _at, number, outcome = min(answers, key=lambda each: each[:2])
                self.answer(outcome, number)
            else:
                self.step()
        raise AssertionError("the engine is spinning")

    def freeze(self, duration_ms: int) -> None:
        """Lambda stops the sandbox, which it may do while `/next` is outstanding: time passes and nothing happens."""
        assert self.is_polling
        self.ms += duration_ms

    def let_go(self) -> None:
        """Time passes until the engine asks for the next event."""
        for _ in range(STEPS_MAX):
            if self.is_polling:
                return
            due = self._due()
            assert due, "the engine never asks for the next event"
            self.advance(max(0, min(due) - self.ms))
        raise AssertionError("the engine is spinning")

    def step(self) -> None:
        """The engine decides; what it wants is done, and the invariants are checked."""
        if self.exit_ms is not None:
            return
        actions = self.engine.step(self.now(), receiving=self.receiving, turn_ms=self.turn_ms)
        self.lines += self.engine.lines.take()
        self.aborts += len(actions.abort)
        self.restores += actions.restored
        for number, request in actions.send:
            self._set_out(number, request)
        if actions.poll_next:
            assert not self.is_polling, "/next was asked for twice"
            self.is_polling = True
            self.polls += 1
            if self.done_ms is not None:
                self.hold_ms.append(self.ms - self.done_ms)
        if actions.exit or actions.passive:
            self.exit_ms = self.ms
            self.passive = actions.passive
        self.wake_ms = actions.wake_ms
        self._check()

    def _set_out(self, number: int, request: Request) -> None:
        assert number not in self.flying, "two requests in flight to one destination"
        self.requests.append(request)
        self.flying[number] = request
        first_other = len(self.config.targets) - len(self.others)
        reply = (self.others[number - first_other] if number >= first_other else self.upstream)(self, request)
        if reply is not None:
            self.replies[number] = (self.ms + reply.after_ms, reply.outcome)

    # Invariants

    def _check(self) -> None:
        engine, now = self.engine, self.ms
        senders = engine.destinations.senders
        for ledger in engine.destinations.ledgers:
            for signal in SIGNALS:
                account = ledger.accounts[signal]
                held = sum(each.queue.items_held(signal) for each in senders if each.ledger is ledger)
                assert account.held() == held, f"{signal} do not add up"
                assert min(account.received, account.delivered, account.held()) >= 0
        flying = 0
        for number, request in self.flying.items():
            if request.batch is not None and not senders[number].is_retired:
                assert request.batch in senders[number].queue._batches, "what is in flight was taken out"
                flying += len(request.batch.body)
        batches = {id(batch): len(batch.body) for each in senders for batch in each.queue._batches}
        assert engine.buffer.bytes_held == sum(batches.values()) + engine.buffer.open_bytes, "bytes do not add up"
        bound = engine.buffer.bytes_max + flying + SEAL_BYTES_MAX
        assert engine.buffer.bytes_held + engine._splicer.half_bytes <= bound, "the buffer exceeds its bound"
        if self.exit_ms is None:
            assert self.wake_ms is None or self.wake_ms > now, "a wake-up in the past: the engine is spinning"
        if self.exit_ms is not None or engine.lifecycle.state == "DRAINING":
            assert now < self.deadline_ms or self.exit_ms is not None, "the shutdown deadline has passed"
        elif not self.is_polling:
            self._check_hold(now)

    def _check_hold(self, now: int) -> None:
        assert engine_waits(self), "an invocation is held for nothing"
        assert now < self.deadline_ms - DEADLINE_MARGIN_MS, "held beyond the deadline"
        if self.done_ms is not None:
            assert now < self.done_ms + self.config.flush_budget_ms, "held beyond the budget"
            owed = [each for each in self.engine.destinations.senders if self.receiving or not each.queue.is_empty]
            assert owed, "held with nothing left to send"
            assert any(not each.backoff.is_open for each in owed), "held although the upstream is down"
            assert any(each.patience.may_hold(now) for each in owed), "held although that was in vain lately"
            assert any(each.in_flight or each.backoff.may_send(now) for each in owed), "held for a pause"

    # Results

    @property
    def sent(self) -> list[int]:
        """The item counts of the requests so far."""
        return [request.batch.count for request in self.requests if request.batch is not None]

    def said(self, level: str, part: str = "") -> list[str]:
        """The lines of a level that contain a text."""
        return [text for each, text in self.lines if each == level and part in text]

    def account(self, signal: str = "logs", destination: int = 0) -> dict[str, Any]:
        """A signal's account with a destination."""
        account = self.engine.destinations.senders[destination].ledger.accounts[signal]
        return {
            "received": account.received,
            "delivered": account.delivered,
            "rejected": sum(account.rejected.values()),
            "dropped": dict(account.dropped),
            "held": account.held(),
        }


def engine_waits(world: World) -> bool:
    """Whether the engine has a reason to hold back `/next`: telemetry of a function that it can wait for."""
    return world.engine.sandbox.telemetry and not world.engine.sandbox.managed


def delivered_ids(world: World, accepted: list[Request]) -> list[str]:
    """The event ids in the requests that were accepted, in the order of sending."""
    return [each["event_id"] for request in accepted for each in json.loads(content(request))]


def run(world: World, *, lines: int = 2, duration_ms: int = 50) -> None:
    """One invocation from INVOKE to our next `/next`."""
    request_id = world.invoke()
    world.telemetry(events.start(request_id))
    world.log(lines)
    world.advance(duration_ms)
    if not world.is_polling:
        world.finish()
        world.let_go()
    world.report()
