"""Where rows go: the interface of a store, and the one that only counts, for load benches."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from o2_lambda.backend.flatten import Row
    from o2_lambda.backend.names import StreamKey


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """A stream as the stream list shows it; `columns` maps names to SQL types, times are in µs (0 when empty)."""

    key: StreamKey
    rows: int
    first_us: int
    last_us: int
    columns: dict[str, str]


@dataclass(frozen=True, slots=True)
class Query:
    """One search: SELECT statement, its organization and stream type, and a time range [start, end) in µs, or none."""

    sql: str
    organization: str
    stream_type: str
    range_us: tuple[int, int] | None = None
    offset: int = 0
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class QueryResult:
    """`hits` is the page asked for, nulls left out; `total` counts the rows of all pages."""

    hits: list[dict[str, object]]
    total: int


class SearchError(Exception):
    """A search is refused with 400 and the server's own error code (20001…20008)."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class StoreError(Exception):
    """Rows could not be written: the server answers 200 with no record counted, or 500 for traces."""


class Store(Protocol):
    """What the backend needs of a store. Every method may be called from any thread."""

    def insert(self, key: StreamKey, rows: list[Row]) -> None:
        """Append rows to a stream, creating it when new. Raises StoreError."""

    def streams(self, organization: str) -> list[StreamInfo]:
        """Return the streams of an organization by type and name."""

    def query(self, query: Query) -> QueryResult:
        """Run a search. Raises SearchError."""

    def close(self) -> None:
        """Release files and memory; the store is not used afterwards."""


class CountingStore:
    """Forgets every row and keeps counts: the cheapest sink that still decodes and checks what it is sent."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: dict[StreamKey, StreamInfo] = {}

    def insert(self, key: StreamKey, rows: list[Row]) -> None:
        """Count the rows and widen the stream's time span."""
        times = [int(row["_timestamp"]) for row in rows]
        with self._lock:
            known = self._spans.get(key)
            if known is not None:
                times += [known.first_us, known.last_us]
            total = len(rows) + (known.rows if known is not None else 0)
            self._spans[key] = StreamInfo(key, total, min(times), max(times), {})

    def streams(self, organization: str) -> list[StreamInfo]:
        """Return the streams seen, without columns."""
        with self._lock:
            return sorted(
                (info for key, info in self._spans.items() if key.organization == organization),
                key=lambda info: info.key,
            )

    def count(self, key: StreamKey) -> int:
        """Return how many rows a stream was sent."""
        with self._lock:
            info = self._spans.get(key)
        return info.rows if info is not None else 0

    def query(self, query: Query) -> QueryResult:
        """Refuse: nothing is kept that could be searched."""
        raise SearchError(20008, f"this backend only counts records; it cannot run: {query.sql}")

    def close(self) -> None:
        """Nothing is held."""
