"""Judges evidence: what must hold after every schedule, whatever went wrong. Each broken promise is one sentence."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.chaos.function import EXPORTED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.world import Evidence

# Nobody may rely on milliseconds on a busy machine: what a hold may take beyond its budget before it counts as broken.
# A hold that ignored its budget would go on to the function's deadline, which is further away than this.
ALLOWANCE_MS = 3000  # seen from outside, by an emulator that competes for the same processors
OWN_ALLOWANCE_MS = 1000  # by the extension's own count
# Of the time of a shutdown that leaves something behind: who sent up to the end has not had enough of it.
BUSY_S_MIN, UNUSED_S_MAX = 0.8, 0.6
# An executable with its interpreter, its buffer, the body and the batch at hand; a process from source starts larger.
MEMORY_KB_MAX = 64 * 1024
MEMORY_PER_BUFFER = 2
OWN_TYPE = "failure"  # records that the extension adds itself: what became of an invocation


def violations(evidence: Evidence) -> list[str]:
    """Every broken promise."""
    return [
        *_ends(evidence),
        *_conservation(evidence),
        *_content(evidence),
        *_duplicates(evidence),
        *_order(evidence),
        *_spans(evidence),
        *_holds(evidence),
        *_memory(evidence),
    ]


def _ends(evidence: Evidence) -> Iterator[str]:
    """It never exits before SHUTDOWN, and then before its deadline, with status 0."""
    for fact in evidence.facts:  # who is still there at its deadline is killed
        if fact.kind == "exit" and fact.detail["name"] == evidence.name and fact.detail["returncode"] != 0:
            yield f"ended badly: {fact.detail}"
    if any(result.error_type == "Extension.Crash" for result in evidence.results):
        yield "crashed while it was needed"
    bugs = [line for line in evidence.printed if "Internal error" in line or "Traceback" in line]
    if evidence.schedule.confinement == "little memory":  # it may give up there, but not without a ledger
        bugs = [line for line in bugs if "MemoryError" not in line]
    yield from (f"has a bug: {line}" for line in bugs)
    if len(evidence.ledgers) != evidence.lives:
        yield f"printed {len(evidence.ledgers)} ledgers in {evidence.lives} environments"


def _conservation(evidence: Evidence) -> Iterator[str]:
    """The ledger adds up in itself, with what Lambda pushed, and with what the backend stored."""
    for ledger in evidence.ledgers:
        for signal, account in ledger.items():
            if isinstance(account, dict) and account["received"] != _accounted(account):
                yield f"the account of {signal} does not add up: {account}"
    logs = total(evidence, "logs")
    taken = logs["received"] + sum(count for reason, count in logs["excluded"].items() if reason != "duplicate")
    if taken < len(evidence.sent) and "out_of_memory" not in logs["dropped"]:  # which counts a whole payload as one
        yield f"{len(evidence.sent)} events were pushed, the ledger knows of {taken}: {logs}"
    stored = len({row.get("event_id") for row in evidence.rows})
    if stored < logs["delivered"]:
        yield f"{logs['delivered']} counted as delivered, {stored} are stored"
    held = evidence.ledgers[-1].get("logs", {}).get("held", 0) if evidence.ledgers else 0
    confined = evidence.schedule.confinement or evidence.schedule.cpus
    gave_up = evidence.unused_s > UNUSED_S_MAX and evidence.schedule.survives and not _is_refused(evidence)
    hurried = evidence.busy_s > BUSY_S_MIN and evidence.unused_s < UNUSED_S_MAX
    if held and not confined and gave_up:
        yield f"{held} are held at the end, and {evidence.unused_s:.1f} s were not used"
    elif held and not confined and evidence.ends_healthy and not hurried:
        yield f"{held} are held at the end though nothing stood in their way"
    gone = sum(logs["rejected"].values()) + sum(logs["dropped"].values()) + logs["held"]
    if stored + gone < logs["received"]:
        yield f"{logs['received']} received, {stored} stored, {gone} accounted for as not: {logs}"


def _content(evidence: Evidence) -> Iterator[str]:
    """What is stored is what was pushed, byte for byte; whole where nothing is counted as lost."""
    logs = total(evidence, "logs")
    if "malformed" in logs["signals"]:
        return  # a split record whose other half went missing is stored as what it is
    pushed = Counter(_identity(event) for event in evidence.sent)
    first = {row.get("event_id"): row for row in evidence.rows}
    stored = Counter((row.get("time"), row.get("type")) for row in first.values())
    unknown = Counter({known: count for known, count in (stored - pushed).items() if known[1] != OWN_TYPE})
    if unknown and _is_settled(evidence):
        yield f"stored, but never pushed: {list(unknown.items())[:3]}"
    lines = {row.get("message") for row in first.values()}
    wanted = [
        event["record"] for event in evidence.sent if event["type"] == "function" and type(event["record"]) is str
    ]
    missing = sum(1 for line in wanted if line not in lines)
    gone = sum(logs["rejected"].values()) + sum(logs["dropped"].values()) + logs["held"]
    if missing > gone and "out_of_memory" not in logs["dropped"]:
        yield f"{missing} lines are missing where {gone} are accounted for"


def _duplicates(evidence: Evidence) -> Iterator[str]:
    """A record is stored twice only where an answer was lost, and then it has its `event_id` still."""
    copies = Counter(row.get("event_id") for row in evidence.rows)
    extra = len(evidence.rows) - len(copies)
    if extra and not may_duplicate(evidence):
        yield f"{extra} records are stored twice though every answer came through"
    texts: dict[str, set[Any]] = {}
    for row in evidence.rows:
        if row.get("type") == "function" and isinstance(row.get("message"), str):
            texts.setdefault(str(row["message"]), set()).add(row.get("event_id"))
    unknowable = [text for text, ids in texts.items() if len(ids) > 1]
    if unknowable:
        yield f"{len(unknowable)} lines are stored under two event ids: {unknowable[0][:60]!r}"


def may_duplicate(evidence: Evidence) -> bool:
    """Whether an answer may have been lost: by a trouble, by a cut, or because the client gave up waiting for it."""
    return (
        evidence.answers_lost
        or any(trouble.loses_answers for trouble in evidence.schedule.troubles)
        or any(request.records and request.t_answered is None for request in evidence.requests)
    )


def _order(evidence: Evidence) -> Iterator[str]:
    """Within an invocation `_timestamp` keeps the order in which the function printed."""
    mixing = {"reorder_batches", "oversize_split_bytes", "drop_posts"}
    if any(mixing & step.platform.keys() for step in evidence.schedule.steps):
        return  # the platform itself has mixed them up, or never told where an invocation began
    numbers: dict[str, list[int]] = {}
    for row in sorted(evidence.rows, key=lambda row: row["_timestamp"]):
        text = str(row.get("message", ""))
        words = text.split()
        is_numbered = len(words) > 1 and words[1].isdigit() and not text.startswith(EXPORTED)
        if row.get("type") == "function" and is_numbered:
            numbers.setdefault(words[0], []).append(int(words[1]))
            if row.get("requestid") != words[0]:
                yield f"a line of request {words[0]} is stored under {row.get('requestid')}"
                return
    for request_id, found in numbers.items():
        if found != sorted(found):
            yield f"the lines of request {request_id} are out of order"


def _spans(evidence: Evidence) -> Iterator[str]:
    """Spans are accounted for like lines."""
    traces = total(evidence, "traces")
    if traces["received"] < len(evidence.exported):
        yield f"{len(evidence.exported)} spans were exported, the ledger knows of {traces['received']}"
    if any(trouble.name == "silent loss" for trouble in evidence.schedule.troubles):
        return  # OTLP has no count of what was stored: nobody can tell
    stored = {row.get("span_id") for row in evidence.spans}
    gone = sum(traces["rejected"].values()) + sum(traces["dropped"].values()) + traces["held"]
    missing = sum(1 for span_id in evidence.exported if span_id not in stored)
    if missing > gone:
        yield f"{missing} spans are missing where {gone} are accounted for: {traces}"


def _holds(evidence: Evidence) -> Iterator[str]:
    """No invocation is held beyond its budget, nor does one time out for us."""
    for step, result in zip(evidence.schedule.steps, evidence.results, strict=True):
        ends = step.event.get("ends", "return")
        limit_ms = hold_limit_ms(evidence, result.request_id)
        # Without runtimeDone the hold ends 200 ms before the deadline, in which 0.07 CPU are 14 ms.
        in_time = limit_ms is not None or not evidence.schedule.cpus
        if result.outcome == "timeout" and ends != "hang" and in_time:
            yield f"an invocation timed out: {step.event}"
        if limit_ms is not None and ends in ("return", "raise") and result.extension_overhead_ms > limit_ms:
            yield f"an invocation was held for {result.extension_overhead_ms:.0f} ms of {limit_ms:.0f} ms"
    for ledger in evidence.ledgers:
        if ledger["hold_ms_max"] > evidence.schedule.budget_ms + OWN_ALLOWANCE_MS * _slowness(evidence):
            yield f"a hold took {ledger['hold_ms_max']} ms by the extension's own count"


def hold_limit_ms(evidence: Evidence, request_id: str) -> float | None:
    """What the hold of one invocation may take; None where the platform never said that the function was done."""
    late_ms = runtime_done_late_ms(evidence, request_id)
    return None if late_ms is None else evidence.schedule.budget_ms + late_ms + ALLOWANCE_MS * _slowness(evidence)


def runtime_done_late_ms(evidence: Evidence, request_id: str) -> float | None:
    """How long after the function's end the extension had been told of it; before that it cannot know."""
    done_ms = [fact.t_ms for fact in evidence.facts if fact.kind == "event" and _is_done(fact.detail, request_id)]
    told_ms = [
        delivery.t_ms
        for delivery in evidence.deliveries
        if (delivery.subscriber, delivery.status) == (evidence.name, 200)
        and any(_is_done(event, request_id) for event in delivery.events)
    ]
    return told_ms[0] - done_ms[0] if done_ms and told_ms else None


def _is_done(event: dict[str, Any], request_id: str) -> bool:
    return event["type"] == "platform.runtimeDone" and event["record"].get("requestId") == request_id


def _slowness(evidence: Evidence) -> int:
    return 2 if evidence.schedule.cpus else 1


def _memory(evidence: Evidence) -> Iterator[str]:
    """All that is held is bounded, whatever happens."""
    buffer_kb = int(evidence.schedule.settings.get("O2_MAX_BUFFER_SIZE_MB", "10")) * 1024
    limit_kb = MEMORY_KB_MAX + MEMORY_PER_BUFFER * buffer_kb
    if evidence.peak_kb > limit_kb:
        yield f"took {evidence.peak_kb} KB of memory, at most {limit_kb} are allowed"


def total(evidence: Evidence, signal: str) -> dict[str, Any]:
    """A signal's accounts over all environments."""
    found: dict[str, Any] = {"received": 0, "delivered": 0, "held": 0, "rejected": {}, "dropped": {}, "excluded": {}}
    found["signals"] = set()
    for ledger in evidence.ledgers:
        if ledger["malformed"]:
            found["signals"].add("malformed")
        account = ledger.get(signal)
        for name, value in (account or {}).items():
            if isinstance(value, dict):
                found[name] = dict(Counter(found[name]) + Counter(value))
            else:
                found[name] += value
    return found


def _accounted(account: dict[str, Any]) -> int:
    lost = sum(account["rejected"].values()) + sum(account["dropped"].values())
    return int(account["delivered"] + lost + account["held"])


def _identity(event: dict[str, Any]) -> tuple[Any, Any]:
    return event["time"], event["type"]


def _is_refused(evidence: Evidence) -> bool:
    """Whether only a person can change the server's answer: at shutdown nobody waits for that."""
    return any("nothing is given up; check O2_" in line for line in evidence.printed)


def _is_settled(evidence: Evidence) -> bool:
    """Whether every answer to Lambda's POSTs was seen: the last one may be missed when the process is gone at once."""
    return not any(fact.kind == "telemetry.post" and fact.detail["status"] == 0 for fact in evidence.facts)


def describe(evidence: Evidence, found: list[str]) -> str:
    """A failure for a person: what was played, and what came of it."""
    schedule = evidence.schedule
    lines = [f"{schedule.name}: {schedule.settings}, tls={schedule.tls}, {schedule.log_format}"]
    lines.append(f"confinement={schedule.confinement!r} cpus={schedule.cpus}")
    for step, result in zip(schedule.steps, evidence.results, strict=True):
        held = f"{result.outcome}, held {result.extension_overhead_ms:.0f} ms"
        weather = f"upstream: {step.upstream}" if step.upstream else "same weather"
        lines.append(f"  {step.event} {weather} {step.platform} cut={step.cut!r} idle={step.idle_ms} -> {held}")
    printed = [line.strip() for line in evidence.printed if "Successfully sent" not in line]
    lines += [f"  {line}" for line in printed]
    lines += [f"  journal: {json.dumps([r.path, r.records, r.status])}" for r in evidence.requests[-12:]]
    return "\n".join([*lines, *(f"BROKEN: {text}" for text in found)])
