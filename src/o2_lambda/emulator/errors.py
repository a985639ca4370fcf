"""Errors split by blame: a bad setting, a call the Lambda API refuses, a failed environment."""

from __future__ import annotations

import json
from typing import TypedDict


class ConfigError(ValueError):
    """The configuration cannot work; the message names the culprit and the next step."""


class EmulatorError(RuntimeError):
    """The emulator was used in a way it cannot follow, such as invoking it after its shutdown."""


class ErrorBody(TypedDict):
    """The JSON body AWS's APIs answer with."""

    errorMessage: str
    errorType: str


class ApiError(Exception):
    """A call of a runtime or an extension that Lambda refuses, as status and AWS's error body."""

    def __init__(self, error_type: str, message: str, *, status: int = 403) -> None:
        super().__init__(message)
        self.status = status
        self.error_type = error_type
        self.message = message

    def body(self) -> ErrorBody:
        """Return the answer's JSON body."""
        return {"errorMessage": self.message, "errorType": self.error_type}

    def encode(self) -> bytes:
        """Return the answer's bytes."""
        return json.dumps(self.body(), separators=(",", ":")).encode()


class Fatal(Exception):  # noqa: N818 - it is an outcome of a phase, named as the facts name it
    """The first fatal error of an environment: which outcome it gives and which error type it reports."""

    def __init__(self, error_type: str, message: str, *, status: str = "failure", payload: bytes | None = None) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.message = message
        self.status = status
        self.payload = payload  # what the runtime itself posted for the client
