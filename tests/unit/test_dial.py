"""Look-ups: bounded in time and number, and what comes late is not lost."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from o2_lambda.extension.io import dial
from o2_lambda.extension.io.dial import LOOKUPS_MAX, LookupTimeoutError, Resolver

if TYPE_CHECKING:
    from collections.abc import Iterator

FOUND: list[Any] = [("address",)]
SOON_S = 0.02
PATIENCE_S = 20.0


class NameServers:
    """In place of `getaddrinfo`: answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers = threading.Event()
        self.error: OSError | None = None

    def ask(self, host: bytes, _port: int, *_kind: int) -> list[Any]:
        self.asked.append(host.decode())
        assert self.answers.wait(PATIENCE_S)
        if self.error is not None:
            raise self.error
        return FOUND


@pytest.fixture
def servers() -> Iterator[NameServers]:
    made = NameServers()
    yield made
    made.answers.set()  # no thread is left behind


def soon() -> float:
    return time.monotonic() + SOON_S


def later() -> float:
    return time.monotonic() + PATIENCE_S


def await_end(resolver: Resolver) -> None:
    """Until what was given up has come to its end."""
    give_up_s = later()
    while any(each.is_running for each in resolver._lookups):
        assert time.monotonic() < give_up_s
        time.sleep(0.001)


def test_an_answer_is_handed_on(servers: NameServers) -> None:
    """Each connection asks anew: the address may have changed."""
    servers.answers.set()
    resolver = Resolver(servers.ask)
    assert resolver.addresses("a.test", 443, later()) == FOUND
    assert resolver.addresses("a.test", 443, later()) == FOUND
    assert servers.asked == ["a.test", "a.test"]
    assert len(resolver._workers) == 1, "a thread serves many"


def test_a_name_that_is_unknown_is_told_at_once(servers: NameServers) -> None:
    """And asked for again the next time."""
    servers.answers.set()
    resolver = Resolver(servers.ask)
    servers.error = OSError("unknown")
    for _ in range(LOOKUPS_MAX + 2):
        with pytest.raises(OSError, match="unknown"):
            resolver.addresses("a.test", 443, later())
    servers.error = None
    assert resolver.addresses("a.test", 443, later()) == FOUND


def test_silence_is_waited_for_up_to_the_deadline(servers: NameServers) -> None:
    """What a request is granted bounds the look-up as well."""
    with pytest.raises(LookupTimeoutError):
        Resolver(servers.ask).addresses("a.test", 443, soon())


def test_silence_is_not_waited_for_beyond_the_bound(servers: NameServers, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much time the request has."""
    monkeypatch.setattr(dial, "LOOKUP_S_MAX", SOON_S)
    began_s = time.monotonic()
    with pytest.raises(LookupTimeoutError):
        Resolver(servers.ask).addresses("a.test", 443, later())
    assert time.monotonic() - began_s < PATIENCE_S / 2


def test_a_late_answer_serves_the_next_attempt(servers: NameServers) -> None:
    """Slow name servers make a request late, they do not make it impossible."""
    resolver = Resolver(servers.ask)
    with pytest.raises(LookupTimeoutError):
        resolver.addresses("a.test", 443, soon())
    servers.answers.set()
    await_end(resolver)
    assert resolver.addresses("a.test", 443, later()) == FOUND
    assert servers.asked[0] == "a.test"


def test_an_answer_for_another_name_is_not_taken(servers: NameServers) -> None:
    """A proxy's address is none of the server's."""
    resolver = Resolver(lambda host, *_rest: servers.ask(host, 0) if host == b"slow.test" else [("other",)])
    with pytest.raises(LookupTimeoutError):
        resolver.addresses("slow.test", 443, soon())
    servers.answers.set()
    await_end(resolver)
    assert resolver.addresses("other.test", 443, later()) == [("other",)]


def test_a_late_answer_grows_old(servers: NameServers, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a freeze the address may be another one."""
    resolver = Resolver(servers.ask)
    with pytest.raises(LookupTimeoutError):
        resolver.addresses("a.test", 443, soon())
    servers.answers.set()
    await_end(resolver)
    monkeypatch.setattr(dial, "LATE_ANSWER_S_MAX", -1.0)
    assert resolver.addresses("a.test", 443, later()) == FOUND
    assert len(servers.asked) == 2


def test_unanswered_look_ups_are_bounded_in_number(servers: NameServers) -> None:
    """Name servers that are gone must not cost a thread for each attempt; when they are back, all is well."""
    resolver = Resolver(servers.ask)
    for _ in range(LOOKUPS_MAX + 3):
        with pytest.raises(LookupTimeoutError):
            resolver.addresses("a.test", 443, soon())
    assert len(servers.asked) == LOOKUPS_MAX
    servers.answers.set()
    assert resolver.addresses("a.test", 443, later()) == FOUND


def test_without_room_for_a_thread_it_is_asked_all_the_same(
    servers: NameServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory that has run out makes the look-up unbounded, not impossible."""

    def refuse(*_arguments: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(dial._thread, "start_new_thread", refuse)
    servers.answers.set()
    assert Resolver(servers.ask).addresses("a.test", 443, later()) == FOUND
