"""The way to OpenObserve: one thread for all that blocks (DNS, TLS, upload), one keep-alive connection per origin.

The loop hands in one request at a time and gets one outcome back; the thread touches nothing else.
"""

from __future__ import annotations

import _thread
from _socket import SHUT_RDWR, gaierror
from binascii import b2a_base64
from time import monotonic, time

from o2_lambda.extension.core.http1 import HttpError, Parser
from o2_lambda.extension.core.model import LOCAL, UPSTREAM, Outcome
from o2_lambda.extension.core.url import unquote
from o2_lambda.extension.io.dial import LookupTimeoutError, Resolver, Socket, dial, left_s, timed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from o2_lambda.extension.config import Config
    from o2_lambda.extension.core.http1 import Message
    from o2_lambda.extension.core.model import Request
    from o2_lambda.extension.core.url import Url
    from o2_lambda.extension.io.tls import Context

RESPONSE_BYTES_MAX = 1024 * 1024
# A connection that was idle for longer is not tried again: NAT and balancers forget it, and after a freeze even a
# proper end may have been missed. Counted in wall-clock time, which goes on while the sandbox is frozen.
IDLE_REUSE_S_MAX = 20.0
CONNECT_S_MAX = 5.0  # for the look-up, TCP, the proxy's tunnel and the TLS handshake together
LAST_LOOK_S = 0.001  # past the deadline: what came in while the process was frozen lies ready to be read
LAST_LOOKS_MAX = 64  # an answer that never ends gets no more time for it
_RECEIVE_BYTES = 65_536
USER_AGENT = "o2-lambda-extension"


class Connection:
    """One connection to an origin, through the proxy where there is one."""

    def __init__(self, sock: Socket, tls: Any) -> None:
        self._sock = sock
        self.tls = tls
        self._late_looks = 0
        self.last_used_s = time()

    def send(self, data: bytes, timeout_s: float) -> None:
        """Sends all of it. Raises OSError."""
        self._late_looks = 0
        self._sock.settimeout(timeout_s)
        if self.tls is None:
            self._sock.sendall(data)
            return
        view = memoryview(data)
        while view:
            view = view[self.tls.write(view) :]

    def receive(self, deadline: float) -> bytes:
        """What has come; empty at the end of the stream. Raises OSError."""
        left = deadline - monotonic()
        self._late_looks += left < 0
        if self._late_looks > LAST_LOOKS_MAX:
            raise TimeoutError
        self._sock.settimeout(max(left, LAST_LOOK_S))
        data: bytes = self._sock.recv(_RECEIVE_BYTES) if self.tls is None else self.tls.read(_RECEIVE_BYTES)
        return data

    def is_reusable(self) -> bool:
        """Whether a request may be tried on it: not idle for too long, not closed, and silent."""
        if not 0 <= time() - self.last_used_s <= IDLE_REUSE_S_MAX:
            return False
        self._sock.settimeout(0.0)
        if self.tls is not None:
            from o2_lambda.extension.io import tls  # noqa: PLC0415 - loaded long ago by whoever made self.tls

            return tls.is_alive(self.tls)
        try:
            self._sock.recv(1)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def interrupt(self) -> None:
        """Ends whatever waits on the connection; may be called from another thread."""
        try:
            self._sock.shutdown(SHUT_RDWR)
        except OSError:
            pass  # it has ended already

    def close(self) -> None:
        """Drops the connection; over TLS with a word to the peer, so that its session stays good for resumption."""
        if self.tls is not None:
            self._sock.settimeout(0.0)
            try:
                self.tls.shutdown()
            except OSError:
                pass  # gone already, or it would block: nobody waits for a farewell
        self._sock.close()


class Uplink:
    """Runs requests in its thread. `wake` is called from that thread when an outcome waits to be collected."""

    def __init__(self, config: Config, version: str, wake: Callable[[], object]) -> None:
        self._config = config
        self._agent = f"{USER_AGENT}/{version}"
        self._wake = wake
        self._inbox: list[tuple[Request | None, Url]] = []  # without a request: only connect
        self._outbox: list[Outcome | BaseException] = []
        self._work = _thread.allocate_lock()
        self._work.acquire()
        self._connections: dict[tuple[str, str, str, int], Connection] = {}  # by route, which says whom it trusts
        self._current: Connection | None = None  # what the request at hand waits for
        self._resolver = Resolver()
        self._contexts: dict[str, Context] = {}  # route -> whom it trusts
        self._renewal = False  # asked for by the loop, done by the thread before its next work

    def start(self) -> None:
        """Starts the thread; it ends with the process."""
        _thread.start_new_thread(self._serve, ())

    def warm(self, url: Url) -> None:
        """Opens the connection ahead of need; a failure shows when it is used."""
        self._put(None, url)

    def renew(self) -> None:
        """The process was restored from a snapshot: connections and TLS sessions are those of another sandbox."""
        self._renewal = True

    def submit(self, request: Request) -> None:
        """Takes a request; its outcome comes through `collect`."""
        self._put(request, request.url)

    def abort(self) -> None:
        """Makes the request at hand fail now: the one call that reaches into the thread, and only to its socket."""
        connection = self._current
        if connection is not None:
            connection.interrupt()

    def collect(self) -> Outcome | None:
        """The outcome that is ready. Raises whatever bug stopped the thread's work."""
        if not self._outbox:
            return None
        outcome = self._outbox.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def _put(self, request: Request | None, url: Url) -> None:
        self._inbox.append((request, url))
        if self._work.locked():
            self._work.release()

    def _serve(self) -> None:
        while True:
            self._work.acquire()
            while self._inbox:
                request, url = self._inbox.pop(0)
                try:
                    if self._renewal:
                        self._forget_all()
                    if request is None:
                        self._try_warm(url)
                    else:
                        self._outbox.append(self.exchange(request))
                        self._wake()
                except Exception as error:  # noqa: BLE001 - a bug here must reach the loop, which goes passive
                    self._outbox.append(error)
                    self._wake()

    def _try_warm(self, url: Url) -> None:
        try:
            self._connect(url, UPSTREAM, monotonic() + CONNECT_S_MAX)
        except OSError:
            return

    def exchange(self, request: Request) -> Outcome:
        """Sends a request and reads its answer within its timeout. Returns an outcome, whatever the network does."""
        deadline = monotonic() + request.timeout_ms / 1000
        data = self._serialize(request)
        try:
            connection = self._reusable(request.url, request.route)
            if connection is not None:
                message = self._roundtrip(connection, data, deadline, fresh=False)
                if message is not None:
                    return self._finish(request, connection, message, len(data))
            connection = self._connect(request.url, request.route, deadline)
            message = self._roundtrip(connection, data, deadline, fresh=True)
            if message is None:
                raise ConnectionError("closed without an answer")
            return self._finish(request, connection, message, len(data))
        except (OSError, HttpError) as error:
            self._forget(request.url, request.route)
            outcome = Outcome(error=describe(error, request.url))
            outcome.bytes_out = len(data)
            return outcome

    def _reusable(self, url: Url, route: str) -> Connection | None:
        connection = self._connections.get((route, *url.origin))
        if connection is not None and connection.is_reusable():
            return connection
        self._forget(url, route)
        return None

    def _roundtrip(self, connection: Connection, data: bytes, deadline: float, *, fresh: bool) -> Message | None:
        """The answer, or None where a kept connection turned out to be dead before any byte of an answer."""
        self._current = connection
        parser = Parser(body_bytes_max=RESPONSE_BYTES_MAX, response=True)
        received = False
        unsent: OSError | None = None
        try:
            connection.send(data, left_s(deadline))
        except OSError as error:
            unsent = error  # a server may refuse early (413) and read no further: its answer can still be there
        try:
            while True:
                chunk = connection.receive(deadline)
                received = received or bool(chunk)
                messages = parser.feed(chunk) if chunk else [parser.end()]
                if messages:
                    message = messages[0]
                    if message is None:
                        raise ConnectionError("closed without an answer")
                    message.keep_alive = message.keep_alive and unsent is None
                    return message
        except TimeoutError:
            raise
        except (OSError, HttpError):
            if not fresh and not received:
                connection.close()
                return None
            if unsent is not None:
                raise unsent from None
            raise

    def _finish(self, request: Request, connection: Connection, message: Message, bytes_out: int) -> Outcome:
        connection.last_used_s = time()
        if connection.tls is not None:
            self._contexts[request.route].remember(connection.tls, request.url.host)
        if not message.keep_alive:
            self._forget(request.url, request.route)
        outcome = Outcome(status=message.status, body=bytes(message.body), retry_after=message.header(b"retry-after"))
        outcome.bytes_out = bytes_out
        return outcome

    def _forget(self, url: Url, route: str) -> None:
        connection = self._connections.pop((route, *url.origin), None)
        if connection is not None:
            connection.close()

    def _forget_all(self) -> None:
        self._renewal = False
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
        for context in self._contexts.values():
            context.renew()

    def _serialize(self, request: Request) -> bytes:
        url = request.url
        target = url.path or "/"
        fields = [("Host", url.authority), ("User-Agent", self._agent), *request.headers]
        proxy = self._proxy(request.route)
        if proxy is not None and url.scheme == "http":
            target = f"http://{url.authority}{target}"
            fields += _proxy_fields(proxy)
        method = "POST" if request.body else "GET"
        if request.body:
            fields.append(("Content-Length", str(len(request.body))))
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + request.body

    def _proxy(self, route: str) -> Url | None:
        return None if route == LOCAL else self._config.proxy

    def _connect(self, url: Url, route: str, deadline: float) -> Connection:
        self._forget(url, route)
        if self._renewal:  # asked for while a request was under way, which is made anew
            self._forget_all()
        # Made before the peer, which may be impatient, is asked for anything.
        context = self._context(route) if url.scheme == "https" else None
        deadline = min(deadline, monotonic() + CONNECT_S_MAX)
        proxy = self._proxy(route)
        try:
            sock = dial(self._resolver, proxy or url, deadline)
        except OSError as error:
            if proxy is not None:
                raise ConnectionError(f"O2_PROXY does not answer ({describe(error, proxy)})") from None
            raise
        try:
            tls = None
            if context is not None:
                if proxy is not None:
                    _tunnel(sock, proxy, url, deadline)
                tls = context.wrap(timed(sock, deadline), url.host)
        except (OSError, HttpError):
            sock.close()
            raise
        connection = self._connections[(route, *url.origin)] = Connection(sock, tls)
        return connection

    def _context(self, route: str) -> Context:
        if route not in self._contexts:
            from o2_lambda.extension.io.tls import Context  # noqa: PLC0415 - costly, not needed for http:// endpoints

            self._contexts[route] = Context(self._config.ca_cert, system=route != UPSTREAM)
        return self._contexts[route]


def _proxy_fields(proxy: Url) -> list[tuple[str, str]]:
    if not proxy.userinfo:
        return []
    credentials = b2a_base64(unquote(proxy.userinfo).encode(), newline=False).decode()
    return [("Proxy-Authorization", f"Basic {credentials}")]


def _tunnel(sock: Socket, proxy: Url, url: Url, deadline: float) -> None:
    target = url.address
    fields = "".join(f"{name}: {value}\r\n" for name, value in _proxy_fields(proxy))
    timed(sock, deadline).sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{fields}\r\n".encode("latin-1"))
    head = b""
    while b"\r\n\r\n" not in head:
        data = timed(sock, deadline).recv(1)  # byte by byte: what follows the head belongs to TLS
        if not data or len(head) > RESPONSE_BYTES_MAX:
            raise ConnectionError("O2_PROXY closed the connection")
        head += data
    if head[8:10] != b" 2":  # behind HTTP/1.1
        status = head.partition(b"\r\n")[0][9:60].decode("latin-1")
        raise ConnectionError(f"O2_PROXY refused the tunnel: {status}")


def describe(error: Exception, url: Url) -> str:
    """A failure of the way to `url` in a few words for the log."""
    where = url.address
    if isinstance(error, gaierror):
        return f"{where}: host name cannot be resolved"
    if isinstance(error, LookupTimeoutError):
        return f"{where}: host name cannot be resolved: no answer from the name servers"
    if isinstance(error, TimeoutError):
        return f"{where}: timed out"
    message = getattr(error, "verify_message", None)
    if message:
        return f"{where}: certificate refused: {message}; check O2_CA_CERT, and the host in O2_ENDPOINT"
    if "SSL" in str(error):
        return f"{where}: no TLS connection: {error}"
    if isinstance(error, HttpError):
        return f"{where}: not an HTTP answer: {error.reason}"
    return f"{where}: {error.strerror or error}" if isinstance(error, OSError) else f"{where}: {error}"
