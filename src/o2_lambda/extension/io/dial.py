"""TCP connections by name. The look-up has a bound of its own, which the C library does not give it."""

from __future__ import annotations

import _thread
from _socket import (
    AF_UNSPEC,
    IPPROTO_TCP,
    SOCK_CLOEXEC,
    SOCK_STREAM,
    TCP_NODELAY,
    TCP_USER_TIMEOUT,
    getaddrinfo,
    socket,
)
from time import monotonic, time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from o2_lambda.extension.core.url import Url

# For one look-up; the resolver's own patience is 5 s for each server and search domain, or what resolv.conf says.
LOOKUP_S_MAX = 1.0
LOOKUPS_MAX = 4  # that are still without an answer: then no further one is begun
# An answer that came late serves the next attempt, if it comes so soon (in wall-clock time, which goes on in a freeze).
LATE_ANSWER_S_MAX = 30.0
# Sent bytes that nobody acknowledges for so long mean a dead path, long before a slow server would be suspected.
UNACKNOWLEDGED_MS_MAX = 2000


class Socket(socket):
    """TLS keeps a weak reference to its socket, which the C type alone does not allow."""

    __slots__ = ("__weakref__",)


class LookupTimeoutError(TimeoutError):
    """No name server has answered in time."""


class _Lookup:
    """One question to the name servers, and what came of it."""

    __slots__ = ("began_s", "error", "found", "name")

    def __init__(self, name: tuple[bytes, int]) -> None:
        self.name = name
        self.began_s = time()
        self.found: list[Any] = []
        self.error: OSError | None = None

    @property
    def is_running(self) -> bool:
        """Whether it is still without an answer."""
        return not self.found and self.error is None


class _Worker:
    """A thread for look-ups; between them it sleeps, as a thread's end costs memory that nothing else needs."""

    __slots__ = ("lookup", "work")

    def __init__(self, lookup: _Lookup) -> None:
        self.lookup = lookup
        self.work = _thread.allocate_lock()  # released when there is another look-up
        self.work.acquire()


class Resolver:
    """Looks names up in threads that nobody waits for beyond the bound. For one caller at a time."""

    def __init__(self, ask: Callable[..., list[Any]] = getaddrinfo) -> None:
        self._ask = ask
        self._lookups: list[_Lookup] = []
        self._workers: list[_Worker] = []  # no more than there may be look-ups
        self._news = _thread.allocate_lock()  # released whenever a look-up ends
        self._news.acquire()

    def addresses(self, host: str, port: int, deadline: float) -> list[Any]:
        """What `getaddrinfo` gives. Raises OSError."""
        name = (host.encode("ascii"), port)  # as bytes, past the IDNA codec
        deadline = min(deadline, monotonic() + LOOKUP_S_MAX)
        self._forget_old()
        asked: _Lookup | None = None
        while True:
            for each in self._lookups:
                if each.found and each.name == name:
                    self._lookups.remove(each)
                    return each.found
            if asked is not None and asked.error is not None:
                raise asked.error
            if asked is None and len(self._lookups) < LOOKUPS_MAX:
                asked = self._begin(name)
            elif not self._news.acquire(timeout=max(0.0, deadline - monotonic())):
                raise LookupTimeoutError

    def _begin(self, name: tuple[bytes, int]) -> _Lookup:
        lookup = _Lookup(name)
        self._lookups.append(lookup)
        for worker in self._workers:
            if not worker.lookup.is_running:
                worker.lookup = lookup
                worker.work.release()
                return lookup
        worker = _Worker(lookup)
        try:
            _thread.start_new_thread(self._serve, (worker,))
        except (RuntimeError, MemoryError):  # no room for a thread: without a bound, then
            self._run(lookup)
        else:
            self._workers.append(worker)
        return lookup

    def _serve(self, worker: _Worker) -> None:
        while True:
            self._run(worker.lookup)
            worker.work.acquire()

    def _run(self, lookup: _Lookup) -> None:
        try:
            lookup.found = self._ask(*lookup.name, AF_UNSPEC, SOCK_STREAM)
        except OSError as error:
            lookup.error = error
        except MemoryError:
            lookup.error = OSError("no memory for a look-up")
        try:
            self._news.release()
        except RuntimeError:
            pass  # the news of another one has not been taken in yet: both will be seen

    def _forget_old(self) -> None:
        oldest_s = time() - LATE_ANSWER_S_MAX
        self._lookups = [each for each in self._lookups if each.is_running or (each.found and each.began_s >= oldest_s)]


def left_s(deadline: float) -> float:
    """Seconds until a deadline. Raises TimeoutError where it has passed."""
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def timed(sock: Socket, deadline: float) -> Socket:
    """The socket, whose next call ends at the deadline."""
    sock.settimeout(left_s(deadline))
    return sock


def dial(resolver: Resolver, url: Url, deadline: float) -> Socket:
    """A TCP connection to the first address that takes it, each within its share of the time. Raises OSError."""
    failure: OSError = OSError("no address")
    found = resolver.addresses(url.host, url.port, deadline)
    for number, (family, kind, protocol, _name, address) in enumerate(found):
        sock = Socket(family, kind | SOCK_CLOEXEC, protocol)
        try:
            sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
            sock.setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS_MAX)
            sock.settimeout(left_s(deadline) / (len(found) - number))  # a silent one must not use up the others' time
            sock.connect(address)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure
