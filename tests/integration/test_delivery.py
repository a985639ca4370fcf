"""What reaches the backend: under the emulator with freezing, with healthy backends, sick ones, and at the end."""

from __future__ import annotations

import json
import re
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from o2_lambda.backend import BackendConfig, BackendServer, Fault, Reset
from o2_lambda.backend.proxy import FaultProxy, ProxyFaults
from o2_lambda.backend.store import CountingStore
from o2_lambda.emulator import LocalLambda
from tests.integration.rig import QUICK
from tests.integration.stage import Stage, assert_ended_well, ledger, printed, sent
from tests.integration.stub_sink import stored
from tests.integration.wire import eventually, response

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.integration.rig import Arena, Settings

OWN_PROGRESS = "[o2-lambda-extension] INFO "
END: Settings = {"O2_FLUSH_STRATEGY": "end"}
serial = pytest.mark.xdist_group("serial")


def payload(**content: Any) -> bytes:
    """An event for the sample function."""
    return json.dumps(content).encode()


def assert_balanced(function: LocalLambda, backend: BackendServer) -> dict[str, Any]:
    """The ledger adds up, agrees with the emulator's record and with what the backend holds; returns its logs."""
    logs: dict[str, Any] = ledger(function)["logs"]
    rejected, dropped = sum(logs["rejected"].values()), sum(logs["dropped"].values())
    assert logs["received"] == logs["delivered"] + rejected + dropped + logs["held"]
    came = len(sent(function)) + excluded_again(logs) + ledger(function)["synthesized"]
    assert logs["received"] + sum(logs["excluded"].values()) == came
    assert backend.count("logs", "default") == logs["delivered"]
    return logs


def excluded_again(logs: dict[str, Any]) -> int:
    """Events that Lambda sent twice; its own record holds them once."""
    count: int = logs["excluded"].get("duplicate", 0)
    return count


def assert_nothing_lost(function: LocalLambda, backend: BackendServer) -> None:
    """Everything that was received is at the backend."""
    logs = assert_balanced(function, backend)
    assert logs["delivered"] == logs["received"], (logs, printed(function))


@pytest.mark.smoke
@pytest.mark.parametrize("log_format", ["Text", "JSON"])
def test_every_line_of_an_invocation_carries_its_request_id(stage: Stage, log_format: str) -> None:
    """Ten invocations, print() and logging, both log formats: no line without its request, none with another's."""
    with stage.function(log_format=log_format) as function:
        ids = [function.invoke(payload(name=f"n{n}", text=f"t{n}", lines=2)).request_id for n in range(10)]
        function.shutdown()
        assert_ended_well(function)
        assert_nothing_lost(function, stage.backend)
    rows = [row for row in stage.stored("function") if "loading" not in str(row.get("message", row.get("record")))]
    assert len(rows) == 10 * 3
    for number, request_id in enumerate(ids):
        mine = [row for row in rows if row["requestid"] == request_id]
        texts = " ".join(str(row.get("message", "")) for row in mine)
        assert len(mine) == 3
        assert texts.count(f"t{number} ") == 2
        assert f"handled n{number}" in texts


def test_platform_events_carry_their_own_request(stage: Stage) -> None:
    """start, runtimeDone and report of an invocation are found by its id, the late report included."""
    with stage.function() as function:
        ids = [function.invoke().request_id for _ in range(3)]
        function.shutdown()
    for kind in ("platform.start", "platform.runtimeDone", "platform.report"):
        rows = stage.stored(kind)
        assert [row["requestid"] for row in rows] == ids
        assert [row["record_requestid"] for row in rows] == ids
    for kind in ("platform.initStart", "platform.initRuntimeDone", "platform.initReport", "platform.extension"):
        assert len(stage.stored(kind)) == 1


def test_the_documented_fields_are_on_every_line(stage: Stage) -> None:
    """Function, version, region, account, service, environment, cold start, and the id that tells duplicates."""
    settings = {"O2_SERVICE": "shop", "O2_ENV": "prod"}
    with stage.function(settings=settings, function_version="3", region="eu-west-1") as function:
        for _ in range(2):
            function.invoke()
        function.shutdown()
    rows = stage.stored("function")
    for row in rows:
        expected = {
            "function_name": "my-function", "function_version": "3", "region": "eu-west-1",
            "account": "123456789012", "service_name": "shop", "env": "prod",
        }  # fmt: skip
        assert {name: row[name] for name in expected} == expected
        assert row["message"] == row["record"]
        assert re.fullmatch(r"[0-9a-f]{16}-[0-9a-f]{8}", row["event_id"])
    everything = stage.stored()
    assert len({row["event_id"] for row in everything}) == len(everything)
    assert [row["cold_start"] for row in rows if "line 0" in row["record"]] == [True, False]


def test_trace_ids_are_those_of_the_sampled_xray_header(stage: Stage) -> None:
    """A sampled request's lines have its trace id in W3C form; without active tracing there is none."""
    with stage.function() as function:
        root = "1-5759e988-bd862e3fe1be46a994272793"
        first = function.invoke(trace_id=f"Root={root};Parent=53995c3f42cd8ad8;Sampled=1").request_id
        second = function.invoke(trace_id=f"Root={root};Parent=53995c3f42cd8ad8;Sampled=0").request_id
        function.shutdown()
    rows = {
        request: [row for row in stage.stored("function") if row.get("requestid") == request]
        for request in (first, second)
    }
    assert {row["trace_id"] for row in rows[first]} == {"5759e988bd862e3fe1be46a994272793"}
    assert {row.get("trace_id") for row in rows[second]} == {None}


@pytest.mark.parametrize("log_format", ["Text", "JSON"])
def test_records_are_byte_for_byte_those_of_lambda(stage: Stage, arena: Arena, log_format: str) -> None:
    """Each stored event ends with exactly the bytes Lambda sent for it, whatever the function printed."""
    sink = arena.sink()
    stage.code = (
        "import json\ndef handler(event, context):\n"
        "    print('plain'); print('ä€😀\\t\\\\ \"quoted\" \\x01 \\u2028')\n"
        "    print(json.dumps({'a': [1.50, 1e3, {'b': None}], 'message': 'm'}))\n"
        "    print('')\n    print('[' * 50)\n"
    )
    with stage.function(settings={"O2_ENDPOINT": sink.url}, log_format=log_format) as function:
        function.invoke()
        function.shutdown()
        assert_ended_well(function)
        bodies = [delivery.body for delivery in function.deliveries if delivery.status == 200]
    text = b"".join(sink.texts)
    position = 0
    for body in bodies:
        for event in split_events(body.decode()):
            if OWN_PROGRESS in event:
                continue
            position = text.find(b"," + event[1:].encode(), position)
            assert position >= 0, event
    assert len(sink.records) == len(stored_of(event for body in bodies for event in json.loads(body)))


def stored_of(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of Lambda's events that are to be stored: all but our own progress."""
    return [event for event in events if OWN_PROGRESS not in str(event["record"])]


def split_events(array: str) -> list[str]:
    """The elements of a JSON array, as they stand."""
    decoder, index, found = json.JSONDecoder(), 1, []
    while index < len(array) - 1:
        _, end = decoder.raw_decode(array, index)
        found.append(array[index:end])
        index = end + 1
    return found


def test_lines_keep_their_order(stage: Stage) -> None:
    """Sorting by `_timestamp` gives the order of printing, also within one millisecond; event ids count up."""
    with stage.function() as function:
        function.invoke(payload(lines=300))
        function.shutdown()
        assert_nothing_lost(function, stage.backend)
    rows = [row for row in stage.stored("function") if row["record"].startswith("line")]
    assert [int(row["record"].split()[1]) for row in rows] == list(range(300))
    ids = [row["event_id"] for row in rows]
    assert ids == sorted(ids)


@pytest.mark.smoke
def test_everything_is_at_the_backend_when_the_sandbox_freezes(stage: Stage) -> None:
    """With a healthy backend nothing of an invocation waits for the next: at `/next` all but the report is stored."""
    with stage.function(settings=END) as function:
        at_freeze: list[int] = []
        function.emulator.on_freeze.append(lambda: at_freeze.append(stage.backend.count("logs", "default")))
        for number in range(4):
            function.invoke(payload(name=f"n{number}", lines=20))
            assert stage.backend.count("logs", "default") == at_freeze[-1]
            assert len(stored_of(sent(function))) == at_freeze[-1], "all that Lambda delivered is stored"
            assert len(stage.stored("platform.runtimeDone")) == number + 1
        function.shutdown()
        assert_nothing_lost(function, stage.backend)


def test_a_freeze_right_after_next_loses_nothing(stage: Stage) -> None:
    """In continuous mode `/next` is called before the lines are sent: the freeze strikes then, nothing is missing."""
    with stage.function(settings={"O2_FLUSH_STRATEGY": "continuous"}) as function:
        for number in range(6):
            assert function.invoke(payload(lines=50, name=f"n{number}")).outcome == "success"
        function.shutdown()
        assert_ended_well(function)
        assert_nothing_lost(function, stage.backend)


@pytest.mark.smoke
def test_an_oversize_record_is_stitched(stage: Stage) -> None:
    """A record that Lambda cut over two POSTs is one record, and runtimeDone behind it is seen."""
    config = stage.config()
    config.faults.oversize_split_bytes = 20_000
    with LocalLambda(config) as function:
        result = function.invoke(payload(big=50_000))
        assert result.extension_overhead_ms < 2000
        function.shutdown()
        assert_ended_well(function)
        assert ledger(function)["malformed"] == 0
    assert [row["record"] for row in stage.stored("function") if row["record"].startswith("<")] == [
        "<" + "x" * 50_000 + ">\n"
    ]


def test_a_batch_that_lambda_sends_twice_is_stored_once(stage: Stage) -> None:
    """Lambda re-sends what was not answered: no duplicates at the backend, and the ledger tells of them."""
    config = stage.config()
    config.faults.duplicate_batches = 100
    with LocalLambda(config) as function:
        for _ in range(3):
            function.invoke()
        function.shutdown()
        assert_ended_well(function)
        logs = assert_balanced(function, stage.backend)
    assert logs["excluded"]["duplicate"] > 0
    events = [row["time"] + row["type"] + str(row.get("record")) for row in stage.stored("function")]
    assert len(events) == len(set(events))


@serial
def test_a_backend_that_is_down_for_three_seconds_costs_nothing(stage: Stage) -> None:
    """Invocations go on during the outage, and everything arrives after it."""
    with stage.function(settings={**END, **QUICK}) as function:
        function.invoke()
        stage.backend.stop()
        up = threading.Timer(3, stage.backend.start)
        up.start()
        while up.is_alive():
            assert function.invoke(payload(sleep_ms=100)).outcome == "success"
        up.join()
        for _ in range(2):
            function.invoke(payload(sleep_ms=150))
        function.shutdown()
        assert_ended_well(function)
        assert_nothing_lost(function, stage.backend)


@pytest.mark.smoke
def test_eight_failures_in_a_row_cost_nothing(stage: Stage) -> None:
    """The first eight requests are answered 500: everything arrives all the same."""
    stage.backend.faults.fail_next(8, 500)
    with stage.function(settings={**END, **QUICK}) as function:
        for _ in range(10):
            assert function.invoke(payload(lines=100, sleep_ms=30)).outcome == "success"
        function.shutdown()
        assert_ended_well(function)
        assert_nothing_lost(function, stage.backend)
        assert ledger(function)["retries"] >= 1
    assert [request.status for request in stage.backend.requests[:8]] == [500] * 8


def test_a_request_that_is_too_large_is_halved(stage: Stage) -> None:
    """413: the halves are tried, and theirs; all lines arrive."""
    stage.backend.faults.body_bytes_max = 30_000
    with stage.function(settings=END) as function:
        function.invoke(payload(lines=500))
        function.shutdown()
        assert_ended_well(function)
        assert_nothing_lost(function, stage.backend)
    statuses = [request.status for request in stage.backend.requests]
    assert 413 in statuses
    assert 200 in statuses


def test_an_item_too_large_for_the_backend_goes_alone(stage: Stage) -> None:
    """One record that the backend never takes is dropped with its reason; all others arrive."""
    stage.backend.faults.body_bytes_max = 30_000
    with stage.function(settings=END) as function:
        function.invoke(payload(lines=5, big=60_000))
        function.invoke(payload(lines=5))
        function.shutdown()
        assert_ended_well(function)
        logs = assert_balanced(function, stage.backend)
    assert logs["dropped"] == {"status_413": 1}


def test_rejections_inside_a_200_are_counted(stage: Stage) -> None:
    """HTTP 200 with failures: the refused are told under the server's own reason, and are not sent again."""
    stage.backend.faults.reject_next(1, 3, "Too old data, only last 5 hours data can be ingested.")
    with stage.function(settings=END) as function:
        function.invoke(payload(lines=10))
        function.shutdown()
        logs = assert_balanced(function, stage.backend)
        assert any("OpenObserve refused 3 of" in line for line in printed(function))
    assert logs["rejected"] == {"Too old data, only last 5 hours data can be ingested.": 3}


def test_a_200_that_stored_nothing_is_no_success(stage: Stage) -> None:
    """`successful: 0, failed: 0` is what a column limit looks like: the halves are tried until all is stored."""
    stage.backend.faults.plan(1, Fault(silent_loss=True))
    with stage.function(settings=END) as function:
        function.invoke(payload(lines=10))
        function.shutdown()
        assert_ended_well(function)
        assert_nothing_lost(function, stage.backend)


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_hold_the_data_until_they_are_accepted(stage: Stage, status: int) -> None:
    """401 is somebody's mistake, not the data's fault: one line says what to do, and nothing is given up."""
    stage.backend.faults.status = status
    with stage.function(settings={**END, **QUICK}) as function:
        for _ in range(3):
            assert function.invoke(payload(sleep_ms=60)).outcome == "success"
        assert stage.backend.count("logs", "default") == 0
        stage.backend.faults.clear()
        function.invoke(payload(sleep_ms=150))
        function.shutdown()
        assert_ended_well(function)
        assert_nothing_lost(function, stage.backend)
        lines = [line for line in printed(function) if f"OpenObserve request failed with status {status}" in line]
        assert len(lines) == 1, "once a minute at most"
        assert "check O2_AUTHORIZATION_HEADER" in lines[0]


@serial
@pytest.mark.parametrize("kind", ["black hole", "slow loris", "stalled connection", "refused"])
def test_no_backend_can_hold_an_invocation_beyond_the_budget(stage: Stage, kind: str) -> None:
    """At most O2_FLUSH_BUDGET_MS while sending is tried, and nothing once the circuit is open."""
    proxy = FaultProxy("127.0.0.1", stage.backend.port)
    endpoint = stage.backend.url
    if kind == "black hole":
        stage.backend.faults.black_hole = True
    elif kind == "slow loris":
        stage.backend.faults.slow_loris_ms = 300
    elif kind == "stalled connection":
        proxy.faults = ProxyFaults(stall=True)
        endpoint = f"http://127.0.0.1:{proxy.port}"
    else:
        stage.backend.stop()
    settings = {**END, "O2_ENDPOINT": endpoint, "O2_FLUSH_BUDGET_MS": "300", "O2_REQUEST_TIMEOUT_MS": "600"}
    settings["O2_INITIAL_RETRY_DELAY_MS"] = "10"  # so that the circuit opens early, whatever the dice say
    with proxy, stage.function(settings=settings) as function:
        held_ms = [function.invoke().extension_overhead_ms for _ in range(8)]
        function.shutdown()
        assert_ended_well(function)
        logs = ledger(function)["logs"]
        assert logs["received"] == logs["delivered"] + logs["held"]
    margin_ms = 250  # a telemetry batch takes 25 ms and more to come, and the machine may be busy
    assert max(held_ms) < 300 + margin_ms, held_ms
    assert max(held_ms[4:]) < margin_ms, held_ms
    assert sum(held_ms[4:]) / 4 < 150, held_ms


@serial
def test_the_budget_can_be_nothing(stage: Stage) -> None:
    """O2_FLUSH_BUDGET_MS=0: no invocation is prolonged, everything arrives all the same."""
    stage.backend.faults.latency_ms = 300
    with stage.function(settings={**END, "O2_FLUSH_BUDGET_MS": "0"}) as function:
        held_ms = [function.invoke().extension_overhead_ms for _ in range(3)]
        function.shutdown()
        assert_ended_well(function)
        assert_nothing_lost(function, stage.backend)
    assert max(held_ms) < 250, held_ms


@pytest.mark.parametrize("at_bytes", [1, 17, 40, 500])
@pytest.mark.parametrize("side", ["request", "answer"])
def test_a_reset_at_any_byte_loses_nothing(stage: Stage, side: str, at_bytes: int) -> None:
    """The connection is reset within the request or within the answer: the batch is sent again."""
    faults = ProxyFaults()
    setattr(faults, f"reset_after_{side}_bytes", at_bytes)
    with FaultProxy("127.0.0.1", stage.backend.port, faults) as proxy:
        settings = {**END, **QUICK, "O2_ENDPOINT": f"http://127.0.0.1:{proxy.port}"}
        with stage.function(settings=settings) as function:
            function.invoke()
            proxy.faults = ProxyFaults()
            proxy.reset_all_connections()
            for _ in range(2):
                function.invoke(payload(sleep_ms=120))
            function.shutdown()
            assert_ended_well(function)
            logs = ledger(function)["logs"]
            assert logs["delivered"] == logs["received"]
            assert stored_once(stage) == logs["received"]


def stored_once(stage: Stage) -> int:
    """How many different events the backend holds: an answer that got lost makes duplicates, told by `event_id`."""
    return len({row["event_id"] for row in stage.stored()})


@pytest.mark.parametrize("when", list(Reset))
def test_a_reset_by_the_server_loses_nothing(stage: Stage, when: Reset) -> None:
    """The server gives up at its own moments: before reading, in the body, before and within its answer."""
    stage.backend.faults.reset_next(2, when, at_bytes=10)
    with stage.function(settings={**END, **QUICK}) as function:
        for _ in range(3):
            function.invoke(payload(sleep_ms=120))
        function.shutdown()
        assert_ended_well(function)
        logs = ledger(function)["logs"]
        assert logs["delivered"] == logs["received"]
        assert stored_once(stage) == logs["received"]


@serial
def test_retry_after_is_honoured(arena: Arena) -> None:
    """429 with Retry-After: the next attempt comes no earlier than asked for."""
    rig = arena.rig(**END, **QUICK)
    rig.sink.plan = [response(429, b"slow down", Retry_After="1")]
    rig.invocation("a")
    rig.sink.await_requests(1)
    rig.begin()
    rig.sink.await_lines(1)
    rig.done()
    rig.await_next()
    pause_s = rig.sink.requests[1].at_s - rig.sink.requests[0].at_s
    assert pause_s >= 0.99
    assert rig.end().logs["held"] == 0


@pytest.mark.parametrize("how", ["reset", "closed"])
def test_a_connection_that_died_in_the_freeze_costs_nothing(stage: Stage, how: str) -> None:
    """The backend gives up idle connections while the sandbox is frozen: the first request after the thaw arrives."""
    with FaultProxy("127.0.0.1", stage.backend.port) as proxy:
        settings = {**END, "O2_ENDPOINT": f"http://127.0.0.1:{proxy.port}"}
        if how == "closed":
            stage.backend.faults.idle_close_ms = 20
            settings["O2_ENDPOINT"] = stage.backend.url
        with stage.function(settings=settings) as function:
            if how == "reset":
                function.emulator.on_freeze.append(proxy.reset_all_connections)
            for number in range(4):
                assert function.invoke().extension_overhead_ms < 1000
                assert len(stage.stored("platform.runtimeDone")) == number + 1
                if how == "closed":
                    accepted = stage.backend.connections_accepted
                    threading.Event().wait(0.1)  # longer than the backend keeps an idle connection
                    assert stage.backend.connections_accepted == accepted
            function.shutdown()
            assert_ended_well(function)
            assert_nothing_lost(function, stage.backend)
            assert ledger(function)["retries"] == 0


def test_a_request_that_dies_in_a_freeze_loses_nothing(stage: Stage) -> None:
    """In continuous mode a request may be frozen on its way: its connection is dead then, its batch is not."""
    with FaultProxy("127.0.0.1", stage.backend.port, ProxyFaults(latency_ms=80)) as proxy:
        settings = {"O2_FLUSH_STRATEGY": "continuous", "O2_ENDPOINT": f"http://127.0.0.1:{proxy.port}"}
        with stage.function(settings={**QUICK, **settings}) as function:
            function.emulator.on_freeze.append(proxy.reset_all_connections)
            for _ in range(5):
                function.invoke(payload(lines=20))
            function.emulator.on_freeze.clear()
            function.invoke(payload(sleep_ms=500))
            function.shutdown()
            assert_ended_well(function)
            logs = ledger(function)["logs"]
            assert logs["delivered"] == logs["received"]
            assert stored_once(stage) == logs["received"]


def test_a_request_that_dies_in_a_freeze_is_no_failure_of_the_backend(arena: Arena) -> None:
    """Frozen with a request on its way, thawed by INVOKE: it is sent again at once, and nothing counts as a failure."""
    rig = arena.rig(O2_FLUSH_STRATEGY="continuous", O2_MAX_RETRIES="1", O2_INITIAL_RETRY_DELAY_MS="60000")
    rig.sink.plan = [lambda _request, _client: None]  # never answered
    rig.invocation("a")
    rig.begin()
    rig.await_next()
    rig.sink.await_requests(1)
    rig.process.popen.send_signal(signal.SIGSTOP)
    rig.sink.drop_connections()
    rig.lambda_.invoke("8476a536-e9f4-11e8-9739-00000000thaw")
    rig.process.popen.send_signal(signal.SIGCONT)
    rig.sink.await_lines(1)
    rig.lambda_.await_next(4)
    assert not rig.process.matching("Retry attempt")
    rig.lambda_.shutdown()
    assert rig.process.await_end().status == 0


def test_an_answer_that_came_while_nobody_could_read_it_counts(arena: Arena) -> None:
    """The process stood still beyond the request's timeout: the answer lies ready, nothing is sent twice."""
    patch = """
from time import sleep
from o2_lambda.extension.io.uplink import Connection
_send = Connection.send
def send(self, data, timeout_s):
    _send(self, data, timeout_s)
    sleep(0.5)
Connection.send = send
"""
    rig = arena.rig(patch=patch, **END, **QUICK, O2_REQUEST_TIMEOUT_MS="200")
    rig.invocation("a")
    ending = rig.end()
    assert ending.logs["held"] == 0
    assert ending.ledger["retries"] == 0
    assert rig.sink.lines() == ["a"]


def test_a_request_that_hangs_after_a_long_freeze_does_not_block_the_shutdown(arena: Arena) -> None:
    """Its connection died unheard while the sandbox was frozen: what is held goes on a new one, not after 30 s."""
    patch = "from o2_lambda.extension import sender\nsender.FREEZE_MS_MAX = -1"
    rig = arena.rig(patch=patch, O2_FLUSH_STRATEGY="continuous")
    rig.sink.plan = [lambda _request, _client: None]  # never answered, never closed
    rig.invocation("a")
    rig.begin()
    rig.await_next()
    rig.sink.await_requests(1)
    ending = rig.end()
    assert ending.status == 0
    assert ending.logs["held"] == 0
    assert set(rig.sink.lines()) == {"a"}, "twice where SHUTDOWN, to this patch a freeze as well, overtook the answer"


@pytest.mark.smoke
@serial
def test_a_backlog_is_delivered_at_shutdown(tmp_path: Path) -> None:
    """SHUTDOWN with everything still held and a backend 50 ms away: all of it arrives, once, and the exit is in time.

    An answer that a busy machine brings too late leaves its batch held in the ledger, and stored all the same.
    """
    settings = {**END, "O2_MAX_RETRIES": "1", "O2_INITIAL_RETRY_DELAY_MS": "60000", "O2_MAX_RETRY_DELAY_MS": "60000"}
    with BackendServer(BackendConfig(store=CountingStore())) as backend:  # which stores as fast as it can read
        backend.faults.status = 503
        with Stage(tmp_path, backend).function(settings=settings) as function:
            for _ in range(3):
                function.invoke(payload(lines=1000))
            assert backend.count("logs", "default") == 0
            backend.faults.clear()
            backend.faults.latency_ms = 50
            result = function.shutdown()
            assert result.took_ms < 2000
            assert_ended_well(function)
            logs = ledger(function)["logs"]
        assert logs["received"] == logs["delivered"] + logs["held"]
        assert backend.count("logs", "default") == logs["received"]


@serial
@pytest.mark.parametrize("kind", ["black hole", "refused"])
def test_a_dead_backend_does_not_keep_the_extension_beyond_the_deadline(stage: Stage, kind: str) -> None:
    """SHUTDOWN with a dead backend: the process exits by itself before the kill, and says what could not be sent."""
    with stage.function(settings={**END, "O2_FLUSH_BUDGET_MS": "100"}) as function:
        function.invoke()
        if kind == "refused":
            stage.backend.stop()
        else:
            stage.backend.faults.black_hole = True
        function.invoke()
        function.shutdown()
        assert_ended_well(function)
        assert any("Final flush incomplete: " in line for line in printed(function))
        logs = ledger(function)["logs"]
        assert logs["held"] > 0
        assert logs["received"] == logs["delivered"] + logs["held"]


def test_the_evidence_of_a_crash_is_delivered(stage: Stage) -> None:
    """The runtime exits in the middle of an invocation: last words, runtimeDone and error arrive in SHUTDOWN."""
    with stage.function() as function:
        function.invoke()
        crashed = function.invoke(payload(crash=True))
        assert crashed.outcome != "success"
        assert_ended_well(function)
        assert_nothing_lost(function, stage.backend)
    assert "last words\n" in [row["record"] for row in stage.stored("function")]
    done = stage.stored("platform.runtimeDone")[-1]
    assert (done["requestid"], done["record_status"]) == (crashed.request_id, crashed.outcome)
    [told] = stage.stored("failure")
    assert (told["requestid"], told["record_reason"]) == (crashed.request_id, "crash")
    assert told["message"].endswith("Runtime.ExitError")


@serial
def test_the_evidence_of_a_timeout_is_delivered(stage: Stage) -> None:
    """The function runs into its deadline: its lines and runtimeDone with the status arrive in SHUTDOWN."""
    with stage.function(timeout_ms=1500) as function:
        function.invoke()
        late = function.invoke(payload(text="before the end", sleep_ms=60_000))
        assert late.outcome == "timeout"
        assert_ended_well(function)
        assert_nothing_lost(function, stage.backend)
    assert "before the end 1\n" in [row["record"] for row in stage.stored("function")]
    done = stage.stored("platform.runtimeDone")[-1]
    assert (done["requestid"], done["record_status"]) == (late.request_id, "timeout")
    [told] = stage.stored("failure")
    assert (told["requestid"], told["record_reason"], told["level"]) == (late.request_id, "timeout", "ERROR")
    assert told["_timestamp"] >= done["_timestamp"]


def test_the_last_report_is_delivered(stage: Stage) -> None:
    """platform.report comes after `/next`: that of the last invocation is drained in SHUTDOWN."""
    with stage.function() as function:
        result = function.invoke()
        assert stage.stored("platform.report") == []
        function.shutdown()
    [report] = stage.stored("platform.report")
    assert report["requestid"] == result.request_id
    assert report["record_metrics_billeddurationms"] == result.billed_duration_ms


def test_managed_instances(stage: Stage) -> None:
    """No INVOKE, no runtimeDone, no freeze: lines go out by the interval, with the ids of their JSON records."""
    settings = {"O2_FLUSH_INTERVAL_MS": "50"}
    stage.code = "import logging\ndef handler(event, context):\n    logging.warning('managed')\n"
    with stage.function(settings=settings, initialization_type="lambda-managed-instances") as function:
        ids = [function.invoke().request_id for _ in range(3)]
        eventually(lambda: len(stage.stored("function")) >= 3, "lines by the interval")
        function.shutdown()
        assert_ended_well(function)
        assert_nothing_lost(function, stage.backend)
        registered = [
            fact for fact in function.timeline if fact.kind == "event" and fact.detail["type"] == "platform.extension"
        ]
        assert registered[0].detail["record"]["events"] == ["SHUTDOWN"]
    assert sorted(row["requestid"] for row in stage.stored("function")) == sorted(ids)


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ("function", {"function"}),
        ("platform", {"platform"}),
        ("function,platform", {"function", "platform"}),
        ("extension", {"extension"}),
    ],
)
def test_log_types_choose_what_is_sent(stage: Stage, types: str, expected: set[str]) -> None:
    """O2_LOG_TYPES: the others are not stored; invocations are followed all the same."""
    with stage.function(settings={**END, "O2_LOG_TYPES": types}) as function:
        ids = [function.invoke().request_id for _ in range(2)]
        if "function" in types:
            assert {row.get("requestid") for row in stage.stored("function")} >= set(ids)
        function.shutdown()
        assert_balanced(function, stage.backend)
    assert {row["type"].partition(".")[0] for row in stage.stored()} == expected


def test_log_fields_choose_what_is_added(stage: Stage) -> None:
    """O2_LOG_FIELDS: `_timestamp` and `requestId` stay, of the rest only what is named."""
    for value, added in (("none", set()), ("region,message", {"region", "message"})):
        with stage.function(settings={"O2_LOG_FIELDS": value, "O2_STREAM": f"s{len(added)}"}) as function:
            function.invoke()
            function.shutdown()
        rows = [
            row for row in stage.backend.rows("logs", f"s{len(added)}") if str(row.get("record", "")).startswith("line")
        ]
        assert {tuple(sorted(name for name, value in row.items() if value is not None)) for row in rows} == {
            tuple(sorted({"_timestamp", "requestid", "time", "type", "record"} | added))
        }


def test_own_progress_is_not_fed_back(stage: Stage) -> None:
    """INFO lines about sending are never stored, or each request would make the next; what matters is."""
    with stage.function(settings={**END, "O2_LOG_LEVEL": "DEBUG"}) as function:
        for _ in range(5):
            function.invoke()
        function.shutdown()
        logs = assert_balanced(function, stage.backend)
        assert any("INFO Successfully sent" in line for line in printed(function))
        assert ledger(function)["requests"] <= 5 + 3, "no request because of an own line"
    stored_lines = [row["record"] for row in stage.stored("extension")]
    assert not [line for line in stored_lines if "INFO" in line or "DEBUG" in line]
    assert [line for line in stored_lines if "NOTICE Extension registered successfully" in line]
    assert logs["excluded"]["own_progress"] >= 4


def test_own_errors_are_stored(stage: Stage) -> None:
    """An ERROR line of ours is found at the backend, where people look."""
    stage.backend.faults.fail_next(1, 404, body=b"no such thing")
    with stage.function(settings=END) as function:
        function.invoke()
        function.invoke()
        function.shutdown()
    assert [
        row for row in stage.stored("extension") if "ERROR OpenObserve request failed with status 404" in row["record"]
    ]


@serial
def test_the_ledger_is_exact_after_a_hard_life(stage: Stage) -> None:
    """Failures, rejections, splits, drops and duplicates: received == delivered + rejected + dropped + held."""
    faults = stage.backend.faults
    faults.fail_next(2, 503)
    faults.reject_next(1, 2)
    faults.plan(1, Fault(silent_loss=True))
    faults.fail_next(1, 404)
    config = stage.config(settings={**END, **QUICK, "O2_BATCH_SIZE": "40"})
    config.faults.duplicate_batches = 2
    with LocalLambda(config) as function:
        for _ in range(6):
            function.invoke(payload(lines=60, sleep_ms=60))
        function.shutdown()
        assert_ended_well(function)
        logs = assert_balanced(function, stage.backend)
    assert logs["held"] == 0
    assert sum(logs["rejected"].values()) == 2
    assert set(logs["dropped"]) == {"status_404"}


def test_the_answer_of_something_else_is_no_success(arena: Arena) -> None:
    """A proxy's friendly page under 200 is not OpenObserve: the data is held, a line says what to check."""
    rig = arena.rig(**END, **QUICK)
    rig.sink.plan = [response(200, b"<html>welcome</html>")] * 2 + [response(200, b"{}"), stored(10_000)]
    rig.invocation("a")
    line = rig.process.await_line("the answer is not OpenObserve's")
    assert "check O2_ENDPOINT" in line
    ending = rig.end()
    assert ending.logs["received"] == ending.logs["delivered"]


def test_a_missing_runtime_done_is_survived(stage: Stage) -> None:
    """Lambda loses a runtimeDone: the hold ends before the function's deadline, later invocations flow."""
    config = stage.config(settings=END, timeout_ms=1500)
    config.faults.missing_runtime_done = 1
    with LocalLambda(config) as function:
        results = [function.invoke() for _ in range(3)]
        assert [result.outcome for result in results] == ["success"] * 3
        assert results[2].extension_overhead_ms < 700
        function.shutdown()
        assert_ended_well(function)
        assert_nothing_lost(function, stage.backend)


def test_a_clock_that_jumps_is_survived(stage: Stage) -> None:
    """The wall clock jumps over a freeze by an hour: no false timeout, nothing held back, nothing lost."""
    config = stage.config(settings=END)
    with LocalLambda(config) as function:
        function.invoke()
        for jump_ms in (3_600_000, -3_600_000):
            config.faults.clock_jump_ms = jump_ms
            assert function.invoke().outcome == "success"
        config.faults.clock_jump_ms = 0
        function.shutdown()
        assert_ended_well(function)
        assert_nothing_lost(function, stage.backend)


def test_every_invocation_has_its_metrics(stage: Stage) -> None:
    """From Lambda's reports, as OTLP metrics, at the end at the latest; on by default, with the aliases on request."""
    settings = {"O2_ENHANCED_METRICS": None, "O2_EMIT_BASE_ALIASES": "true", "O2_ENV": "prod"}
    with stage.function(settings=settings) as function:
        results = [function.invoke(), function.invoke(payload(**{"raise": True})), function.invoke()]
        function.shutdown()
        assert_ended_well(function)
        books = ledger(function)["metrics"]
    assert books["received"] == books["delivered"] > 0
    durations = metric(stage, "aws_lambda_enhanced_duration")
    assert [round(row["value"]) for row in durations] == [round(result.duration_ms) for result in results]
    assert {row["faas_name"] for row in durations} == {"my-function"}
    assert {row["deployment_environment"] for row in durations} == {"prod"}
    assert not any(result.request_id in str(row) for row in durations for result in results)
    for name, count in (("invocations", 3), ("errors", 1), ("timeouts", 0), ("cold_starts", 1)):
        assert sum(row["value"] for row in metric(stage, f"aws_lambda_enhanced_{name}")) == count
    assert sum(row["value"] for row in metric(stage, "aws_lambda_invocations")) == 3


def metric(stage: Stage, name: str) -> list[dict[str, Any]]:
    """The stored points of a metric, oldest first."""
    return stage.backend.rows("metrics", name)
