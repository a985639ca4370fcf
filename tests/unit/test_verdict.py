"""Verdicts: what each answer of the server means for the batch that was sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from o2_lambda.extension.core.batch import LOGS
from o2_lambda.extension.core.otlp import JSON, PROTOBUF
from o2_lambda.extension.core.verdict import (
    CREDENTIALS,
    DELIVERED,
    DETAIL_LENGTH_MAX,
    FATAL,
    RETRY,
    RETRY_AFTER_MS_MAX,
    SPLIT,
    Verdict,
    judge,
    retry_after_ms,
)

TRACES: Any = ("traces", PROTOBUF)
TRACES_JSON: Any = ("traces", JSON)
METRICS: Any = ("metrics", PROTOBUF)
NOW_S = 1_767_225_600  # 2026-01-01T00:00:00Z, a Thursday


def answer(*statuses: tuple[int, int, str]) -> bytes:
    """OpenObserve's answer to logs: (successful, failed, error) for each stream."""
    entries: list[dict[str, Any]] = []
    for successful, failed, error in statuses:
        entries.append({"name": "default", "successful": successful, "failed": failed})
        if error:
            entries[-1]["error"] = error
    return json.dumps({"code": 200, "status": entries}).encode()


def rule(stream: Any, status: int, body: bytes = b"", *, sent: int = 10, retry_after: bytes | None = None) -> Verdict:
    return judge(stream, sent, status, body, retry_after, NOW_S)


TABLE = [
    *((status, CREDENTIALS, CREDENTIALS) for status in (401, 403, 300, 301, 302, 303, 307, 308)),
    *((status, RETRY, RETRY) for status in (408, 425, 429, 500, 501, 502, 503, 504, 507, 529, 599)),
    (413, SPLIT, SPLIT),
    (400, SPLIT, SPLIT),
    *((status, FATAL, FATAL) for status in (402, 404, 405, 406, 409, 410, 411, 415, 418, 422, 431, 451)),
]


@pytest.mark.parametrize(("status", "for_logs", "for_otlp"), TABLE)
def test_status_table(status: int, for_logs: str, for_otlp: str) -> None:
    """Retrying, halving, pausing or dropping, with a reason that names the status and the server's words."""
    for stream, kind in ((LOGS, for_logs), (TRACES, for_otlp), (METRICS, for_otlp)):
        verdict = rule(stream, status, b"the server's\nwords")
        assert (verdict.kind, verdict.reason, verdict.detail) == (kind, f"status_{status}", "the server's words")
        assert verdict.rejected == 0


def test_redirect_without_words_names_the_setting() -> None:
    """Somebody has to change the endpoint; the line says which."""
    assert "O2_ENDPOINT" in rule(LOGS, 302).detail


@pytest.mark.parametrize("status", [200, 201, 202, 206, 299])
def test_all_stored_is_delivered(status: int) -> None:
    """`successful` is what was sent."""
    verdict = rule(LOGS, status, answer((10, 0, "")))
    assert (verdict.kind, verdict.rejected) == (DELIVERED, 0)


def test_records_refused_one_by_one_are_not_sent_again() -> None:
    """A record that is too old stays too old: counted under the server's reason."""
    verdict = rule(LOGS, 200, answer((7, 3, "Too old data")))
    assert (verdict.kind, verdict.rejected, verdict.reason) == (DELIVERED, 3, "Too old data")


def test_all_refused_is_a_verdict_as_well() -> None:
    """HTTP 200 with nothing stored and all counted."""
    verdict = rule(LOGS, 200, answer((0, 10, "")))
    assert (verdict.kind, verdict.rejected) == (DELIVERED, 10)
    assert verdict.reason


def test_counts_of_several_streams_add_up() -> None:
    """The server reports each stream on its own."""
    verdict = rule(LOGS, 200, answer((4, 1, "a"), (3, 2, "b")))
    assert (verdict.kind, verdict.rejected) == (DELIVERED, 3)


@pytest.mark.parametrize("counts", [[(0, 0, "")], [(9, 0, "")], [(5, 4, "x")], []])
def test_missing_records_halve_the_batch(counts: list[tuple[int, int, str]]) -> None:
    """200 with 0/0 is how a column limit looks: the halves may pass."""
    verdict = rule(LOGS, 200, answer(*counts))
    assert (verdict.kind, verdict.reason) == (SPLIT, "not_stored")


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b"OK",
            b"<html>Sign in</html>",
            b"{}",
            b"[]",
            b"null",
            b'{"code":200}',
            b"\xff\xfe",
            b'{"status":[',
            b"17",
        ),
        *(b'{"status":"ok"}', b'{"status":{"successful":10}}', b"[" * 100_000),
    ],
)
def test_answer_of_something_else_is_no_delivery(body: bytes) -> None:
    """A proxy's page under 200 stored nothing: kept, tried again, and the line names the endpoint."""
    verdict = rule(LOGS, 200, body)
    assert (verdict.kind, verdict.reason) == (RETRY, "unreadable_answer")
    assert "O2_ENDPOINT" in verdict.detail


@pytest.mark.parametrize("successful", ['"10"', "10", "1000"])
def test_counts_may_be_texts_and_more_than_was_sent(successful: str) -> None:
    """Never more is counted than was sent."""
    verdict = rule(LOGS, 200, b'{"status":[{"successful":%b,"failed":99}]}' % successful.encode())
    assert (verdict.kind, verdict.rejected) == (DELIVERED, 10)


@pytest.mark.parametrize("value", ["-5", "null", "true", "{}", "[]", "1.5", '"x"', '"\\u00b2"', '"' + "9" * 5000 + '"'])
def test_odd_counts_never_raise(value: str) -> None:
    """Numbers of the wrong kind store nothing, or leave the answer unreadable."""
    body = f'{{"status":[{{"successful":{value},"failed":{value}}}]}}'.encode()
    assert rule(LOGS, 200, body).kind in (SPLIT, RETRY)


@pytest.mark.parametrize("reason", ["null", "7", "[]", '{"a":1}'])
def test_odd_reasons_become_text(reason: str) -> None:
    """The ledger's reasons are texts."""
    verdict = rule(LOGS, 200, f'{{"status":[{{"successful":9,"failed":1,"error":{reason}}}]}}'.encode())
    assert (verdict.kind, verdict.rejected) == (DELIVERED, 1)
    assert isinstance(verdict.reason, str)
    assert verdict.reason


def partial(rejected: int, message: str) -> bytes:
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = rejected
    response.partial_success.error_message = message
    return response.SerializeToString()


@pytest.mark.parametrize(
    ("status", "body", "rejected"),
    [
        (200, b"", 0),
        (200, b"{}", 0),
        (200, b'{"partialSuccess":{}}', 0),
        (200, b'{"partialSuccess":null}', 0),
        (206, b'{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too old"}}', 3),
        (206, b'{"partialSuccess":{"rejectedDataPoints":3,"errorMessage":"too old"}}', 3),
        (200, partial(3, "too old"), 3),
        (200, partial(0, "a warning"), 0),
        (200, partial(1000, "too old"), 10),
        (200, b"\xff\xff", 0),
        (200, b'{"partialSuccess":{"rejectedSpans":"\xff"}}', 0),
        (200, b'{"code":200,"status":[]}', 0),
    ],
)
@pytest.mark.parametrize("stream", [TRACES, TRACES_JSON])
def test_otlp_success_and_partial_success(stream: Any, status: int, body: bytes, rejected: int) -> None:
    """2xx means accepted, less what the server names as rejected; its encoding need not be the request's."""
    verdict = rule(stream, status, body)
    assert (verdict.kind, verdict.rejected) == (DELIVERED, rejected)
    if rejected:
        assert verdict.reason == "too old"


@pytest.mark.parametrize("stream", [TRACES, TRACES_JSON])
def test_web_page_is_no_answer_to_otlp_either(stream: Any) -> None:
    """OTLP's answer may be empty, but a page comes from somebody in between who has stored nothing."""
    verdict = rule(stream, 200, b"<html>Sign in</html>")
    assert (verdict.kind, verdict.reason) == (RETRY, "unreadable_answer")


def test_half_a_word_is_never_shown() -> None:
    """A credential that the limit cuts would pass every mask with its first half."""
    secret = "c2VjcmV0OnNlY3JldA=="
    for before in range(DETAIL_LENGTH_MAX - len(secret), DETAIL_LENGTH_MAX + 1):
        detail = rule(LOGS, 401, b"w" * (before - 1) + b" " + secret.encode() + b" refused").detail
        assert secret in detail or secret[:4] not in detail


@pytest.mark.parametrize("before", [b"\n ", b"   ", "é ".encode(), b"\xff "])
def test_half_a_word_is_never_shown_where_bytes_are_no_characters(before: bytes) -> None:
    """The limit counts what is shown: white space at the ends and bytes of a letter are not."""
    secret = "c2VjcmV0OnNlY3JldA=="
    for count in range(60, DETAIL_LENGTH_MAX):
        detail = rule(LOGS, 401, before * count + b"w" * 20 + b" " + secret.encode() + b" refused").detail
        assert secret in detail or secret[:4] not in detail


def test_detail_is_short_and_one_line() -> None:
    """It goes into a log line."""
    detail = rule(LOGS, 500, b"a\nb\xff" + b"x" * 10_000).detail
    assert len(detail) <= DETAIL_LENGTH_MAX
    assert "\n" not in detail


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_carried(status: int) -> None:
    """The server's wish is in the verdict."""
    assert rule(LOGS, status, retry_after=b"7").retry_after_ms == 7000
    assert rule(LOGS, status).retry_after_ms == 0


@pytest.mark.parametrize(
    ("value", "expected_ms"),
    [
        (None, 0),
        (b"", 0),
        (b"0", 0),
        (b"1", 1000),
        (b"120", 120_000),
        (b"86400", RETRY_AFTER_MS_MAX),
        (b"9" * 500, RETRY_AFTER_MS_MAX),
        (b"-1", 0),
        (b"1.5", 0),
        (b"soon", 0),
        (b"\xff\xfe", 0),
        (b"Thu, 01 Jan 2026 00:00:30 GMT", 30_000),
        (b"Thu, 01 Jan 2026 00:00:00 GMT", 0),
        (b"Wed, 31 Dec 2025 23:59:59 GMT", 0),
        (b"Fri, 02 Jan 2026 00:00:00 GMT", RETRY_AFTER_MS_MAX),
        (b"Sun, 06 Nov 1994 08:49:37 GMT", 0),
        (b"Thu, 01 Xyz 2026 00:00:30 GMT", 0),
        (b"Thu, 01 Jan", 0),
        (b"Thu, 01 Jan 2026 xx:00:30 GMT", 0),
        (b"Thu, 01 Jan 2026 \xff\xff:00:30 GMT", 0),
        (b"Sunday, 06-Nov-94 08:49:37 GMT", 0),
        (b"Thu Jan  1 00:00:30 2026", 0),
        (b"a b c d e f", 0),
    ],
)
def test_retry_after_in_seconds_and_dates(value: bytes | None, expected_ms: int) -> None:
    """Bounded above, never negative, and nonsense is no wish."""
    assert retry_after_ms(value, NOW_S) == expected_ms


def test_verdict_shows_itself() -> None:
    """Its repr is for a failing test."""
    assert repr(Verdict(SPLIT, "status_413")) == "<Verdict split 'status_413' rejected=0>"
