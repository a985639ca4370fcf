"""The container credentials that functions with SnapStart fetch instead of finding keys in their environment."""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from aiohttp import web

from o2_lambda.emulator.config import EXAMPLE_CREDENTIALS, LambdaConfig
from o2_lambda.emulator.server import json_answer

if TYPE_CHECKING:
    from collections.abc import Callable

PATH = "/2021-04-23/credentials"
LIFETIME = timedelta(hours=1)
_SALT = secrets.token_bytes(16)


def token(config: LambdaConfig) -> str:
    """Return what a caller has to give as its Authorization."""
    return hashlib.sha256(_SALT + config.function_name.encode()).hexdigest()


class CredentialsApi:
    """The handler. `now` returns the platform's wall clock in ms; the function's own keys, if set, are given out."""

    def __init__(self, config: LambdaConfig, now: Callable[[], float]) -> None:
        self._config = config
        self._now = now

    def routes(self) -> list[web.RouteDef]:
        """Return what to mount."""
        return [web.get(PATH, self.get, allow_head=False)] if self._config.snap_start else []

    async def get(self, request: web.Request) -> web.Response:
        """`GET /credentials`."""
        if request.headers.get("Authorization") != token(self._config):
            return web.Response(status=404)
        given = {**EXAMPLE_CREDENTIALS, **self._config.environment}
        expiration = datetime.fromtimestamp(self._now() / 1000, UTC) + LIFETIME
        return json_answer({
            "AccessKeyId": given["AWS_ACCESS_KEY_ID"],
            "SecretAccessKey": given["AWS_SECRET_ACCESS_KEY"],
            "Token": given["AWS_SESSION_TOKEN"],
            "Expiration": expiration.strftime("%Y-%m-%dT%H:%M:%SZ"),
        })  # fmt: skip
