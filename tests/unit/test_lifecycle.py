"""The lifecycle is its table: every other pair of state and fact is a bug and raises."""

from __future__ import annotations

import itertools

import pytest

from o2_lambda.extension.core.lifecycle import RUNTIME_GRACE_MS, SHUTDOWN_MS, TRANSITIONS, Lifecycle

STATES = ("PARKED", "RUNNING", "DRAINING", "DONE")
FACTS = ("INVOKE", "SHUTDOWN", "OTHER", "LET_GO", "DRAINED")
ALLOWED = {
    "PARKED": {"INVOKE": "RUNNING", "OTHER": "RUNNING", "SHUTDOWN": "DRAINING"},
    "RUNNING": {"LET_GO": "PARKED"},
    "DRAINING": {"DRAINED": "DONE"},
    "DONE": {},
}


@pytest.mark.parametrize(("state", "fact"), list(itertools.product(STATES, FACTS)))
def test_every_pair_of_state_and_fact(state: str, fact: str) -> None:
    """Either the table has a next state, or the move raises and changes nothing."""
    lifecycle = Lifecycle()
    lifecycle.state = state
    if fact in ALLOWED[state]:
        lifecycle.move(fact)
        assert lifecycle.state == ALLOWED[state][fact]
    else:
        with pytest.raises(KeyError):
            lifecycle.move(fact)
        assert lifecycle.state == state


def test_table_knows_no_other_states_and_facts() -> None:
    """The table above is complete."""
    assert {state for state, _fact in TRANSITIONS} | set(TRANSITIONS.values()) == set(STATES)
    assert {fact for _state, fact in TRANSITIONS} == set(FACTS)


def test_engine_comes_to_life_with_a_poll_under_way() -> None:
    """The first `/next` precedes everything."""
    assert Lifecycle().state == "PARKED"


@pytest.mark.parametrize("fact", ["", "invoke", "UNKNOWN"])
def test_unknown_fact_raises(fact: str) -> None:
    """A misspelt fact cannot go unnoticed."""
    with pytest.raises(KeyError):
        Lifecycle().move(fact)


def test_a_clock_that_was_set_right_costs_one_hold_at_most() -> None:
    """How far Lambda's clock is ahead is learnt anew from each platform.start."""
    lifecycle = Lifecycle()
    lifecycle.invocation_ms(7_203_000, 0)
    assert lifecycle.invocation_began(7_200_000) == 3000
    assert lifecycle.invocation_ms(8_203_000, 1_000_000) == 3000, "two hours ahead, as before"
    assert lifecycle.invocation_ms(8_303_000, 8_300_000) < 0, "taken for over, which is safe"
    assert lifecycle.invocation_began(8_300_000) == 3000
    assert lifecycle.invocation_ms(8_403_000, 8_400_000) == 3000


@pytest.mark.parametrize("deadline", [None, "soon", 1.5])
def test_a_deadline_that_is_no_number_changes_nothing(deadline: object) -> None:
    """The last plausible time counts; at shutdown what is left of the two seconds at least."""
    lifecycle = Lifecycle()
    assert lifecycle.invocation_ms(3000, 0) == 3000
    assert lifecycle.invocation_ms(deadline, 0) == 3000
    assert lifecycle.shutdown_ms(deadline, 0) == SHUTDOWN_MS - RUNTIME_GRACE_MS


def test_a_shutdown_that_would_be_over_on_lambda_s_clock_has_the_time_that_is_told() -> None:
    """The beginning that platform.start tells may be late, and Lambda's clock then not ahead at all."""
    lifecycle = Lifecycle()
    lifecycle.invocation_ms(3000, 0)
    lifecycle.invocation_began(100)
    assert lifecycle.shutdown_ms(100, 0) == 100
    assert lifecycle.shutdown_ms(101, 0) == 1
