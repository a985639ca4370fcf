"""The buffer: per stream an open batch, and per destination a queue of sealed ones, all of it bounded in bytes.

Queues share their batches by reference: what two destinations still owe is held once.
"""

from __future__ import annotations

from o2_lambda.extension.core.batch import LOGS, RAW_BYTES_MAX, Batch, OpenBatch, may_merge, merge
from o2_lambda.extension.core.ledger import SIGNALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from o2_lambda.extension.core.batch import Stream


class Buffer:
    """Open batches and the memory of all queues. `batch_items_max` bounds a batch of logs, in events."""

    def __init__(self, *, bytes_max: int, batch_items_max: int) -> None:
        self.bytes_max = bytes_max
        self.queues: list[Queue] = []
        self.batch_items_max = batch_items_max
        self._open: dict[Stream, OpenBatch] = {}
        self._sealed_bytes = 0

    def queue(self, signals: Collection[str] = SIGNALS) -> Queue:
        """A further queue, which takes these signals."""
        queue = Queue(self, signals)
        self.queues.append(queue)
        return queue

    @property
    def open_bytes(self) -> int:
        """Compressed bytes of the batches that still fill."""
        return sum(batch.bytes_held for batch in self._open.values())

    @property
    def bytes_held(self) -> int:
        """Compressed bytes of all batches, each counted once."""
        return self._sealed_bytes + self.open_bytes

    def bytes_owed(self, signal: str) -> int:
        """What the least loaded of the queues that take a signal would hold if it were alone."""
        loads = (queue.bytes_held for queue in self.queues if signal in queue.signals)
        return min(loads, default=0) + self.open_bytes

    def room(self, stream: Stream) -> int:
        """How many items still fit into the stream's open batch."""
        batch = self._open.get(stream)
        return self.batch_items_max - (batch.count if batch else 0)

    def add(self, stream: Stream, items: bytes, count: int, *, urgent: bool = False) -> None:
        """Adds joined items to the stream's open batch and seals it when it is full."""
        batch = self._open.get(stream)
        if batch is not None and batch.count and batch.raw_bytes + len(items) > RAW_BYTES_MAX:
            self.seal(stream)
            batch = None
        if batch is None:
            batch = self._open[stream] = OpenBatch(stream)
        batch.add(items, count)
        batch.urgent = batch.urgent or urgent
        if batch.count >= self.batch_items_max or batch.is_full:
            self.seal(stream)

    def seal(self, stream: Stream) -> None:
        """Moves the stream's open batch into the queues."""
        batch = self._open.pop(stream).seal()
        for queue in self.queues:
            if stream[0] in queue.signals:
                queue.append(batch)

    def seal_all(self, signals: Collection[str] = SIGNALS) -> None:
        """Moves all open batches of the signals into the queues."""
        for stream in tuple(self._open):
            if stream[0] in signals:
                self.seal(stream)

    def mark_urgent(self) -> None:
        """What the open batches hold goes first in the shutdown drain."""
        for batch in self._open.values():
            batch.urgent = True

    def seal_urgent(self) -> None:
        """Moves the open batches that hold evidence of a failure into the queue, where they overtake the others."""
        for stream in [stream for stream, batch in self._open.items() if batch.urgent]:
            self.seal(stream)

    def seal_exports(self) -> bool:
        """Moves the open batches of OTLP data into the queues; False where there are none."""
        streams = [stream for stream in self._open if stream != LOGS]
        for stream in streams:
            self.seal(stream)
        return bool(streams)

    def items_open(self, signal: str) -> int:
        """Items of a signal in batches that still fill."""
        return sum(batch.count for batch in self._open.values() if batch.stream[0] == signal)

    def has_open(self, signals: Collection[str]) -> bool:
        """Whether a batch of one of the signals fills."""
        return any(stream[0] in signals for stream in self._open)

    def shed(self, extra_bytes: int) -> list[tuple[Queue, Batch]]:
        """Drops batches until all is within the bound; returns them with the queues that lost them.

        The queue that holds most gives, of the signal of which it holds most, the oldest. What is in flight stays: it
        may be delivered. `extra_bytes` are held elsewhere (received bodies, half a record).
        """
        dropped: list[tuple[Queue, Batch]] = []
        while self.bytes_held + extra_bytes > self.bytes_max:
            for queue in sorted(self.queues, key=_load, reverse=True):
                victim = queue.victim()
                if victim is not None:
                    queue.remove(victim)
                    dropped.append((queue, victim))
                    break
            else:
                if not self._open:
                    break
                self.seal(max(self._open.values(), key=lambda batch: batch.bytes_held).stream)
        return dropped

    def hold(self, batch: Batch) -> None:
        """A queue has taken in a batch."""
        if not batch.holders:
            self._sealed_bytes += len(batch.body)
        batch.holders += 1

    def release(self, batch: Batch) -> None:
        """A queue has done with a batch; the last one sets its memory free."""
        batch.holders -= 1
        if not batch.holders:
            self._sealed_bytes -= len(batch.body)


class Queue:
    """What one destination is still owed. Only a verdict takes a batch out, or the bound."""

    def __init__(self, buffer: Buffer, signals: Collection[str]) -> None:
        self.signals = frozenset(signals)
        self.bytes_held = 0
        self.in_flight: Batch | None = None
        self._buffer = buffer
        self._batches: list[Batch] = []

    @property
    def is_empty(self) -> bool:
        """True where nothing is owed, in flight or not."""
        return not self._batches and not self._buffer.has_open(self.signals)

    def items_held(self, signal: str) -> int:
        """Items of a signal that wait or are in flight."""
        if signal not in self.signals:
            return 0
        return self._buffer.items_open(signal) + sum(b.count for b in self._batches if b.stream[0] == signal)

    def seal_all(self) -> None:
        """Moves all open batches into the queues."""
        self._buffer.seal_all(self.signals)

    def next_batch(self, *, urgent_first: bool) -> Batch | None:
        """The batch to send next: the oldest, or first the oldest that carries evidence of a failure."""
        if not self._batches:
            return None
        if urgent_first:
            for batch in self._batches:
                if batch.urgent:
                    return batch
        return self._batches[0]

    def append(self, batch: Batch) -> None:
        """Takes in a sealed batch; small ones of a stream that wait become one request."""
        self._insert(len(self._batches), batch)
        while (older := self._before(batch)) is not None and may_merge(older, batch, self._buffer.batch_items_max):
            try:
                whole = merge(older, batch)
            except MemoryError:
                return  # they go one by one
            self.remove(batch)
            self.replace(older, [whole])
            batch = whole

    def remove(self, batch: Batch) -> None:
        """Takes a batch out, on a verdict."""
        self._batches.remove(batch)
        self.bytes_held -= len(batch.body)
        self._buffer.release(batch)

    def replace(self, batch: Batch, halves: list[Batch]) -> None:
        """Puts the halves of a batch where it stood; other queues keep it whole."""
        index = self._batches.index(batch)
        self.remove(batch)
        for half in reversed(halves):
            self._insert(index, half)

    def victim(self) -> Batch | None:
        """The batch to drop first."""
        held: dict[str, int] = {}
        for batch in self._batches:
            held[batch.stream[0]] = held.get(batch.stream[0], 0) + len(batch.body)
        for signal in sorted(held, key=held.__getitem__, reverse=True):
            for batch in self._batches:
                if batch.stream[0] == signal and batch is not self.in_flight:
                    return batch
        return None

    def retire(self) -> list[Batch]:
        """Takes nothing more in; returns everything that it has held, in flight or not, which it forgets."""
        self.seal_all()
        self.signals = frozenset()
        given_up = self._batches
        self._batches, self.bytes_held = [], 0
        for batch in given_up:
            self._buffer.release(batch)
        return given_up

    def _before(self, batch: Batch) -> Batch | None:
        """The last batch of the same stream in front of one, unless it is in flight."""
        is_behind = True  # a batch that has just come is the last one: there is little to go through
        for each in reversed(self._batches):
            if each is batch:
                is_behind = False
            elif not is_behind and each.stream == batch.stream:
                return None if each is self.in_flight else each
        return None

    def _insert(self, index: int, batch: Batch) -> None:
        self._batches.insert(index, batch)
        self.bytes_held += len(batch.body)
        self._buffer.hold(batch)


def _load(queue: Queue) -> int:
    return queue.bytes_held
