"""The buffer: per stream an open batch and a queue of sealed ones, bounded in bytes. Only a verdict takes one out."""

from __future__ import annotations

from o2_lambda.extension.core.batch import LOGS, RAW_BYTES_MAX, Batch, OpenBatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from o2_lambda.extension.core.batch import Stream


class Buffer:
    """Holds batches until they are acknowledged. `batch_items_max` bounds a batch of logs, in events."""

    def __init__(self, *, bytes_max: int, batch_items_max: int) -> None:
        self.bytes_max = bytes_max
        self._batch_items_max = batch_items_max
        self._open: dict[Stream, OpenBatch] = {}
        self._sealed: list[Batch] = []
        self._sealed_bytes = 0
        self._sequence = 0

    @property
    def bytes_held(self) -> int:
        """Compressed bytes of all batches."""
        return self._sealed_bytes + sum(batch.bytes_held for batch in self._open.values())

    @property
    def is_empty(self) -> bool:
        """True where nothing is owed, in flight or not."""
        return not self._sealed and not self._open

    def items_held(self, signal: str) -> int:
        """Items of a signal that wait or are in flight."""
        sealed = sum(batch.count for batch in self._sealed if batch.stream[0] == signal)
        return sealed + sum(batch.count for batch in self._open.values() if batch.stream[0] == signal)

    def room(self, stream: Stream) -> int:
        """How many items still fit into the stream's open batch."""
        batch = self._open.get(stream)
        return self._batch_items_max - (batch.count if batch else 0)

    def add(self, stream: Stream, items: bytes, count: int, *, now_ms: int, urgent: bool = False) -> None:
        """Adds joined items to the stream's open batch and seals it when it is full."""
        batch = self._open.get(stream)
        if batch is not None and batch.count and batch.raw_bytes + len(items) > RAW_BYTES_MAX:
            self.seal(stream)
            batch = None
        if batch is None:
            batch = self._open[stream] = OpenBatch(stream, now_ms)
        batch.add(items, count, now_ms)
        batch.urgent = batch.urgent or urgent
        if batch.count >= self._batch_items_max or batch.is_full:
            self.seal(stream)

    def seal(self, stream: Stream) -> None:
        """Moves the stream's open batch into the queue."""
        self._enqueue(self._open.pop(stream).seal())

    def seal_all(self) -> None:
        """Moves all open batches into the queue."""
        for stream in tuple(self._open):
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
        """Moves the open batches of OTLP data into the queue; False where there are none."""
        streams = [stream for stream in self._open if stream != LOGS]
        for stream in streams:
            self.seal(stream)
        return bool(streams)

    def next_batch(self, *, urgent_first: bool) -> Batch | None:
        """The sealed batch to send next: the oldest, or first the oldest that carries evidence of a failure."""
        if not self._sealed:
            return None
        if urgent_first:
            for batch in self._sealed:
                if batch.urgent:
                    return batch
        return self._sealed[0]

    def remove(self, batch: Batch) -> None:
        """Takes a batch out, on a verdict."""
        self._sealed.remove(batch)
        self._sealed_bytes -= len(batch.body)

    def replace(self, batch: Batch, halves: list[Batch]) -> None:
        """Puts the halves of a batch where it stood."""
        index = self._sealed.index(batch)
        self._sealed[index : index + 1] = halves
        self._sealed_bytes += sum(len(half.body) for half in halves) - len(batch.body)
        for half in halves:
            self._sequence += 1
            half.sequence = self._sequence

    def shed(self, extra_bytes: int) -> list[Batch]:
        """Drops batches until all is within the bound: the oldest of the signal that holds most; returns them.

        `extra_bytes` are held elsewhere (received bodies, half a record). What is in flight stays: it may be delivered.
        """
        dropped: list[Batch] = []
        while self.bytes_held + extra_bytes > self.bytes_max:
            victim = self._victim()
            if victim is None:
                break
            self.remove(victim)
            dropped.append(victim)
        return dropped

    def _victim(self) -> Batch | None:
        held: dict[str, int] = {}
        for batch in self._sealed:
            held[batch.stream[0]] = held.get(batch.stream[0], 0) + len(batch.body)
        for signal in sorted(held, key=held.__getitem__, reverse=True):
            for batch in self._sealed:
                if batch.stream[0] == signal and not batch.in_flight:
                    return batch
        if self._open:
            largest = max(self._open.values(), key=lambda batch: batch.bytes_held)
            self.seal(largest.stream)
            return self._sealed[-1]
        return None

    def _enqueue(self, batch: Batch) -> None:
        self._sequence += 1
        batch.sequence = self._sequence
        self._sealed.append(batch)
        self._sealed_bytes += len(batch.body)
