"""Schedules that failed once, cut down to what matters and named after what they found. Each stays a case for ever."""

from __future__ import annotations

from tests.chaos.schedule import Schedule, Step
from tests.chaos.troubles import BY_NAME, HEALTHY

_BUDGET_0 = {"O2_FLUSH_BUDGET_MS": "0", "O2_INITIAL_RETRY_DELAY_MS": "20", "O2_MAX_RETRY_DELAY_MS": "100"}

CASES = {
    # Lambda's clock is ahead: the deadline of SHUTDOWN was believed, and the drain went on until the kill.
    "shutdown_under_a_clock_that_is_hours_ahead": Schedule(
        "clock",
        (
            Step({"lines": 20}, BY_NAME["black hole"]),
            Step({"lines": 20, "ends": "kill"}, platform={"clock_jump_ms": 7_200_000}),
        ),
        _BUDGET_0,
    ),
    # The same where the runtime has used up its share of the two seconds: they were taken for whole.
    "shutdown_under_another_clock_after_a_stubborn_runtime": Schedule(
        "stubborn",
        (
            Step({"lines": 20, "stubborn": True}, BY_NAME["black hole"]),
            Step({"lines": 20}, platform={"clock_jump_ms": -3_600_000}),
        ),
        _BUDGET_0,
    ),
    # Halves of cut lines were overtaken: a rest was taken for a beginning, and swallowed each line of its millisecond.
    "cut_lines_out_of_order": Schedule(
        "halves",
        (
            Step({"lines": 200}, platform={"oversize_split_bytes": 30}),
            Step({"lines": 200}, platform={"reorder_batches": 1}),
        ),
        {**_BUDGET_0, "O2_FLUSH_STRATEGY": "continuous"},  # which does not wait for what is still to come
    ),
    # A sign-in page under 200 counted as an answer to spans.
    "spans_answered_by_a_web_page": Schedule(
        "page",
        (Step({"spans": 5}, BY_NAME["not our answer"]), Step({"lines": 1}, HEALTHY)),
        _BUDGET_0,
    ),
}
