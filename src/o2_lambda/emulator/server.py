"""Mounts handlers on a loopback port with AWS's way of refusing: 403 bodies, plain 404, 405 with `Allow`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web

from o2_lambda.emulator import events
from o2_lambda.emulator.errors import ApiError
from o2_lambda.emulator.tap import Tap

if TYPE_CHECKING:
    from o2_lambda.emulator.timeline import Timeline

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
REQUEST_BYTES_MAX = 32 * 1024 * 1024  # above every limit the APIs themselves state, so that they can state them
FIELD_BYTES_MAX = 256 * 1024  # of a header or trailer: a runtime puts its error, stack trace and all, into one
KEEP_ALIVE_S = 3600.0  # a connection idle over a long freeze is not the platform's to close


def json_answer(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer with AWS's own Content-Type, which names no charset."""
    body = events.compact(value).encode()
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")


class Server:
    """One HTTP server; `address` is `host:port` once it is started."""

    def __init__(
        self, routes: Iterable[web.RouteDef], timeline: Timeline, kind: str, who: Callable[[web.Request], str | None]
    ) -> None:
        self._timeline = timeline
        self._kind = kind
        self._who = who  # names the caller, for the timeline
        self._app = web.Application(middlewares=[self._answer], client_max_size=REQUEST_BYTES_MAX)
        self._app.router.add_routes(routes)
        self._runner = web.AppRunner(
            self._app,
            access_log=None,
            shutdown_timeout=0.1,
            keepalive_timeout=KEEP_ALIVE_S,
            handle_signals=False,
            max_field_size=FIELD_BYTES_MAX,
        )
        self._listener: asyncio.Server | None = None
        self.address = ""

    async def start(self, host: str, port: int) -> None:
        """Listen; raises OSError when the port is taken."""
        await self._runner.setup()
        serve = self._runner.server
        assert serve is not None  # set up just now
        self._listener = await asyncio.get_running_loop().create_server(lambda: Tap(serve()), host, port)
        bound_host, bound_port = self._listener.sockets[0].getsockname()[:2]
        self.address = f"{bound_host}:{bound_port}"

    async def close(self) -> None:
        """Stop listening and drop what is still parked."""
        if self._listener:
            self._listener.close()
        await self._runner.cleanup()

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        call = {"method": request.method, "path": request.path, "caller": self._who(request)}
        self._timeline.note(f"{self._kind}.call", **call)
        try:
            response = await handler(request)
        except ApiError as error:
            response = web.Response(body=error.encode(), status=error.status, content_type="application/json")
        except web.HTTPNotFound:
            response = web.Response(text="404 page not found\n", status=404)
        except web.HTTPMethodNotAllowed as error:
            response = web.Response(status=405, headers={"Allow": ", ".join(sorted(error.allowed_methods))})
        self._timeline.note(f"{self._kind}.answer", **call, status=response.status)
        return response
