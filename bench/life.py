"""A whole life of an extension between a fake Lambda and a sink, and what can be read off its process meanwhile."""

from __future__ import annotations

import json
import ssl
import subprocess
import tempfile
import time
import uuid
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import trustme

from fakes import FakeLambda, Sink, batch, event, stamp
from starts import cpu_ms, environment, memory_mb

if TYPE_CHECKING:
    from starts import Candidate

PATIENCE_S = 70  # the longest hold that a scenario asks for, and some


class Life:
    """One process of an extension, started; use it with `with`. `tls`: the sink speaks TLS."""

    def __init__(self, candidate: Candidate, *, latency_ms: float = 0, tls: bool = False, **settings: str) -> None:
        self.sink = Sink(latency_ms, tls=server_context() if tls else None)
        self.lambda_ = FakeLambda()
        endpoint = f"{'https' if tls else 'http'}://127.0.0.1:{self.sink.port}"
        variables = environment(candidate, self.lambda_.port, endpoint) | settings
        if tls:
            variables["O2_CA_CERT"] = authority_file()
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self.process = subprocess.Popen([candidate.path], env=variables, stdout=self._output, stderr=self._output)
        self.await_next("the extension never asks for the first event")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.process.kill()
        self.process.wait()
        self._output.close()
        self.lambda_.close()
        self.sink.close()

    def await_next(self, complaint: str = "the extension holds /next") -> None:
        """Waits until the extension asks for an event. Raises TimeoutError with the complaint and what it printed."""
        if not self.lambda_.next_called.acquire(timeout=PATIENCE_S):
            self._output.seek(0)
            raise TimeoutError(f"{complaint}; it printed {self._output.read()[-2000:]!r}")

    def cpu_ms(self) -> float:
        """User and system time so far."""
        return cpu_ms(self.process.pid)

    def memory_mb(self, field: str = "VmRSS") -> float:
        """VmRSS or VmHWM."""
        return memory_mb(self.process.pid, field)

    def reset_peak(self) -> None:
        """Lets VmHWM start anew."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def invoke(self, lines: int, *, width: int = 200, per_post: int = 1000) -> float:
        """One invocation that logs so many lines; returns ms from runtimeDone to the next `/next`."""
        request_id = str(uuid.uuid4())
        self.lambda_.invoke(request_id, timeout_ms=60_000)
        self.lambda_.post(batch(event("platform.start", {"requestId": request_id, "version": "$LATEST"})))
        for start in range(0, lines, per_post):
            self.lambda_.post(log_lines(request_id, min(per_post, lines - start), width, start))
        done = batch(event("platform.runtimeDone", {"requestId": request_id, "status": "success"}))
        began = time.monotonic()
        self.lambda_.post(done)
        self.await_next()
        return (self.lambda_.moments.next[-1] - began) * 1000

    def shutdown(self) -> tuple[float, int, dict[str, Any]]:
        """(ms until the exit, exit status, ledger)."""
        began = time.monotonic()
        self.lambda_.shutdown()
        status = self.process.wait(10)
        took_ms = (time.monotonic() - began) * 1000
        self._output.seek(0)
        ledgers = [line for line in self._output if line.startswith('{"ledger"')]
        return took_ms, status, json.loads(ledgers[-1])["ledger"] if ledgers else {}


def log_lines(request_id: str, count: int, width: int, start: int) -> bytes:
    """A telemetry payload of `count` lines that look like logs and differ from each other."""
    now = stamp()
    lines = []
    for number in range(start, start + count):
        words = f"item {number} took {number * 7919 % 1000} ms user={number * 2654435761 % 2**32:x}"
        text = f"[INFO]\\t{now}\\t{request_id}\\t{words}"
        lines.append(f'{{"time":"{now}","type":"function","record":"{text.ljust(width, ".")}\\n"}}')
    return ("[" + ",".join(lines) + "]").encode()


@cache
def authority() -> trustme.CA:
    """Signs the sink's certificate."""
    return trustme.CA()


@cache
def authority_file() -> str:
    """Its own certificate, for O2_CA_CERT."""
    file = tempfile.NamedTemporaryFile(suffix=".pem")  # noqa: SIM115 - kept until the bench ends
    authority_file.kept = file  # type: ignore[attr-defined]
    authority().cert_pem.write_to_path(file.name)
    return file.name


@cache
def server_context() -> ssl.SSLContext:
    """The sink's side of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert("127.0.0.1").configure_cert(context)
    return context
