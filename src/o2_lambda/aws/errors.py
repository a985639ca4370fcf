"""What AWS and botocore say, as one line that names the culprit and the next step, without any secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
    SSOError,
    TokenRetrievalError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

MASK = "***"
# AWS repeats the whole environment, secrets and all, behind these words.
_ENVIRONMENT_FOLLOWS = "String measured"
_SECRET_CHARS_MIN = 4  # shorter values are ordinary words: masking them would only garble the message
# A region that the account has not enabled knows none of its credentials.
_UNKNOWN_HERE = ("InvalidClientTokenId", "UnrecognizedClientException")
_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired", *_UNKNOWN_HERE)


class AwsError(Exception):
    """Something that a user can act on; its text is one line."""


class Skipped(AwsError):  # noqa: N818 - it is no error
    """A function that is left alone, and why; not a failure."""


def code_of(error: BaseException) -> str:
    """The error code of AWS's answer, or "" for any other exception."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return ""


def message_of(error: ClientError) -> str:
    """AWS's own words."""
    details = error.response.get("Error", {})
    return str(details.get("Message") or error.response.get("Message") or error.response.get("message") or "no reason")


def explain(error: Exception, secrets: Iterable[str] = ()) -> str:
    """One line for a user. `secrets` are values that must not appear in it."""
    text = " ".join(_words(error).split()).partition(_ENVIRONMENT_FOLLOWS)[0].rstrip(" .")
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SECRET_CHARS_MIN:
            text = text.replace(secret, MASK)
    return text


def _words(error: Exception) -> str:
    if isinstance(error, ClientError):
        return _client_error(error)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return "no AWS credentials found: sign in (`aws configure`, `aws sso login`) or name a --profile"
    if isinstance(error, ProfileNotFound):
        return f"{error}; `aws configure list-profiles` names those that exist"
    if isinstance(error, SSOError | TokenRetrievalError):
        return f"the AWS sign-in is missing or over: run `aws sso login` ({error})"
    if isinstance(error, EndpointConnectionError | ConnectTimeoutError | ReadTimeoutError):
        return f"AWS cannot be reached: {error}; check the region's name and the network"
    if isinstance(error, AwsError | BotoCoreError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _client_error(error: ClientError) -> str:
    code, message = code_of(error), message_of(error)
    if code in _EXPIRED:
        elsewhere = ", or enable the region for the account" if code in _UNKNOWN_HERE else ""
        return f"AWS does not accept the credentials ({code}): sign in again or name another --profile{elsewhere}"
    if code == "ResourceNotFoundException":
        return f"not found: {message}"
    return f"{error.operation_name} failed, {code}: {message}"
