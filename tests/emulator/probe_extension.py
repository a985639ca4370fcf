"""A tiny extension for tests. Settings come from PROBE_* variables; what it sees goes to PROBE_LOG as JSON lines.

PROBE_EVENTS      events to register for                    PROBE_EXIT_ON   init, INVOKE or SHUTDOWN: exit there
PROBE_NAME        name to register under                    PROBE_EXIT_CODE status of that exit
PROBE_SUBSCRIBE   "1": subscribe to telemetry and record it PROBE_TICK      "1": count up in PROBE_LOG's sibling .tick
PROBE_STUBBORN    "1": poll on after SHUTDOWN               PROBE_ERROR_ON  init or INVOKE: report an error there
PROBE_WAIT_DONE   "1": hold next until runtimeDone          PROBE_HOLD_S    pause before each next
PROBE_PRINT       a line to print at start                  PROBE_SILENT    "1": never register
"""

from __future__ import annotations

import http.client
import json
import os
import pathlib
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

ENV = os.environ
NAME = ENV.get("PROBE_NAME") or pathlib.Path(sys.argv[0]).name
LOG = ENV.get("PROBE_LOG", os.devnull)
BASE = "/2020-01-01/extension"
RUNTIME_DONE = threading.Event()


def log(kind: str, **detail: object) -> None:
    with pathlib.Path(LOG).open("a") as file:
        file.write(json.dumps({"kind": kind, "name": NAME, **detail}) + "\n")


def call(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(ENV["AWS_LAMBDA_RUNTIME_API"])
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer, data


class Listener(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        for event in json.loads(body):
            log("telemetry", event=event)
            if event["type"] == "platform.runtimeDone":
                RUNTIME_DONE.set()

    def log_message(self, *_: object) -> None:
        pass


def tick() -> None:
    path = pathlib.Path(LOG + ".tick")
    for count in range(1_000_000):
        path.write_text(str(count))
        time.sleep(0.005)


def maybe_fail(moment: str | None, identity: dict[str, str]) -> None:
    if ENV.get("PROBE_ERROR_ON") == moment:
        kind = "init" if moment == "init" else "exit"
        answer, _ = call(
            "POST", f"{BASE}/{kind}/error", {**identity, "Lambda-Extension-Function-Error-Type": "Probe.Bad"}
        )
        log("error", status=answer.status)
    if ENV.get("PROBE_EXIT_ON") == moment:
        sys.exit(int(ENV.get("PROBE_EXIT_CODE", "0")))


def main() -> None:
    log("env", env=dict(ENV), cwd=str(pathlib.Path.cwd()), pgid=os.getpgid(0), pid=os.getpid())
    if "PROBE_PRINT" in ENV:
        print(ENV["PROBE_PRINT"], flush=True)
    if ENV.get("PROBE_SILENT"):
        time.sleep(600)
    events = ENV.get("PROBE_EVENTS", "INVOKE,SHUTDOWN").split(",")
    body = json.dumps({"events": events}).encode()
    answer, data = call("POST", f"{BASE}/register", {"Lambda-Extension-Name": NAME}, body)
    log("register", status=answer.status, body=data.decode())
    identity = {"Lambda-Extension-Identifier": answer.headers["Lambda-Extension-Identifier"]}
    maybe_fail("init", identity)
    if ENV.get("PROBE_SUBSCRIBE"):
        server = HTTPServer(("127.0.0.1", 0), Listener)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        request = {
            "schemaVersion": "2022-12-13",
            "types": ["platform", "function"],
            "buffering": {"timeoutMs": 25},
            "destination": {"protocol": "HTTP", "URI": f"http://sandbox.localdomain:{server.server_port}/"},
        }
        call("PUT", "/2022-07-01/telemetry", identity, json.dumps(request).encode())
    if ENV.get("PROBE_TICK"):
        threading.Thread(target=tick, daemon=True).start()
    while True:
        answer, data = call("GET", f"{BASE}/event/next", identity)
        event = json.loads(data)
        log("event", status=answer.status, event=event, headers=dict(answer.headers), at_ms=time.time() * 1000)
        maybe_fail(event.get("eventType"), identity)
        if event.get("eventType") == "SHUTDOWN" and not ENV.get("PROBE_STUBBORN"):
            time.sleep(0.1 if ENV.get("PROBE_SUBSCRIBE") else 0)
            sys.exit(0)
        if event.get("eventType") == "INVOKE" and ENV.get("PROBE_WAIT_DONE"):
            RUNTIME_DONE.wait()
            RUNTIME_DONE.clear()
        time.sleep(float(ENV.get("PROBE_HOLD_S", "0")))


if __name__ == "__main__":
    main()
