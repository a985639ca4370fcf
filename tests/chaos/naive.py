"""Extensions that do what is simplest, to compare with: one file of Python without any care, as an executable.

NAIVE_MODE=flush waits for runtimeDone, then sends, up to four times, before it asks for the next event; sleep waits
100 ms instead and then sends once. Neither knows a budget, a circuit or a deadline.
"""

from __future__ import annotations

import http.server
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ATTEMPTS = {"flush": 4, "sleep": 1}
TIMEOUT_S = 30
PAUSE_S = 1.0
SLEEP_S = 0.1


class Receiver(http.server.BaseHTTPRequestHandler):
    """Takes telemetry in."""

    events: list[Any] = []  # noqa: RUF012 - of the process, by design
    done = threading.Event()
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        found = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
        self.events.extend(found)
        if any(event["type"] == "platform.runtimeDone" for event in found):
            self.done.set()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Says nothing."""


def call(url: str, headers: dict[str, str], body: object = None, method: str = "POST") -> Any:
    """One request; returns (headers, parsed body)."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=None if method == "GET" else TIMEOUT_S) as answer:
        return answer.headers, json.loads(answer.read() or b"null")


def flush(mode: str) -> None:
    """Sends what there is, popped first."""
    batch = [{**event, "message": event["record"]} for event in Receiver.events]
    Receiver.events.clear()
    target = f"{os.environ['O2_ENDPOINT']}/api/{os.environ['O2_ORGANIZATION_ID']}/{os.environ['O2_STREAM']}/_json"
    headers = {"Authorization": os.environ["O2_AUTHORIZATION_HEADER"], "Content-Type": "application/json"}
    for attempt in range(ATTEMPTS[mode] if batch else 0):
        try:
            call(target, headers, batch)
        except (OSError, ValueError):
            time.sleep(PAUSE_S if attempt + 1 < ATTEMPTS[mode] else 0)
        else:
            return


def main() -> None:
    """Registers and goes round."""
    mode = os.environ.get("NAIVE_MODE", "flush")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}"
    name = {"Lambda-Extension-Name": Path(sys.argv[0]).name}
    headers, _ = call(f"{base}/2020-01-01/extension/register", name, {"events": ["INVOKE", "SHUTDOWN"]})
    me = {"Lambda-Extension-Identifier": headers["Lambda-Extension-Identifier"]}
    destination = {"protocol": "HTTP", "URI": f"http://sandbox.localdomain:{server.server_port}/"}
    buffering = {"maxItems": 1000, "maxBytes": 1048576, "timeoutMs": 25}
    wanted = {"schemaVersion": "2022-12-13", "types": ["platform", "function"]}
    call(f"{base}/2022-07-01/telemetry", me, wanted | {"buffering": buffering, "destination": destination}, "PUT")
    while True:
        Receiver.done.clear()
        _, event = call(f"{base}/2020-01-01/extension/event/next", me, method="GET")
        if event["eventType"] == "SHUTDOWN":
            flush(mode)
            return
        if mode == "sleep":
            time.sleep(SLEEP_S)
        else:
            Receiver.done.wait()
        flush(mode)


if __name__ == "__main__":
    main()
