"""A thousand sandboxes lose one backend at the same moment: a histogram of when they come back.

    make herd [ARGS="[--processes 1000] [--seconds 40] [--executable FILE] [--plot FILE]"]

Every process gets the same lines at the same time and an answer of 503, then a second invocation, whose function runs
to the end: beside it attempts go on. The backend recovers after half of the time.
Without jitter each wave of requests would fall into one bin. Exit status 1 where lines are missing at the end, or where
a later wave is as steep as the first.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import re
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

import machine
from extension import unpack_layer
from fakes import batch, event
from life import log_lines
from starts import Candidate, environment

if TYPE_CHECKING:
    from collections.abc import Sequence

BIN_S = 0.25
LINES = 20
PATIENCE_S = 120
BACKLOG = 4096
BAR_WIDTH = 60


class Place:
    """The Extensions API and the backend of all of them, on one port."""

    def __init__(self) -> None:
        self.destinations: list[tuple[int, str]] = []
        self.arrivals_s: list[float] = []
        self.lines = 0
        self.up = False
        self.waiting: list[asyncio.Future[bytes]] = []
        self.changed = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = re.search(r"(?i)content-length: (\d+)", head)
                body = await reader.readexactly(int(length[1])) if length else b""
                status, extra, answer = await self.answer(head, body)
                writer.write(f"HTTP/1.1 {status} X\r\n{extra}Content-Length: {len(answer)}\r\n\r\n".encode() + answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, head: str, body: bytes) -> tuple[int, str, bytes]:
        """Status, headers and body."""
        target = head.split(" ", 2)[1]
        if target.endswith("/register"):
            return (
                200,
                "Lambda-Extension-Identifier: id\r\n",
                b'{"functionName":"f","functionVersion":"1","handler":"h"}',
            )
        if target.endswith("/telemetry"):
            port, path = re.match(r"http://[^:/]+:(\d+)(/.*)", json.loads(body)["destination"]["URI"]).groups()
            self.destinations.append((int(port), path))
            return 200, "", b'"OK"'
        if target.endswith("/next"):
            future = asyncio.get_running_loop().create_future()
            async with self.changed:
                self.waiting.append(future)
                self.changed.notify_all()
            return 200, "", await future
        self.arrivals_s.append(time.monotonic())
        if not self.up:
            return 503, "", b"busy"
        count = gzip.decompress(body).count(b'"_timestamp":')
        self.lines += count
        return 200, "", json.dumps({"code": 200, "status": [{"successful": count, "failed": 0}]}).encode()

    async def all_wait(self, count: int) -> None:
        """Until so many are parked in /next."""
        async with self.changed:
            await asyncio.wait_for(self.changed.wait_for(lambda: len(self.waiting) >= count), PATIENCE_S)

    def release(self, event_: dict[str, object]) -> None:
        """Gives all of them an event."""
        waiting, self.waiting = self.waiting, []
        for future in waiting:
            future.set_result(json.dumps(event_).encode())


async def post_telemetry(destination: tuple[int, str], body: bytes) -> None:
    """Telemetry for one of them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", destination[0])
    writer.write(f"POST {destination[1]} HTTP/1.1\r\nHost: s\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    await reader.readuntil(b"\r\n\r\n")
    writer.close()


async def herd(candidate: Candidate, processes: int, seconds: float) -> tuple[list[float], int, float]:
    """(arrivals in s after the telemetry, lines missing, when the backend came back)."""
    place = Place()
    server = await asyncio.start_server(place.serve, "127.0.0.1", 0, backlog=BACKLOG)
    port = server.sockets[0].getsockname()[1]
    variables = environment(candidate, port, f"http://127.0.0.1:{port}") | {"O2_FLUSH_STRATEGY": "end"}
    # posix_spawn: forking this process a thousand times, with all its connections, would take longer than the rest.
    quiet = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)]
    command = [str(candidate.path)]
    pids = [
        os.posix_spawn(command[0], command, variables, file_actions=quiet)  # noqa: ASYNC221 - takes no time
        for _ in range(processes)
    ]
    try:
        await place.all_wait(processes)
        print(f"{processes} processes are waiting for their first event", flush=True)
        deadline = int((time.time() + 300) * 1000)
        place.release({"eventType": "INVOKE", "deadlineMs": deadline, "requestId": "r"})
        began_s = time.monotonic()
        start = event("platform.start", {"requestId": "r"})
        done = event("platform.runtimeDone", {"requestId": "r", "status": "success"})
        body = log_lines("r", LINES, 200, 0)[:-1] + b"," + done.encode() + b"]"
        for destination in place.destinations:
            await post_telemetry(destination, batch(start)[:-1] + b"," + body[1:])
        await place.all_wait(processes)
        place.release({"eventType": "INVOKE", "deadlineMs": deadline, "requestId": "longer"})
        await asyncio.sleep(seconds / 2)
        place.up = True
        back_s = time.monotonic() - began_s
        await asyncio.sleep(max(0.0, seconds - (time.monotonic() - began_s)))
        arrivals = [at_s - began_s for at_s in place.arrivals_s]
        done = event("platform.runtimeDone", {"requestId": "longer", "status": "success"})
        for destination in place.destinations:
            await post_telemetry(destination, batch(done))
        await place.all_wait(processes)
        place.release(
            {"eventType": "SHUTDOWN", "deadlineMs": int((time.time() + 20) * 1000), "shutdownReason": "spindown"}
        )
        for pid in pids:
            await asyncio.to_thread(os.waitpid, pid, 0)
        pids = []
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)  # noqa: ASYNC222 - killed
        server.close()
    return arrivals, processes * (LINES + 3) - place.lines, back_s


def bins(arrivals: Sequence[float], seconds: float) -> list[int]:
    """Requests per bin."""
    counts = [0] * (int(seconds / BIN_S) + 1)
    for at_s in arrivals:
        counts[min(int(at_s / BIN_S), len(counts) - 1)] += 1
    return counts


def draw(path: Path, counts: list[int], back_s: float, title: str) -> None:
    """The histogram as a PNG."""
    figure = Figure(figsize=(10, 3), layout="constrained")
    axes = figure.add_subplot()
    axes.bar([index * BIN_S for index in range(len(counts))], counts, width=BIN_S, align="edge", color="#1b6ca8")
    axes.axvline(back_s, color="#d1495b")
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_xlabel("s after the first line; the line: the backend is back")
    axes.set_ylabel(f"requests in {BIN_S} s")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Prints the histogram and the verdict."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--executable", type=Path, help="by default that of the layer in target/")
    parser.add_argument("--plot", type=Path, default=Path("target/bench/herd.png"))
    options = parser.parse_args()
    print(machine.describe())
    print("command: python", " ".join(sys.argv), flush=True)
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as folder:
        path = options.executable.resolve() if options.executable else unpack_layer(Path(folder))
        arrivals, missing, back_s = asyncio.run(herd(Candidate(path.name, path), options.processes, options.seconds))
    counts = bins(arrivals, options.seconds)
    for index, count in enumerate(counts):
        if count:
            print(f"{index * BIN_S:6.2f} s {count:6} {'#' * (count * BAR_WIDTH // max(counts))}")
    later = max(counts[int(5 / BIN_S) :], default=0)
    print(f"backend back after {back_s:.1f} s; {missing} lines missing; highest bin {max(counts)}, after 5 s {later}")
    title = f"{options.processes} processes, {path.name}: {len(arrivals)} requests"
    draw(options.plot, counts, back_s, title)
    raise SystemExit(missing != 0 or later >= max(counts))


if __name__ == "__main__":
    main()
