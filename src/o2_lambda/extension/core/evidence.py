"""What became of invocations that came to no good end, told once for each: timed out, out of memory, crashed.

Lambda tells it in pieces: the status of `runtimeDone`, that of `report` with the memory used, the reason of SHUTDOWN,
the last lines of the runtime. Any of them may be missing. An exception that the function raised is no case for this:
its runtime has logged it.
"""

from __future__ import annotations

from o2_lambda.extension.core.jsonscan import get, quote
from o2_lambda.extension.core.payload import readable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from o2_lambda.extension.core.telemetry import Fact

TYPE = "failure"  # the synthesized record's, beside function, extension and platform.*
TIMEOUT, OUT_OF_MEMORY, CRASH, ERROR = "timeout", "out_of_memory", "crash", "error"
# What SHUTDOWN gives as its reason, on Lambda and in AWS's own emulator, where something went wrong.
SHUTDOWN_REASONS = {"timeout": TIMEOUT, "failure": CRASH, "releasefail": CRASH}
# How runtimes take their leave when memory has run out: Go, Java, Node.js, Lambda itself, Ruby, Python, .NET.
SIGNATURES = (
    "fatal error: runtime: out of memory",
    "java.lang.OutOfMemoryError",
    "JavaScript heap out of memory",
    "Runtime exited with error: signal: killed",
    "failed to allocate memory (NoMemoryError)",
    "MemoryError",
    "OutOfMemoryException",
)
_ERROR_TYPES = (
    "OutOfMemory",
    "MemoryError",
)  # within an error type: Runtime.OutOfMemory, java.lang.OutOfMemoryError, …
_CRASH_TYPES = ("Runtime.Exit", "Extension.", "Sandbox.")
_PHASES = {"platform.initReport": "init", "platform.restoreReport": "restore"}
_METRICS = ("durationMs", "memorySizeMB", "maxMemoryUsedMB")
METRIC_LIMIT = 1e12  # of the platform's numbers; infinity has no JSON
CASES_MAX = 256  # kept at a time: more invocations than run side by side in one sandbox


class Case:
    """One invocation, or with an empty id the init or restore phase of the sandbox."""

    __slots__ = (
        "error_type",
        "is_closed",
        "is_done",
        "metrics",
        "phase",
        "request_id",
        "started_us",
        "status",
        "time_us",
    )

    def __init__(self, request_id: str, started_us: int, phase: str = "invoke") -> None:
        self.request_id = request_id
        self.started_us = self.time_us = started_us
        self.phase = phase
        self.status = ""  # the last one heard: success, error, failure or timeout
        self.error_type = ""
        self.metrics: dict[str, float] = {}
        self.is_done = False  # the runtime is through with it
        self.is_closed = False  # nothing more is to be said of it

    def hear(self, record: Any, time_us: int) -> None:
        """Takes in what a runtimeDone or report says."""
        self.time_us = time_us
        status, error_type = get(record, "status"), get(record, "errorType")
        if isinstance(status, str):
            self.status = status
        if isinstance(error_type, str):
            self.error_type = readable(error_type)
        for name in _METRICS:
            value = get(record, "metrics", name)
            if type(value) in (int, float) and 0 <= value < METRIC_LIMIT:
                self.metrics[name] = value


class Finding:
    """What is known of one failure, as the members of the record to send."""

    __slots__ = ("members", "reason", "request_id", "time_us")

    def __init__(self, request_id: str, reason: str, time_us: int, members: str) -> None:
        self.request_id = request_id
        self.reason = reason
        self.time_us = time_us
        self.members = members


class Evidence:
    """Follows invocations.

    `memory_mb`: the function's memory size, 0 where it is not known. `side_by_side`: managed instances serve several
    invocations at a time; elsewhere the next one tells that the last is over.
    """

    def __init__(self, memory_mb: int, *, side_by_side: bool) -> None:
        self._memory_mb = memory_mb
        self._side_by_side = side_by_side
        self._cases: list[Case] = []
        self._has_told = False

    def began(self, request_id: str, time_us: int) -> None:
        """An invocation begins; told by INVOKE and by `platform.start`, in either order."""
        case = self._find(request_id)
        if case is None or case.is_done:  # a retry keeps its id
            for earlier in self._cases if not self._side_by_side else ():
                earlier.is_done = True
            self._open(Case(request_id, time_us))

    def hear(self, fact: Fact, tail: str) -> Finding | None:
        """A platform event; gives the finding that it completes. `tail`: the end of what the function printed."""
        if fact.type == "platform.start" and fact.request_id:
            self.began(fact.request_id, fact.time_us)
        elif fact.type == "platform.runtimeDone" and fact.request_id:
            case = self._find(fact.request_id) or self._open(Case(fact.request_id, fact.time_us))
            case.hear(fact.record, fact.time_us)
            case.is_done = True
        elif fact.type == "platform.report" and fact.request_id:
            case = self._find(fact.request_id) or self._open(Case(fact.request_id, fact.time_us))
            return self._conclude(case, fact, tail)
        elif fact.type in _PHASES and get(fact.record, "phase") != "invoke":  # else the invocation itself will tell
            return self._conclude(self._open(Case("", fact.time_us, _PHASES[fact.type])), fact, tail)
        return None

    def shut_down(self, reason: str, time_us: int, tail: str) -> list[Finding]:
        """SHUTDOWN came for `reason`, and no more telemetry will: what has not been said of whom.

        Lambda ends a sandbox for one failure, that of its last invocation; those that run side by side fail together.
        """
        cause = SHUTDOWN_REASONS.get(reason.lower())
        findings = []
        for case in self._cases:
            if case.is_closed:
                continue
            why = _reason(case, tail, self._memory_mb)
            if not why and cause and (not case.is_done or case is self._cases[-1]):
                why = cause if cause == TIMEOUT or not _signature(tail) else OUT_OF_MEMORY
            if why:
                case.is_closed = True
                if not case.is_done:
                    case.time_us = time_us
                findings.append(self._finding(case, why, tail, reason))
        if cause and not self._has_told:
            findings.append(self._finding(Case("", time_us, "idle"), cause, tail, reason))
        return findings

    def _find(self, request_id: str) -> Case | None:
        for case in reversed(self._cases):
            if case.request_id == request_id:
                return case
        return None

    def _open(self, case: Case) -> Case:
        self._cases.append(case)
        if len(self._cases) > CASES_MAX:
            del self._cases[0]
        return case

    def _conclude(self, case: Case, fact: Fact, tail: str) -> Finding | None:
        if case.is_closed:
            return None
        case.hear(fact.record, fact.time_us)
        case.is_done = case.is_closed = True
        why = _reason(case, tail, self._memory_mb)
        if not why and case.phase != "invoke" and case.status not in ("", "success"):
            why = ERROR
        return self._finding(case, why, tail, "") if why else None

    def _finding(self, case: Case, why: str, tail: str, shutdown_reason: str) -> Finding:
        self._has_told = True
        size_mb = case.metrics.get("memorySizeMB") or self._memory_mb
        duration_ms = case.metrics.get("durationMs") or max(0, case.time_us - case.started_us) / 1000
        known = {
            "requestId": case.request_id,
            "reason": why,
            "phase": case.phase,
            "status": case.status,
            "errorType": case.error_type,
            "durationMs": duration_ms,
            "memorySizeMB": size_mb,
            "maxMemoryUsedMB": case.metrics.get("maxMemoryUsedMB", 0),
            "signature": _signature(tail) if why == OUT_OF_MEMORY else "",
            "shutdownReason": shutdown_reason,
        }
        record = ",".join(
            f'"{name}":{quote(value) if isinstance(value, str) else value}' for name, value in known.items() if value
        )
        message = _message(case, why, duration_ms, size_mb)
        return Finding(
            case.request_id,
            why,
            case.time_us,
            f'"message":{quote(message)},"level":"ERROR","type":"{TYPE}","record":{{{record}}}',
        )


def _reason(case: Case, tail: str, memory_mb: int) -> str:
    """Why the case failed by its own status; empty where it did not, or where an exception of the function tells."""
    if case.status == "timeout":
        return TIMEOUT
    if case.status not in ("failure", "error"):
        return ""
    if any(word in case.error_type for word in _ERROR_TYPES):
        return OUT_OF_MEMORY
    if case.status == "error" and not case.error_type.startswith(_CRASH_TYPES):
        return ""
    size_mb = case.metrics.get("memorySizeMB") or memory_mb
    is_full = size_mb > 0 and case.metrics.get("maxMemoryUsedMB", 0) >= size_mb
    return OUT_OF_MEMORY if is_full or _signature(tail) else CRASH


def _signature(tail: str) -> str:
    """The farewell of a runtime out of memory that stands in its last lines; empty where there is none."""
    for signature in SIGNATURES:
        if signature in tail:
            return signature
    return ""


def _message(case: Case, why: str, duration_ms: float, size_mb: float) -> str:
    who = {"invoke": "Invocation", "init": "Init", "restore": "Restore"}.get(case.phase, "Environment")
    seconds = duration_ms / 1000
    error = f": {case.error_type}" if case.error_type else ""
    after = ", after the function had finished" if case.is_done and case.status == "success" else ""
    if why == TIMEOUT:
        return f"{who} timed out after {seconds:.2f} s{after}"
    if why == OUT_OF_MEMORY:
        limit = f" of {size_mb} MB" if size_mb else ""
        return f"{who} ran out of its memory{limit} after {seconds:.2f} s"
    if why == ERROR:
        return f"{who} failed after {seconds:.2f} s{error}"
    return f"{who} ended by a crash after {seconds:.2f} s{after}{error}"
