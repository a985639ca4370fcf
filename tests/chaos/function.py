"""A function and its runtime in one script, started as `python -I -S function.py`: it prints, exports, ends badly.

The event says what to do: `lines` of `width` characters, `spans` exported one by one, `sleep_ms`, and how it `ends`;
`stubborn` ones hear no SIGTERM, and use up what Lambda grants a runtime at shutdown.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time

EXPORTED = "exported "  # a line that accounts for a span that the receiver took


def call(address: str, method: str, path: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
    """One HTTP request on a connection of its own: (status, headers, body)."""
    host, _, port = address.partition(":")
    kind = "Content-Type: application/json\r\n"
    with socket.create_connection((host, int(port))) as server, server.makefile("rb") as stream:
        head = f"{method} {path} HTTP/1.1\r\nHost: {address}\r\n{kind}Content-Length: {len(body)}\r\n\r\n"
        server.sendall(head.encode() + body)
        status = int(stream.readline().split()[1])
        headers = {}
        while (line := stream.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return status, headers, stream.read(int(headers.get("content-length", "0")))


def export(span_id: str) -> None:
    """Sends one span to the extension's receiver, and says so where it was taken."""
    now_ns = time.time_ns()
    span = {"traceId": "5b8efff798038103d269b633813fc60c", "spanId": span_id, "name": "work", "kind": 1}
    span |= {"startTimeUnixNano": str(now_ns), "endTimeUnixNano": str(now_ns + 1000)}
    body = json.dumps({"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": [span]}]}]})
    try:
        status, _headers, _body = call(f"127.0.0.1:{os.environ['O2_OTLP_PORT']}", "POST", "/v1/traces", body.encode())
    except (OSError, IndexError):  # refused, or hung up on
        return
    if status == 200:
        print(EXPORTED + span_id, flush=True)


def work(request_id: str, event: dict[str, object]) -> None:
    """What the function does with an event."""
    if event.get("stubborn"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for _ in range(int(str(event.get("spans", 0)))):
        export(os.urandom(8).hex())
    filling = "x" * int(str(event.get("width", 0)))
    for number in range(int(str(event.get("lines", 1)))):
        sys.stdout.write(f"{request_id} {number:06d} {filling}\n")
    sys.stdout.flush()
    time.sleep(float(str(event.get("sleep_ms", 0))) / 1000)
    ends = event.get("ends", "return")
    if ends == "crash":
        os._exit(3)
    if ends == "kill":  # what the kernel does when the memory is used up
        os.kill(os.getpid(), signal.SIGKILL)
    if ends == "hang":
        time.sleep(3600)
    if ends == "raise":
        raise ValueError("planned")


def main() -> None:
    """The runtime's loop."""
    api = os.environ["AWS_LAMBDA_RUNTIME_API"]
    prefix = "/2018-06-01/runtime/invocation/"
    while True:
        _status, headers, body = call(api, "GET", f"{prefix}next")
        request_id = headers["lambda-runtime-aws-request-id"]
        try:
            work(request_id, json.loads(body))
        except ValueError as error:
            told = json.dumps({"errorType": "ValueError", "errorMessage": str(error)})
            call(api, "POST", f"{prefix}{request_id}/error", told.encode())
        else:
            call(api, "POST", f"{prefix}{request_id}/response", b"{}")


if __name__ == "__main__":
    main()
