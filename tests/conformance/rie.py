"""AWS's Runtime Interface Emulator (RIE) as a process in a mount namespace of its own, where it finds our `/opt`.

The RIE looks for extensions in `/opt/extensions` and nowhere else; a private mount namespace gives it one that the rest
of the machine does not see.
"""

from __future__ import annotations

import http.client
import os
import platform
import shutil
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

from tests.integration.wire import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

ROOT = Path(__file__).resolve().parents[2]
NAMES = {"x86_64": "aws-lambda-rie-x86_64", "aarch64": "aws-lambda-rie-arm64"}
BINARY = ROOT / ".cache" / "rie" / NAMES.get(platform.machine(), "aws-lambda-rie")
INVOKE_PATH = "/2015-03-31/functions/function/invocations"
CLIENT_HEADERS = {
    "Content-Type": "application/json",
    "X-Amzn-Trace-Id": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
}
MOUNT_AND_RUN = 'mount --bind "$1" /opt && cd "$2" && shift 2 && exec "$@"'
LISTEN_LIMIT_S = 10
CALL_LIMIT_S = 30
STOP_LIMIT_S = 10  # the RIE gives extensions two seconds


@dataclass(frozen=True)
class Answer:
    """What the client of an invocation gets."""

    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes


def unavailable() -> str:
    """Why the RIE cannot run here; "" where it can."""
    if not BINARY.is_file():
        return f"{BINARY.relative_to(ROOT)} is missing: run `make rie`"
    if not _namespace():
        return "no private mount namespace is permitted here (unshare -m, unshare -rm)"
    return ""


@cache
def _namespace() -> tuple[str, ...]:
    """The command that opens a mount namespace: as root, else as root of a user namespace; empty where neither may."""
    if not shutil.which("unshare") or not Path("/opt").is_dir():
        return ()
    for command in (("unshare", "-m"), ("unshare", "-rm")):
        tried = subprocess.run([*command, "mount", "--bind", "/tmp", "/opt"], capture_output=True, check=False)
        if tried.returncode == 0:
            return command
    return ()


class Rie:
    """`with Rie(opt, task, command=…, environment=…) as rie: rie.invoke(b"{}")`. Leaving ends it with SIGTERM."""

    def __init__(self, opt: Path, task: Path, *, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.lines: list[str] = []
        self.returncode: int | None = None
        self._ports = free_port(), free_port()
        api, invoke = (f"127.0.0.1:{port}" for port in self._ports)
        flags = ["--runtime-api-address", api, "--runtime-interface-emulator-address", invoke, "--log-level", "debug"]
        self._command = [
            *_namespace(), "bash", "-c", MOUNT_AND_RUN, "bash", str(opt), str(task), str(BINARY), *flags, *command,
        ]  # fmt: skip
        path = os.environ.get("PATH", os.defpath)
        self._environment = {"PATH": path, **environment}
        self._process: subprocess.Popen[str]
        self._reader: threading.Thread

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()
        try:
            self._await_port()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def output(self) -> str:
        """What the RIE, the extensions and the runtime have printed so far."""
        return "\n".join(self.lines)

    def invoke(self, payload: bytes = b"{}") -> Answer:
        """Invokes the function once; the first call starts extensions and runtime."""
        connection = http.client.HTTPConnection("127.0.0.1", self._ports[1], timeout=CALL_LIMIT_S)
        try:
            connection.request("POST", INVOKE_PATH, payload, CLIENT_HEADERS)
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, headers, response.read())
        finally:
            connection.close()

    def stop(self) -> None:
        """Ends the environment as `docker stop` would, and waits for the end."""
        if self.returncode is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self.returncode = self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self.returncode = self._process.wait()
        self._reader.join(STOP_LIMIT_S)

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self.lines.append(line.rstrip("\n"))

    def _await_port(self) -> None:
        """The RIE does not tell when it listens: asks until somebody answers."""
        until = time.monotonic() + LISTEN_LIMIT_S
        while time.monotonic() < until:
            if self._process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self._ports[1]), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise AssertionError(f"the RIE does not listen; it printed:\n{self.output}")
