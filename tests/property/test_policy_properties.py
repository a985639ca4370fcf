"""Pauses, holds, batches and the ledger within their bounds, for any numbers."""

from __future__ import annotations

import gzip
import json

from hypothesis import given
from hypothesis import strategies as st

from o2_lambda.extension.core.batch import LOGS, OpenBatch, split
from o2_lambda.extension.core.buffer import Buffer
from o2_lambda.extension.core.flush import DEADLINE_MARGIN_MS, Hold
from o2_lambda.extension.core.jsonscan import SCAN_ERRORS, Pairs, get, loads, members
from o2_lambda.extension.core.ledger import Ledger
from o2_lambda.extension.core.retry import SHUTDOWN_PAUSE_MS, Backoff
from o2_lambda.extension.core.verdict import RETRY_AFTER_MS_MAX, judge, retry_after_ms

dice = st.floats(0, 1, exclude_max=True)
times = st.integers(0, 10**12)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=15,
)


@given(
    st.integers(0, 100),
    st.integers(1, 900_000),
    st.integers(1, 900_000),
    st.lists(
        st.tuples(st.sampled_from(["fail", "give up", "succeed", "hurry"]), dice, st.integers(0, 300_000)), max_size=40
    ),
)
def test_pauses_stay_within_their_bounds(
    failures_max: int, initial_ms: int, max_ms: int, steps: list[tuple[str, float, int]]
) -> None:
    """Never longer than configured, unless the server asked for it; and then never shorter."""
    backoff = Backoff(failures_max=failures_max, initial_ms=initial_ms, max_ms=max_ms)
    now_ms = 0
    for step, chance, wish_ms in steps:
        now_ms += 10
        if step == "fail":
            pause_ms = backoff.fail(now_ms, chance, retry_after_ms=wish_ms)
            if wish_ms:
                assert wish_ms <= pause_ms <= wish_ms + initial_ms
            else:
                longest_ms = min(max_ms, initial_ms * 2 ** min(backoff.failures - 1, 20))
                shortest_ms = longest_ms // 2 if backoff.is_open else 0
                assert shortest_ms <= pause_ms <= longest_ms
            assert backoff.may_send(now_ms + pause_ms)
            assert pause_ms == 0 or not backoff.may_send(now_ms + pause_ms - 1)
        elif step == "give up":
            pause_ms = backoff.give_up(now_ms, chance)
            assert max_ms // 2 <= pause_ms <= max_ms
            assert backoff.is_open
        elif step == "succeed":
            backoff.succeed()
            assert backoff.may_send(now_ms)
            assert not backoff.is_open
        else:
            backoff.hurry(now_ms)
            assert backoff.may_send(now_ms + SHUTDOWN_PAUSE_MS)


@given(times, st.integers(-1000, 900_000), st.integers(0, 900_000), st.integers(0, 900_000), st.integers(0, 10**6))
def test_hold_is_over_at_its_end_and_not_before(
    started_ms: int, timeout_ms: int, budget_ms: int, done_after_ms: int, later_ms: int
) -> None:
    """The earlier of the budget and the deadline's margin, for any numbers."""
    hold = Hold(started_ms=started_ms, deadline_ms=started_ms + timeout_ms, budget_ms=budget_ms)
    hold.function_done(started_ms + done_after_ms)
    hold.function_done(started_ms + done_after_ms + later_ms)
    end_ms = min(started_ms + timeout_ms - DEADLINE_MARGIN_MS, started_ms + done_after_ms + budget_ms)
    assert hold.until_ms == end_ms
    assert hold.is_over(end_ms, all_sent=False, in_vain=False)
    assert not hold.is_over(end_ms - 1, all_sent=False, in_vain=False)


@given(st.lists(json_values, min_size=1, max_size=20), st.lists(st.integers(1, 4), min_size=1, max_size=20))
def test_halving_conserves_any_elements(values: list[object], joins: list[int]) -> None:
    """Down to single elements, in order, as they were written."""
    batch = OpenBatch(LOGS)
    rest = [json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass") for value in values]
    rest = [each if each.isascii() else json.dumps(json.loads(each)).encode() for each in rest]
    elements = list(rest)
    for join in joins:
        if rest:
            batch.add(b",".join(rest[:join]), len(rest[:join]))
            rest = rest[join:]
    if rest:
        batch.add(b" , ".join(rest), len(rest))
    pending, singles = [batch.seal()], []
    while pending:
        each = pending.pop(0)
        halves = split(each)
        if len(halves) == 1:
            singles.append(each)
        else:
            assert sum(half.count for half in halves) == each.count
            pending[:0] = halves
    assert [gzip.decompress(single.body)[1:-1].strip() for single in singles] == elements
    assert all(single.count == 1 for single in singles)


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "seal", "send", "ack", "split", "shed"]), st.integers(1, 30)), max_size=60
    ),
    st.integers(1, 20),
    st.integers(200, 5000),
)
def test_buffer_accounts_for_every_item(steps: list[tuple[str, int]], batch_items_max: int, bytes_max: int) -> None:
    """Added items are held, taken out or shed; bytes are those of the batches; what is in flight is never shed."""
    buffer = Buffer(bytes_max=bytes_max, batch_items_max=batch_items_max)
    queue = buffer.queue()
    added = gone = 0
    flying = None
    for step, number in steps:
        if step == "add":
            buffer.add(LOGS, b",".join(b'"%d"' % (number * n * 7919) for n in range(number)), number)
            added += number
        elif step == "seal":
            buffer.seal_all()
        elif step == "send" and flying is None:
            flying = queue.next_batch(urgent_first=False)
            if flying is not None:
                queue.in_flight = flying
        elif step == "ack" and flying is not None:
            queue.in_flight = None
            queue.remove(flying)
            gone += flying.count
            flying = None
        elif step == "split" and flying is not None:
            queue.in_flight = None
            queue.replace(flying, split(flying))
            flying = None
        elif step == "shed":
            shed = [batch for _queue, batch in buffer.shed(number * 10)]
            assert flying not in shed
            gone += sum(batch.count for batch in shed)
            assert buffer.bytes_held + number * 10 <= bytes_max or queue.items_held("logs") == (
                flying.count if flying else 0
            )
        assert queue.items_held("logs") == added - gone
        assert queue.is_empty == (added == gone)
        assert buffer.bytes_held >= sum(len(batch.body) for batch in queue._batches)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["received", "delivered", "rejected", "dropped"]),
            st.integers(0, 1000),
            st.text(max_size=200),
        ),
        max_size=60,
    )
)
def test_ledger_conserves_and_is_json(steps: list[tuple[str, int, str]]) -> None:
    """For any counts and any words of the server."""
    ledger = Ledger()
    held = 0
    for kind, count, reason in steps:
        held += count if kind == "received" else -count
        if kind in ("rejected", "dropped"):
            getattr(ledger, kind)("logs", count, reason)
        else:
            getattr(ledger, kind)("logs", count)
        assert ledger.accounts["logs"].held() == held
    line = ledger.as_json()
    assert line.isascii()
    assert "\n" not in line
    decoded = json.loads(line)["ledger"].get("logs", {"held": held})
    assert decoded["held"] == held


@given(st.integers(200, 599), st.binary(max_size=100), st.one_of(st.none(), st.binary(max_size=40)), st.integers(0, 50))
def test_any_answer_has_a_verdict(status: int, body: bytes, retry_after: bytes | None, sent: int) -> None:
    """No bytes of a server raise, and never more is rejected than was sent."""
    for stream in (LOGS, ("traces", "application/x-protobuf")):
        verdict = judge(stream, sent, status, body, retry_after, 1_767_225_600)  # type: ignore[arg-type]
        assert verdict.kind in ("delivered", "retry", "split", "fatal", "credentials")
        assert 0 <= verdict.rejected <= sent
        assert "\n" not in verdict.detail


@given(st.one_of(st.binary(max_size=40), st.from_regex(rb"[A-Z][a-z]{2}, \d\d (Jan|Feb|Dec) \d{4} \d\d:\d\d:\d\d GMT")))
def test_retry_after_is_bounded(value: bytes) -> None:
    """Whatever the header says."""
    assert 0 <= retry_after_ms(value, 1_767_225_600) <= RETRY_AFTER_MS_MAX


def plain(value: object) -> object:
    """Pairs as a dict, the last of equal keys winning as in `json`."""
    if type(value) is Pairs:
        return {key: plain(member) for key, member in value}
    return [plain(each) for each in value] if isinstance(value, list) else value


@given(json_values)
def test_scanner_reads_what_json_reads(value: object) -> None:
    """Any JSON text, to the same value."""
    text = json.dumps(value, indent=1)
    assert plain(loads(f" \n{text}\t")) == value


@given(st.text(max_size=60))
def test_scanner_raises_its_own_errors_only(text: str) -> None:
    """Any text."""
    for read in (lambda: loads(text), lambda: members(text, 0)):
        try:
            read()
        except SCAN_ERRORS:
            continue


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=5))
def test_members_are_copied_by_their_spans(value: dict[str, object]) -> None:
    """Each span is the member's own text."""
    text = json.dumps(value)
    found, end = members(text, 0)
    assert end == len(text)
    assert {key: json.loads(text[start:stop]) for key, start, stop, _ in found} == value
    for key, member in value.items():
        assert plain(get(loads(text), key)) == member
