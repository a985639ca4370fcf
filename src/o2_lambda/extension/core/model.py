"""What passes between engine and shell."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from o2_lambda.extension.core.batch import Batch
    from o2_lambda.extension.core.url import Url


class Now:
    """The time in ms: `ms` monotonic, `wall_ms` since the epoch."""

    __slots__ = ("ms", "wall_ms")

    def __init__(self, ms: int, wall_ms: int) -> None:
        self.ms = ms
        self.wall_ms = wall_ms


class Sandbox:
    """What is known of the place where we run. `telemetry` is False where the platform offers none (a local stub)."""

    __slots__ = ("account", "function_name", "function_version", "instance_id", "managed", "snap_start", "telemetry")

    def __init__(
        self,
        *,
        function_name: str,
        function_version: str,
        account: str,
        instance_id: str,
        managed: bool,
        telemetry: bool,
        snap_start: bool = False,
    ) -> None:
        self.function_name = function_name
        self.function_version = function_version
        self.account = account
        self.instance_id = instance_id  # 16 hex digits, new for every process: the first half of every event id
        self.managed = managed
        self.telemetry = telemetry
        self.snap_start = snap_start  # a snapshot will be taken of us, and many sandboxes restored from it


# The way that a request takes.
UPSTREAM = "upstream"  # through O2_PROXY, trusting O2_CA_CERT alone where it is set
AWS = "aws"  # through O2_PROXY, trusting the system's certificates beside O2_CA_CERT's
LOCAL = "local"  # to the sandbox itself, past every proxy


class Request:
    """One request to make: of a batch, of a `body` of its own, or without either a GET."""

    __slots__ = ("batch", "body", "headers", "route", "timeout_ms", "url")

    def __init__(
        self,
        batch: Batch | None,
        url: Url,
        headers: list[tuple[str, str]],
        timeout_ms: int,
        *,
        body: bytes = b"",
        route: str = UPSTREAM,
    ) -> None:
        self.batch = batch
        self.body = body if batch is None else batch.body
        self.headers = headers
        self.route = route
        self.timeout_ms = timeout_ms
        self.url = url


class Outcome:
    """What became of a request: an HTTP answer (`status` > 0), or an `error` of the way there."""

    __slots__ = ("body", "bytes_out", "error", "retry_after", "status")

    def __init__(
        self, *, status: int = 0, body: bytes = b"", retry_after: bytes | None = None, error: str = ""
    ) -> None:
        self.status = status
        self.body = body
        self.retry_after = retry_after
        self.error = error
        self.bytes_out = 0


class Actions:
    """What to do now, and when to come back at the latest (monotonic ms, None: only on a new fact)."""

    __slots__ = ("abort", "exit", "passive", "poll_next", "restored", "send", "wake_ms")

    def __init__(self) -> None:
        self.abort: set[int] = set()  # destinations whose request in flight is to fail: its connection died in a freeze
        self.restored = False  # once: we came out of a snapshot, and what was connected or secret then is to be renewed
        self.send: list[tuple[int, Request]] = []  # (destination's number, request)
        self.poll_next = False
        self.exit = False
        self.passive = ""  # why nothing can be sent any more: poll on, do nothing else
        self.wake_ms: int | None = None

    def wake_by(self, at_ms: int | None) -> None:
        """Moves the wake-up time forward."""
        if at_ms is not None and (self.wake_ms is None or at_ms < self.wake_ms):
            self.wake_ms = at_ms
