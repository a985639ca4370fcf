"""Authorization, organizations, encodings and limits."""

from __future__ import annotations

import base64
import gzip
import json
import zlib

import pytest

from o2_lambda.backend import BackendConfig, BackendServer

from .client import Client, connect, raw_request

RECORDS = json.dumps([{"a": 1}]).encode()


def basic(user: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()


REFUSED = ("", "Basic", "Basic !!", "Bearer x", "Basic é", basic("root@example.com", "wrong"), basic("other", "x"))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/default/_license"),
        ("POST", "/api/default/default/_json"),
        ("POST", "/api/default/v1/traces"),
        ("POST", "/api/default/_search"),
        ("GET", "/api/nowhere/_license"),
        ("GET", "/api/nothing"),
    ],
)
def test_api_needs_the_credentials(backend: BackendServer, client: Client, method: str, path: str) -> None:
    """Everything below /api answers 401 in plain text with WWW-Authenticate."""
    for authorization in REFUSED:
        answer = client.request(method, path, RECORDS, {"Authorization": authorization})
        assert answer.status == 401, authorization
        assert answer.headers["content-type"].startswith("text/plain")
        assert answer.headers["www-authenticate"].startswith("Basic")
    assert backend.streams() == []


def test_scheme_of_authorization_is_case_insensitive(backend: BackendServer, client: Client) -> None:
    """`basic` is `Basic`."""
    header = backend.authorization_header.replace("Basic", "basic")
    assert client.get("/api/default/_license", Authorization=header).status == 200


def test_health_ladder(backend: BackendServer, client: Client) -> None:
    """/healthz without credentials, _license with them, and an empty _json that writes nothing."""
    health = client.get("/healthz", Authorization="")
    assert (health.status, health.json) == (200, {"status": "ok"})
    licence = client.get("/api/default/_license")
    assert (licence.status, licence.json) == (200, {"status": "active"})
    assert client.ingest([]).counts == (0, 0)
    assert backend.streams() == []


def test_root_creates_an_organization_by_posting(client: Client) -> None:
    """For root an unknown organization is 404 on GET, until a POST silently creates it."""
    assert client.get("/api/typo/_license").status == 404
    assert client.post("/api/typo/default/_json", RECORDS).counts == (1, 0)
    assert client.get("/api/typo/_license").status == 200


def test_ordinary_user_is_refused_by_unknown_organizations() -> None:
    """Whoever is not root gets 401 there, and creates nothing."""
    with BackendServer(BackendConfig(is_root=False)) as backend, Client(backend) as client:
        assert client.get("/api/typo/_license").status == 401
        assert client.post("/api/typo/default/_json", RECORDS).status == 401
        assert client.get("/api/default/_license").status == 200


def test_base_path_stands_in_front_of_every_route() -> None:
    """With a base path the bare routes are gone, and organizations are still told apart."""
    with BackendServer(BackendConfig(base_path="/o2")) as backend, Client(backend) as client:
        assert backend.url.endswith("/o2")
        assert client.get("/o2/healthz").status == 200
        assert client.get("/healthz").status == 404
        assert client.get("/o2/api/typo/_license").status == 404
        assert client.post("/o2/api/default/default/_json", RECORDS).counts == (1, 0)


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/default/nothing"), ("GET", "/nothing"), ("GET", "/")])
def test_unknown_routes_are_404(client: Client, method: str, path: str) -> None:
    """A missing route is 404."""
    assert client.request(method, path).status == 404


def test_wrong_method_is_405(client: Client) -> None:
    """GET on an ingestion endpoint."""
    assert client.get("/api/default/default/_json").status == 405


ENCODED = {
    "gzip": gzip.compress(RECORDS),
    "GZIP": gzip.compress(RECORDS),
    "deflate": zlib.compress(RECORDS),
    "identity": RECORDS,
}


def test_known_encodings_are_accepted(client: Client) -> None:
    """gzip, deflate (zlib) and identity, whatever the case."""
    for encoding, body in ENCODED.items():
        assert client.ingest(body, **{"Content-Encoding": encoding}).counts == (1, 0), encoding


def test_gzip_members_are_joined(client: Client) -> None:
    """A gzip body may be several members one after another."""
    body = gzip.compress(b'[{"a":1},') + gzip.compress(b'{"a":2}]')
    assert client.ingest(body, **{"Content-Encoding": "gzip"}).counts == (2, 0)


@pytest.mark.parametrize("path", ["/api/default/default/_json", "/api/default/v1/traces"])
def test_other_encodings_are_415(backend: BackendServer, client: Client, path: str) -> None:
    """Above all zstd; the answer names what would do."""
    for encoding in ("zstd", "br", "compress", "gzip, gzip"):
        answer = client.post(path, RECORDS, {"Content-Encoding": encoding, "Content-Type": "application/json"})
        assert answer.status == 415, encoding
        assert "gzip" in answer.headers["accept-encoding"]
    assert backend.streams() == []


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", RECORDS),
        ("gzip", gzip.compress(RECORDS)[:-4]),
        ("gzip", gzip.compress(RECORDS) + b"x"),
        ("gzip", b""),
        ("deflate", gzip.compress(RECORDS)),
    ],
    ids=["plain", "cut", "trailing", "empty", "gzip as deflate"],
)
def test_corrupt_encoding_is_400(backend: BackendServer, client: Client, encoding: str, body: bytes) -> None:
    """A body that is not what its Content-Encoding says is refused whole."""
    assert client.ingest(body, **{"Content-Encoding": encoding}).status == 400
    assert backend.streams() == []


def test_limit_counts_decompressed_bytes() -> None:
    """Exactly the limit passes, one byte more is 413, compressed or not."""
    body = json.dumps([{"a": "x" * 1000}]).encode()
    for bytes_max, status in ((len(body), 200), (len(body) - 1, 413)):
        with BackendServer(BackendConfig(body_bytes_max=bytes_max)) as backend, Client(backend) as client:
            assert client.ingest(body).status == status
            assert client.ingest(gzip.compress(body), **{"Content-Encoding": "gzip"}).status == status
            assert [request.decoded_bytes for request in backend.requests] == [len(body) if status == 200 else 0] * 2


def test_bomb_is_413_at_the_real_limit(client: Client) -> None:
    """200 KB that unfold to more than 209,715,200 bytes."""
    bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(2**20)
    body = b"".join(bomb.compress(zeros) for _ in range(201)) + bomb.flush()
    answer = client.ingest(body, **{"Content-Encoding": "gzip"})
    assert answer.status == 413
    assert answer.json["code"] == 413


def test_too_large_upload_is_answered_before_its_end() -> None:
    """413 comes as soon as the limit is passed; the client need not send the rest."""
    with BackendServer(BackendConfig(body_bytes_max=1000)) as backend, connect(backend.port) as connection:
        head = raw_request(backend, "/api/default/s/_json", b"x" * 500_000)
        connection.sendall(head[:5000])
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")


def test_chunked_bodies_are_read(backend: BackendServer, client: Client) -> None:
    """No Content-Length is needed."""
    with connect(backend.port) as connection:
        head = raw_request(backend, "/api/default/default/_json", b"").replace(
            b"Content-Length: 0", b"Transfer-Encoding: chunked"
        )
        connection.sendall(head + b'5\r\n[{"a"\r\n4\r\n:1}]\r\n0\r\n\r\n')
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    assert backend.count("logs", "default") == 1
