"""The extension's own lines, as they are printed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from o2_lambda.extension.core.ledger import REASON_LENGTH_MAX, REASONS_MAX, SIGNALS, Ledger
from o2_lambda.extension.io import log

if TYPE_CHECKING:
    import pytest


def test_the_longest_ledger_is_printed_whole(capfd: pytest.CaptureFixture[str]) -> None:
    """Whoever counts with it needs all of it: its reasons are bounded, so that it is."""
    ledger = Ledger()
    for signal in SIGNALS:
        ledger.received(signal, 1000)
        for number in range(REASONS_MAX):
            ledger.rejected(signal, 1, f"{number} " + "界 " * REASON_LENGTH_MAX)
            ledger.dropped(signal, 1, f"status_{number}")
    log.emit("", ledger.as_json())
    printed = json.loads(capfd.readouterr().out)["ledger"]
    assert sum(printed["logs"]["rejected"].values()) == REASONS_MAX


def test_a_long_line_of_somebody_elses_words_is_cut(capfd: pytest.CaptureFixture[str]) -> None:
    """A line of ours is read by a person."""
    log.emit("ERROR", "x" * 100_000)
    assert len(capfd.readouterr().out) < 2 * log.LINE_LENGTH_MAX
