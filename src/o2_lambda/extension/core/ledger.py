"""The ledger: what came in, and what became of it. Nothing may be lost without a line here.

For every signal, at any time: `received == delivered + rejected + sum(dropped) + held`.
"""

from __future__ import annotations

from o2_lambda.extension.core.jsonscan import quote
from o2_lambda.extension.core.masking import excerpt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SIGNALS = ("logs", "traces", "metrics", "otlp_logs")

_TRAFFIC = ("requests", "retries", "bytes_out")
_COUNTS = (
    "invocations",
    "requests",
    "retries",
    "bytes_in",
    "bytes_out",
    "hold_ms_total",
    "hold_ms_max",
    "malformed",
    "synthesized",
    "platform_logs_dropped",
)


class Account:
    """One signal's counts, in its own unit: log events, spans, data points, log records."""

    __slots__ = ("delivered", "dropped", "excluded", "received", "rejected")

    def __init__(self) -> None:
        self.received = 0
        self.delivered = 0
        self.rejected: dict[str, int] = {}  # the server took the request, not these: by its reason
        self.dropped: dict[str, int] = {}  # given up here: by our reason
        self.excluded: dict[str, int] = {}  # never accepted (own progress lines, unwanted types, re-sent batches)

    def held(self) -> int:
        """What is still owed."""
        return self.received - self.delivered - sum(self.rejected.values()) - sum(self.dropped.values())


class Ledger:
    """All signals' accounts and the traffic that served them; with `destination` that of an additional one alone."""

    def __init__(self, destination: str = "") -> None:
        self.destination = destination
        self.accounts = {signal: Account() for signal in SIGNALS}
        self.requests = 0
        self.retries = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.invocations = 0
        self.malformed = 0
        self.synthesized = 0  # of the logs received: records of our own about failures
        self.platform_logs_dropped = 0
        self.hold_ms_total = 0  # between runtimeDone and our next `/next`: what the customer pays for
        self.hold_ms_max = 0

    def received(self, signal: str, count: int) -> None:
        """Counts items accepted into the buffer."""
        self.accounts[signal].received += count

    def delivered(self, signal: str, count: int) -> None:
        """Counts items that the server confirmed as stored."""
        self.accounts[signal].delivered += count

    def rejected(self, signal: str, count: int, reason: str) -> None:
        """Counts items that the server refused one by one, under its own words."""
        _add(self.accounts[signal].rejected, excerpt(reason, REASON_LENGTH_MAX), count)

    def dropped(self, signal: str, count: int, reason: str) -> None:
        """Counts items given up here."""
        _add(self.accounts[signal].dropped, reason, count)

    def give_up(self, reason: str) -> None:
        """Counts everything held as given up: after a bug nobody sends it any more."""
        for account in self.accounts.values():
            if account.held():
                _add(account.dropped, reason, account.held())

    def excluded(self, signal: str, counts: Mapping[str, int]) -> None:
        """Counts items that were never accepted."""
        for reason, count in counts.items():
            _add(self.accounts[signal].excluded, reason, count)

    def held_invocation(self, hold_ms: int) -> None:
        """Counts the time one invocation was prolonged."""
        self.hold_ms_total += hold_ms
        self.hold_ms_max = max(self.hold_ms_max, hold_ms)

    def totals(self) -> tuple[int, int, int, int]:
        """(received, delivered, rejected and dropped, held) over all signals."""
        accounts = self.accounts.values()
        lost = sum(sum(a.rejected.values()) + sum(a.dropped.values()) for a in accounts)
        return (
            sum(a.received for a in accounts),
            sum(a.delivered for a in accounts),
            lost,
            sum(a.held() for a in accounts),
        )

    def as_json(self) -> str:
        """The ledger as one line of JSON, `{"ledger":{"logs":{"received":…},…}}`, without signals never used."""
        parts = [f'"destination":{quote(self.destination)}'] if self.destination else []
        for signal, account in self.accounts.items():
            if account.received or account.excluded:
                parts.append(
                    f'"{signal}":{{"received":{account.received},"delivered":{account.delivered},'
                    f'"rejected":{_object(account.rejected)},"dropped":{_object(account.dropped)},'
                    f'"held":{account.held()},"excluded":{_object(account.excluded)}}}'
                )
        names = _TRAFFIC if self.destination else _COUNTS
        parts.extend(f'"{name}":{getattr(self, name)}' for name in names)
        return '{"ledger":{' + ",".join(parts) + "}}"


REASONS_MAX = 16  # distinct reasons kept per account; the server's words could vary without end
REASON_LENGTH_MAX = 120


def _add(counts: dict[str, int], reason: str, count: int) -> None:
    if reason not in counts and len(counts) >= REASONS_MAX:
        reason = "other"
    counts[reason] = counts.get(reason, 0) + count


def _object(counts: Mapping[str, int]) -> str:
    return "{" + ",".join(f"{quote(reason)}:{count}" for reason, count in counts.items()) + "}"
