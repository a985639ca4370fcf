"""All destinations: each has its own queue, pauses, patience and credentials, so that none can slow another.

What they share is the memory, which `core/buffer.py` bounds, and the time that an invocation may be prolonged.
"""

from __future__ import annotations

from o2_lambda.extension.core.ledger import Ledger
from o2_lambda.extension.sender import Sender

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from o2_lambda.extension.config import Config
    from o2_lambda.extension.core.buffer import Buffer
    from o2_lambda.extension.core.flush import Hold
    from o2_lambda.extension.core.lines import Lines
    from o2_lambda.extension.core.model import Actions, Now


class Destinations:
    """A sender for each target, in the order of the targets.

    `ledger` counts what happens in the sandbox and with O2_ENDPOINT, and with the servers that take OTLP data in its
    place; each additional destination has a ledger of its own.
    """

    def __init__(self, config: Config, buffer: Buffer, lines: Lines) -> None:
        self.ledger = Ledger()
        self.senders = [
            Sender(
                number,
                config,
                buffer.queue(target.urls),
                Ledger(target.label) if target.is_additional else self.ledger,
                lines,
            )
            for number, target in enumerate(config.targets)
        ]
        self._buffer = buffer
        self._lines = lines

    @property
    def is_empty(self) -> bool:
        """Whether nothing is owed to anybody."""
        return all(sender.queue.is_empty for sender in self.senders)

    @property
    def is_idle(self) -> bool:
        """Whether somebody could send at once."""
        return any(sender.in_flight is None for sender in self.senders)

    @property
    def ledgers(self) -> list[Ledger]:
        """Those of additional destinations first."""
        return [*(sender.ledger for sender in self.senders if sender.ledger is not self.ledger), self.ledger]

    def received(self, signal: str, count: int) -> None:
        """Counts items for everyone who takes them."""
        for sender in self._takers(signal):
            sender.ledger.received(signal, count)

    def lost(self, signal: str, count: int, reason: str) -> None:
        """Counts items that never got into the buffer."""
        for sender in self._takers(signal):
            sender.ledger.received(signal, count)
            sender.ledger.dropped(signal, count, reason)

    def shed(self, extra_bytes: int, now: Now) -> None:
        """Brings everything held within its bound; see `Buffer.shed`."""
        for queue, batch in self._buffer.shed(extra_bytes):
            for sender in self.senders:
                if sender.queue is queue:
                    sender.ledger.dropped(batch.stream[0], batch.count, "buffer_full")
            self._lines.warn(
                "buffer", "Log buffer full, dropping oldest batch; raise O2_MAX_BUFFER_SIZE_MB to hold more", now
            )

    def flush(self) -> None:
        """Batches that still fill are sent as well, once."""
        for sender in self.senders:
            sender.flush_wanted = True

    def begin_invocation(self, *, let_go_early: bool) -> None:
        """What the last invocation left goes beside this one, and nothing else."""
        for sender in self.senders:
            sender.flush_wanted = let_go_early or sender.left_over
            sender.left_over = False

    def begin_drain(self, until_ms: int, now: Now) -> None:
        """Shutdown: see `Sender.begin_drain`."""
        for sender in self.senders:
            sender.begin_drain(until_ms, now)

    @property
    def is_done(self) -> bool:
        """Whether there is nothing more to send at shutdown, or no use in trying."""
        return all(sender.queue.is_empty or sender.is_hopeless for sender in self.senders)

    def in_vain(self, now: Now, *, receiving: bool) -> bool:
        """Whether holding an invocation delivers nothing of what is owed, or on its way in."""
        waiting = [sender for sender in self.senders if receiving or not sender.queue.is_empty]
        return all(sender.is_in_vain(now.ms) for sender in waiting)

    def hold_ends(self, hold: Hold, now: Now, *, receiving: bool) -> None:
        """An invocation is let go: each destination is judged by what it made of the time."""
        for sender in self.senders:
            is_sent = sender.queue.is_empty and not receiving
            sender.left_over = not is_sent
            if hold.done_ms is None:
                continue
            if is_sent:
                sender.patience.rewarded()
            elif not sender.is_in_vain(now.ms):
                sender.patience.wasted(now.ms)

    def restored(self, actions: Actions) -> None:
        """Out of a snapshot: requests in flight belong to a machine that is gone."""
        actions.abort |= {sender.number for sender in self.senders if sender.in_flight is not None}

    def forget_secrets(self) -> None:
        """Out of a snapshot: what was fetched for it may be out of date."""
        for sender in self.senders:
            if sender.secret is not None:
                sender.secret.forget()

    def confidential(self) -> set[str]:
        """Secrets that have become known since the last call."""
        found: set[str] = set()
        for sender in self.senders:
            if sender.secret is not None:
                found |= sender.secret.confidential()
        return found

    def consider(self, actions: Actions, now: Now, *, events: int, everything: bool) -> None:
        """What each sends now, or when; and who has nothing to hope for."""
        for sender in self.senders:
            if not sender.is_retired:
                sender.consider(actions, now, events=events, everything=everything)
                if sender.gave_up:
                    self._retire(sender, actions)

    def _retire(self, sender: Sender, actions: Actions) -> None:
        """With O2_ENDPOINT's go the servers that take OTLP data in its place: they share its ledger."""
        for each in self.senders:
            if each.ledger is sender.ledger:
                each.retire()
        if all(each.is_retired for each in self.senders):
            actions.passive = sender.gave_up
        else:
            self._lines.add("ERROR", f"{sender.gave_up}; nothing is sent to {sender.target.label} any more")

    def _takers(self, signal: str) -> Iterator[Sender]:
        return (sender for sender in self.senders if signal in sender.queue.signals)
