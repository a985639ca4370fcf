"""The journal: what arrived at the backend, request by request, for tests and benches to count."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field

# Requests remembered; older ones fall out. A bench of 100 000 lines sends far fewer.
REQUESTS_MAX = 100_000


@dataclass(slots=True)
class RequestRecord:
    """One request. Times are `time.monotonic()` seconds; `status` stays None while, or when never, answered."""

    method: str
    path: str
    connection: int
    t_monotonic: float
    # Headers in lower case; left out of repr() because they carry credentials.
    headers: dict[str, str] = field(repr=False)
    body_bytes: int = 0
    decoded_bytes: int = 0
    records: int = 0
    status: int | None = None
    t_answered: float | None = None


class Journal:
    """Requests and connections in order of arrival; safe to read from any thread while the server runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: deque[RequestRecord] = deque(maxlen=REQUESTS_MAX)
        self._connections = 0

    def open_connection(self) -> int:
        """Count one accepted connection and return its number; the first is 1."""
        with self._lock:
            self._connections += 1
            return self._connections

    def add(self, record: RequestRecord) -> None:
        """Remember a request whose headers have arrived."""
        with self._lock:
            self._requests.append(record)

    def requests(self) -> list[RequestRecord]:
        """Return the requests so far; the records of unfinished ones still change."""
        with self._lock:
            return list(self._requests)

    def connections(self) -> int:
        """Return how many connections were accepted (TLS ones: whose handshake was completed)."""
        with self._lock:
            return self._connections

    def clear(self) -> None:
        """Forget all requests; connection numbers go on."""
        with self._lock:
            self._requests.clear()
