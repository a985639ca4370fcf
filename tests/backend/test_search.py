"""`_search` and the endpoints around it, over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from o2_lambda.backend import SearchError

from .client import Client, now_us
from .otlp_material import TRACE_ID, now_ns, trace_request

if TYPE_CHECKING:
    from o2_lambda.backend import BackendServer


@pytest.fixture
def base_us(client: Client) -> int:
    """Ten records one second apart; returns the time of the first."""
    start_us = now_us() // 60_000_000 * 60_000_000 - 60_000_000
    records = [
        {
            "_timestamp": start_us + i * 1_000_000,
            "n": i,
            "type": "function" if i % 2 else "platform",
            "message": f"Hello {i}",
            "metrics": {"durationMs": i * 1.5} if i else None,
        }
        for i in range(10)
    ]
    assert client.ingest(records).counts == (10, 0)
    return start_us


def test_answer_has_the_shape_of_the_server(client: Client, base_us: int) -> None:
    """took, hits, total, from, size, scan_size, is_partial; nulls are left out of hits."""
    answer = client.search("SELECT * FROM default WHERE n < 2")
    assert answer.status == 200
    assert sorted(answer.json) == ["from", "hits", "is_partial", "scan_size", "size", "took", "total"]
    assert answer.json["hits"] == [
        {
            "_timestamp": base_us + 1_000_000,
            "n": 1,
            "type": "function",
            "message": "Hello 1",
            "metrics_durationms": 1.5,
        },
        {"_timestamp": base_us, "n": 0, "type": "platform", "message": "Hello 0"},
    ]
    assert (answer.json["total"], answer.json["from"], answer.json["size"]) == (2, 0, 10)


def test_range_is_half_open(client: Client, base_us: int) -> None:
    """start_time belongs to the range, end_time does not."""
    answer = client.search("SELECT n FROM default", start_time=base_us + 2_000_000, end_time=base_us + 4_000_000)
    assert sorted(hit["n"] for hit in answer.json["hits"]) == [2, 3]


def test_pages_and_total(client: Client, base_us: int) -> None:
    """`from` and `size` cut a page, newest first; total counts all."""
    seen = []
    for start in (0, 4, 8, 12):
        page = client.search("SELECT n, _timestamp FROM default", start=start, size=4).json
        assert page["total"] == 10
        seen += [hit["n"] for hit in page["hits"]]
    assert seen == list(range(9, -1, -1))


@pytest.mark.parametrize(
    ("sql", "hits"),
    [
        ("select count(*) as c from default where type = 'function'", [{"c": 5}]),
        ('select n from "default" where n > 7 order by n', [{"n": 8}, {"n": 9}]),
        ("select n from default order by _timestamp limit 2", [{"n": 0}, {"n": 1}]),
        ("select _timestamp as t, n, _timestamp from default limit 1", None),
        (
            "select type, count(*) as c from default group by type order by type",
            [
                {"type": "function", "c": 5},
                {"type": "platform", "c": 5},
            ],
        ),
        ("select n from default where match_all('hello 3')", [{"n": 3}]),
        ("select n from default where match_all('HELLO') and n = 4", [{"n": 4}]),
        ("select n from default where str_match(message, 'lo 5')", [{"n": 5}]),
        ("select n from default where str_match(message, 'LO 5')", []),
        ("select n from default where str_match_ignore_case(message, 'LO 5')", [{"n": 5}]),
        ("select n from default where re_match(message, 'o [67]$') order by n", [{"n": 6}, {"n": 7}]),
        ("select approx_percentile_cont(metrics_durationms, 0.5) as p from default", [{"p": 7.5}]),
        ("with q as (select n from default where n < 2) select max(n) as m from q", [{"m": 1}]),
        ("select a.n from default a join default b on a.n = b.n + 8 order by a.n", [{"n": 8}, {"n": 9}]),
    ],
)
def test_sql(client: Client, base_us: int, sql: str, hits: Any) -> None:
    """Plain SQL and OpenObserve's own functions."""
    answer = client.search(sql)
    assert answer.status == 200, answer.body
    if hits is None:
        assert answer.json["hits"][0]["n"] == 9
    else:
        assert answer.json["hits"] == hits


def test_histogram_buckets_time(client: Client, base_us: int) -> None:
    """With a width or without, buckets are ISO times and every record is in one."""
    sql = "select histogram(_timestamp, '5 second') as x, count(*) as c from default group by x order by x"
    wide = client.search(sql).json["hits"]
    assert [hit["c"] for hit in wide] == [5, 5]
    assert len(wide[0]["x"]) == len("2025-01-01T00:00:00")
    one = client.search("select histogram(_timestamp) as x, count(*) as c from default group by x").json["hits"]
    assert [hit["c"] for hit in one] == [10]


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("select * from nothing", 20002),
        ("select * from default where n in (select n from nothing)", 20002),
        ("selec 1", 20001),
        ("", None),
        ("drop table default", 20001),
        ("select 1; select 2", 20001),
        ("insert into default values (1)", 20001),
        ("create table x as select * from default", 20001),
        ("copy (select 1) to '/tmp/o2-lambda-must-not-exist'", 20001),
        ("pragma database_list", 20001),
        ("select nothing from default", 20004),
        ("select nothing(1) from default", 20005),
        ("select cast(message as bigint) from default", 20008),
        ("select * from read_csv('/etc/passwd')", 20008),
        ("select * from read_text('/etc/passwd')", 20008),
        ("select * from '/etc/passwd'", 20002),
        ('select * from "default/logs"."default"', 20002),
    ],
)
def test_what_is_no_search_is_refused(
    backend: BackendServer, client: Client, base_us: int, sql: str, code: Any
) -> None:
    """400 with the server's code and one line; files and other schemas are out of reach, and no data changes."""
    answer = client.search(sql)
    assert answer.status == 400
    assert answer.json["code"] == (code or 400)
    assert "\n" not in answer.json["message"]
    assert backend.count("logs", "default") == 10


def test_full_text_search_needs_a_text_field(client: Client) -> None:
    """A stream without any of the default full-text fields answers 20003."""
    client.ingest([{"n": 1}], "plain")
    assert client.search("select * from plain where match_all('x')").json["code"] == 20003


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"query":{}}',
        b'{"query":{"sql":"select 1"}}',
        b'{"query":{"sql":"select 1","start_time":1}}',
        b'{"query":{"sql":"select 1","start_time":"1","end_time":2}}',
        b'{"query":{"sql":"select 1","start_time":3,"end_time":2}}',
        b'{"query":{"sql":5,"start_time":1,"end_time":2}}',
    ],
)
def test_malformed_searches_are_400(client: Client, body: bytes) -> None:
    """The message names the member."""
    answer = client.post("/api/default/_search", body)
    assert (answer.status, answer.json["code"]) == (400, 400)


def test_unknown_stream_type_is_400(client: Client) -> None:
    """Only logs, traces and metrics can be searched."""
    assert client.search("select 1", "secrets").status == 400


def test_types_and_organizations_do_not_mix(client: Client, base_us: int) -> None:
    """One name may be a logs and a traces stream; each search sees its own type and organization."""
    client.post(
        "/api/default/v1/traces",
        trace_request(now_ns()).SerializeToString(),
        {"Content-Type": "application/x-protobuf"},
    )
    assert client.search("select count(*) as c from default", "traces").json["hits"] == [{"c": 1}]
    assert client.search("select count(*) as c from default", "logs").json["hits"] == [{"c": 10}]
    assert client.search("select * from default", "metrics").json["code"] == 20002
    client.post("/api/other/default/_json", [{"a": 1}])
    assert client.search("select count(*) as c from default").json["hits"] == [{"c": 10}]


def test_searches_run_while_rows_come_in(backend: BackendServer, client: Client, base_us: int) -> None:
    """New columns and changed types during searches disturb neither side."""
    from concurrent.futures import ThreadPoolExecutor

    def insert(worker: int) -> None:
        with Client(backend) as other:
            for i in range(20):
                value = "text" if i == 10 else i
                assert other.ingest([{f"new_{worker}_{i}": i, f"mixed_{worker}": value}]).counts == (1, 0)

    with ThreadPoolExecutor(2) as pool:
        pending = [pool.submit(insert, worker) for worker in range(2)]
        while not all(future.done() for future in pending):
            assert client.search("select count(*) as c from default").json["hits"][0]["c"] >= 10
            assert client.search("select * from default", size=100).status == 200
        for future in pending:
            future.result()
    assert backend.count("logs", "default") == 50


def test_search_in_process_has_no_time_range(backend: BackendServer, client: Client, base_us: int) -> None:
    """BackendServer.search returns all rows, and raises what HTTP would answer."""
    assert backend.search("select sum(n) as s from default") == [{"s": 45}]
    assert len(backend.search("select * from default")) == 10
    with pytest.raises(SearchError) as refused:
        backend.search("select * from nothing")
    assert refused.value.code == 20002


def test_streams_are_listed(client: Client, base_us: int) -> None:
    """Name, type, counts and times; the schema on request; the type filters."""
    (stream,) = client.get("/api/default/streams?type=logs&fetchSchema=true").json["list"]
    assert (stream["name"], stream["stream_type"]) == ("default", "logs")
    assert stream["stats"] == {
        "doc_time_min": base_us,
        "doc_time_max": base_us + 9_000_000,
        "doc_num": 10,
    }
    assert {"name": "metrics_durationms", "type": "DOUBLE"} in stream["schema"]
    assert client.get("/api/default/streams?type=traces").json == {"list": [], "total": 0}


def test_stream_settings_are_kept(client: Client, base_us: int) -> None:
    """Settings may come before or after the data, and the list shows them."""
    settings = {"full_text_search_keys": ["record"], "index_fields": ["requestid"]}
    answer = client.post("/api/default/streams/Default?type=logs", {"fields": [], "settings": settings})
    assert (answer.status, answer.json["code"]) == (200, 200)
    assert client.get("/api/default/streams").json["list"][0]["settings"] == settings
    change = b'{"full_text_search_keys":{"add":["record"],"remove":[]}}'
    assert client.request("PUT", "/api/default/streams/default/settings?type=logs", change).status == 200
    assert client.post("/api/default/streams/x?type=nothing", {}).status == 400
    assert client.post("/api/default/streams/x", b"{").status == 400


def test_latest_traces(client: Client) -> None:
    """One entry per trace with its span and error counts, services and first operation."""
    start_ns = now_ns()
    request = trace_request(start_ns)
    spans = request.resource_spans[0].scope_spans[0].spans
    second = spans.add()
    second.CopyFrom(spans[0])
    second.name, second.span_id = "child", b"12345678"
    second.start_time_unix_nano += 1000
    second.status.code = Status.STATUS_CODE_OK
    client.post("/api/default/v1/traces", request.SerializeToString(), {"Content-Type": "application/x-protobuf"})
    time_range = f"start_time={start_ns // 1000 - 1}&end_time={start_ns // 1000 + 10**6}"
    path = f"/api/default/default/traces/latest?{time_range}&from=0&size=10"
    page = client.get(f"{path}&filter=").json
    assert page["total"] == 1
    assert page["hits"] == [
        {
            "trace_id": TRACE_ID.hex(),
            "start_time": start_ns,
            "end_time": start_ns + 1_234_567,
            "duration": 1234,
            "spans": [2, 1],
            "service_name": [{"service_name": "checkout"}],
            "first_event": {"operation_name": "GET /cart", "service_name": "checkout"},
        }
    ]
    assert client.get(f"{path}&filter=operation_name%3D%27nothing%27").json["hits"] == []
    assert client.get("/api/default/default/traces/latest").status == 400
    assert client.get(path.replace("default/traces", "nothing/traces")).json["code"] == 20002
    injected = client.get(f"{path}&filter=true%3B%20drop%20table%20default")
    assert injected.status == 400
