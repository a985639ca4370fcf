"""The ASGI application: routes, authorization, organizations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import BaseRoute, Mount, Route

from o2_lambda.backend.answers import error_answer, json_answer, unauthorized_answer
from o2_lambda.backend.ingestion import Ingestion
from o2_lambda.backend.management import Management

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from o2_lambda.backend.config import BackendConfig
    from o2_lambda.backend.store import Store


def build_app(config: BackendConfig, store: Store, pages: Sequence[BaseRoute] = ()) -> Starlette:
    """Return the application; `pages` are routes outside `/api`, served without authorization."""
    api = Starlette(routes=[*Ingestion(config, store).routes(), *Management(store).routes()])
    routes: list[BaseRoute] = [
        Route("/healthz", _healthz, methods=["GET"]),
        Mount("/api", _Guard(api, config)),
        *pages,
    ]
    return Starlette(routes=[Mount(config.base_path, routes=routes)] if config.base_path else routes)


async def _healthz(request: Request) -> Response:  # noqa: ARG001 - starlette's signature
    return json_answer({"status": "ok"})


class _Guard:
    """Lets in who has the credentials, to organizations that exist; root's POST creates the one it names."""

    def __init__(self, app: ASGIApp, config: BackendConfig) -> None:
        self._app = app
        self._config = config
        self._organizations = {config.organization}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refuse(Request(scope)) if scope["type"] == "http" else None
        await (self._app if refusal is None else refusal)(scope, receive, send)

    def _refuse(self, request: Request) -> Response | None:
        if not self._config.accepts(request.headers.get("authorization", "")):
            return unauthorized_answer()
        organization = request.scope["path"].removeprefix(request.scope.get("root_path", "")).split("/")[1]
        if organization in self._organizations:
            return None
        if not self._config.is_root:
            return unauthorized_answer()
        if request.method != "POST":
            return error_answer(404, "Organization not found")
        self._organizations.add(organization)
        return None
