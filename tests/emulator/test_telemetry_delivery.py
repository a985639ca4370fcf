"""Telemetry over the wire: retries, order, freeze, TCP, and every fault of delivery."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from o2_lambda.emulator import ALWAYS, Emulator, Faults
from tests.emulator.conftest import Puppet, Sink, Stage, eventually, kinds

if TYPE_CHECKING:
    import aiohttp


async def test_the_uri_path_and_query_are_honoured(stage: Stage, session: aiohttp.ClientSession, sink: Sink) -> None:
    """POSTs go to the subscribed path as JSON arrays."""
    async with Emulator(stage.puppet_config()) as emulator:
        puppet = Puppet(emulator, session)
        await puppet.started(sink)
        await puppet.serve_one()
        await emulator.shutdown()
        assert set(sink.paths) == {"/telemetry?a=b"}
        assert sink.types == [
            "platform.initStart", "platform.telemetrySubscription", "platform.initRuntimeDone", "platform.extension",
            "platform.initReport", "platform.start", "platform.runtimeDone", "platform.report",
        ]  # fmt: skip
        assert emulator.telemetry_sent["puppet"] == sink.events


async def test_a_failed_post_is_sent_again_with_the_same_bytes(
    stage: Stage, session: aiohttp.ClientSession, sink: Sink
) -> None:
    """Non-2xx answers: the same batch until it is accepted, and nothing overtakes it."""
    sink.statuses = [500, 503, 302]
    async with Emulator(stage.puppet_config(freeze=False)) as emulator:
        puppet = Puppet(emulator, session)
        await puppet.started(sink)
        await sink.until(lambda s: len(s.bodies) >= 4)
        assert len(set(sink.bodies[:4])) == 1
        await eventually(lambda: "puppet" in emulator.telemetry_sent, emulator)
        attempts = [(delivery.attempt, delivery.status) for delivery in emulator.deliveries][:4]
        assert attempts == [(1, 500), (2, 503), (3, 302), (4, 200)]


async def test_connection_errors_are_retried(stage: Stage, session: aiohttp.ClientSession) -> None:
    """Nobody listens: attempts go on, nothing is lost from the queue."""
    async with Emulator(stage.puppet_config(freeze=False)) as emulator:
        puppet = Puppet(emulator, session)
        nobody = Sink()
        nobody.port = 1
        await puppet.started(nobody)
        await eventually(lambda: len(emulator.deliveries) >= 2, emulator)
        assert {delivery.status for delivery in emulator.deliveries} == {0}
        assert len({delivery.body for delivery in emulator.deliveries}) == 1


async def test_one_post_in_flight(stage: Stage, session: aiohttp.ClientSession, sink: Sink) -> None:
    """While one is unanswered no other is sent; what comes meanwhile is in the next."""
    sink.gate.clear()
    async with Emulator(stage.puppet_config(freeze=False)) as emulator:
        puppet = Puppet(emulator, session)
        await puppet.started(sink)
        await sink.until(lambda s: len(s.bodies) == 1)
        invocation = emulator.begin_invoke()
        await asyncio.gather(puppet.event_call, puppet.runtime_call)
        await puppet.respond(invocation.request_id)
        runtime_call = puppet.runtime_next()
        await eventually(lambda: "platform.runtimeDone" in kinds(emulator), emulator)
        assert len(sink.bodies) == 1
        sink.gate.set()
        await sink.until(lambda s: "platform.runtimeDone" in s.types)
        event_call = puppet.next()
        await invocation.done
        await emulator.shutdown()
        await asyncio.gather(event_call, runtime_call)


async def test_nothing_is_sent_while_frozen(stage: Stage, session: aiohttp.ClientSession, sink: Sink) -> None:
    """What init emitted last waits for the first invoke, the report for the second."""
    async with Emulator(stage.puppet_config()) as emulator:
        puppet = Puppet(emulator, session)
        await puppet.started(sink)
        await asyncio.sleep(0.15)  # several times the buffering timeout
        assert "platform.initReport" not in sink.types
        await puppet.serve_one()
        await asyncio.sleep(0.15)
        assert "platform.initReport" in sink.types
        assert "platform.report" not in sink.types


async def test_a_slow_subscriber_gets_logs_dropped(stage: Stage, session: aiohttp.ClientSession, sink: Sink) -> None:
    """The queue is bounded; one logsDropped tells how much is missing."""
    code = "def handler(event, context):\n    for _ in range(40):\n        print('x' * 50_000)\n"
    config = stage.python_config(code, extensions=[stage.sleeper()], eager_init=False, freeze=False)
    async with Emulator(config) as emulator:
        puppet = Puppet(emulator, session)
        init = asyncio.create_task(emulator.init())
        await puppet.spawned("puppet")
        await puppet.register()
        sink.gate.clear()
        await puppet.subscribe(sink.destination)
        event_call = puppet.next()
        await init
        await sink.until(lambda s: len(s.bodies) == 1)
        invocation = emulator.begin_invoke()
        await event_call
        await eventually(lambda: any(fact.kind == "telemetry.dropped" for fact in emulator.timeline), emulator)
        await eventually(lambda: "platform.runtimeDone" in kinds(emulator), emulator)
        sink.gate.set()
        await sink.until(lambda s: "platform.logsDropped" in s.types)
        event_call = puppet.next()
        await invocation.done
        record = next(event["record"] for event in sink.events if event["type"] == "platform.logsDropped")
        received = sink.types.count("function")
        dropped_logs = sum(
            fact.kind == "telemetry.dropped" and fact.detail["type"] == "function" for fact in emulator.timeline
        )
        assert received + dropped_logs == 40
        assert record["droppedRecords"] >= dropped_logs > 0
        await emulator.shutdown()
        await event_call


async def test_tcp_destination_gets_one_json_object_per_line(stage: Stage, session: aiohttp.ClientSession) -> None:
    """Newline-delimited, over one connection."""
    received = bytearray()
    arrived = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            received.extend(data)
            if b"platform.runtimeDone" in received:
                arrived.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with Emulator(stage.puppet_config(freeze=False)) as emulator:
        puppet = Puppet(emulator, session)
        init = asyncio.create_task(emulator.init())
        await puppet.spawned("puppet")
        await puppet.register()
        port = server.sockets[0].getsockname()[1]
        assert (await puppet.subscribe({"protocol": "TCP", "port": port})).json == "OK"
        await puppet.spawned("runtime")
        puppet.event_call, puppet.runtime_call = puppet.next(), puppet.runtime_next()
        await init
        await puppet.serve_one()
        async with asyncio.timeout(5):
            await arrived.wait()
    server.close()
    events = [json.loads(line) for line in received.decode().splitlines()]
    assert events[0]["type"] == "platform.initStart"


async def test_subscribing_after_init_is_refused(stage: Stage, session: aiohttp.ClientSession, sink: Sink) -> None:
    """403 Telemetry.SubscriptionClosed."""
    async with Emulator(stage.puppet_config()) as emulator:
        puppet = Puppet(emulator, session)
        await puppet.started(sink)
        answer = await puppet.subscribe(sink.destination)
        assert (answer.status, answer.json["errorType"]) == (403, "Telemetry.SubscriptionClosed")


@pytest.mark.parametrize(("knob", "status", "error_type"), [
    ("telemetry_not_supported", 202, "Telemetry.NotSupported"),
    ("telemetry_closed", 403, "Telemetry.SubscriptionClosed"),
])  # fmt: skip
async def test_fault_telemetry_answers(
    stage: Stage, session: aiohttp.ClientSession, sink: Sink, knob: str, status: int, error_type: str
) -> None:
    """Applied as often as asked, then the API works."""
    async with Emulator(stage.puppet_config(faults=Faults(**{knob: 1}))) as emulator:
        init = asyncio.create_task(emulator.init())
        puppet = Puppet(emulator, session)
        await puppet.spawned("puppet")
        await puppet.register()
        answer = await puppet.subscribe(sink.destination)
        assert (answer.status, answer.json["errorType"]) == (status, error_type)
        assert (await puppet.subscribe(sink.destination)).status == 200
        init.cancel()


async def test_fault_refused_registers(stage: Stage, session: aiohttp.ClientSession) -> None:
    """The first N are refused, the next is served."""
    async with Emulator(stage.puppet_config(faults=Faults(refuse_registers=2))) as emulator:
        init = asyncio.create_task(emulator.init())
        puppet = Puppet(emulator, session)
        await puppet.spawned("puppet")
        assert [(await puppet.register()).status for _ in range(3)] == [403, 403, 200]
        init.cancel()


async def test_fault_duplicate_comes_on_a_fresh_connection(
    stage: Stage, session: aiohttp.ClientSession, sink: Sink
) -> None:
    """The same bytes twice: the answer was lost with its connection."""
    async with Emulator(stage.puppet_config(freeze=False, faults=Faults(duplicate_batches=1))) as emulator:
        puppet = Puppet(emulator, session)
        await puppet.started(sink)
        await sink.until(lambda s: len(s.bodies) >= 2)
        assert sink.bodies[0] == sink.bodies[1]
        assert sink.peers[0] != sink.peers[1]


async def test_fault_dropped_post_never_arrives(stage: Stage, session: aiohttp.ClientSession, sink: Sink) -> None:
    """The first batch, with initStart, is lost; the rest comes."""
    async with Emulator(stage.puppet_config(freeze=False, faults=Faults(drop_posts=1))) as emulator:
        puppet = Puppet(emulator, session)
        await puppet.started(sink)
        await eventually(lambda: any(fact.kind == "fault.drop_post" for fact in emulator.timeline), emulator)
        await puppet.serve_one()
        await sink.until(lambda s: "platform.report" in s.types)
        assert "platform.initStart" not in sink.types


async def test_fault_delayed_post(stage: Stage, session: aiohttp.ClientSession, sink: Sink) -> None:
    """The POST comes late by the given time."""
    faults = Faults(delay_posts=1, delay_post_ms=400)
    async with Emulator(stage.puppet_config(freeze=False, faults=faults)) as emulator:
        puppet = Puppet(emulator, session)
        await puppet.started(sink)
        await sink.until(lambda s: bool(s.bodies))
        await eventually(lambda: bool(emulator.deliveries), emulator)
        assert emulator.deliveries[0].t_ms >= 400


async def test_fault_reordered_batches(stage: Stage, session: aiohttp.ClientSession, sink: Sink) -> None:
    """A batch is overtaken by its successor; both arrive."""
    async with Emulator(stage.puppet_config(freeze=False, faults=Faults(reorder_batches=1))) as emulator:
        puppet = Puppet(emulator, session)
        await puppet.started(sink)
        await eventually(lambda: any(fact.kind == "fault.reorder" for fact in emulator.timeline), emulator)
        await puppet.serve_one()
        await sink.until(lambda s: {"platform.initStart", "platform.start"} <= set(s.types))
        assert sink.types.index("platform.start") < sink.types.index("platform.initStart")


async def test_fault_oversize_split_on_the_wire(stage: Stage, session: aiohttp.ClientSession, sink: Sink) -> None:
    """Two POSTs, neither valid JSON, which stitch together."""
    async with Emulator(stage.puppet_config(freeze=False, faults=Faults(oversize_split_bytes=250))) as emulator:
        puppet = Puppet(emulator, session)
        await puppet.started(sink)
        await sink.until(lambda s: len(s.bodies) >= 2)
        head, tail = sink.bodies[:2]
        envelope = head[: head.index(b'"record":') + len(b'"record":')]
        assert head.endswith(b"}]")
        assert tail.startswith(envelope)
        assert json.loads(head[:-2] + tail[len(envelope) :])[0]["type"] == "platform.initStart"


async def test_fault_missing_runtime_done_and_report(stage: Stage, session: aiohttp.ClientSession, sink: Sink) -> None:
    """Neither is emitted, as often as asked."""
    faults = Faults(missing_runtime_done=1, missing_reports=1)
    async with Emulator(stage.puppet_config(freeze=False, faults=faults)) as emulator:
        puppet = Puppet(emulator, session)
        await puppet.started(sink)
        await puppet.serve_one()
        await puppet.serve_one()
        await emulator.shutdown()
        assert sink.types.count("platform.start") == 2
        assert sink.types.count("platform.runtimeDone") == 1
        assert sink.types.count("platform.report") == 1


async def test_fault_late_report_comes_after_the_next_start(
    stage: Stage, session: aiohttp.ClientSession, sink: Sink
) -> None:
    """The first report follows the second start; the last one comes at shutdown."""
    async with Emulator(stage.puppet_config(faults=Faults(late_reports=ALWAYS))) as emulator:
        puppet = Puppet(emulator, session)
        await puppet.started(sink)
        first = await puppet.serve_one()
        await puppet.serve_one()
        await emulator.shutdown()
        order = [event["type"] for event in sink.events if event["type"] in ("platform.start", "platform.report")]
        assert order == ["platform.start", "platform.start", "platform.report", "platform.report"]
        report = next(event for event in sink.events if event["type"] == "platform.report")
        assert report["record"]["requestId"] == first.request_id
