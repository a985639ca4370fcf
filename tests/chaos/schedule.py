"""Schedules: what happens to one sandbox, drawn from a seed. Pure data; the same seed gives the same schedule."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.troubles import PLATFORM, UPSTREAM, Trouble

TIMEOUT_MS = 6000
ENDS = ("return",) * 12 + ("raise", "raise", "crash", "kill", "hang")
# Nobody but Lambda can tell that the runtime is dead: where it does not, what follows cannot be asked for in time.
HIDE_THE_END = {"missing_runtime_done", "drop_posts", "reorder_batches", "oversize_split_bytes"}
NAMES = ("", "good", "good", "gone", "silent", "slow", "moved")
BUDGETS_MS = (0, 100, 300, 1000)


@dataclass(frozen=True)
class Step:
    """One invocation, and what befalls the way upstream and the platform right before it."""

    event: dict[str, Any] = field(default_factory=dict)
    upstream: Trouble | None = None  # None leaves the weather as it is
    platform: dict[str, Any] = field(default_factory=dict)  # the emulator's fault knobs
    idle_ms: int = 0  # frozen before it
    cut: str = ""  # what becomes of kept connections during that freeze: reset, forget
    restart: bool = False  # the backend goes down and comes back during that freeze
    names: str = ""  # what the name server does from now on: good, gone, silent, slow, moved


@dataclass(frozen=True)
class Schedule:
    """A sandbox's life: settings, invocations, end."""

    name: str
    steps: tuple[Step, ...]
    settings: dict[str, str] = field(default_factory=dict)
    tls: bool = False
    confinement: str = ""  # see `confine.py`
    cpus: float | None = None
    log_format: str = "Text"
    timeout_ms: int = TIMEOUT_MS

    @property
    def troubles(self) -> list[Trouble]:
        """The upstream's troubles, in order."""
        return [step.upstream for step in self.steps if step.upstream is not None]

    @property
    def survives(self) -> bool:
        """Whether the last environment is told to shut down, and not killed with its function."""
        return self.steps[-1].event.get("ends", "return") in ("return", "raise")

    @property
    def budget_ms(self) -> int:
        """How long one invocation may be held."""
        return int(self.settings.get("O2_FLUSH_BUDGET_MS", "1000"))


def draw(seed: int) -> Schedule:
    """The schedule of a seed."""
    dice = random.Random(seed)
    tls = dice.random() < 0.35
    settings = {
        "O2_FLUSH_BUDGET_MS": str(dice.choice(BUDGETS_MS)),
        "O2_FLUSH_STRATEGY": dice.choice(("auto", "end", "end", "continuous", "periodic")),
        "O2_FLUSH_INTERVAL_MS": str(dice.choice((100, 1000, 5000))),
        "O2_BATCH_SIZE": str(dice.choice((1, 7, 100, 5000))),
        "O2_REQUEST_TIMEOUT_MS": str(dice.choice((250, 1000, 30_000))),
        "O2_MAX_RETRIES": str(dice.choice((1, 3, 3))),
        "O2_INITIAL_RETRY_DELAY_MS": str(dice.choice((20, 200, 1000))),
        "O2_MAX_RETRY_DELAY_MS": str(dice.choice((100, 1000, 30_000))),
        "O2_MAX_BUFFER_SIZE_MB": str(dice.choice((1, 10, 10))),
    }
    places = ("",) * 6 + ("few descriptors", "full tmp") + (() if tls else ("own name server",))
    confinement = dice.choice(places)
    named = confinement == "own name server"
    steps = tuple(_step(dice, tls=tls, named=named) for _ in range(dice.randint(2, 6)))
    return Schedule(
        f"seed {seed}",
        steps,
        settings,
        tls=tls,
        confinement=confinement,
        cpus=0.07 if dice.random() < 0.06 else None,
        log_format=dice.choice(("Text", "Text", "JSON")),
    )


def _step(dice: random.Random, *, tls: bool, named: bool) -> Step:
    event = {
        "lines": dice.choice((0, 1, 3, 20, 200, 2000)),
        "width": dice.choice((0, 40, 200)),
        "spans": dice.choice((0, 0, 1, 5)),
        "sleep_ms": dice.choice((0, 0, 5, 60, 300)),
        "ends": dice.choice(ENDS),
    }
    if dice.random() < 0.05:
        event |= {"lines": 3, "width": 600_000}  # noisy neighbours of whole batches
    upstream = None
    if dice.random() < 0.7:
        kinds = [trouble for trouble in UPSTREAM if not (tls and trouble.plain_only) and (tls or not trouble.tls_only)]
        upstream = dice.choice(kinds).drawn(dice)
    platform: dict[str, Any] = {}
    if dice.random() < 0.35:
        platform = dice.choice(PLATFORM)(dice)
    if event["ends"] in ("crash", "kill") and HIDE_THE_END & platform.keys():
        platform = {}
    return Step(
        event,
        upstream,
        platform,
        idle_ms=dice.choice((0, 0, 50, 300)),
        cut=dice.choice(("", "", "reset", "forget")),
        restart=dice.random() < 0.05,
        names=dice.choice(NAMES) if named else "",
    )
