"""Backoff: the pause after each failure, the open circuit, and what ends both."""

from __future__ import annotations

import pytest

from o2_lambda.extension.core.retry import SHUTDOWN_PAUSE_MS, Backoff

LARGEST_DICE = 255 / 256


def backoff(*, failures_max: int = 3, initial_ms: int = 1000, max_ms: int = 30_000) -> Backoff:
    return Backoff(failures_max=failures_max, initial_ms=initial_ms, max_ms=max_ms)


def test_fresh_backoff_sends() -> None:
    """Nothing is held back before the first failure."""
    each = backoff()
    assert each.may_send(0)
    assert not each.is_open


@pytest.mark.parametrize("dice", [0.0, 0.5, LARGEST_DICE])
def test_pause_is_jittered_over_its_whole_length(dice: float) -> None:
    """Full jitter keeps a thousand sandboxes apart; the pause is over exactly when it says."""
    each = backoff()
    assert each.fail(100, dice) == int(1000 * dice)
    assert each.may_send(100 + int(1000 * dice))
    assert each.may_send(100 + int(1000 * dice) - 1) is False or dice == 0.0


def test_pauses_double_up_to_the_longest() -> None:
    """1, 2, 4 ... s at most, and never over the configured maximum."""
    each = backoff(failures_max=100)
    pauses = [each.fail(0, LARGEST_DICE) for _ in range(10)]
    assert pauses == [int(min(1000 * 2**n, 30_000) * LARGEST_DICE) for n in range(10)]


def test_failures_without_end_overflow_nothing() -> None:
    """After a night of failures the pause is still the longest, not astronomic."""
    each = backoff()
    assert [each.fail(0, LARGEST_DICE) for _ in range(5000)][-1] <= 30_000


def test_circuit_opens_after_some_failures_in_a_row() -> None:
    """From then on every pause is at least half its length: probes only."""
    each = backoff()
    each.fail(0, 0)
    each.fail(0, 0)
    assert not each.is_open
    assert each.fail(0, 0) == 2000
    assert each.is_open
    assert not each.may_send(1999)
    assert each.may_send(2000)


def test_success_closes_the_circuit() -> None:
    """One good answer and all is as at first."""
    each = backoff()
    for _ in range(5):
        each.fail(0, 0.5)
    each.succeed()
    assert not each.is_open
    assert each.may_send(0)
    assert each.fail(0, LARGEST_DICE) < 1000


@pytest.mark.parametrize("dice", [0.0, 0.5, LARGEST_DICE])
@pytest.mark.parametrize("failures_before", [0, 5])
def test_retry_after_is_a_floor(dice: float, failures_before: int) -> None:
    """Whoever asks for a pause gets it, with a little jitter on top, also beyond our own longest pause."""
    each = backoff()
    for _ in range(failures_before):
        each.fail(0, 0)
    assert 60_000 <= each.fail(0, dice, retry_after_ms=60_000) <= 61_000
    assert not each.may_send(59_999)


@pytest.mark.parametrize("failures_before", [0, 1, 2, 3, 10])
@pytest.mark.parametrize("dice", [0.0, LARGEST_DICE])
def test_giving_up_opens_the_circuit_at_once(failures_before: int, dice: float) -> None:
    """What only a person can change is tried again seldom."""
    each = backoff()
    for _ in range(failures_before):
        each.fail(0, 0)
    assert 15_000 <= each.give_up(0, dice) <= 30_000
    assert each.is_open
    assert not each.may_send(14_999)


def test_hurry_cuts_a_pause_short() -> None:
    """At shutdown there is no time for the configured pauses."""
    each = backoff()
    each.give_up(0, 0.5)
    each.hurry(100)
    assert not each.may_send(100 + SHUTDOWN_PAUSE_MS - 1)
    assert each.may_send(100 + SHUTDOWN_PAUSE_MS)


def test_hurry_lengthens_nothing() -> None:
    """Where one may send already, one still may."""
    each = backoff()
    each.hurry(100)
    assert each.may_send(100)


@pytest.mark.parametrize("failures_max", [0, 1])
def test_no_retries_means_open_at_the_first_failure(failures_max: int) -> None:
    """O2_MAX_RETRIES=0: the first failure already counts as an outage; nothing is given up."""
    each = backoff(failures_max=failures_max)
    each.fail(0, 0)
    assert each.is_open
