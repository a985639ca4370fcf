"""The extension between a stub of Lambda and a stub of OpenObserve: for exact bytes and exact moments."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from tests.integration.connect_proxy import ForwardProxy
from tests.integration.process import Ending, ExtensionProcess, write_launcher
from tests.integration.stub_lambda import StubLambda, event
from tests.integration.stub_sink import StubSink
from tests.integration.wire import PATIENCE_S, Answer, free_port, read_answer

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    Settings: TypeAlias = dict[str, Any]  # environment variables of the extension; None leaves one out

CREDENTIALS = "Basic cm9vdEBleGFtcGxlLmNvbTpDb21wbGV4cGFzcyMxMjM="
FUNCTION_NAME = "orders"
INVOCATIONS_MAX, PAUSE_S = 40, 0.1
# Waits of a second and more are what users want and tests do not.
QUICK: Settings = {"O2_INITIAL_RETRY_DELAY_MS": "20", "O2_MAX_RETRY_DELAY_MS": "100"}


class Arena:
    """Builds rigs for one test and takes them down after it. `patch` goes into every extension that is started."""

    def __init__(self, folder: Path, *, patch: str = "", patience_s: float = PATIENCE_S) -> None:
        self.folder = folder
        self.patch = patch
        self.patience_s = patience_s
        self.stack = contextlib.ExitStack()
        self.outputs: list[list[str]] = []  # the lines of each extension so far
        self._count = 0

    def launcher(self, patch: str = "") -> Path:
        """A fresh executable; `patch` shortens what would take too long."""
        self._count += 1
        return write_launcher(self.folder / f"extension-{self._count}", "\n".join(filter(None, (patch, self.patch))))

    def sink(self, tls: ssl.SSLContext | None = None) -> StubSink:
        """A stub of OpenObserve."""
        return self.stack.enter_context(StubSink(self.patience_s, tls))

    def elsewhere(self, sink: StubSink) -> Settings:
        """The setting with which `sink` is reached as http://other.example: what is local would be taken for us."""
        proxy = self.stack.enter_context(ForwardProxy(names={"other.example": sink.port}))
        return {"O2_PROXY": f"http://127.0.0.1:{proxy.port}"}

    def rig(
        self,
        *,
        lambda_: StubLambda | None = None,
        sink: StubSink | None = None,
        patch: str = "",
        executable: Path | None = None,
        starts: bool = True,
        **settings: Any,
    ) -> Rig:
        """A started extension; with `starts` it has called `/next`. A setting of None is left out."""
        rig = Rig(
            lambda_ or self.stack.enter_context(StubLambda(self.patience_s)),
            sink or self.sink(),
            executable or self.launcher(patch),
            settings,
            self.patience_s,
        )
        self.outputs.append(rig.process.lines)
        self.stack.enter_context(rig)
        if starts:
            rig.lambda_.await_next(1)
        return rig


class Rig:
    """One process and the two servers that it talks to."""

    def __init__(
        self, lambda_: StubLambda, sink: StubSink, executable: Path, settings: Settings, patience_s: float
    ) -> None:
        self.lambda_ = lambda_
        self.sink = sink
        defaults = {
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{lambda_.port}",
            "AWS_LAMBDA_FUNCTION_NAME": FUNCTION_NAME,
            "AWS_REGION": "us-east-1",
            "O2_ENDPOINT": sink.url,
            "O2_ORGANIZATION_ID": "default",
            "O2_AUTHORIZATION_HEADER": CREDENTIALS,
            "O2_OTLP_PORT": "0",
            "O2_ENHANCED_METRICS": "false",
        }
        merged = {name: value for name, value in {**defaults, **settings}.items() if value is not None}
        self.environment = merged
        self.otlp_port = int(merged.get("O2_OTLP_PORT", "0"))
        self.process = ExtensionProcess(executable, merged, patience_s)
        self.repeated_nexts = 0  # asked again after a connection broke
        self._patience_s = patience_s
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.__exit__(*exception)

    @property
    def request_id(self) -> str:
        """Of the current invocation."""
        return f"8476a536-e9f4-11e8-9739-{self._number:012d}"

    def begin(self, timeout_ms: int = 10_000, tracing: str = "") -> str:
        """Starts an invocation; returns its request id."""
        self._number += 1
        self.lambda_.invoke(self.request_id, timeout_ms, tracing)
        record: dict[str, object] = {"requestId": self.request_id, "version": "7"}
        if tracing:
            record["tracing"] = {"type": "X-Amzn-Trace-Id", "value": tracing}
        self.lambda_.post(event("platform.start", record))
        return self.request_id

    def log(self, *texts: str) -> None:
        """The function prints lines, in one batch."""
        self.lambda_.post(*(event("function", f"{text}\n") for text in texts))

    def done(self, status: str = "success") -> None:
        """The function is done."""
        record = {"requestId": self.request_id, "status": status, "metrics": {"durationMs": 1.0, "producedBytes": 4}}
        self.lambda_.post(event("platform.runtimeDone", record))

    def await_next(self) -> None:
        """Waits until the extension asks for the event after the current one."""
        self.lambda_.await_next(self._number + 1 + self.repeated_nexts)

    def invocation(self, *texts: str, timeout_ms: int = 10_000) -> str:
        """A whole invocation that prints lines, up to the extension's `/next`; returns its request id."""
        request_id = self.begin(timeout_ms)
        if texts:
            self.log(*texts)
        self.done()
        self.await_next()
        return request_id

    def invocations_until(self, text: str) -> str:
        """Invocations that print a line each, one after the other, until the extension says `text`; its line."""
        for number in range(INVOCATIONS_MAX):
            self.invocation(f"line {number}")
            if self.process.matching(text):
                break
            time.sleep(PAUSE_S)  # the extension's own pause after a failure, or it would not try again
        return self.process.await_line(text)

    def report(self) -> None:
        """Lambda's last event of an invocation, which comes after `/next`."""
        record = {"requestId": self.request_id, "status": "success", "metrics": {"durationMs": 2.0}}
        self.lambda_.post(event("platform.report", record))

    def end(self, *, timeout_ms: int = 2000) -> Ending:
        """Shuts down as Lambda does: the report comes in first."""
        if self._number:
            self.report()
        self.lambda_.shutdown(timeout_ms=timeout_ms)
        return self.process.await_end()

    def export(self, path: str, body: bytes, content_type: str = "application/x-protobuf", **headers: str) -> Answer:
        """Sends an OTLP request on a connection of its own."""
        fields = {"Content-Type": content_type, **{name.replace("_", "-"): value for name, value in headers.items()}}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        with socket.create_connection(("127.0.0.1", self.otlp_port), timeout=self._patience_s) as client:
            head = f"POST {path} HTTP/1.1\r\nHost: localhost:{self.otlp_port}\r\n{lines}"
            client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            with client.makefile("rb") as stream:
                return read_answer(stream)


def with_otlp() -> Settings:
    """The setting of a rig with an OTLP receiver."""
    return {"O2_OTLP_PORT": str(free_port())}
