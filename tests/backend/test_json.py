"""`_json` and `_multi` over HTTP: bodies, counts, and what is stored."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any

import pytest

from o2_lambda.backend import BackendConfig, BackendServer

from .client import Client, now_us

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR_US = 3_600_000_000


def test_array_is_stored_and_counted(backend: BackendServer, client: Client) -> None:
    """Every record of an array becomes a flattened row."""
    moment_us = now_us()
    records = [
        {"_timestamp": moment_us + i, "type": "function", "requestId": "r", "record": {"n": i}} for i in range(3)
    ]
    answer = client.ingest(records)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json == {"code": 200, "status": [{"name": "default", "successful": 3, "failed": 0}]}
    assert backend.rows("logs", "default") == [
        {"_timestamp": moment_us + i, "type": "function", "requestid": "r", "record_n": i} for i in range(3)
    ]


def test_single_object_is_one_record(backend: BackendServer, client: Client) -> None:
    """A body that is one object needs no array around it."""
    assert client.ingest({"a": 1}).counts == (1, 0)
    assert backend.count("logs", "default") == 1


def test_content_type_is_ignored(client: Client) -> None:
    """JSON is taken whatever it is called."""
    assert client.post("/api/default/s/_json", {"a": 1}, {"Content-Type": "text/html"}).counts == (1, 0)


def test_empty_array_creates_no_stream(backend: BackendServer, client: Client) -> None:
    """The health probe of the credentials leaves nothing behind."""
    answer = client.ingest([])
    assert answer.json == {"code": 200, "status": [{"name": "default", "successful": 0, "failed": 0}]}
    assert backend.streams() == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"a":1}\n{"a":2}\n',
        b"[NaN]",
        b'[{"a":Infinity}]',
        b'[{"a":1e999}]',
        b'[{"a":"\xff"}]',
        b'[{"a":"\\ud800"}]',
        b'[{"a":"\\uDC00x"}]',
        b"[" * 100_000,
    ],
    ids=["empty", "cut", "ndjson", "nan", "infinity", "huge", "utf8", "surrogate", "surrogate2", "deep"],
)
def test_what_is_not_json_is_refused_whole(backend: BackendServer, client: Client, body: bytes) -> None:
    """400 with code and message, and not one record of the request is stored."""
    answer = client.ingest(body)
    assert answer.status == 400
    assert answer.json["code"] == 400
    assert "JSON" in answer.json["message"]
    assert backend.streams() == []


def test_escaped_surrogate_pair_is_text(backend: BackendServer, client: Client) -> None:
    """Only a lone half is illegal; a pair is a character."""
    assert client.ingest(b'[{"a":"\\ud83d\\ude00"}]').counts == (1, 0)
    assert backend.rows("logs", "default")[0]["a"] == "\U0001f600"


def test_elements_that_are_no_objects_fail_alone(backend: BackendServer, client: Client) -> None:
    """Scalars and arrays in the array count as failed; the objects around them are stored."""
    answer = client.ingest([{"a": 1}, 5, "x", None, [1], {"a": 2}])
    assert answer.counts == (2, 4)
    assert answer.json["status"][0]["error"]
    assert backend.count("logs", "default") == 2


def test_only_the_last_error_is_reported(client: Client) -> None:
    """Of several reasons the answer names the last."""
    answer = client.ingest([5, {"_timestamp": now_us() - 6 * HOUR_US}])
    assert answer.counts == (0, 2)
    assert answer.json["status"][0]["error"].startswith("Too old data")


@pytest.mark.parametrize(
    ("offset_us", "is_stored"),
    [(-6 * HOUR_US, False), (-4 * HOUR_US, True), (23 * HOUR_US, True), (25 * HOUR_US, False)],
)
def test_window_drops_record_by_record(client: Client, offset_us: int, is_stored: bool) -> None:
    """A record outside 5 h back to 24 h ahead fails inside a 200."""
    answer = client.ingest([{"a": 1}, {"_timestamp": now_us() + offset_us}])
    assert answer.status == 200
    assert answer.counts == ((2, 0) if is_stored else (1, 1))


@pytest.mark.parametrize(
    "to_unit", [lambda us: us // 10**6, lambda us: us // 1000, lambda us: us, lambda us: us * 1000]
)
def test_integer_timestamps_of_any_unit_are_scaled(
    backend: BackendServer, client: Client, to_unit: Callable[[int], int]
) -> None:
    """Whatever the unit sent, microseconds are stored."""
    moment_us = now_us() // 10**6 * 10**6
    assert client.ingest([{"_timestamp": to_unit(moment_us)}]).counts == (1, 0)
    assert backend.rows("logs", "default") == [{"_timestamp": moment_us}]


@pytest.mark.parametrize("record", [{"a": 1}, {"a": 1, "_timestamp": None}, {"a": 1, "_timestamp": 0}])
def test_missing_timestamp_means_now(record: Any) -> None:
    """Absent, null and zero become the time of arrival."""
    with BackendServer(BackendConfig(now_us=lambda: 1_760_000_000_000_000)) as backend, Client(backend) as client:
        assert client.ingest([record]).counts == (1, 0)
        assert backend.rows("logs", "default") == [{"_timestamp": 1_760_000_000_000_000, "a": 1}]


def test_unreadable_timestamp_fails_the_record(client: Client) -> None:
    """A time that cannot be read costs that record."""
    answer = client.ingest([{"_timestamp": "yesterday"}, {"a": 1}])
    assert answer.counts == (1, 1)
    assert answer.json["status"][0]["error"] == "Can't parse timestamp"


def test_at_timestamp_is_renamed(backend: BackendServer, client: Client) -> None:
    """`@timestamp` becomes `_timestamp`."""
    moment_us = now_us()
    client.ingest([{"@timestamp": moment_us, "a": 1}])
    assert backend.rows("logs", "default") == [{"_timestamp": moment_us, "a": 1}]


@pytest.mark.parametrize("poison", [5, None, {"a": 1}, ["x"], True])
def test_id_that_is_no_string_drops_the_connection(backend: BackendServer, client: Client, poison: Any) -> None:
    """The real handler panics: no answer at all, and nothing of the request is stored; the next one is fine."""
    with pytest.raises(http.client.RemoteDisconnected):
        client.ingest([{"a": 1}, {"_id": poison}])
    assert backend.requests[-1].status is None
    with Client(backend) as other:
        assert other.ingest([{"a": 1}]).counts == (1, 0)
    assert backend.count("logs", "default") == 1


def test_string_id_and_nested_id_are_harmless(client: Client) -> None:
    """Only a top-level `_id` of another type is poison."""
    assert client.ingest([{"_id": "x"}, {"a": {"_id": 5}}]).counts == (2, 0)


def test_type_conflict_turns_the_column_into_text(backend: BackendServer, client: Client) -> None:
    """A number column that meets a string is a string column for ever, its old values included."""
    client.ingest([{"_timestamp": now_us(), "v": 1}])
    assert client.ingest([{"_timestamp": now_us(), "v": "two"}, {"_timestamp": now_us(), "v": True}]).counts == (2, 0)
    client.ingest([{"_timestamp": now_us(), "v": 4.5}])
    assert sorted(str(row["v"]) for row in backend.rows("logs", "default")) == ["1", "4.5", "true", "two"]
    assert all(isinstance(row["v"], str) for row in backend.rows("logs", "default"))


def test_integers_widen_to_doubles(backend: BackendServer, client: Client) -> None:
    """A float in an integer column keeps the column numeric, and so does an integer beyond 64 bits."""
    client.ingest([{"v": 1, "big": 2**70}])
    client.ingest([{"v": 1.5}])
    (info,) = backend.streams()
    assert (info.columns["v"], info.columns["big"]) == ("DOUBLE", "DOUBLE")


def test_too_many_columns_are_lost_silently() -> None:
    """Over the column limit the answer is 200 with 0 and 0, and nothing is stored."""
    with BackendServer(BackendConfig(columns_max=10)) as backend, Client(backend) as client:
        answer = client.ingest([{f"a{i}": i for i in range(6)}, {f"b{i}": i for i in range(6)}])
        assert (answer.status, answer.counts) == (200, (0, 0))
        assert backend.streams() == []
        assert client.ingest([{f"a{i}": i for i in range(9)}]).counts == (1, 0)


def test_stream_name_is_formatted(backend: BackendServer, client: Client) -> None:
    """The stored and reported name is the formatted one."""
    assert client.ingest([{"a": 1}], "My%20App-1").json["status"][0]["name"] == "my_app_1"
    assert backend.count("logs", "my_app_1") == 1


def test_stream_without_a_name_is_refused(client: Client) -> None:
    """A name that formats to nothing is 400."""
    assert client.ingest([{"a": 1}], "%20").status == 400


def test_multi_takes_one_record_per_line(backend: BackendServer, client: Client) -> None:
    """Newline-delimited JSON, blank lines skipped, answered as `_json`."""
    answer = client.post("/api/default/default/_multi", b'{"a":1}\n\n{"a":2}\r\n5\n')
    assert answer.counts == (2, 1)
    assert backend.count("logs", "default") == 2


def test_multi_refuses_all_for_one_bad_line(backend: BackendServer, client: Client) -> None:
    """The body is parsed as one: a bad line is 400 for every record."""
    assert client.post("/api/default/default/_multi", b'{"a":1}\n{"a":\n{"a":3}\n').status == 400
    assert backend.streams() == []


def test_concurrent_clients_lose_nothing(backend: BackendServer) -> None:
    """Requests at the same time, with different columns, all end up stored once."""
    from concurrent.futures import ThreadPoolExecutor

    def send(worker: int) -> int:
        with Client(backend) as client:
            return sum(client.ingest([{f"w{worker}": i, "n": i} for i in range(50)]).counts[0] for _ in range(5))

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(send, range(4))) == 1000
    assert backend.count("logs", "default") == 1000
    assert backend.search("SELECT count(w3) AS n FROM default") == [{"n": 250}]


def test_a_burst_is_stored_whole(backend: BackendServer, client: Client) -> None:
    """Fifty thousand lines in one request are all searchable when the answer comes."""
    moment_us = now_us()
    body = json.dumps([{"_timestamp": moment_us + i, "record": "x" * 100, "n": i} for i in range(50_000)]).encode()
    assert client.ingest(body).counts == (50_000, 0)
    assert backend.search("SELECT count(DISTINCT n) AS n, sum(n) AS s FROM default") == [
        {"n": 50_000, "s": sum(range(50_000))}
    ]
