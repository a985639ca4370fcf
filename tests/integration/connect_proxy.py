"""A forward proxy: CONNECT tunnels and plain forwarding, with or without a password."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from urllib.parse import urlsplit

from tests.integration.wire import PATIENCE_S, Request, Server, response


class ForwardProxy(Server):
    """Tunnels CONNECT and forwards absolute URLs; answers `refusal` instead, where one is set.

    `names` are host names that it alone can resolve: where they lead to on this machine.
    """

    def __init__(self, *, user: str = "", password: str = "", names: dict[str, int] | None = None) -> None:
        self.names = names or {}
        self.requests: list[Request] = []
        self.refusal = b""
        self.established = b"HTTP/1.1 200 Connection established\r\n\r\n"
        self._expected = base64.b64encode(f"{user}:{password}".encode()).decode() if user else ""
        super().__init__()

    def handle(self, request: Request, client: socket.socket) -> None:
        with self.changed:
            self.requests.append(request)
            self.changed.notify_all()
        if self.refusal:
            client.sendall(self.refusal)
            client.shutdown(socket.SHUT_WR)
        elif self._expected and request.headers.get("proxy-authorization") != f"Basic {self._expected}":
            client.sendall(response(407, Proxy_Authenticate="Basic"))
        elif request.method == "CONNECT":
            self._tunnel(request, client)
        else:
            self._forward(request, client)

    def _tunnel(self, request: Request, client: socket.socket) -> None:
        host, _, port = request.target.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as upstream:
            client.sendall(self.established)
            back = threading.Thread(target=_pump, args=(upstream, client), daemon=True)
            back.start()
            _pump(client, upstream)
            back.join()

    def _forward(self, request: Request, client: socket.socket) -> None:
        url = urlsplit(request.target)
        assert url.hostname is not None
        address = (url.hostname, url.port or 80)
        if url.hostname in self.names:
            address = ("127.0.0.1", self.names[url.hostname])
        kept = (f"{name}: {value}\r\n" for name, value in request.headers.items() if not name.startswith("proxy-"))
        head = f"{request.method} {url.path} HTTP/1.1\r\n{''.join(kept)}Connection: close\r\n\r\n"
        with socket.create_connection(address, timeout=PATIENCE_S) as upstream:
            upstream.sendall(head.encode("latin-1") + request.body)
            # Says that it will close: else the next request of the client might be forwarded and never answered.
            client.sendall(upstream.recv(65_536).replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            _pump(upstream, client)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
