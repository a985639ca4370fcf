"""Tells a batch that Lambda sends again from one that is new.

A batch that was not answered with 2xx is sent again with the same bytes, on a new connection, as the one that failed is
gone. Equal bytes on the same connection are a burst of equal lines within one millisecond, unless they hold what cannot
come twice: a platform event, or two times in a row that would have to run backwards.
"""

from __future__ import annotations

from o2_lambda.extension.core.payload import cannot_repeat

RECENT_BODIES_MAX = 64  # remembered; Lambda has one batch in flight


class Recent:
    """The last batches by length, hash and connection."""

    def __init__(self) -> None:
        self._seen: list[tuple[int, int, int]] = []

    def __len__(self) -> int:
        return len(self._seen)

    def is_resent(self, text: str, connection: int) -> bool:
        """Whether these very bytes were taken before; remembers them if not."""
        key = (len(text), hash(text))
        for length, digest, seen_on in self._seen:
            if key == (length, digest) and (connection != seen_on or cannot_repeat(text)):
                return True
        self._seen.append((*key, connection))
        if len(self._seen) > RECENT_BODIES_MAX:
            del self._seen[0]
        return False
