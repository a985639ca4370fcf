"""Lines to print: collected where decisions are made, printed by the shell."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from o2_lambda.extension.core.model import Now

TAG = "[o2-lambda-extension]"  # how a line of our own begins, printed by us and known again when it comes back
LEVELS = ("DEBUG", "INFO", "NOTICE", "WARN", "ERROR")
PROGRESS_LEVELS = ("DEBUG", "INFO")  # what sending itself prints: to forward it would never end
WARNING_INTERVAL_MS = 60_000  # between two equal warnings


class Lines:
    """The lines that wait: (level, text), level "" for text that stands alone."""

    def __init__(self) -> None:
        self._waiting: list[tuple[str, str]] = []
        self._warned_ms: dict[str, int] = {}

    def add(self, level: str, text: str) -> None:
        """One line."""
        self._waiting.append((level, text))

    def warn(self, key: str, text: str, now: Now, level: str = "WARN") -> None:
        """A line that may repeat: printed once a minute for its key."""
        last_ms = self._warned_ms.get(key)
        if last_ms is None or now.ms - last_ms >= WARNING_INTERVAL_MS:
            self._warned_ms[key] = now.ms
            self.add(level, text)

    def take(self) -> list[tuple[str, str]]:
        """The lines so far, which wait no longer."""
        taken, self._waiting = self._waiting, []
        return taken
