"""When to send: the flush strategies as decisions over times that are given.

*end*: the invocation is held after the function is done until everything is sent, within a budget.
*continuous*: nothing is held; sending runs beside the function.
*periodic*: as *end*, and whatever the strategy, an invocation of over 30 s sends every interval.
*auto*: *end* at a low rate of invocations, *continuous* at a high one.
"""

from __future__ import annotations

END, CONTINUOUS, PERIODIC, AUTO = "end", "continuous", "periodic", "auto"
STRATEGIES = (AUTO, END, CONTINUOUS, PERIODIC)

RATE_WINDOW_MS = 300_000
CONTINUOUS_FROM = 50  # invocations within the window: 10 a minute
END_BELOW = 40  # hysteresis: 8 a minute, so that a rate around 10 does not flap
LONG_INVOCATION_MS = 30_000
WASTED_HOLDS_MAX = 2  # in a row; then invocations are let go at once
HOLD_PAUSE_MS = 60_000  # before holding is tried again
HOLD_PAUSE_MS_MAX = 900_000
DEADLINE_MARGIN_MS = 200  # `/next` is asked for at least this long before the function's deadline


class RateGauge:
    """Counts invocations over the last five minutes and picks the strategy for *auto*.

    It counts what lies in the window instead of dividing by the span between two calls, so that two calls close
    together are two calls and not a high rate. Memory is bounded: beyond `CONTINUOUS_FROM` only the newest matter.
    """

    def __init__(self) -> None:
        self._times_ms: list[int] = []
        self._continuous = False

    def record(self, now_ms: int) -> None:
        """An invocation begins."""
        times = self._times_ms
        times.append(now_ms)
        if len(times) > CONTINUOUS_FROM:
            del times[0]

    def strategy(self, now_ms: int) -> str:
        """END or CONTINUOUS for the rate so far."""
        recent = sum(1 for at in self._times_ms if now_ms - at < RATE_WINDOW_MS)
        self._continuous = recent >= (END_BELOW if self._continuous else CONTINUOUS_FROM)
        return CONTINUOUS if self._continuous else END


class Patience:
    """Whether holding invocations has been worth it lately.

    An answer that takes longer than the budget makes every hold a waste. After two wasted ones in a row none is tried
    for a minute; each further wasted trial doubles the pause.
    """

    def __init__(self) -> None:
        self._wasted = 0
        self._not_before_ms = 0

    def may_hold(self, now_ms: int) -> bool:
        """Whether to wait for answers."""
        return now_ms >= self._not_before_ms

    def wasted(self, now_ms: int) -> None:
        """A whole budget went by without the answer."""
        self._wasted += 1
        trials = self._wasted - WASTED_HOLDS_MAX
        if trials >= 0:
            self._not_before_ms = now_ms + min(HOLD_PAUSE_MS << min(trials, 10), HOLD_PAUSE_MS_MAX)

    def rewarded(self) -> None:
        """Everything was delivered within the hold."""
        self._wasted = 0
        self._not_before_ms = 0


class Hold:
    """One invocation's hold on `/next`: begins with INVOKE, ends when it is time to let go.

    Monotonic times in ms. `deadline_ms`: the function's deadline; `turn_ms`: how late it may be noticed.
    """

    __slots__ = ("budget_ms", "deadline_ms", "done_ms", "started_ms", "turn_ms")

    def __init__(self, *, started_ms: int, deadline_ms: int, budget_ms: int) -> None:
        self.started_ms = started_ms
        self.deadline_ms = deadline_ms
        self.budget_ms = budget_ms
        self.done_ms: int | None = None  # when runtimeDone came
        self.turn_ms = 0

    def granted(self, ms: int) -> None:
        """How long the function may take is known better now; the earlier deadline counts."""
        self.deadline_ms = min(self.deadline_ms, self.started_ms + ms)

    def function_done(self, now_ms: int) -> None:
        """The function has finished: from here on the customer pays for waiting."""
        if self.done_ms is None:
            self.done_ms = now_ms

    @property
    def until_ms(self) -> int:
        """The latest time to let go."""
        latest = self.deadline_ms - DEADLINE_MARGIN_MS - self.turn_ms
        if self.done_ms is not None:
            latest = min(latest, self.done_ms + self.budget_ms)
        return latest

    def is_over(self, now_ms: int, *, all_sent: bool, in_vain: bool) -> bool:
        """Whether to ask for the next event now. `in_vain`: nothing will be delivered however long we wait."""
        if now_ms >= self.until_ms:
            return True
        return self.done_ms is not None and (all_sent or in_vain)
