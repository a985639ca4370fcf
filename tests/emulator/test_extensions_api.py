"""The Extensions API over HTTP: answers, refusals, both barriers."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import pytest

from o2_lambda.emulator import Emulator
from o2_lambda.emulator.extensions_api import ERROR_TYPE, EVENT_IDENTIFIER, IDENTIFIER
from tests.emulator.conftest import Puppet, Stage, eventually, kinds, record_of

if TYPE_CHECKING:
    import aiohttp

REGISTER = "/2020-01-01/extension/register"
NEXT = "/2020-01-01/extension/event/next"
INIT_ERROR = "/2020-01-01/extension/init/error"
EXIT_ERROR = "/2020-01-01/extension/exit/error"
NAMED = {"Lambda-Extension-Name": "puppet"}


async def test_init_holds_the_runtime_until_every_extension_registered(
    stage: Stage, session: aiohttp.ClientSession
) -> None:
    """Barrier A: no runtime before the last register; barrier B: no ready environment before the last next."""
    config = stage.puppet_config(extensions=[stage.sleeper("a"), stage.sleeper("b")])
    async with Emulator(config) as emulator:
        init = asyncio.create_task(emulator.init())
        first, second = Puppet(emulator, session), Puppet(emulator, session)
        await first.spawned("b")
        await first.register("a")
        spawned = [fact.detail["name"] for fact in emulator.timeline if fact.kind == "spawn"]
        assert spawned == ["a", "b"]
        await second.register("b")
        await first.spawned("runtime")
        parked = [first.next(), first.runtime_next()]
        await eventually(lambda: "platform.initRuntimeDone" in kinds(emulator), emulator)
        await first.call("GET", "/2018-06-01/ping")  # a round trip, in which a missing barrier would show
        assert emulator.state == "INIT"
        parked.append(second.next())
        assert (await init).status == "success"
        assert kinds(emulator) == [
            "platform.initStart", "platform.initRuntimeDone", "platform.extension", "platform.extension",
            "platform.initReport",
        ]  # fmt: skip
        await emulator.shutdown()
        await asyncio.gather(*parked)


async def test_register_answers_who_the_function_is(stage: Stage, session: aiohttp.ClientSession) -> None:
    """The account id comes only with the feature header."""
    async with Emulator(stage.puppet_config(extensions=[stage.sleeper("a"), stage.sleeper("b")])) as emulator:
        init = asyncio.create_task(emulator.init())
        puppet = Puppet(emulator, session)
        await puppet.spawned("b")
        plain = await puppet.register("a")
        assert plain.status == 200
        assert plain.json == {"functionName": "my-function", "functionVersion": "$LATEST", "handler": "app.handler"}
        uuid.UUID(plain.headers[IDENTIFIER])
        headers = {"Lambda-Extension-Name": "b", "Lambda-Extension-Accept-Feature": "accountId"}
        full = await puppet.call("POST", REGISTER, headers, b'{"events":[]}')
        assert full.json["accountId"] == "123456789012"
        init.cancel()


REFUSALS = [
    ("POST", REGISTER, {}, b"{}", "Extension.InvalidExtensionName", "Empty extension name"),
    ("POST", REGISTER, NAMED, b"", "InvalidRequestFormat", None),
    ("POST", REGISTER, NAMED, b"{nope", "InvalidRequestFormat", None),
    ("POST", REGISTER, NAMED, b"[]", "InvalidRequestFormat", None),
    ("POST", REGISTER, NAMED, b'{"events":["FOO"]}', "Extension.InvalidEventType", "FOO: ErrorInvalidEventType"),
    ("POST", REGISTER, {"Lambda-Extension-Name": "inner"}, b'{"events":["SHUTDOWN"]}', "Extension.InvalidEventType",
     "SHUTDOWN: ShutdownEventNotSupportedForInternalExtension"),
    ("GET", NEXT, {}, b"", "Extension.MissingExtensionIdentifier", None),
    ("GET", NEXT, {IDENTIFIER: "nonsense"}, b"", "Extension.InvalidExtensionIdentifier", None),
    ("GET", NEXT, {IDENTIFIER: str(uuid.UUID(int=1))}, b"", "Extension.UnknownExtensionIdentifier", None),
    ("POST", INIT_ERROR, {ERROR_TYPE: "X.Y"}, b"", "Extension.MissingExtensionIdentifier", None),
    ("PUT", "/2022-07-01/telemetry", {}, b"{}", "Extension.MissingExtensionIdentifier", None),
]  # fmt: skip


async def test_refusals_are_403_with_awss_error_types(stage: Stage, session: aiohttp.ClientSession) -> None:
    """Every row of the table, and none of them changes the extension's state."""
    async with Emulator(stage.puppet_config()) as emulator:
        init = asyncio.create_task(emulator.init())
        puppet = Puppet(emulator, session)
        await puppet.spawned("puppet")
        for method, path, headers, body, error_type, message in REFUSALS:
            answer = await puppet.call(method, path, headers, body)
            assert (answer.status, answer.json["errorType"]) == (403, error_type)
            assert message is None or answer.json["errorMessage"] == message
        assert (await puppet.register()).status == 200
        init.cancel()


async def test_state_errors_name_both_states(stage: Stage, session: aiohttp.ClientSession) -> None:
    """Registering twice, and error calls without their header or repeated."""
    async with Emulator(stage.puppet_config()) as emulator:
        init = asyncio.create_task(emulator.init())
        puppet = Puppet(emulator, session)
        await puppet.spawned("puppet")
        await puppet.register()
        again = await puppet.register()
        assert again.status == 403
        assert again.json == {
            "errorMessage": "State transition from Registered to Registered failed for extension puppet. "
            "Error: State transition is not allowed",
            "errorType": "Extension.InvalidExtensionState",
        }
        identity = {IDENTIFIER: puppet.identifier}
        bare = await puppet.call("POST", EXIT_ERROR, identity)
        assert bare.json == {
            "errorMessage": "Lambda-Extension-Function-Error-Type not found", "errorType": "Extension.MissingHeader",
        }  # fmt: skip
        first = await puppet.call("POST", INIT_ERROR, {**identity, ERROR_TYPE: "Probe.Bad"})
        assert (first.status, first.json) == (202, {"status": "OK"})
        result = await init
        assert (result.status, result.error_type) == ("error", "Extension.InitError")
        assert record_of(emulator, "platform.extension")["errorType"] == "Probe.Bad"
        assert record_of(emulator, "platform.extension")["state"] == "InitError"


@pytest.mark.parametrize(("method", "path", "status", "allow"), [
    ("GET", "/2020-01-01/extension/nothing", 404, None),
    ("DELETE", REGISTER, 405, "POST"),
    ("POST", NEXT, 405, "GET"),
])  # fmt: skip
async def test_unknown_paths_and_methods(
    stage: Stage, session: aiohttp.ClientSession, method: str, path: str, status: int, allow: str | None
) -> None:
    """404 is plain text, 405 says what is allowed."""
    async with Emulator(stage.puppet_config()) as emulator:
        answer = await Puppet(emulator, session).call(method, path)
        assert answer.status == status
        assert answer.headers.get("Allow") == allow
        if status == 404:
            assert answer.body.strip() == b"404 page not found"


async def test_invoke_and_shutdown_events_have_awss_shapes(stage: Stage, session: aiohttp.ClientSession) -> None:
    """INVOKE has an event id header and JSON; SHUTDOWN has neither."""
    async with Emulator(stage.puppet_config()) as emulator:
        init = asyncio.create_task(emulator.init())
        puppet = Puppet(emulator, session)
        await puppet.spawned("puppet")
        await puppet.register(events=("INVOKE", "SHUTDOWN"))
        await puppet.spawned("runtime")
        event_call, runtime_call = puppet.next(), puppet.runtime_next()
        await init
        invocation = emulator.begin_invoke(b'{"k":1}', client_context='{"custom":{}}')
        event, request = await event_call, await runtime_call
        assert event.headers["Content-Type"].startswith("application/json")
        assert event.headers[EVENT_IDENTIFIER]
        assert event.json == {
            "eventType": "INVOKE",
            "deadlineMs": int(invocation.deadline_wall_ms),
            "requestId": invocation.request_id,
            "invokedFunctionArn": "arn:aws:lambda:us-east-1:123456789012:function:my-function",
            "tracing": {"type": "X-Amzn-Trace-Id", "value": invocation.trace_id},
        }
        assert request.body == b'{"k":1}'
        assert request.headers["Lambda-Runtime-Aws-Request-Id"] == invocation.request_id
        assert request.headers["Lambda-Runtime-Trace-Id"] == invocation.trace_id
        assert request.headers["Lambda-Runtime-Deadline-Ms"] == str(event.json["deadlineMs"])
        assert request.headers["Lambda-Runtime-Client-Context"] == '{"custom":{}}'
        late = await puppet.register("late")
        assert late.json["errorType"] == "Extension.RegistrationClosed"
        assert (await puppet.respond(invocation.request_id)).status == 202
        event_call, runtime_call = puppet.next(), puppet.runtime_next()
        await invocation.done
        shutdown = asyncio.create_task(emulator.shutdown())
        event = await event_call
        assert event.json["shutdownReason"] == "spindown"
        assert EVENT_IDENTIFIER not in event.headers
        assert event.headers["Content-Type"].startswith("text/plain")
        assert (await shutdown).extensions["puppet"].killed
        await runtime_call


async def test_tracing_is_omitted_without_a_trace_id(stage: Stage, session: aiohttp.ClientSession) -> None:
    """No trace id, no key."""
    async with Emulator(stage.puppet_config(timeout_ms=400)) as emulator:
        init = asyncio.create_task(emulator.init())
        puppet = Puppet(emulator, session)
        await puppet.spawned("puppet")
        await puppet.register()
        await puppet.spawned("runtime")
        event_call, runtime_call = puppet.next(), puppet.runtime_next()
        await init
        invocation = emulator.begin_invoke(trace_id="")
        assert "tracing" not in (await event_call).json
        await runtime_call
        assert (await invocation.done).outcome == "timeout"


async def test_runtime_calls_out_of_order_are_refused(stage: Stage, session: aiohttp.ClientSession) -> None:
    """An unknown request id is 400; a second response and an early next are 403; over 6 MB is 413."""
    async with Emulator(stage.puppet_config(extensions=[], timeout_ms=20_000)) as emulator:
        init = asyncio.create_task(emulator.init())
        puppet = Puppet(emulator, session)
        await puppet.spawned("runtime")
        call = puppet.runtime_next()
        await init
        invocation = emulator.begin_invoke()
        await call
        unknown = await puppet.respond("no-such-id")
        assert (unknown.status, unknown.json["errorType"]) == (400, "InvalidRequestID")
        early = await puppet.runtime_next()
        assert (early.status, early.json["errorType"]) == (403, "InvalidStateTransition")
        large = await puppet.respond(invocation.request_id, b"x" * (6 * 1024 * 1024 + 101))
        assert (large.status, large.json["errorType"]) == (413, "RequestEntityTooLarge")
        second = await puppet.respond(invocation.request_id)
        assert second.status == 403
        call = puppet.runtime_next()
        result = await invocation.done
        assert (result.outcome, result.error_type) == ("error", "Function.ResponseSizeTooLarge")
        await emulator.shutdown()
        await call
