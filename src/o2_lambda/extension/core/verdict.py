"""What an upstream answer means for the batch that was sent. The table follows OpenObserve's server code."""

from __future__ import annotations

from o2_lambda.extension.core import otlp
from o2_lambda.extension.core.batch import LOGS
from o2_lambda.extension.core.jsonscan import SCAN_ERRORS, Pairs, get, loads
from o2_lambda.extension.core.masking import excerpt
from o2_lambda.extension.core.timestamps import epoch_us

TYPE_CHECKING = False
if TYPE_CHECKING:
    from o2_lambda.extension.core.batch import Stream

DELIVERED = "delivered"  # take it out; `rejected` of its items were refused one by one
RETRY = "retry"  # keep it, try again after a pause
SPLIT = "split"  # halve it and try the halves; a single element is dropped under `reason`
FATAL = "fatal"  # repeating cannot help: drop it
CREDENTIALS = "credentials"  # keep it, sending pauses: somebody has to act

NOT_STORED = "not_stored"  # a reason: accepted by the server and counted by it neither as stored nor as refused
RETRY_STATUSES = frozenset((408, 425, 429))
DETAIL_LENGTH_MAX = 200  # of the server's words in a log line
RETRY_AFTER_MS_MAX = 300_000  # a server that asks for more is asked again after five minutes


class Verdict:
    """A decision about a batch: `kind`, `reason` for the ledger, `detail` for the log line."""

    __slots__ = ("detail", "kind", "reason", "rejected", "retry_after_ms")

    def __init__(self, kind: str, reason: str = "", detail: str = "", *, rejected: int = 0) -> None:
        self.kind = kind
        self.reason = reason
        self.detail = detail
        self.rejected = rejected
        self.retry_after_ms = 0

    def __repr__(self) -> str:
        return f"<Verdict {self.kind} {self.reason!r} rejected={self.rejected}>"


def judge(stream: Stream, sent: int, status: int, body: bytes, retry_after: bytes | None, now_s: int) -> Verdict:
    """The verdict on an HTTP answer to a batch of `sent` items. `retry_after`: that header's value, `now_s`: epoch."""
    detail = excerpt(body.decode("utf-8", "replace"), DETAIL_LENGTH_MAX)
    if 200 <= status < 300:  # noqa: PLR2004 - success
        return _judge_logs(sent, body) if stream == LOGS else _judge_otlp(sent, body)
    if status in (401, 403):
        return Verdict(CREDENTIALS, f"status_{status}", detail)
    if status >= 500 or status in RETRY_STATUSES:  # noqa: PLR2004 - server errors
        verdict = Verdict(RETRY, f"status_{status}", detail)
        verdict.retry_after_ms = retry_after_ms(retry_after, now_s)
        return verdict
    if status in (400, 413):  # one bad item, or one too many, must not cost the others in the batch
        return Verdict(SPLIT, f"status_{status}", detail)
    if 300 <= status < 400:  # noqa: PLR2004 - a redirect: O2_ENDPOINT is wrong, the data is not
        return Verdict(
            CREDENTIALS, f"status_{status}", detail or "the endpoint redirects; set O2_ENDPOINT to its target"
        )
    return Verdict(FATAL, f"status_{status}", detail)


def _judge_logs(sent: int, body: bytes) -> Verdict:
    """HTTP 200 proves nothing: `successful + failed` must be what was sent."""
    try:
        answer = loads(str(body, "utf-8"))
        statuses = get(answer, "status")
        successful = failed = 0
        reason = ""
        for entry in statuses if type(statuses) is list else []:
            successful += _number(get(entry, "successful"))
            failed += _number(get(entry, "failed"))
            reason = get(entry, "error") or reason
    except SCAN_ERRORS:
        return Verdict(RETRY, "unreadable_answer", "the answer is not OpenObserve's; check O2_ENDPOINT")
    if type(statuses) is not list:
        return Verdict(RETRY, "unreadable_answer", "the answer is not OpenObserve's; check O2_ENDPOINT")
    if successful + failed < sent:
        return Verdict(SPLIT, NOT_STORED, f"{successful} stored and {failed} refused of {sent}")
    return Verdict(DELIVERED, str(reason) or "rejected", rejected=min(failed, sent))


def _judge_otlp(sent: int, body: bytes) -> Verdict:
    """OTLP's partial success: field 1 of the response, in it 1 = rejected items, 2 = error message."""
    rejected, reason = 0, ""
    if body[:1] == b"<":  # a page: somebody in between has answered, and nothing was stored
        return Verdict(RETRY, "unreadable_answer", "the answer is a web page; check the endpoint")
    try:
        if body[:1] == b"{":
            partial = get(loads(str(body, "utf-8")), "partialSuccess")
            for key, value in partial if type(partial) is Pairs else []:
                if key.startswith("rejected"):
                    rejected = _number(value)
                elif key == "errorMessage":
                    reason = str(value)
        elif body:
            rejected, reason = otlp.partial_success(body)
    except (*SCAN_ERRORS, otlp.OtlpError):
        rejected = 0  # servers answer many things under 200; OTLP says the request was accepted
    return Verdict(DELIVERED, reason or "rejected", rejected=min(rejected, sent))


def _number(value: object) -> int:
    if isinstance(value, str) and value.isdigit():  # OTLP's JSON has 64-bit integers as strings
        return int(value)
    return value if isinstance(value, int) and value > 0 else 0


def retry_after_ms(value: bytes | None, now_s: int) -> int:
    """Milliseconds that a Retry-After header asks for (seconds or an HTTP date), 0 where it says nothing useful."""
    if not value:
        return 0
    if value.isdigit():
        return min(int(value[:9]) * 1000, RETRY_AFTER_MS_MAX)
    months = b"JanFebMarAprMayJunJulAugSepOctNovDec"
    parts = value.split()  # Sun, 06 Nov 1994 08:49:37 GMT
    try:
        month = months.index(parts[2]) // 3 + 1
        when = epoch_us(f"{int(parts[3]):04}-{month:02}-{int(parts[1]):02}T{parts[4].decode()}Z") // 1_000_000
    except (ValueError, IndexError):
        return 0
    return max(0, min((when - now_s) * 1000, RETRY_AFTER_MS_MAX))
