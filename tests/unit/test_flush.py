"""When to send: the strategy for a rate of invocations, and how long an invocation is held."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from o2_lambda.extension.core.flush import (
    CONTINUOUS,
    CONTINUOUS_FROM,
    DEADLINE_MARGIN_MS,
    END,
    RATE_WINDOW_MS,
    Hold,
    RateGauge,
)

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


def simulate(
    gauge: RateGauge, per_minute: float, duration_ms: int, *, start_ms: int = 0, jitter: float = 0
) -> list[str]:
    """The strategies of each invocation at a rate, `jitter` as a part of the interval."""
    dice = random.Random(int(per_minute * 1000))
    interval_ms = MINUTE_MS / per_minute
    strategies = []
    for number in range(int(duration_ms / interval_ms)):
        at_ms = start_ms + round((number + dice.uniform(-jitter, jitter)) * interval_ms)
        gauge.record(at_ms)
        strategies.append(gauge.strategy(at_ms))
    return strategies


def changes(strategies: list[str]) -> int:
    return sum(1 for left, right in pairwise(strategies) if left != right)


@pytest.mark.parametrize("per_minute", [0.01, 0.1, 1, 2, 5, 7, 7.9, 9, 9.5])
def test_low_rates_hold_every_invocation_for_days(per_minute: float) -> None:
    """Below ten a minute nothing ever becomes continuous."""
    assert set(simulate(RateGauge(), per_minute, 3 * DAY_MS)) == {END}


@pytest.mark.parametrize("per_minute", [10, 10.5, 12, 30, 60])
def test_high_rates_become_continuous_and_stay_so(per_minute: float) -> None:
    """From ten a minute on, after the five minutes that it takes to know."""
    strategies = simulate(RateGauge(), per_minute, DAY_MS)
    first = strategies.index(CONTINUOUS)
    assert first == CONTINUOUS_FROM - 1
    assert set(strategies[first:]) == {CONTINUOUS}


def test_two_calls_close_together_are_no_rate() -> None:
    """Two calls 11 s apart are two calls, not ten a minute: the span between them says nothing."""
    gauge = RateGauge()
    for at_ms in (0, 11_000):
        gauge.record(at_ms)
        assert gauge.strategy(at_ms) == END


def test_burst_after_silence_is_no_rate_until_it_lasts() -> None:
    """A few calls per second for a moment are still few over five minutes."""
    gauge = RateGauge()
    for number in range(CONTINUOUS_FROM - 1):
        gauge.record(number * 10)
        assert gauge.strategy(number * 10) == END
    gauge.record(1000)
    assert gauge.strategy(1000) == CONTINUOUS


@pytest.mark.parametrize("per_minute", [8.3, 9, 9.5, 10, 11])
def test_rate_that_falls_a_little_stays_continuous(per_minute: float) -> None:
    """Between eight and ten a minute the strategy is what it was."""
    gauge = RateGauge()
    simulate(gauge, 20, 10 * MINUTE_MS)
    assert set(simulate(gauge, per_minute, DAY_MS, start_ms=10 * MINUTE_MS)) == {CONTINUOUS}


@pytest.mark.parametrize("per_minute", [0.5, 3, 7.5])
def test_rate_that_falls_far_goes_back_to_end(per_minute: float) -> None:
    """Within the five minutes of the window, and for good."""
    gauge = RateGauge()
    simulate(gauge, 20, 10 * MINUTE_MS)
    strategies = simulate(gauge, per_minute, DAY_MS, start_ms=10 * MINUTE_MS)
    assert changes(strategies) <= 1
    assert strategies.count(CONTINUOUS) * MINUTE_MS / per_minute <= RATE_WINDOW_MS
    assert strategies[-1] == END


def test_night_ends_it() -> None:
    """Calls of before a pause do not count."""
    gauge = RateGauge()
    simulate(gauge, 60, HOUR_MS)
    assert gauge.strategy(HOUR_MS) == CONTINUOUS
    assert gauge.strategy(HOUR_MS + RATE_WINDOW_MS) == END


@pytest.mark.parametrize("jitter", [0.1, 0.45])
def test_rate_around_ten_does_not_flap(jitter: float) -> None:
    """An uneven rate of ten a minute over a day changes the strategy a time or two, not all the time."""
    assert changes(simulate(RateGauge(), 10, DAY_MS, jitter=jitter)) <= 3


def test_memory_of_the_gauge_is_bounded() -> None:
    """Only the newest calls are kept."""
    gauge = RateGauge()
    simulate(gauge, 6000, HOUR_MS)
    assert len(gauge._times_ms) == CONTINUOUS_FROM


def hold(*, started_ms: int = 1000, deadline_ms: int = 4000, budget_ms: int = 500) -> Hold:
    return Hold(started_ms=started_ms, deadline_ms=deadline_ms, budget_ms=budget_ms)


def test_running_function_is_held_beside_at_no_cost() -> None:
    """Before runtimeDone nothing ends a hold but the deadline: the function runs anyway."""
    each = hold()
    assert not each.is_over(1000, all_sent=True, in_vain=True)
    assert not each.is_over(4000 - DEADLINE_MARGIN_MS - 1, all_sent=True, in_vain=True)
    assert each.is_over(4000 - DEADLINE_MARGIN_MS, all_sent=False, in_vain=False)


def test_hold_ends_when_all_is_sent() -> None:
    """Done and sent: the customer pays for no more."""
    each = hold()
    each.function_done(2000)
    assert each.is_over(2000, all_sent=True, in_vain=False)
    assert not each.is_over(2000, all_sent=False, in_vain=False)


def test_hold_ends_with_its_budget() -> None:
    """Counted from runtimeDone, the first one."""
    each = hold(budget_ms=500)
    each.function_done(2000)
    each.function_done(2400)
    assert each.until_ms == 2500
    assert not each.is_over(2499, all_sent=False, in_vain=False)
    assert each.is_over(2500, all_sent=False, in_vain=False)


def test_hold_ends_before_the_deadline_whatever_the_budget() -> None:
    """The function's deadline is ours too."""
    each = hold(deadline_ms=2600, budget_ms=900_000)
    each.function_done(2000)
    assert each.until_ms == 2600 - DEADLINE_MARGIN_MS
    assert each.is_over(each.until_ms, all_sent=False, in_vain=False)


def test_no_budget_means_no_hold_after_the_function() -> None:
    """O2_FLUSH_BUDGET_MS=0 lets go at once."""
    each = hold(budget_ms=0)
    each.function_done(2000)
    assert each.is_over(2000, all_sent=False, in_vain=False)


def test_open_circuit_ends_a_hold() -> None:
    """Nobody waits for an upstream that is down."""
    each = hold()
    each.function_done(2000)
    assert each.is_over(2000, all_sent=False, in_vain=True)


def test_deadline_in_the_past_lets_go_at_once() -> None:
    """A wrong clock or a very short timeout cannot hold anything."""
    assert hold(deadline_ms=900).is_over(1000, all_sent=False, in_vain=False)
