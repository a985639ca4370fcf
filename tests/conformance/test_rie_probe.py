"""One probe extension under AWS's emulator and under ours: whatever differs is named below, with its reason."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import pytest

from . import rie
from .walks import ECHO, Walk, run_both, words

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.xdist_group("serial"),
    pytest.mark.skipif(bool(rie.unavailable()), reason=rie.unavailable() or "available"),
]

SLEEP = b'{"do":"sleep","seconds":20}'
RAISE = b'{"do":"raise"}'
EXIT = b'{"do":"exit"}'

WALKS = {
    "calls": Walk("calls"),
    "telemetry": Walk("telemetry", [ECHO]),
    "features": Walk("features", [ECHO]),
    "crowd": Walk("crowd", [ECHO]),
    "serve": Walk("serve"),
    "function raises": Walk("serve", [RAISE, ECHO]),
    "runtime exits": Walk("serve", [EXIT, ECHO]),
    "function times out": Walk("serve", [ECHO, SLEEP, ECHO], timeout_s=2),
    "init error": Walk("init_error", [ECHO, ECHO]),
    "exit error before next": Walk("exit_error_early", [ECHO]),
    "exit error while invoked": Walk("exit_error", [SLEEP]),
    "exit without registration": Walk("unregistered_exit", [ECHO]),
    "exit after registration": Walk("early_exit", [ECHO]),
    "exit while invoked": Walk("exit_when_invoked", [SLEEP]),
    "slow farewell": Walk("dawdle", [ECHO]),
    "stubborn": Walk("stubborn", [ECHO]),
    "INVOKE only": Walk("deaf", [ECHO]),
    "SHUTDOWN only": Walk("indifferent", [ECHO]),
    "no events": Walk("no_events", [ECHO]),
}
NO_INVOCATION = ("init error", "exit error before next", "exit without registration", "exit after registration")
NO_SHUTDOWN = (*NO_INVOCATION, "exit error while invoked", "exit while invoked", "INVOKE only", "no events")
CRASHED = (*NO_INVOCATION, "runtime exits", "exit error while invoked", "exit while invoked")
FAILED = (*CRASHED, "function raises", "function times out")
EVERY = tuple(WALKS)


def all_but(*walks: str) -> tuple[str, ...]:
    return tuple(name for name in WALKS if name not in walks)


@dataclass(frozen=True)
class Difference:
    """A known difference: `what` (`subject/aspect`, a glob) reads how (patterns, None: absent), in which walks."""

    name: str
    reason: str
    what: str
    rie: str | None
    ours: str | None
    walks: tuple[str, ...] = EVERY

    def explains(self, key: str, theirs: str | None, ours: str | None) -> bool:
        return fnmatchcase(key, self.what) and _says(self.rie, theirs) and _says(self.ours, ours)


def _says(pattern: str | None, text: str | None) -> bool:
    if pattern is None or text is None:
        return pattern is None and text is None
    return re.fullmatch(pattern, text, re.DOTALL) is not None


def only_ours(name: str, reason: str, what: str, *walks: str) -> Difference:
    return Difference(name, reason, what, None, ".*", walks or EVERY)


def only_theirs(name: str, reason: str, what: str, *walks: str) -> Difference:
    return Difference(name, reason, what, ".*", None, walks or EVERY)


LAMBDA_SETS = "Lambda sets it for extensions; the RIE leaves the environment to the container"
RETRIED = "Lambda runs a failed init again in the first invocation; the RIE initialises there in the first place"
RIE_LEAKS = "the RIE gives extensions what Lambda keeps for the runtime"

DIFFERENCES = (
    # Environment
    *(
        only_ours(f"{name} is set", LAMBDA_SETS, f"environment/{name}")
        for name in (
            *("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_FORMAT"),
            *("AWS_LAMBDA_LOG_LEVEL", "LANG", "LD_LIBRARY_PATH", "TZ"),
        )
    ),
    only_theirs("log group", RIE_LEAKS, "environment/AWS_LAMBDA_LOG_GROUP_NAME"),
    only_theirs("log stream", RIE_LEAKS, "environment/AWS_LAMBDA_LOG_STREAM_NAME"),
    only_theirs("timeout", "the RIE's own setting, passed on", "environment/AWS_LAMBDA_FUNCTION_TIMEOUT"),
    only_theirs("metadata API", "a service that our emulator does not have", "environment/AWS_LAMBDA_METADATA_*"),
    # Answers
    Difference(
        "JSON errors",
        "the RIE quotes Go's JSON decoder",
        "register with*/body.errorMessage",
        '"(json: cannot unmarshal|unexpected end of JSON).*',
        '"Invalid Register request format"',
        ("calls",),
    ),
    only_ours("account id", "the RIE does not know the feature", "register with features/body.accountId", "features"),
    # Telemetry
    Difference(
        "telemetry, status", "the RIE has no Telemetry API", "telemetry, */status", "202", "200|400|403", ("telemetry",)
    ),
    Difference(
        "telemetry, type",
        "the RIE has no Telemetry API",
        "telemetry, */body.errorType",
        '"Telemetry.NotSupported"',
        '"(ValidationError|Telemetry.SubscriptionClosed|Extension.(Missing|Invalid|Unknown)ExtensionIdentifier)"',
        ("telemetry",),
    ),
    Difference(
        "telemetry, message",
        "the RIE has no Telemetry API",
        "telemetry, */body.errorMessage",
        '"Telemetry API is not supported"',
        '".+"',
        ("telemetry",),
    ),
    only_theirs("telemetry accepted", "the RIE has no Telemetry API", "telemetry, valid/body.error*", "telemetry"),
    only_ours("telemetry OK", "the RIE has no Telemetry API", "telemetry, valid/body", "telemetry"),
    # Shutdown reasons
    Difference(
        "shutdown reason",
        "Lambda writes `spindown`, the RIE `SandboxTerminated`",
        "*/body.shutdownReason",
        '"SandboxTerminated"',
        '"spindown"',
        all_but(*NO_SHUTDOWN),
    ),
    Difference(
        "failure reason",
        "Lambda writes `failure`, the RIE `ReleaseFail`",
        "*/body.shutdownReason",
        '"ReleaseFail"',
        '"failure"',
        ("runtime exits",),
    ),
    Difference(
        "timeout reason",
        "Lambda writes it in lower case",
        "*/body.shutdownReason",
        '"Timeout"',
        '"timeout"',
        ("function times out",),
    ),
    # What the client of the function gets
    Difference(
        "client, content type",
        "the RIE passes a payload on as text",
        "client */content-type",
        "text/plain; charset=utf-8",
        "application/json",
        all_but(*NO_INVOCATION),
    ),
    only_ours("client, function error", "the RIE does not mark errors", "client */x-amz-function-error", *FAILED),
    Difference("client, status", "the RIE takes a crash for its own", "client */status", "502", "200", CRASHED),
    Difference(
        "client, nothing", "the RIE has no words for an init that failed", "client */body", "", None, NO_INVOCATION
    ),
    only_ours("client, no content type", "an empty answer has none", "client */content-type", *NO_INVOCATION),
    only_ours("client, failed init", "see the row above", "client */body.error*", *NO_INVOCATION),
    Difference(
        "client, timeout as text",
        "the RIE answers a timeout with a line of text",
        "client */body",
        "Task timed out after 2.00 seconds",
        None,
        ("function times out",),
    ),
    only_ours("client, timeout", "see the row above", "client */body.error*", "function times out"),
    Difference(
        "client, exit error",
        "the RIE tells the exit that follows, ours the error type that was reported",
        "client */body.errorMessage",
        ".*exit status 1.*",
        ".*Extension.ProbeGaveUp.*",
        ("exit error while invoked",),
    ),
    # A failed init
    Difference("second attempt, starts", RETRIED, "fate/starts", "[12]", "[23]", NO_INVOCATION),
    Difference("second attempt, ends", RETRIED, "fate/ends", "exit .*", "exit . exit .*", NO_INVOCATION),
    only_ours("second attempt", RETRIED, "life 2: */*", "exit error before next", "exit after registration"),
    only_ours("third attempt", RETRIED, "life 3: */*", "init error"),
)


@pytest.mark.parametrize("name", WALKS)
def test_probe_sees_the_same_lambda(name: str, tmp_path: Path) -> None:
    """Statuses, headers, bodies, fate and the client's answers are equal, but for the differences that are listed."""
    theirs, ours = map(words, run_both(tmp_path, WALKS[name]))
    listed = [difference for difference in DIFFERENCES if name in difference.walks]
    unlisted, seen = [], set()
    for key in sorted({*theirs, *ours}):
        pair = theirs.get(key), ours.get(key)
        if pair[0] == pair[1]:
            continue
        explanations = [difference.name for difference in listed if difference.explains(key, *pair)]
        seen.update(explanations)
        if not explanations:
            unlisted.append(f"{key}: RIE {pair[0]}, ours {pair[1]}")
    assert not unlisted, "\n  ".join(["differences that are not listed:", *unlisted])
    gone = [difference.name for difference in listed if difference.name not in seen]
    assert not gone, "listed differences that are there no longer: " + ", ".join(gone)


def test_listed_differences_have_names_of_their_own() -> None:
    """A name stands for one row, so that a failure points at it."""
    names = [difference.name for difference in DIFFERENCES]
    assert len(names) == len(set(names))
