"""A DNS server of a few lines, for names that exist nowhere else."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import Self

import pytest

PORT = 53  # resolv.conf has no other
_HEADER = struct.Struct("!HHHHHH")
_RESPONSE, _TRUNCATED, _NO_SUCH_NAME = 0x8180, 0x0200, 3
_A = 1


class DnsServer:
    """Answers A queries for its names on a loopback address, over UDP and TCP.

    `truncate`: UDP answers only say that TCP must be used. `silent`: never answers, as a dead server does. `names`,
    `silent` and `delay_s` may be changed while it runs.
    """

    def __init__(self, address: str, names: dict[str, str], *, truncate: bool = False, silent: bool = False) -> None:
        self.names = names
        self._truncate = truncate
        self.silent = silent
        self.delay_s = 0.0
        self.queries: list[tuple[str, str]] = []  # ("udp" or "tcp", name)
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._tcp = socket.socket()
        self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._udp.bind((address, PORT))
            self._tcp.bind((address, PORT))
        except OSError as reason:
            self._udp.close()
            self._tcp.close()
            pytest.skip(f"port {PORT} of {address} cannot be bound: {reason.strerror}")
        self._tcp.listen()

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=serve, daemon=True) for serve in (self._serve_udp, self._serve_tcp)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        for listener in (self._udp, self._tcp):
            with contextlib.suppress(OSError):  # a datagram socket is woken all the same
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for thread in self._threads:
            thread.join(10)

    def _serve_udp(self) -> None:
        while True:
            try:
                query, peer = self._udp.recvfrom(4096)
            except OSError:
                return
            if not query:
                return
            answer = self._answer(query, "udp")
            time.sleep(self.delay_s)
            if not self.silent:
                with contextlib.suppress(OSError):  # it has been closed meanwhile
                    self._udp.sendto(answer, peer)

    def _serve_tcp(self) -> None:
        while True:
            try:
                client, _peer = self._tcp.accept()
            except OSError:
                return
            with client, client.makefile("rb") as stream:
                size = struct.unpack("!H", stream.read(2))[0]
                answer = self._answer(stream.read(size), "tcp")
                client.sendall(struct.pack("!H", len(answer)) + answer)

    def _answer(self, query: bytes, transport: str) -> bytes:
        identifier = _HEADER.unpack_from(query)[0]
        labels, position = [], _HEADER.size
        while length := query[position]:
            labels.append(query[position + 1 : position + 1 + length].decode())
            position += 1 + length
        name = ".".join(labels)
        kind = struct.unpack_from("!H", query, position + 1)[0]
        question = query[_HEADER.size : position + 5]
        self.queries.append((transport, name))
        address = self.names.get(name)
        if self._truncate and transport == "udp":
            return _HEADER.pack(identifier, _RESPONSE | _TRUNCATED, 1, 0, 0, 0) + question
        if address is None:
            return _HEADER.pack(identifier, _RESPONSE | _NO_SUCH_NAME, 1, 0, 0, 0) + question
        if kind != _A:
            return _HEADER.pack(identifier, _RESPONSE, 1, 0, 0, 0) + question
        record = struct.pack("!HHHIH", 0xC00C, _A, 1, 60, 4) + socket.inet_aton(address)
        return _HEADER.pack(identifier, _RESPONSE, 1, 1, 0, 0) + question + record
