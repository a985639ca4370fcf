"""HTTP framing, case by case: `http/valid` and `http/invalid` hold the bytes and, beside them, what must come of them.

A case is added by adding its two files. `side`: request or response; `closed`: the peer closes after the bytes;
`body_bytes_max`: the limit, where it is not the usual one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from o2_lambda.extension.core.http1 import HttpError, Message, Parser

CASES = Path(__file__).parent / "http"
BODY_BYTES_MAX = 4096


class Case:
    """One file of bytes and its expectations."""

    def __init__(self, path: Path) -> None:
        self.raw = path.read_bytes()
        self.expected: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))

    def parse(self, *pieces: bytes) -> list[dict[str, Any]]:
        """The messages of the pieces, as the expectations write them. Raises `HttpError`."""
        parser = Parser(
            body_bytes_max=self.expected.get("body_bytes_max", BODY_BYTES_MAX),
            response=self.expected["side"] == "response",
        )
        messages = [message for piece in pieces for message in parser.feed(piece)]
        if self.expected.get("closed"):
            last = parser.end()
            messages += [last] if last is not None else []
        elif messages:
            assert parser.is_idle
            assert parser.bytes_held == 0
        return [as_json(message) for message in messages]

    def fragmentations(self) -> list[list[bytes]]:
        """Whole, byte by byte, and cut in two at every place."""
        raw = self.raw
        bytewise = [raw[index : index + 1] for index in range(len(raw))]
        return [[raw], bytewise, *([raw[:cut], raw[cut:]] for cut in range(1, len(raw)))]


def as_json(message: Message) -> dict[str, Any]:
    return {
        "start": [str(part, "latin-1") for part in message.start],
        "fields": [[str(name, "latin-1"), str(value, "latin-1")] for name, value in message.fields],
        "body": str(message.body, "latin-1"),
        "keep_alive": message.keep_alive,
    }


def cases(kind: str, *, until_close: bool = True) -> list[Any]:
    """The cases of a folder; without those that take all bytes until the peer closes, where such are not wanted."""
    paths = sorted((CASES / kind).glob("*.http"))
    assert paths, f"no cases under {CASES / kind}"
    found = [(path, Case(path)) for path in paths]
    return [pytest.param(case, id=path.stem) for path, case in found if until_close or not case.expected.get("closed")]


@pytest.mark.parametrize("case", cases("valid"))
def test_valid_bytes_give_their_messages_in_every_fragmentation(case: Case) -> None:
    """A message is the same however the network cuts it."""
    for pieces in case.fragmentations():
        assert case.parse(*pieces) == case.expected["messages"], pieces


@pytest.mark.parametrize("case", cases("valid", until_close=False))
def test_valid_bytes_may_be_followed_by_the_next_message(case: Case) -> None:
    """Trailing bytes belong to the next message and change nothing in this one."""
    assert case.parse(case.raw + case.raw) == case.expected["messages"] * 2
    parser = Parser(body_bytes_max=BODY_BYTES_MAX, response=case.expected["side"] == "response")
    assert len(parser.feed(case.raw + b"HT")) == len(case.expected["messages"])
    assert not parser.is_idle
    assert parser.bytes_held == 2


@pytest.mark.parametrize("case", cases("invalid"))
def test_invalid_bytes_are_refused_in_every_fragmentation(case: Case) -> None:
    """What is no message here is refused with its status, however it is cut, and never becomes a message."""
    reasons = set()
    for pieces in case.fragmentations():
        with pytest.raises(HttpError) as caught:
            case.parse(*pieces)
        assert caught.value.status == case.expected["status"], pieces
        assert "\n" not in caught.value.reason
        reasons.add(caught.value.reason)
    assert len(reasons) == 1


def test_each_case_has_its_expectation() -> None:
    """Files come in pairs, so that no case is silently left out."""
    for kind in ("valid", "invalid"):
        bytes_of = {path.stem for path in (CASES / kind).glob("*.http")}
        assert bytes_of == {path.stem for path in (CASES / kind).glob("*.json")}
