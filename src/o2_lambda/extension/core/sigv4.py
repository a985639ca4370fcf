"""AWS's Signature Version 4 for a POST of JSON: what stands in the headers of a signed request.

The hash is one of CPython's own built-in modules; `hashlib` and `hmac` cost more than the whole start.
"""

from __future__ import annotations

from binascii import hexlify

from o2_lambda.extension.core.timestamps import basic_time
from o2_lambda.extension.core.url import quoted

try:
    from _sha2 import sha256  # type: ignore[import-not-found, unused-ignore] # typeshed has no built-in modules
except ImportError:  # CPython 3.11
    from _sha256 import sha256  # type: ignore[import-not-found, unused-ignore]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from o2_lambda.extension.core.url import Url

ALGORITHM = "AWS4-HMAC-SHA256"
_BLOCK_BYTES = 64  # of SHA-256
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


class Keys:
    """AWS credentials; `token` is empty for those of a user."""

    __slots__ = ("access", "secret", "token")

    def __init__(self, access: str, secret: str, token: str) -> None:
        self.access = access
        self.secret = secret
        self.token = token

    def __repr__(self) -> str:
        return f"<Keys {self.access[:4]}…>"


def sign(
    url: Url, headers: list[tuple[str, str]], body: bytes, keys: Keys, *, region: str, service: str, wall_ms: int
) -> list[tuple[str, str]]:
    """The headers with those that sign them: date, session token and authorization. Names in lower case."""
    time = basic_time(wall_ms)
    scope = f"{time[:8]}/{region}/{service}/aws4_request"
    signed = [*headers, ("x-amz-date", time)]
    if keys.token:
        signed.append(("x-amz-security-token", keys.token))
    canonical = sorted([("host", url.authority), *signed])
    names = ";".join(name for name, _value in canonical)
    request = "\n".join(
        (
            "POST",
            "/".join(quoted(segment) for segment in url.path.split("/")) or "/",
            "",  # no query
            *(f"{name}:{' '.join(value.split())}" for name, value in canonical),
            "",
            names,
            _hash(body),
        )
    )
    text = "\n".join((ALGORITHM, time, scope, _hash(request.encode())))
    key = f"AWS4{keys.secret}".encode()
    for part in scope.split("/"):
        key = _hmac(key, part.encode())
    signature = hexlify(_hmac(key, text.encode())).decode()
    credential = f"{ALGORITHM} Credential={keys.access}/{scope}, SignedHeaders={names}, Signature={signature}"
    return [*signed, ("authorization", credential)]


def _hash(data: bytes) -> str:
    return str(sha256(data).hexdigest())


def _hmac(key: bytes, data: bytes) -> bytes:
    """HMAC-SHA256, RFC 2104."""
    if len(key) > _BLOCK_BYTES:
        key = sha256(key).digest()
    key = key.ljust(_BLOCK_BYTES, b"\0")
    inner = sha256(key.translate(_INNER) + data).digest()
    return bytes(sha256(key.translate(_OUTER) + inner).digest())
