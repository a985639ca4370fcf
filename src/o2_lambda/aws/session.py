"""The account: credentials, regions and clients."""

from __future__ import annotations

import os
import threading
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from o2_lambda.aws.errors import AwsError, explain

# Lambda's control plane takes some 15 requests per second and account: adaptive mode slows down before it is throttled.
_RETRY_MODE = "adaptive"
_ATTEMPTS_MAX = 8
_CONNECT_TIMEOUT_S = 10
_READ_TIMEOUT_S = 120  # publishing uploads megabytes
_CONNECTIONS_MAX = 16  # per client; at least as many as calls run side by side


class Account:
    """One profile's credentials. Its clients may be used by several threads."""

    def __init__(self, profile: str | None = None) -> None:
        """Raises AwsError when there is no such profile."""
        try:
            self._session = boto3.Session(profile_name=profile)
        except BotoCoreError as error:
            raise AwsError(explain(error)) from None
        self._lock = threading.Lock()  # a session's client factory is not safe to share
        self._clients: dict[tuple[str, str], Any] = {}

    def regions(self, chosen: tuple[str, ...]) -> list[str]:
        """The chosen regions, each once, or the configured one. Raises AwsError when there is none."""
        if "" in chosen:
            raise AwsError("--region is empty: is the variable that it comes from set?")
        if chosen:
            return list(dict.fromkeys(chosen))
        found = os.environ.get("AWS_REGION") or self._session.region_name
        if not found:
            raise AwsError("no region: give --region or set AWS_REGION")
        return [found]

    def client(self, service: str, region: str) -> Any:
        """The client of a service in a region, made once. Raises AwsError for a region's name that cannot be one."""
        with self._lock:
            key = (service, region)
            if key not in self._clients:
                try:
                    self._clients[key] = self._session.client(service, region_name=region, config=self._config())
                except (BotoCoreError, ValueError) as error:
                    raise AwsError(explain(error)) from None
            return self._clients[key]

    def _config(self) -> Config:
        scoped = self._session._session.get_scoped_config()  # noqa: SLF001 - boto3 has no accessor for the profile
        retries: dict[str, Any] = {}
        if not (os.environ.get("AWS_RETRY_MODE") or scoped.get("retry_mode")):
            retries["mode"] = _RETRY_MODE
        if not (os.environ.get("AWS_MAX_ATTEMPTS") or scoped.get("max_attempts")):
            retries["total_max_attempts"] = _ATTEMPTS_MAX
        return Config(
            retries=retries,
            connect_timeout=_CONNECT_TIMEOUT_S,
            read_timeout=_READ_TIMEOUT_S,
            max_pool_connections=_CONNECTIONS_MAX,
        )
