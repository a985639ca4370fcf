"""HTTP side of the Extensions API and the Telemetry API: headers, statuses and bodies; decisions are elsewhere."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from aiohttp import web

from o2_lambda.emulator import events, state
from o2_lambda.emulator.errors import ApiError
from o2_lambda.emulator.server import json_answer
from o2_lambda.emulator.telemetry import parse_subscription

if TYPE_CHECKING:
    from collections.abc import Callable

    from o2_lambda.emulator.sandbox import Sandbox

PREFIX = "/2020-01-01/extension"
TELEMETRY_PATH = "/2022-07-01/telemetry"
NAME = "Lambda-Extension-Name"
IDENTIFIER = "Lambda-Extension-Identifier"
EVENT_IDENTIFIER = "Lambda-Extension-Event-Identifier"
ERROR_TYPE = "Lambda-Extension-Function-Error-Type"
ACCEPT_FEATURE = "Lambda-Extension-Accept-Feature"
BODY_BYTES_MAX = 1024 * 1024
STATUS_OK = {"status": "OK"}


class ExtensionsApi:
    """The handlers; `current` returns the environment there is now."""

    def __init__(self, current: Callable[[], Sandbox]) -> None:
        self._current = current

    def routes(self) -> list[web.RouteDef]:
        """Return what to mount."""
        return [
            web.post(f"{PREFIX}/register", self.register),
            web.get(f"{PREFIX}/event/next", self.next, allow_head=False),
            web.post(f"{PREFIX}/init/error", self.init_error),
            web.post(f"{PREFIX}/exit/error", self.exit_error),
            web.put(TELEMETRY_PATH, self.telemetry),
        ]

    def caller(self, request: web.Request) -> str | None:
        """Return the name of the extension that calls, None for the runtime or a stranger."""
        try:
            return request.headers.get(NAME) or self._current().registry.find(request.headers.get(IDENTIFIER)).name
        except ApiError:
            return None

    async def register(self, request: web.Request) -> web.Response:
        """`POST /register`."""
        sandbox = self._current()
        body = await request.read()
        if sandbox.config.faults.take("refuse_registers"):
            raise ApiError("Extension.RegistrationClosed", "Extension registration closed already")
        extension = sandbox.registry.register(request.headers.get(NAME), body)
        sandbox.entered(extension)
        config = sandbox.config
        answer = {
            "functionName": config.function_name,
            "functionVersion": config.function_version,
            "handler": config.handler,
        }
        features = [feature.strip() for feature in request.headers.get(ACCEPT_FEATURE, "").split(",")]
        if "accountId" in features:
            answer["accountId"] = config.account_id
        return json_answer(answer, headers={IDENTIFIER: extension.identifier})

    async def next(self, request: web.Request) -> web.Response:
        """`GET /event/next`: answers when there is an event, however long that takes."""
        sandbox = self._current()
        extension = sandbox.registry.find(request.headers.get(IDENTIFIER))
        event = await sandbox.next_event(extension)
        if event["eventType"] == state.SHUTDOWN:
            return web.Response(text=events.compact(event))  # AWS sends it as text/plain, without an event identifier
        return json_answer(event, headers={EVENT_IDENTIFIER: str(uuid.uuid4())})

    async def init_error(self, request: web.Request) -> web.Response:
        """`POST /init/error`."""
        return self._error(request, state.REPORT_INIT_ERROR)

    async def exit_error(self, request: web.Request) -> web.Response:
        """`POST /exit/error`."""
        return self._error(request, state.REPORT_EXIT_ERROR)

    def _error(self, request: web.Request, verb: str) -> web.Response:
        sandbox = self._current()
        extension = sandbox.registry.find(request.headers.get(IDENTIFIER), naming_it=False)
        error_type = request.headers.get(ERROR_TYPE)
        if not error_type:
            raise ApiError("Extension.MissingHeader", f"{ERROR_TYPE} not found")
        sandbox.report_error(extension, verb, error_type)
        return json_answer(STATUS_OK, status=202)

    async def telemetry(self, request: web.Request) -> web.Response:
        """`PUT /telemetry`."""
        sandbox = self._current()
        body = await request.read()
        faults = sandbox.config.faults
        if faults.take("telemetry_not_supported"):
            raise ApiError("Telemetry.NotSupported", "Telemetry API is not supported", status=202)
        extension = sandbox.registry.find(request.headers.get(IDENTIFIER))
        if sandbox.dispatcher.closed or faults.take("telemetry_closed"):
            raise ApiError("Telemetry.SubscriptionClosed", "Telemetry API subscription is closed already")
        subscription = parse_subscription(body, managed=sandbox.config.managed)
        await sandbox.dispatcher.subscribe(extension.name, subscription)
        record = events.telemetry_subscription(name=extension.name, types=list(subscription.types))
        sandbox.emit("platform.telemetrySubscription", record)
        return json_answer("OK")
