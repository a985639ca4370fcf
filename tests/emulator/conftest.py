"""Fixtures: puppets (extension and runtime played by the test itself), a probe extension, a telemetry sink."""

from __future__ import annotations

import asyncio
import io
import json
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from o2_lambda.emulator import Emulator, InvokeResult, LambdaConfig
from o2_lambda.emulator.extensions_api import IDENTIFIER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

HERE = Path(__file__).parent
SLEEPER = "#!/bin/sh\nexec sleep 600\n"
WAIT_S = 10


def executable(path: Path, text: str) -> Path:
    """Write a script and make it executable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


async def eventually(condition: Callable[[], bool], emulator: Emulator) -> None:
    """Wait until `condition` holds, looking whenever the emulator notes a fact."""
    changed = asyncio.Event()
    emulator.record.on_fact.append(lambda _fact: changed.set())
    async with asyncio.timeout(WAIT_S):
        while not condition():
            changed.clear()
            await changed.wait()


def kinds(emulator: Emulator) -> list[str]:
    """Return the kinds of platform events emitted so far, in order."""
    return [fact.detail["type"] for fact in emulator.timeline if fact.kind == "event"]


def record_of(emulator: Emulator, kind: str) -> dict[str, Any]:
    """Return the last record of a platform event."""
    return [
        fact.detail["record"] for fact in emulator.timeline if fact.kind == "event" and fact.detail["type"] == kind
    ][-1]


class Answer:
    """An HTTP answer, read whole."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class Puppet:
    """Plays extension and runtime over real HTTP, while processes that only sleep stand in for them."""

    def __init__(self, emulator: Emulator, session: aiohttp.ClientSession) -> None:
        self.emulator = emulator
        self.session = session
        self.identifier = ""
        self.event_call: asyncio.Task[Answer]
        self.runtime_call: asyncio.Task[Answer]

    async def call(self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"") -> Answer:
        """Make any call."""
        url = f"http://{self.emulator.runtime_api}{path}"
        async with self.session.request(method, url, headers=headers, data=io.BytesIO(body)) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def register(self, name: str = "puppet", events: tuple[str, ...] = ("INVOKE",)) -> Answer:
        """Register, and remember the identifier. Without SHUTDOWN the sleeping process is killed at once at the end."""
        body = json.dumps({"events": list(events)}).encode()
        answer = await self.call("POST", "/2020-01-01/extension/register", {"Lambda-Extension-Name": name}, body)
        self.identifier = answer.headers.get(IDENTIFIER, self.identifier)
        return answer

    def next(self) -> asyncio.Task[Answer]:
        """Poll for the next event."""
        return asyncio.create_task(self.call("GET", "/2020-01-01/extension/event/next", {IDENTIFIER: self.identifier}))

    async def subscribe(self, destination: dict[str, Any], **request: Any) -> Answer:
        """Subscribe to telemetry."""
        body = {
            "schemaVersion": "2022-12-13",
            "types": ["platform", "function", "extension"],
            "buffering": {"timeoutMs": 25},
            "destination": destination,
            **request,
        }
        return await self.call("PUT", "/2022-07-01/telemetry", {IDENTIFIER: self.identifier}, json.dumps(body).encode())

    def runtime_next(self) -> asyncio.Task[Answer]:
        """Poll for the next invocation, as the runtime."""
        return asyncio.create_task(self.call("GET", "/2018-06-01/runtime/invocation/next"))

    async def respond(self, request_id: str, body: bytes = b'"done"') -> Answer:
        """Post a response, as the runtime."""
        return await self.call("POST", f"/2018-06-01/runtime/invocation/{request_id}/response", None, body)

    async def spawned(self, name: str) -> None:
        """Wait until a process has been started."""
        await eventually(
            lambda: any(fact.kind == "spawn" and fact.detail["name"] == name for fact in self.emulator.timeline),
            self.emulator,
        )

    async def started(self, sink: Sink | None = None, events: tuple[str, ...] = ("INVOKE",)) -> None:
        """Bring the environment up: register, subscribe `sink`, wait in next as extension and runtime."""
        init = asyncio.create_task(self.emulator.init())
        await self.spawned("puppet")
        await self.register(events=events)
        if sink:
            assert (await self.subscribe(sink.destination)).status == 200
        await self.spawned("runtime")
        self.event_call, self.runtime_call = self.next(), self.runtime_next()
        assert (await init).status == "success"

    async def serve_one(self, payload: bytes = b"{}") -> InvokeResult:
        """Play one whole invocation; the extension calls next after the runtime."""
        invocation = self.emulator.begin_invoke(payload)
        await asyncio.gather(self.event_call, self.runtime_call)
        await self.respond(invocation.request_id)
        self.runtime_call = self.runtime_next()
        await eventually(lambda: invocation.runtime_done_ms is not None, self.emulator)
        self.event_call = self.next()
        return await invocation.done


class Sink:
    """A telemetry listener: records bodies, answers with the scripted statuses and then 200."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.paths: list[str] = []
        self.peers: list[int] = []
        self.statuses: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.port = 0
        self._arrived = asyncio.Event()

    @property
    def destination(self) -> dict[str, Any]:
        """What to subscribe with."""
        return {"protocol": "HTTP", "URI": f"http://sandbox.localdomain:{self.port}/telemetry?a=b"}

    @property
    def events(self) -> list[dict[str, Any]]:
        """All events received, in order."""
        return [event for body in self.bodies for event in json.loads(body)]

    @property
    def types(self) -> list[str]:
        """Their types."""
        return [event["type"] for event in self.events]

    async def until(self, condition: Callable[[Sink], bool]) -> None:
        """Wait for POSTs until `condition` holds."""
        async with asyncio.timeout(WAIT_S):
            while not condition(self):
                self._arrived.clear()
                await self._arrived.wait()

    async def handle(self, request: web.Request) -> web.Response:
        """Take one POST."""
        self.bodies.append(await request.read())
        self.paths.append(request.raw_path)
        assert request.transport is not None
        self.peers.append(request.transport.get_extra_info("peername")[1])
        status = self.statuses.pop(0) if self.statuses else 200
        self._arrived.set()
        await self.gate.wait()
        return web.Response(status=status)


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    """A telemetry listener on a free port."""
    listener = Sink()
    app = web.Application(client_max_size=16 * 1024 * 1024)
    app.router.add_post("/{path:.*}", listener.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    listener.port = runner.addresses[0][1]
    yield listener
    await runner.cleanup()


class Stage:
    """Builds emulators for one test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.opt = folder / "extensions"

    def sleeper(self, name: str = "puppet") -> Path:
        """An extension process that does nothing, for a puppet to play."""
        return executable(self.opt / name, SLEEPER)

    def probe(self, name: str = "probe") -> Path:
        """The probe extension under `name`."""
        return executable(self.opt / name, f"#!{sys.executable}\n{(HERE / 'probe_extension.py').read_text()}")

    def puppet_config(self, **changes: Any) -> LambdaConfig:
        """Runtime and one extension are puppets; not yet initialised."""
        settings = {
            "runtime_command": [executable(self.folder / "bootstrap", SLEEPER)],
            "task_root": self.folder,
            "handler": "app.handler",
            "eager_init": False,
            **changes,
        }
        settings.setdefault("extensions", [self.opt / "puppet"])
        if "extensions" not in changes:
            self.sleeper()
        return LambdaConfig(**settings)

    def python_config(
        self, code: str = "def handler(event, context):\n    return event\n", **changes: Any
    ) -> LambdaConfig:
        """A Python function under the real runtime client."""
        (self.folder / "app.py").write_text(code)
        settings = {
            "runtime_command": [sys.executable, "-m", "awslambdaric"],
            "task_root": self.folder,
            "handler": "app.handler",
            "timeout_ms": 10_000,
            **changes,
        }
        return LambdaConfig(**settings)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """The test's own stage."""
    return Stage(tmp_path)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client without limits on parked calls."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as client:
        yield client
