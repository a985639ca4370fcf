"""One cold start, from the spawn to the first `/next`: a single thread on bare sockets, so that little is added.

The clock starts right before the process is made, and stops when a request has come in whole. At `/next` the process is
stopped, so that its CPU time is exact: a running task's is brought up to date at the next tick only.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from machine import Quota, evict, resident_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

PATIENCE_S = 20
CREDENTIALS = "Basic YmVuY2g6YmVuY2g="
_REGISTERED = b'{"functionName":"bench","functionVersion":"$LATEST","handler":"h","accountId":"123456789012"}'


@dataclass(frozen=True)
class Candidate:
    """An executable to measure."""

    name: str
    path: Path
    ca: Path | None = None  # a hashed folder of certificates; None: it cannot speak TLS
    evictable: bool = True  # all that it reads from disk is the one file
    minimal: bool = False  # only starts: the floor
    settings: Mapping[str, str] = field(default_factory=dict)


def environment(candidate: Candidate, api_port: int, endpoint: str) -> dict[str, str]:
    """What Lambda and the user would set."""
    return {
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api_port}",
        "AWS_LAMBDA_FUNCTION_NAME": "bench",
        "AWS_REGION": "us-east-1",
        "O2_ENDPOINT": endpoint,
        "O2_ORGANIZATION_ID": "default",
        "O2_AUTHORIZATION_HEADER": CREDENTIALS,
        "O2_OTLP_PORT": "0",
        **candidate.settings,
    }


class ColdStart:
    """One process between two listening sockets. Use `measure`."""

    def __init__(
        self, candidate: Candidate, *, tls: bool = False, quota: Quota | None = None, gate: Path | None = None
    ) -> None:
        self._api = socket.create_server(("127.0.0.1", 0))
        self._backend = socket.create_server(("127.0.0.1", 0))
        self._candidate = candidate
        self._tls = tls
        self._selector = selectors.DefaultSelector()
        self._received: dict[socket.socket, bytes] = {}
        self._selector.register(self._api, selectors.EVENT_READ)
        self._selector.register(self._backend, selectors.EVENT_READ)
        scheme = "https" if tls else "http"
        self._environment = environment(
            candidate, self._api.getsockname()[1], f"{scheme}://127.0.0.1:{self._backend.getsockname()[1]}"
        )
        if tls and candidate.ca:
            self._environment["O2_CA_CERT"] = str(candidate.ca)
        self._quota = quota
        self._gate = gate
        self._cpu_before_ms = 0.0
        self._told = -1
        self.figures: dict[str, float] = {}

    def measure(self) -> dict[str, float]:
        """The figures of this start."""
        pid = self._spawn_behind_gate() if self._quota else self._spawn()
        wanted = "tls_ready_ms" if self._tls else "next_ms"
        try:
            deadline_s = time.monotonic() + PATIENCE_S
            while wanted not in self.figures:
                ready = self._selector.select(deadline_s - time.monotonic())
                if not ready:
                    raise TimeoutError(f"{self._candidate.name}: no {wanted}")
                for key, _events in ready:
                    self._serve(key.fileobj, pid)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            for connection in list(self._selector.get_map().values()):
                connection.fileobj.close()
            self._selector.close()
            if self._told >= 0:
                os.close(self._told)
        return self.figures

    def _spawn(self) -> int:
        path = str(self._candidate.path)
        actions = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0), (os.POSIX_SPAWN_DUP2, 1, 2)]
        self._began = time.perf_counter()
        return os.posix_spawn(path, [path], self._environment, file_actions=actions)

    def _spawn_behind_gate(self) -> int:
        """The process waits within its group, and is let go when the clock starts."""
        go, let_go = os.pipe()
        told, tell = os.pipe()
        actions = [(os.POSIX_SPAWN_DUP2, go, 0), (os.POSIX_SPAWN_DUP2, tell, 1), (os.POSIX_SPAWN_DUP2, tell, 2)]
        command = [str(self._gate), str(self._quota.members), str(self._candidate.path)]
        pid = os.posix_spawn(command[0], command, self._environment, file_actions=actions)
        os.close(tell)
        if os.read(told, 1) != b"r":
            raise OSError("the process may not enter its cgroup")
        time.sleep(0.05)  # the group's next period has begun
        self._cpu_before_ms = cpu_ms(pid)
        self._began = time.perf_counter()
        os.write(let_go, b"g")
        os.close(let_go)
        os.close(go)
        self._told = told  # open until the end: writing into it is no error
        return pid

    def _serve(self, readable: socket.socket, pid: int) -> None:
        if readable in (self._api, self._backend):
            connection, _ = readable.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(connection, selectors.EVENT_READ, readable)
            self._received[connection] = b""
            if self._tls and readable is self._backend:
                self.figures.setdefault("tls_context_ms", (time.perf_counter() - self._began) * 1000)
            return
        data = readable.recv(65536)
        now_ms = (time.perf_counter() - self._began) * 1000
        if not data:
            self._selector.unregister(readable)
            readable.close()
        elif self._selector.get_key(readable).data is self._backend:
            self.figures.setdefault("tls_ready_ms", now_ms)  # a ClientHello
        else:
            self._received[readable] += data
            while request := self._request(readable):
                self._answer(readable, request, now_ms, pid)

    def _request(self, connection: socket.socket) -> bytes:
        """The next whole request's head, taken out; empty while there is none."""
        head, separator, rest = self._received[connection].partition(b"\r\n\r\n")
        fields = (line.partition(b":") for line in head.lower().split(b"\r\n"))
        length = next((int(value) for name, _, value in fields if name == b"content-length"), 0)
        if not separator or len(rest) < length:
            return b""
        self._received[connection] = rest[length:]
        return head

    def _answer(self, connection: socket.socket, request: bytes, now_ms: float, pid: int) -> None:
        if b"/register" in request:
            self.figures["register_ms"] = now_ms
            fields = b"Lambda-Extension-Identifier: the-id\r\nContent-Length: %d" % len(_REGISTERED)
            connection.sendall(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n\r\n" + _REGISTERED)
        elif b"/telemetry" in request:
            connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"OK"')
        elif "next_ms" not in self.figures:
            self.figures["next_ms"] = now_ms
            if not self._tls:
                with stopped(pid):
                    self.figures["cpu_until_next_ms"] = cpu_ms(pid) - self._cpu_before_ms
                    self.figures["rss_at_next_mb"] = memory_mb(pid, "VmRSS")
                    self.figures |= page_faults(pid)


@contextlib.contextmanager
def stopped(pid: int):  # noqa: ANN201 - a generator
    """The process stands still meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)
    yield
    os.kill(pid, signal.SIGCONT)


def cpu_ms(pid: int) -> float:
    """User and system time of all threads so far."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


def page_faults(pid: int) -> dict[str, float]:
    """How often a page was only to be mapped, and how often it had to be read from the disk, so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return {"faults_minor": float(fields[7]), "faults_major": float(fields[9])}  # proc_pid_stat(5): 10 and 12


def memory_mb(pid: int, field_name: str) -> float:
    """VmRSS, RssAnon or VmHWM."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(field_name))
    return int(line.split()[1]) / 1024


def start(candidate: Candidate) -> dict[str, float]:
    """Spawn to `register` and to the first `/next`, page cache warm."""
    return ColdStart(candidate).measure()


def start_evicted(candidate: Candidate) -> dict[str, float]:
    """The same, the executable's pages dropped from the page cache (posix_fadvise DONTNEED, checked by mincore)."""
    stayed = evict(candidate.path)
    figures = ColdStart(candidate).measure()
    return figures | {"read_mb": resident_bytes(candidate.path) / 1e6, "bytes_still_cached": stayed}


def start_tls(candidate: Candidate) -> dict[str, float]:
    """Spawn to the connection to the backend, before which the TLS context is made, and to its first bytes."""
    return ColdStart(candidate, tls=True).measure()


def start_limited(candidate: Candidate, gate: Path, cpus: float) -> dict[str, float]:
    """Spawn to the first `/next` within a CPU quota."""
    quota = Quota(cpus)
    try:
        return ColdStart(candidate, quota=quota, gate=gate).measure()
    finally:
        quota.close()
