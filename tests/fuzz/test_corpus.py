"""The kept inputs, and seeded mutations of them, against every target."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
MUTATIONS = 2000  # for each target; `make fuzz` looks on for as long as one likes
SEED = 20_260_101


def seeds(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


@pytest.mark.parametrize("name", TARGETS)
def test_kept_inputs_keep_the_invariant(name: str) -> None:
    """Whatever broke a target once, or reaches far into it, is refused or read."""
    kept = seeds(name)
    assert kept
    for data in kept:
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_mutations_keep_the_invariant(name: str) -> None:
    """Bytes changed, cut, repeated and joined."""
    dice = random.Random(SEED)
    kept = seeds(name)
    for _ in range(MUTATIONS):
        data = bytearray(dice.choice(kept))
        for _ in range(dice.randint(1, 4)):
            mutate(dice, data, kept)
        TARGETS[name](bytes(data))


def mutate(dice: random.Random, data: bytearray, kept: list[bytes]) -> None:
    """One change in place."""
    place = dice.randint(0, len(data))
    kind = dice.randrange(5)
    if kind == 0:
        data[place : place + 1] = bytes((dice.randrange(256),))
    elif kind == 1:
        del data[place : place + dice.randint(1, 16)]
    elif kind == 2:
        data[place:place] = data[place : place + dice.randint(1, 64)]
    elif kind == 3:
        other = dice.choice(kept)
        data[place:] = other[dice.randint(0, len(other)) :]
    else:
        data[place:place] = dice.choice((b"\xff" * 10, b"\0", b'"', b"\\", b"}]", b"[{", b"\r\n", b"\x80", b"9" * 20))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("upstream_answer", b'\x32\n{"code":200,"status":[{"successful":10,"failed":0}]}'),
        ("telemetry", b'[{"time":"2026-01-01T00:00:00.000Z","type":"function","record":"x"}]'),
    ],
)
def test_a_broken_invariant_is_seen(name: str, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verdict that claims more than was sent, and a record without its time stamp."""
    monkeypatch.setattr("o2_lambda.extension.core.verdict.Verdict.__init__", _generous)
    monkeypatch.setattr("o2_lambda.extension.core.telemetry.Splicer._head", lambda *_: '{"_timestamp":"now"')
    with pytest.raises((AssertionError, KeyError)):
        TARGETS[name](data)


def _generous(self: object, kind: str, reason: str = "", detail: str = "", *, rejected: int = 0) -> None:
    for name, value in (("kind", kind), ("reason", reason), ("detail", detail), ("rejected", rejected + 11)):
        setattr(self, name, value)
    setattr(self, "retry_after_ms", 0)  # noqa: B010 - slots
