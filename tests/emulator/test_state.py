"""The extension's state machine, row by row."""

from __future__ import annotations

import itertools

import pytest

from o2_lambda.emulator import state
from o2_lambda.emulator.errors import ApiError
from o2_lambda.emulator.state import (
    EXITED,
    GOALS,
    INIT_ERROR,
    REGISTER,
    REPORT_EXIT_ERROR,
    TRANSITIONS,
    Extension,
    Registry,
)

STATES = sorted({row[0] for row in TRANSITIONS} | set(TRANSITIONS.values()))


@pytest.mark.parametrize(("before", "verb"), list(itertools.product(STATES, sorted(GOALS))))
def test_every_pair_is_either_a_transition_or_a_refusal(before: str, verb: str) -> None:
    """What the table has not is 403, names both states and changes nothing."""
    extension = Extension("x", external=True, state=before, identifier="an-id")
    if (before, verb) in TRANSITIONS:
        extension.move(verb)
        assert extension.state == TRANSITIONS[before, verb]
        return
    with pytest.raises(ApiError) as refused:
        extension.move(verb)
    who = "x" if verb == REGISTER else "an-id"
    goal = EXITED if (before, verb) == (INIT_ERROR, REPORT_EXIT_ERROR) else GOALS[verb]  # as AWS words it
    assert refused.value.message == (
        f"State transition from {before} to {goal} failed for extension {who}. Error: State transition is not allowed"
    )
    assert extension.state == before


def test_terminal_states_have_no_way_out() -> None:
    """Exited, ShutdownFailed and LaunchError are the end."""
    for terminal in (state.EXITED, state.SHUTDOWN_FAILED, state.LAUNCH_ERROR):
        assert not [row for row in TRANSITIONS if row[0] == terminal]


def test_the_eleventh_extension_is_refused() -> None:
    """Internal extensions count."""
    registry = Registry([f"e{number}" for number in range(9)], managed=False)
    registry.register("inner", b'{"events":["INVOKE"]}')
    with pytest.raises(ApiError, match=r"Extension limit \(10\) reached"):
        registry.register("one too many", b'{"events":["INVOKE"]}')


def test_a_refused_register_leaves_no_trace() -> None:
    """A bad event list neither registers nor creates an internal extension."""
    registry = Registry(["e"], managed=False)
    for name in ("e", "inner"):
        with pytest.raises(ApiError):
            registry.register(name, b'{"events":["NOPE"]}')
    assert list(registry.extensions) == ["e"]
    assert registry.extensions["e"].state == state.STARTED
