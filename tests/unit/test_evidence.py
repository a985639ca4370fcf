"""Evidence: what became of an invocation, told once, from whatever the platform has said of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from o2_lambda.extension.core.evidence import CASES_MAX, SIGNATURES, Evidence, Finding
from o2_lambda.extension.core.jsonscan import loads
from o2_lambda.extension.core.telemetry import Fact

START_US = 1_000_000


class Docket:
    """Evidence with a clock: every fact comes a second after the one before."""

    def __init__(self, *, memory_mb: int = 128, side_by_side: bool = False) -> None:
        self.evidence = Evidence(memory_mb, side_by_side=side_by_side)
        self.now_us = START_US
        self.tail = ""
        self.records: list[dict[str, Any]] = []

    def hear(self, kind: str, **record: Any) -> None:
        """A platform event."""
        self.now_us += 1_000_000
        fact = Fact(f"platform.{kind}", loads(json.dumps(record)), self.now_us)
        finding = self.evidence.hear(fact, self.tail)
        if finding is not None:
            self._keep(finding)

    def shut_down(self, reason: str) -> None:
        """SHUTDOWN, and all telemetry is in."""
        self.now_us += 1_000_000
        for finding in self.evidence.shut_down(reason, self.now_us, self.tail):
            self._keep(finding)

    def _keep(self, finding: Finding) -> None:
        whole = json.loads(f"{{{finding.members}}}")
        assert (whole["level"], whole["type"]) == ("ERROR", "failure")
        assert whole["record"].get("requestId", "") == finding.request_id
        assert finding.time_us <= self.now_us
        self.records.append(whole)

    @property
    def reasons(self) -> list[str]:
        return [each["record"]["reason"] for each in self.records]

    def invocation(self, request_id: str = "a", status: str = "success", **more: Any) -> None:
        """Start and runtimeDone."""
        self.hear("start", requestId=request_id)
        self.hear("runtimeDone", requestId=request_id, status=status, metrics={"durationMs": 1500.5}, **more)


def report(docket: Docket, status: str, request_id: str = "a", used_mb: int = 64, **more: Any) -> None:
    metrics = {"durationMs": 3000.25, "memorySizeMB": 128, "maxMemoryUsedMB": used_mb}
    docket.hear("report", requestId=request_id, status=status, metrics=metrics, **more)


def test_timeout_with_a_report_has_all_the_figures() -> None:
    """The report comes before SHUTDOWN is through: one record, with the memory."""
    docket = Docket()
    docket.invocation(status="timeout")
    report(docket, "timeout")
    docket.shut_down("timeout")
    [told] = docket.records
    assert told["message"] == "Invocation timed out after 3.00 s"
    assert told["record"] == {
        "requestId": "a",
        "reason": "timeout",
        "phase": "invoke",
        "status": "timeout",
        "durationMs": 3000.25,
        "memorySizeMB": 128,
        "maxMemoryUsedMB": 64,
    }


@pytest.mark.parametrize("known", ["start", "runtimeDone"])
def test_timeout_without_a_report(known: str) -> None:
    """SHUTDOWN's own reason suffices, whatever is missing before it."""
    docket = Docket()
    docket.hear("start", requestId="a")
    if known == "runtimeDone":
        docket.hear("runtimeDone", requestId="a", status="timeout")
    docket.shut_down("TIMEOUT")
    assert docket.reasons == ["timeout"]
    assert docket.records[0]["record"]["durationMs"] == 1000


def test_timeout_after_the_function_had_finished() -> None:
    """Then an extension has not asked for the next event in time."""
    docket = Docket()
    docket.invocation()
    docket.shut_down("timeout")
    assert docket.reasons == ["timeout"]
    assert "after the function had finished" in docket.records[0]["message"]


@pytest.mark.parametrize("signature", SIGNATURES)
def test_crash_after_a_signature_is_memory(signature: str) -> None:
    """Each runtime has its own last words."""
    docket = Docket()
    docket.tail = f'{{"type":"function","record":"… {signature} …"}}'
    docket.hear("start", requestId="a")
    docket.hear("runtimeDone", requestId="a", status="failure", errorType="Runtime.ExitError")
    docket.shut_down("failure")
    assert docket.reasons == ["out_of_memory"]
    assert docket.records[0]["record"]["signature"] == signature
    assert docket.records[0]["message"].startswith("Invocation ran out of its memory of 128 MB")


@pytest.mark.parametrize(
    ("status", "error_type", "used_mb", "reason"),
    [
        ("error", "Runtime.OutOfMemory", 128, "out_of_memory"),
        ("failure", "Runtime.OutOfMemory", 0, "out_of_memory"),
        ("error", "java.lang.OutOfMemoryError", 90, "out_of_memory"),
        ("error", "MemoryError", 90, "out_of_memory"),
        ("failure", "Runtime.ExitError", 128, "out_of_memory"),
        ("failure", "Runtime.ExitError", 90, "crash"),
        ("failure", "Extension.Crash", 90, "crash"),
        ("error", "Runtime.ExitError", 90, "crash"),
        ("timeout", "", 128, "timeout"),
        ("error", "ValueError", 90, None),
        ("error", "ValueError", 128, None),
        ("success", "", 128, None),
    ],
)
def test_reasons(status: str, error_type: str, used_mb: int, reason: str | None) -> None:
    """By status, error type and memory; an exception of the function is none of our business."""
    docket = Docket()
    docket.invocation(status=status, errorType=error_type)
    report(docket, status, used_mb=used_mb, errorType=error_type)
    docket.shut_down("spindown")
    assert docket.reasons == ([reason] if reason else [])


def test_words_of_memory_in_a_good_invocation_prove_nothing() -> None:
    """A function may log what it likes."""
    docket = Docket()
    docket.tail = "MemoryError"
    docket.invocation()
    report(docket, "success")
    docket.shut_down("spindown")
    assert docket.records == []


def test_late_report_of_the_invocation_before() -> None:
    """Lambda reports an invocation at the next one: that of another request changes nothing for this one."""
    docket = Docket()
    docket.invocation("a")
    docket.hear("start", requestId="b")
    report(docket, "success", "a")
    docket.shut_down("failure")
    assert [(each["record"]["requestId"], each["record"]["reason"]) for each in docket.records] == [("b", "crash")]


def test_without_telemetry_only_the_last_invocation_is_meant() -> None:
    """INVOKE and SHUTDOWN are all that is known."""
    docket = Docket()
    for request_id in "abc":
        docket.evidence.began(request_id, docket.now_us)
    docket.shut_down("Timeout")
    assert [each["record"]["requestId"] for each in docket.records] == ["c"]


def test_retry_under_the_same_id_is_an_invocation_of_its_own() -> None:
    """Lambda retries asynchronous invocations under their id."""
    docket = Docket()
    docket.invocation("a", "error", errorType="MemoryError")
    report(docket, "error", errorType="MemoryError")
    docket.evidence.began("a", docket.now_us)
    docket.hear("start", requestId="a")
    docket.hear("runtimeDone", requestId="a", status="timeout")
    docket.shut_down("timeout")
    assert docket.reasons == ["out_of_memory", "timeout"]


def test_told_once() -> None:
    """A report that comes twice, and SHUTDOWN after it, add nothing."""
    docket = Docket()
    docket.invocation(status="failure", errorType="Runtime.ExitError")
    report(docket, "failure", errorType="Runtime.ExitError")
    report(docket, "failure", errorType="Runtime.ExitError")
    docket.shut_down("failure")
    assert docket.reasons == ["crash"]


def test_invocations_side_by_side_fail_together() -> None:
    """Managed instances: a crash ends all that are served; what was reported before it is over."""
    docket = Docket(side_by_side=True)
    for request_id in "abc":
        docket.hear("start", requestId=request_id)
    docket.hear("report", requestId="b", status="success", metrics={"durationMs": 1.0})
    docket.shut_down("failure")
    assert [each["record"]["requestId"] for each in docket.records] == ["a", "c"]


@pytest.mark.parametrize(("event", "phase"), [("initReport", "init"), ("restoreReport", "restore")])
def test_failed_start_is_told_without_a_request(event: str, phase: str) -> None:
    """There is no request yet; SHUTDOWN's failure is the same one."""
    docket = Docket()
    docket.hear(event, phase="init", status="error", errorType="Runtime.ImportModuleError", metrics={"durationMs": 2.0})
    docket.shut_down("failure")
    [told] = docket.records
    assert (told["record"]["reason"], told["record"]["phase"]) == ("error", phase)
    assert told["message"] == f"{phase.capitalize()} failed after 0.00 s: Runtime.ImportModuleError"


def test_names_of_errors_are_text() -> None:
    """A payload is looked at as Latin-1; what is taken out of it is what was meant."""
    docket = Docket()
    docket.hear("initReport", phase="init", status="error", errorType="Überlauf".encode().decode("latin-1"))
    [told] = docket.records
    assert told["record"]["errorType"] == "Überlauf"
    assert told["message"] == "Init failed after 0.00 s: Überlauf"


def test_failed_init_within_an_invocation_is_told_of_the_invocation() -> None:
    """A suppressed init fails the invocation: one record."""
    docket = Docket()
    docket.hear("start", requestId="a")
    docket.hear("initReport", phase="invoke", status="timeout", metrics={"durationMs": 3000})
    docket.shut_down("timeout")
    assert [(each["record"]["requestId"], each["record"]["phase"]) for each in docket.records] == [("a", "invoke")]


def test_failure_of_nobody() -> None:
    """An extension that dies between invocations ends the environment: said without a request."""
    docket = Docket()
    docket.invocation()
    report(docket, "success")
    docket.shut_down("failure")
    [told] = docket.records
    assert "requestId" not in told["record"]
    assert told["message"].startswith("Environment ended by a crash")


def test_good_end() -> None:
    """Lambda takes sandboxes down every day."""
    for reason in ("spindown", "SandboxTerminated", "None", ""):
        docket = Docket()
        docket.invocation()
        docket.shut_down(reason)
        assert docket.records == []


def test_cases_are_bounded() -> None:
    """Reports that never come cost no memory."""
    docket = Docket(side_by_side=True)
    for number in range(CASES_MAX + 10):
        docket.hear("start", requestId=f"r{number}")
    docket.shut_down("failure")
    assert len(docket.records) == CASES_MAX


def test_figures_that_are_none_are_left_out() -> None:
    """The record is JSON whatever the platform's numbers are."""
    docket = Docket()
    docket.hear("start", requestId="a")
    docket.hear("report", requestId="a", status="timeout", metrics={"durationMs": True, "memorySizeMB": "many"})
    fact = Fact("platform.report", loads('{"requestId":"b","status":"timeout","metrics":{"durationMs":1e999}}'), 5)
    finding = docket.evidence.hear(fact, "")
    assert finding is not None
    assert json.loads(f"{{{finding.members}}}")["record"]["memorySizeMB"] == 128
    assert docket.records[0]["record"]["memorySizeMB"] == 128
