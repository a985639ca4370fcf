"""The ledger: nothing is lost without a line, and the line is JSON."""

from __future__ import annotations

import base64
import json

import pytest

from o2_lambda.extension.core.ledger import REASON_LENGTH_MAX, REASONS_MAX, SIGNALS, Ledger
from o2_lambda.extension.core.masking import shapes


def test_unused_ledger_is_json_without_signals() -> None:
    """Signals that never came are left out; the totals stand."""
    decoded = json.loads(Ledger().as_json())["ledger"]
    assert not set(decoded) & set(SIGNALS)
    assert decoded["requests"] == decoded["invocations"] == 0


def test_every_number_is_in_the_line() -> None:
    """What was counted can be read from the one line at the end."""
    ledger = Ledger()
    ledger.received("logs", 10)
    ledger.delivered("logs", 4)
    ledger.rejected("logs", 2, "too old")
    ledger.dropped("logs", 1, "buffer_full")
    ledger.excluded("logs", {"own_progress": 7})
    ledger.received("traces", 3)
    ledger.held_invocation(5)
    ledger.held_invocation(9)
    ledger.requests, ledger.retries, ledger.bytes_in, ledger.bytes_out = 1, 2, 3, 4
    ledger.invocations, ledger.malformed, ledger.platform_logs_dropped, ledger.synthesized = 5, 6, 7, 8
    decoded = json.loads(ledger.as_json())["ledger"]
    assert decoded.pop("logs") == {
        "received": 10,
        "delivered": 4,
        "rejected": {"too old": 2},
        "dropped": {"buffer_full": 1},
        "held": 3,
        "excluded": {"own_progress": 7},
    }
    assert decoded.pop("traces")["held"] == 3
    assert decoded == {
        "requests": 1,
        "retries": 2,
        "bytes_in": 3,
        "bytes_out": 4,
        "invocations": 5,
        "malformed": 6,
        "platform_logs_dropped": 7,
        "synthesized": 8,
        "hold_ms_total": 14,
        "hold_ms_max": 9,
    }


def test_ledger_is_one_line() -> None:
    """Whatever a server gives as its reason."""
    ledger = Ledger()
    ledger.received("logs", 3)
    for reason in ('a\nb"\\', "\ud800", "日本\x00"):
        ledger.rejected("logs", 1, reason)
    line = ledger.as_json()
    assert "\n" not in line
    assert line.isascii()
    assert sum(json.loads(line)["ledger"]["logs"]["rejected"].values()) == 3


def test_signal_with_exclusions_only_is_shown() -> None:
    """Lines that were left out on purpose are told as well."""
    ledger = Ledger()
    ledger.excluded("logs", {"log_type": 5})
    assert json.loads(ledger.as_json())["ledger"]["logs"]["excluded"] == {"log_type": 5}


def test_reasons_are_bounded_in_number_and_length() -> None:
    """A server whose words vary without end cannot fill memory or the line; nothing is left uncounted."""
    ledger = Ledger()
    ledger.received("logs", 1000)
    for number in range(1000):
        ledger.rejected("logs", 1, f"reason {number} " + "x" * 10_000)
    rejected = ledger.accounts["logs"].rejected
    assert len(rejected) <= REASONS_MAX + 1
    assert max(map(len, rejected)) <= REASON_LENGTH_MAX
    assert sum(rejected.values()) == 1000
    assert ledger.accounts["logs"].held() == 0


def test_half_a_word_of_the_server_is_never_in_the_line() -> None:
    """A credential that the limit cuts would pass every mask with its first half."""
    secret = "c2VjcmV0OnNlY3JldA=="
    for before in range(REASON_LENGTH_MAX - len(secret), REASON_LENGTH_MAX + 1):
        ledger = Ledger()
        ledger.rejected("logs", 1, "w" * (before - 1) + f" {secret} refused")
        (reason,) = ledger.accounts["logs"].rejected
        assert secret in reason or secret[:4] not in reason


@pytest.mark.parametrize("password", ["plain", 'quo"ted', "back\\slash", "grüße", 'a"é\\b'])
def test_credential_has_a_mask_as_the_line_writes_it(password: str) -> None:
    """JSON writes quotes, backslashes and letters outside ASCII in its own way."""
    ledger = Ledger()
    ledger.received("logs", 1)
    ledger.rejected("logs", 1, f"refused root:{password}")
    line = ledger.as_json()
    for shape in shapes({f"Basic {base64.b64encode(f'root:{password}'.encode()).decode()}"}):
        line = line.replace(shape, "***")
    assert json.loads(line)["ledger"]["logs"]["rejected"] == {"refused ***": 1}


@pytest.mark.parametrize("signal", SIGNALS)
def test_totals_add_up_over_signals(signal: str) -> None:
    """Each signal counts in the totals."""
    ledger = Ledger()
    ledger.received("logs", 1)
    ledger.received(signal, 10)
    ledger.delivered(signal, 5)
    ledger.rejected(signal, 2, "r")
    ledger.dropped(signal, 1, "d")
    assert ledger.totals() == (11, 5, 3, 3)
