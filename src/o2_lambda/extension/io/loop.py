"""The loop: one epoll over everything, facts to the engine, its actions performed."""

from __future__ import annotations

from gc import enable, freeze
from posix import read, urandom
from select import EPOLLIN, EPOLLOUT, epoll

from o2_lambda.extension.core.jsonscan import SCAN_ERRORS, get, loads
from o2_lambda.extension.core.masking import shapes
from o2_lambda.extension.core.model import Sandbox
from o2_lambda.extension.core.url import ConfigError
from o2_lambda.extension.engine import Engine
from o2_lambda.extension.io import clock, log
from o2_lambda.extension.io.listener import Listener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from o2_lambda.extension.boot import Boot
    from o2_lambda.extension.config import Config
    from o2_lambda.extension.core.model import Actions, Now
    from o2_lambda.extension.io.listener import Connection
    from o2_lambda.extension.io.uplink import Uplink

INSTANCE_ID_BYTES = 8
STALL_CHECK_MS = 1000  # how often stalled clients are looked for while there are clients


class Shell:
    """Joins engine, listener, uplink and the Extensions API. `run` returns when it is time to exit."""

    def __init__(self, boot: Boot, config: Config, uplinks: list[Uplink], wake_fd: int) -> None:
        """`uplinks`: one for each target, at work already; `wake_fd` has bytes to read when one has an answer."""
        self._api = boot.api
        now = clock.now()
        self._engine = Engine(config, _sandbox(boot), now)
        self._listener = Listener(self._engine, boot.telemetry_path)
        self._uplinks = uplinks
        self._wake_fd = wake_fd
        self._epoll = epoll()
        self._epoll.register(self._wake_fd, EPOLLIN)
        self._listening: dict[int, socket] = {sock.fileno(): sock for sock in boot.otlp}
        self._telemetry_fd = -1
        if boot.telemetry is not None:
            self._telemetry_fd = boot.telemetry.fileno()
            self._listening[self._telemetry_fd] = boot.telemetry
        for fd in self._listening:
            self._epoll.register(fd, EPOLLIN)
        self._api_fd = -1
        self._watch_api()

    def run(self) -> None:
        """Serves until the sandbox is shut down."""
        engine = self._engine
        freeze()  # what a start has made stays: the collector need never look at it
        enable()
        timeout_s = 0.0
        while True:
            ready = self._epoll.poll(timeout_s)
            now = clock.now()
            dice = urandom(1)[0] / 256
            if engine.awaits_restore:
                engine.spare_id(urandom(INSTANCE_ID_BYTES).hex())
            self._handle(ready, now, dice)
            receiving, receiving_bytes = self._listener.receiving(now)
            turn_ms = clock.now().ms - now.ms
            actions = engine.step(now, receiving=receiving, receiving_bytes=receiving_bytes, turn_ms=turn_ms)
            self._perform(actions)
            if actions.exit:
                return
            if self._listener.connections:
                actions.wake_by(now.ms + STALL_CHECK_MS)
            timeout_s = -1.0 if actions.wake_ms is None else max(0.0, (actions.wake_ms - clock.now().ms) / 1000)

    def _perform(self, actions: Actions) -> None:
        """Does what the engine wants. Raises ConfigError where that is to be passive from here on."""
        if actions.restored:
            for uplink, target in zip(self._uplinks, self._engine.config.targets, strict=True):
                uplink.renew()
                uplink.warm(target.first_url)
        for number in actions.abort:
            self._uplinks[number].abort()
        for number, request in actions.send:
            self._uplinks[number].submit(request)
        if actions.poll_next:
            self._poll_next()
        self._print()
        if actions.passive:
            raise ConfigError(actions.passive)

    def _print(self) -> None:
        for level, text in self._engine.lines.take():
            log.emit(level, text)

    def give_up(self) -> None:
        """The loop has ended before its time: what the engine holds is lost, and said to be."""
        self._engine.give_up()
        self._print()

    def close(self) -> None:
        """Hangs up on all clients: after a bug nobody would answer them."""
        for connection in list(self._listener.connections.values()):
            self._listener.close(connection)

    def _handle(self, ready: list[tuple[int, int]], now: Now, dice: float) -> None:
        """Turns what epoll reported into facts: lifecycle events before anything that depends on them."""
        fds = dict(ready)
        if self._api_fd in fds or self._api.has_event:
            self._read_api(now)
        if self._wake_fd in fds:
            read(self._wake_fd, 64)
            self._collect(now, dice)
        connections = self._listener.connections
        for fd, events in ready:
            if fd in self._listening:
                self._accept(fd, now)
            elif fd in connections:
                connection = connections[fd]
                if events & EPOLLOUT:
                    self._listener.writable(connection)
                if events & ~EPOLLOUT:
                    self._listener.readable(connection, now)
                self._settle(fd, connection)
        for connection in self._listener.stalled(now):
            self._listener.close(connection)

    def _collect(self, now: Now, dice: float) -> None:
        for number, uplink in enumerate(self._uplinks):
            outcome = uplink.collect()
            if outcome is not None:
                self._engine.answered(outcome, now, dice, destination=number)
                log.hide(shapes(self._engine.destinations.confidential()))

    def _accept(self, fd: int, now: Now) -> None:
        connection = self._listener.accept(self._listening[fd], now, is_telemetry=fd == self._telemetry_fd)
        if connection is None:
            return
        client_fd = connection.sock.fileno()
        self._epoll.register(client_fd, EPOLLIN)
        self._listener.readable(connection, now)  # the request is mostly there already
        self._settle(client_fd, connection)

    def _settle(self, fd: int, connection: Connection) -> None:
        """After a turn: wait for more, or close. Who does not read the answers is not read: they would pile up."""
        if connection.closing and not connection.out:
            self._listener.close(connection)
        elif connection.sock.fileno() >= 0:
            self._epoll.modify(fd, EPOLLOUT if connection.out else EPOLLIN)

    def _watch_api(self) -> None:
        if self._api.socket is not None:
            self._api.socket.setblocking(False)
            self._api_fd = self._api.socket.fileno()
            self._epoll.register(self._api_fd, EPOLLIN)

    def _poll_next(self) -> None:
        try:
            self._api.poll_next()
        except OSError:
            self._api.awaits_event = True
            self._reconnect()

    def _reconnect(self) -> None:
        """The connection to the Extensions API broke, which a freeze may do: a new one, and the question again."""
        awaited = self._api.awaits_event
        self._api.connect()  # closing the old socket takes it out of the epoll
        if awaited:
            self._api.poll_next()
        self._watch_api()

    def _read_api(self, now: Now) -> None:
        try:
            message = self._api.receive_event()
        except BlockingIOError:
            return
        except OSError:
            if self._api.is_shut_down:
                self._epoll.unregister(self._api_fd)  # there is nothing left to ask; what is held still wants to go
                self._api_fd = -1
            else:
                self._reconnect()
            return
        if message is None:
            return
        if message.status != 200:  # noqa: PLR2004 - OK
            reason = bytes(message.body[:200]).decode("utf-8", "replace")
            raise RuntimeError(f"the Extensions API refused /next with status {message.status}: {reason}")
        self._engine.next_event(loads(str(message.body, "utf-8")), now)


def _sandbox(boot: Boot) -> Sandbox:
    try:
        registration = loads(str(boot.registration.body, "utf-8")) if boot.registration else None
    except SCAN_ERRORS:
        registration = None
    return Sandbox(
        function_name=get(registration, "functionName") or "",
        function_version=get(registration, "functionVersion") or "",
        account=get(registration, "accountId") or "",
        instance_id=urandom(INSTANCE_ID_BYTES).hex(),
        managed=boot.managed,
        snap_start=boot.snap_start,
        telemetry=boot.subscription is not None and boot.subscription.status == 200,  # noqa: PLR2004 - OK
    )
