"""The catalogue of what goes wrong: with the way to OpenObserve, and on Lambda's side."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from o2_lambda.backend.faults import Reset

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

ALWAYS = 1_000_000  # as a count of requests


@dataclass(frozen=True)
class Trouble:
    """One thing that goes wrong upstream until the next one takes its place.

    `fault` are fields of the backend's `Fault` for the next `count` requests, `proxy` of `ProxyFaults`, for ever;
    `route` names another server than the good one: down, expired, misnamed, unknown.
    """

    name: str
    fault: dict[str, Any] = field(default_factory=dict)
    count: int = ALWAYS
    proxy: dict[str, Any] = field(default_factory=dict)
    route: str = ""
    loses_answers: bool = False  # what was stored may be sent again, as nobody can know
    plain_only: bool = False
    tls_only: bool = False
    choices: dict[str, tuple[Any, ...]] = field(default_factory=dict)  # fields of `fault` or `proxy`, drawn anew

    def drawn(self, dice: random.Random) -> Trouble:
        """One case of it."""
        count = dice.choice((1, 2, 5, ALWAYS)) if self.fault else ALWAYS
        picked = {name: dice.choice(options) for name, options in self.choices.items()}
        target = "proxy" if self.proxy else "fault"
        return replace(self, count=count, **{target: {**getattr(self, target), **picked}})

    def __str__(self) -> str:
        details = {**self.fault, **self.proxy}
        return f"{self.name} {details} x{self.count}" if self.fault else f"{self.name} {details}"


HEALTHY = Trouble("healthy")
DOWN = Trouble("down", route="down")
BLACK_HOLE = Trouble("black hole", {"black_hole": True})
REQUEST_BYTES = (*range(600), 5000)  # of the head each, and within a body
ANSWER_BYTES = tuple(range(220))
UPSTREAM = (
    HEALTHY,
    HEALTHY,
    HEALTHY,
    DOWN,
    BLACK_HOLE,
    Trouble("server error", {"status": 503}, choices={"status": (500, 502, 503, 504)}),
    Trouble(
        "overload", {"status": 429}, choices={"status": (429, 503), "retry_after": (None, "0", "1", "2", "120", "soon")}
    ),
    Trouble("client error", {"status": 400}, choices={"status": (400, 404, 405, 408, 409, 413, 415, 422, 431)}),
    Trouble("redirect", {"status": 307}, choices={"status": (301, 302, 307, 308)}),
    Trouble("credentials refused", {"status": 401}, choices={"status": (401, 403)}),
    Trouble("slow", {"latency_ms": 50}, choices={"latency_ms": (50, 400, 1500)}, loses_answers=True),
    Trouble("slow loris", {"slow_loris_ms": 10}, choices={"slow_loris_ms": (5, 40)}, loses_answers=True),
    Trouble("reset before reading", {"reset": Reset.BEFORE_READING}),
    Trouble("reset in the body", {"reset": Reset.IN_BODY}, choices={"reset_at_bytes": (1, 20, 100, 300)}),
    Trouble("reset before the answer", {"reset": Reset.BEFORE_ANSWER}, loses_answers=True),
    Trouble(
        "reset in the answer", {"reset": Reset.IN_ANSWER}, loses_answers=True, choices={"reset_at_bytes": (0, 1, 9, 30)}
    ),
    Trouble("half closed", {"half_close": True}),
    Trouble("refused records", {"failed_records": 1}, choices={"failed_records": (1, 3, 100_000)}),
    Trouble("silent loss", {"silent_loss": True}),
    Trouble("not our answer", {"status": 200, "body": b"<html>welcome</html>"}),
    Trouble("small bodies only", {"body_bytes_max": 3000}, choices={"body_bytes_max": (100, 3000, 100_000)}),
    Trouble("closed when idle", {"idle_close_ms": 1}, choices={"idle_close_ms": (1, 60)}),
    Trouble("stalled connection", proxy={"stall": True}),
    Trouble("reset on accept", proxy={"reset_on_accept": True}),
    Trouble(
        "reset at a byte of the request",
        proxy={"reset_after_request_bytes": 0},
        loses_answers=True,
        choices={"reset_after_request_bytes": REQUEST_BYTES},
    ),
    Trouble(
        "reset at a byte of the answer",
        proxy={"reset_after_answer_bytes": 0},
        loses_answers=True,
        choices={"reset_after_answer_bytes": ANSWER_BYTES},
    ),
    Trouble(
        "half closed at a byte of the answer",
        proxy={"half_close_after_answer_bytes": 0},
        loses_answers=True,
        choices={"half_close_after_answer_bytes": ANSWER_BYTES},
    ),
    Trouble("dribbled answer", proxy={"dribble_ms": 1}, loses_answers=True, choices={"dribble_ms": (1, 10)}),
    Trouble("slow network", proxy={"latency_ms": 20}, loses_answers=True, choices={"latency_ms": (20, 200)}),
    Trouble(
        "wrong Content-Length",
        proxy={"content_length_off": 1},
        loses_answers=True,
        plain_only=True,
        choices={"content_length_off": (-20, -1, 1, 400)},
    ),
    Trouble("expired certificate", route="expired", tls_only=True),
    Trouble("certificate of another name", route="misnamed", tls_only=True),
    Trouble("certificate of an unknown authority", route="unknown", tls_only=True),
)
BY_NAME = {trouble.name: trouble for trouble in UPSTREAM}

# Lambda's side, as knobs of the emulator's faults.
PLATFORM: tuple[Callable[[random.Random], dict[str, Any]], ...] = (
    lambda dice: {"duplicate_batches": dice.choice((1, 3))},
    lambda dice: {"delay_posts": 1, "delay_post_ms": dice.choice((20, 200))},
    lambda dice: {"drop_posts": 1},
    lambda dice: {"reorder_batches": 1},
    lambda dice: {"oversize_split_bytes": dice.choice((30, 200, 100_000))},
    lambda dice: {"late_reports": 1},
    lambda dice: {"missing_reports": 1},
    lambda dice: {"missing_runtime_done": 1},
    lambda dice: {"clock_jump_ms": dice.choice((-3_600_000, -500, 2000, 7_200_000))},
)
