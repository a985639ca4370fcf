"""Brings telemetry to its subscribers: the replay buffer, one courier per subscriber, retries and the freeze."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from typing import TYPE_CHECKING

import aiohttp

from o2_lambda.emulator import telemetry
from o2_lambda.emulator.telemetry import LOOPBACK, Batch, Queue, Subscription
from o2_lambda.emulator.timeline import Delivery, Timeline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from o2_lambda.emulator.clock import Clock
    from o2_lambda.emulator.events import Event
    from o2_lambda.emulator.faults import Faults

NO_ANSWER = 0
TCP_WRITTEN = 200  # a TCP destination answers nothing; written counts as delivered


class Courier:
    """Delivers one subscriber's batches, one at a time and in order, until each is accepted."""

    def __init__(self, name: str, subscription: Subscription, clock: Clock, faults: Faults, timeline: Timeline) -> None:
        self.name = name
        self.queue = Queue(subscription)
        self._subscription = subscription
        self._clock = clock
        self._faults = faults
        self._timeline = timeline
        self._moving = asyncio.Event()  # cleared while frozen
        self._moving.set()
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._held: Batch | None = None  # by the reorder fault, until `_overtaken`
        self._overtaken = False
        self._last_call = False
        self._session: aiohttp.ClientSession | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._task = asyncio.create_task(self._run())

    def feed(self, event: Event) -> None:
        """Queue `event` if the subscriber wants it."""
        if self.queue.wants(event):
            admitted = self.queue.add(event, self._clock.mono_ms(), self._faults.oversize_split_bytes)
            if not admitted:
                self._timeline.note("telemetry.dropped", subscriber=self.name, type=event.type)
            self._wake()

    def pause(self) -> None:
        """Freeze: nothing is sent and no timer fires until `resume`."""
        self._moving.clear()

    def resume(self) -> None:
        """Thaw."""
        self._moving.set()
        self._wake()

    def flush(self) -> None:
        """Seal what is open and send it now."""
        self._last_call = True
        self.queue.seal()
        self._wake()

    async def drained(self) -> None:
        """Wait until nothing is queued or in flight."""
        await self._idle.wait()

    async def close(self) -> None:
        """Stop; what is undelivered is lost, as with the environment."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        if self._session:
            await self._session.close()
        if self._writer:
            self._writer.close()

    def _wake(self) -> None:
        if not self.queue.empty or self._held:
            self._idle.clear()
        self._news.set()

    async def _run(self) -> None:
        while True:
            await self._moving.wait()
            self._news.clear()
            batch = self._next_batch()
            if batch is not None:
                await self._deliver(batch)
                self.queue.settle_drops(self._clock.wall_ms(), self._clock.mono_ms())
                continue
            if self.queue.empty and not self._held:
                self._idle.set()
            await self._wait_for_news()

    def _next_batch(self) -> Batch | None:
        """Return the batch to send now; the reorder fault lets one be overtaken by its successor."""
        batch = self.queue.take(self._clock.mono_ms())
        if batch is None:
            overtaken = self._last_call or self._overtaken
            held, self._held = (self._held, None) if overtaken else (None, self._held)
            return held
        if self._held is None and not self._last_call and self._faults.take("reorder_batches"):
            self._held, self._overtaken = batch, False
            self._timeline.note("fault.reorder", subscriber=self.name)
            return self.queue.take(self._clock.mono_ms())
        self._overtaken = True
        return batch

    async def _wait_for_news(self) -> None:
        due_ms = self.queue.due_ms()
        wait_s = None if due_ms is None else max(0.0, due_ms - self._clock.mono_ms()) / 1000
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), wait_s)

    async def _deliver(self, batch: Batch) -> None:
        if self._faults.take("drop_posts"):
            self._timeline.note("fault.drop_post", subscriber=self.name, bytes=len(batch.body))
            return
        if self._faults.take("delay_posts"):
            await asyncio.sleep(self._faults.delay_post_ms / 1000)
        attempt = 1
        while not await self._attempt(batch, attempt):
            await asyncio.sleep(telemetry.retry_delay_ms(attempt) / 1000)
            await self._moving.wait()
            attempt += 1
        if self._subscription.url and self._faults.take("duplicate_batches"):
            async with aiohttp.ClientSession() as fresh:
                self._record(batch, attempt + 1, await self._post(fresh, batch.body), duplicate=True)

    async def _attempt(self, batch: Batch, attempt: int) -> bool:
        if self._subscription.url:
            if self._session is None:
                self._session = aiohttp.ClientSession()
            status = await self._post(self._session, batch.body)
        else:
            status = await self._write(batch)
        self._record(batch, attempt, status)
        return status // 100 == 2  # noqa: PLR2004 - HTTP success

    async def _post(self, session: aiohttp.ClientSession, body: bytes) -> int:
        headers = {"Content-Type": "application/json"}
        no_limit = aiohttp.ClientTimeout(total=None)  # a frozen subscriber answers after its thaw
        try:
            data = io.BytesIO(body)  # written piece by piece: batches of 1 MB must not stall the loop
            async with session.post(self._subscription.url, data=data, headers=headers, timeout=no_limit) as answer:
                await answer.read()
                return answer.status
        except (aiohttp.ClientError, OSError):
            return NO_ANSWER

    async def _write(self, batch: Batch) -> int:
        lines = b"".join(event.encode(self._subscription.schema) + b"\n" for event in batch.events)
        try:
            if self._writer is None:
                _reader, self._writer = await asyncio.open_connection(LOOPBACK, self._subscription.port)
            self._writer.write(lines)
            await self._writer.drain()
        except OSError:
            self._writer = None
            return NO_ANSWER
        return TCP_WRITTEN

    def _record(self, batch: Batch, attempt: int, status: int, *, duplicate: bool = False) -> None:
        events = [json.loads(event.encode(self._subscription.schema)) for event in batch.events]
        now_ms = self._timeline.now_ms()
        self._timeline.delivered(Delivery(now_ms, self.name, batch.body, events, attempt, status, duplicate))


class Dispatcher:
    """All subscribers of one environment. Events from before a subscription are replayed to it."""

    def __init__(self, clock: Clock, faults: Faults, timeline: Timeline) -> None:
        self.closed = False
        self.couriers: dict[str, Courier] = {}
        self._replay: list[Event] = []
        self._clock = clock
        self._faults = faults
        self._timeline = timeline

    def emit(self, event: Event) -> None:
        """Hand `event` to everybody who wants it, and to whoever subscribes later."""
        if not self.closed:
            self._replay.append(event)
        for courier in self.couriers.values():
            courier.feed(event)

    async def subscribe(self, name: str, subscription: Subscription) -> None:
        """Add a subscriber, or replace its earlier subscription, and replay what it missed."""
        earlier = self.couriers.pop(name, None)
        if earlier:
            await earlier.close()
        courier = Courier(name, subscription, self._clock, self._faults, self._timeline)
        self.couriers[name] = courier
        for event in self._replay:
            courier.feed(event)

    def close_subscriptions(self) -> None:
        """Init is over: nobody may subscribe any more."""
        self.closed = True
        self._replay.clear()

    def pause(self) -> None:
        """Freeze."""
        for courier in self.couriers.values():
            courier.pause()

    def resume(self) -> None:
        """Thaw."""
        for courier in self.couriers.values():
            courier.resume()

    async def flush(self, limit_ms: float) -> None:
        """Send everything now; wait at most `limit_ms` for it to arrive."""
        for courier in self.couriers.values():
            courier.flush()
        waits: list[Callable[[], Awaitable[None]]] = [courier.drained for courier in self.couriers.values()]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_ms / 1000):
                for wait in waits:
                    await wait()

    async def unsubscribe(self, name: str) -> None:
        """The subscriber is gone."""
        courier = self.couriers.pop(name, None)
        if courier:
            await courier.close()

    async def close(self) -> None:
        """Stop all couriers."""
        for name in list(self.couriers):
            await self.unsubscribe(name)
