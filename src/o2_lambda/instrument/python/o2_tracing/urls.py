"""URLs as span attributes: without credentials."""

from __future__ import annotations

REDACTED = "REDACTED"
# Query parameters that grant access: signatures and tokens of presigned URLs (names from the semantic conventions,
# and AWS's signature version 4).
SECRETS = (
    "awsaccesskeyid", "signature", "sig", "x-goog-signature", "x-amz-signature", "x-amz-credential",
    "x-amz-security-token",
)  # fmt: skip
URL_CHARS_MAX = 2048


def redact(url: str) -> str:
    """The URL without user, password and the values of secret parameters, cut to a bound."""
    url = url[:URL_CHARS_MAX]
    if "@" not in url and "?" not in url:
        return url
    scheme, found, rest = url.partition("://")
    if found:
        place, slash, path = rest.partition("/")
        if "@" in place:
            rest = f"{REDACTED}:{REDACTED}@{place.rpartition('@')[2]}{slash}{path}"
    url = scheme + found + rest
    before, question, query = url.partition("?")
    return before + question + redact_query(query) if question else url


def redact_query(query: str) -> str:
    """The query without the values of secret parameters."""
    return "&".join([_redact_pair(pair) for pair in query.split("&")])


def _redact_pair(pair: str) -> str:
    name, equals, _value = pair.partition("=")
    return f"{name}={REDACTED}" if equals and name.lower() in SECRETS else pair
