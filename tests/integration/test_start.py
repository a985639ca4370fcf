"""From spawn to the first event: what is loaded, what is on the wire, and what must never harm the function."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from o2_lambda.emulator import LocalLambda
from tests.integration.rig import CREDENTIALS, with_otlp
from tests.integration.stage import assert_ended_well, printed
from tests.integration.stub_lambda import HANG_UP, StubLambda, event, refusal
from tests.integration.wire import PATIENCE_S, eventually, free_port, response

if TYPE_CHECKING:
    from tests.integration.rig import Arena, Rig, Settings
    from tests.integration.stage import Stage
    from tests.integration.wire import Request

# Writes which modules are loaded when the first `/next` has been sent.
RECORD_MODULES = """\
from o2_lambda.extension.io.runtime_api import RuntimeApi
_subscribe_and_poll = RuntimeApi.subscribe_and_poll
def subscribe_and_poll(self, subscription):
    answer = _subscribe_and_poll(self, subscription)
    with open({path!r}, "w") as file:
        file.write(" ".join(sys.modules))
    return answer
RuntimeApi.subscribe_and_poll = subscribe_and_poll
"""
OURS_BEFORE_NEXT = {
    "o2_lambda",
    "o2_lambda.extension",
    "o2_lambda.extension.boot",
    "o2_lambda.extension.core",
    "o2_lambda.extension.core.http1",
    "o2_lambda.extension.io",
    "o2_lambda.extension.io.runtime_api",
    "o2_lambda.extension.main",
}
STANDARD_BEFORE_NEXT = {"__future__", "_socket"}

STEP_RAISES = """\
from o2_lambda.extension.engine import Engine
def step(self, *arguments, **options):
    raise ZeroDivisionError("planned")
Engine.step = step
"""
STEP_RAISES_ON_THE_SECOND_INVOCATION = """\
from o2_lambda.extension.engine import Engine
_step = Engine.step
def step(self, *arguments, **options):
    if self.ledger.invocations > 1:
        raise ZeroDivisionError("planned")
    return _step(self, *arguments, **options)
Engine.step = step
"""
UPLINK_RAISES = """\
from o2_lambda.extension.io.uplink import Uplink
def exchange(self, request):
    raise ZeroDivisionError("planned")
Uplink.exchange = exchange
"""
WARMING_RAISES = """\
from o2_lambda.extension.io.uplink import Uplink
def connect(self, *arguments):
    raise ZeroDivisionError("planned")
Uplink._connect = connect
"""
LISTENER_RAISES = """\
from o2_lambda.extension.io.listener import Listener
def readable(self, *arguments):
    raise ZeroDivisionError("planned")
Listener.readable = readable
"""
IMPORT_FAILS = """\
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == "o2_lambda.extension.engine":
            raise ImportError("planned")
sys.meta_path.insert(0, Missing())
"""
BUGS = {
    "step": (STEP_RAISES, "ZeroDivisionError"),
    "uplink": (UPLINK_RAISES, "ZeroDivisionError"),
    "warming": (WARMING_RAISES, "ZeroDivisionError"),
    "listener": (LISTENER_RAISES, "ZeroDivisionError"),
    "import": (IMPORT_FAILS, "ImportError"),
}

BAD_SETTINGS: dict[str, tuple[Settings, str]] = {
    "no organization": ({"O2_ORGANIZATION_ID": None}, "O2_ORGANIZATION_ID environment variable is required"),
    "no credentials": ({"O2_AUTHORIZATION_HEADER": None}, "O2_AUTHORIZATION_HEADER environment variable is required"),
    "credentials without scheme": ({"O2_AUTHORIZATION_HEADER": "cm9vdA=="}, "O2_AUTHORIZATION_HEADER must be"),
    "endpoint without scheme": ({"O2_ENDPOINT": "api.example"}, "O2_ENDPOINT must start with https://"),
    "endpoint with a bad port": ({"O2_ENDPOINT": "https://api.example:99999"}, "O2_ENDPOINT has an unusable port"),
    "batch size no number": ({"O2_BATCH_SIZE": "many"}, "O2_BATCH_SIZE must be a whole number"),
    "batch size out of range": ({"O2_BATCH_SIZE": "0"}, "O2_BATCH_SIZE must be from 1"),
    "unknown strategy": ({"O2_FLUSH_STRATEGY": "never"}, "O2_FLUSH_STRATEGY must be one of"),
    "stream with a slash": ({"O2_STREAM": "a/b"}, "O2_STREAM must be letters"),
    "line break in a header": ({"O2_AUTHORIZATION_HEADER": "Basic a\r\nX: y"}, "O2_AUTHORIZATION_HEADER contains"),
    "missing CA file": ({"O2_CA_CERT": "/nonexistent.pem"}, "O2_CA_CERT '/nonexistent.pem' cannot be read"),
}


def loaded_before_next(arena: Arena, patch: str = "") -> set[str]:
    """The modules loaded up to the first `/next`, beyond those of a bare interpreter with the same options."""
    path = arena.folder / "modules"
    arena.rig(patch=RECORD_MODULES.format(path=str(path)) + patch)
    eventually(lambda: path.exists() and path.read_text(), "the list of modules")
    command = [sys.executable, "-ISE", "-c", "import sys; print(*sys.modules)"]
    bare = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return set(path.read_text().split()) - set(bare)


def test_the_modules_loaded_before_the_first_next_are_these(arena: Arena) -> None:
    """Every import before `/next` is paid on every cold start: the exact set is fixed here."""
    assert loaded_before_next(arena) == OURS_BEFORE_NEXT | STANDARD_BEFORE_NEXT


def test_one_more_import_before_next_is_noticed(arena: Arena) -> None:
    """The test above can fail: an import planted into the boot module shows up."""
    assert "json" in loaded_before_next(arena, "from o2_lambda.extension import boot\nimport json\n")


def test_the_way_to_the_server_opens_before_the_engine_is_loaded(arena: Arena) -> None:
    """Connecting takes the network's time, loading the engine ours: together they would take the sum."""
    path = arena.folder / "modules"
    patch = f"""
from o2_lambda.extension.io.uplink import Uplink
warm = Uplink.warm
def spy(self, url):
    open({str(path)!r}, "w").write(" ".join(sys.modules))
    warm(self, url)
Uplink.warm = spy
"""
    arena.rig(patch=patch)
    eventually(lambda: path.exists() and path.read_text(), "the list of modules")
    loaded = set(path.read_text().split())
    assert "o2_lambda.extension.config" in loaded
    assert loaded.isdisjoint({"o2_lambda.extension.engine", "o2_lambda.extension.io.loop"})


@pytest.mark.smoke
def test_registers_under_the_base_name_of_its_file(arena: Arena) -> None:
    """Lambda takes only the file's own name for an external extension; a renamed layer file still works."""
    executable = arena.launcher()
    renamed = executable.rename(executable.with_name("telemetry-of-ours"))
    rig = arena.rig(executable=renamed)
    [request] = rig.lambda_.calls("/register")
    assert request.headers["lambda-extension-name"] == "telemetry-of-ours"
    assert json.loads(request.body) == {"events": ["INVOKE", "SHUTDOWN"]}
    assert request.headers["lambda-extension-accept-feature"] == "accountId"


def test_every_later_call_carries_the_identifier(arena: Arena) -> None:
    """The id of the registration's answer is on the subscription and on every `/next`."""
    rig = arena.rig()
    rig.invocation("a")
    later = [request for request in rig.lambda_.requests if "/register" not in request.target]
    assert {request.headers["lambda-extension-identifier"] for request in later} == {"the-id"}
    assert len({request.connection for request in rig.lambda_.requests}) == 1, "one connection serves all"


def test_the_otlp_receiver_listens_before_registration(arena: Arena) -> None:
    """Lambda starts the function once all extensions have registered: an SDK may export from then on."""
    lambda_ = arena.stack.enter_context(StubLambda())
    lambda_.scripts["register"] = [refusal(500, "Extension.Unready")] * 3
    seen: list[bool] = []
    settings = with_otlp()
    handle = lambda_.handle

    def look_and_handle(request: Request, client: socket.socket) -> None:
        if "/register" in request.target:
            with socket.socket() as probe:
                seen.append(probe.connect_ex(("127.0.0.1", int(settings["O2_OTLP_PORT"]))) == 0)
        handle(request, client)

    lambda_.handle = look_and_handle  # type: ignore[method-assign]
    arena.rig(lambda_=lambda_, **settings)
    assert seen == [True] * 4


def test_the_subscription_asks_for_exactly_this(arena: Arena) -> None:
    """All three types, the shortest buffering that Lambda allows, the largest batches, and a path nobody can guess."""
    rig = arena.rig()
    host, port, path = rig.lambda_.destination
    assert host == "sandbox.localdomain"
    assert len(path) == 1 + 32
    assert rig.lambda_.subscription == {
        "schemaVersion": "2022-12-13",
        "types": ["platform", "function", "extension"],
        "buffering": {"maxItems": 1000, "maxBytes": 1048576, "timeoutMs": 25},
        "destination": {"protocol": "HTTP", "URI": f"http://sandbox.localdomain:{port}{path}"},
    }
    assert rig.lambda_.calls("/telemetry")[0].method == "PUT"


def test_extension_logs_are_not_asked_for_where_nobody_wants_them(arena: Arena) -> None:
    """Without `extension` in O2_LOG_TYPES Lambda need not carry those lines to us."""
    rig = arena.rig(O2_LOG_TYPES="function,platform")
    assert rig.lambda_.subscription["types"] == ["platform", "function"]


def test_white_space_around_a_setting_means_nothing(arena: Arena) -> None:
    """What is read before the settings are checked is read as they are: templates leave blanks and empty strings."""
    port = free_port()
    rig = arena.rig(O2_OTLP_PORT=f" {port}\n", O2_LOG_TYPES=" ", O2_TELEMETRY_PORT="\t")
    assert rig.lambda_.subscription["types"] == ["platform", "function", "extension"]
    with socket.create_connection(("127.0.0.1", port)):
        rig.invocation("a")
    assert rig.end().status == 0
    strict = arena.rig(starts=False, O2_STRICT=" true ", O2_BATCH_SIZE="none")
    assert strict.process.await_end().status == 1


def test_two_processes_have_different_telemetry_paths(arena: Arena) -> None:
    """The path is random: nobody else in the sandbox can put events into the logs."""
    paths = {arena.rig().lambda_.destination[2] for _ in range(2)}
    assert len(paths) == 2


@pytest.mark.parametrize(("method", "path", "status"), [("POST", "/", 404), ("POST", "/x", 404), ("GET", "", 405)])
def test_strangers_cannot_send_telemetry(arena: Arena, method: str, path: str, status: int) -> None:
    """Another path or method is refused, and what it brought is not stored."""
    rig = arena.rig()
    body = f"[{event('function', 'forged')}]".encode()
    answer = rig.lambda_.exchange(body, path=path, method=method)
    assert answer.status == status
    rig.lambda_.hang_up_telemetry()
    rig.invocation("genuine")
    rig.end()
    assert rig.sink.lines() == ["genuine"]


def test_next_is_pipelined_behind_the_subscription(arena: Arena) -> None:
    """`/next` does not wait for the subscription's answer: one round trip less on every cold start."""
    lambda_ = arena.stack.enter_context(StubLambda())
    lambda_.withhold_subscription = True
    rig = arena.rig(lambda_=lambda_)
    assert [request.target.rpartition("/")[2] for request in rig.lambda_.requests] == ["register", "telemetry", "next"]


def test_an_event_in_the_segment_of_the_subscriptions_answer_is_not_lost(arena: Arena) -> None:
    """A function that is invoked at once has its INVOKE right behind the answer; it is served like any other."""
    lambda_ = arena.stack.enter_context(StubLambda())
    lambda_.withhold_subscription = True
    rig = arena.rig(lambda_=lambda_)
    rig.invocation("first")
    assert rig.sink.lines() == ["first"]
    ending = rig.end()
    assert (ending.status, ending.ledger["invocations"]) == (0, 1)


def test_a_shutdown_in_the_segment_of_the_subscriptions_answer_ends_the_extension(arena: Arena) -> None:
    """The same for SHUTDOWN: an environment that is never used goes away in time."""
    lambda_ = arena.stack.enter_context(StubLambda())
    lambda_.withhold_subscription = True
    rig = arena.rig(lambda_=lambda_)
    assert rig.end().status == 0


def test_an_event_in_two_pieces_is_one_event(arena: Arena) -> None:
    """The answer to `/next` may come in fragments, cut within its head; what arrives in between is handled."""
    rig = arena.rig()
    event_bytes = response(200, b'{"eventType":"INVOKE","deadlineMs":99999999999999,"requestId":"r-1"}')
    rig.lambda_.deliver_bytes(event_bytes[:20])
    rig.lambda_.post(event("platform.start", {"requestId": "r-1"}), event("function", "a\n"))
    rig.lambda_.go_on(event_bytes[20:])
    rig.lambda_.post(event("platform.runtimeDone", {"requestId": "r-1"}))
    rig.lambda_.await_next(2)
    assert rig.sink.lines() == ["a"]
    rig.lambda_.shutdown()
    assert rig.process.await_end().ledger["invocations"] == 1


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_a_bad_setting_is_one_line_and_harms_nobody(arena: Arena, name: str) -> None:
    """One line says what is wrong; events are polled as ever, SHUTDOWN ends it with status 0."""
    settings, message = BAD_SETTINGS[name]
    rig = arena.rig(**settings)
    line = rig.process.await_line("Configuration error: ")
    assert message in line
    for number in range(2, 5):
        rig.lambda_.invoke(f"r-{number}")
        rig.lambda_.await_next(number)
    rig.lambda_.shutdown()
    ending = rig.process.await_end()
    assert ending.status == 0
    assert ending.lines == [line]
    assert CREDENTIALS not in line
    assert not rig.sink.requests


@pytest.mark.smoke
def test_a_bad_setting_leaves_the_function_unharmed(stage: Stage) -> None:
    """The same under the emulator: the function answers, init succeeds, nobody is killed."""
    with stage.function(settings={"O2_ORGANIZATION_ID": None}) as function:
        assert function.init_result is not None
        assert function.init_result.status == "success"
        results = [function.invoke(json.dumps({"name": name}).encode()) for name in "ab"]
        assert [result.outcome for result in results] == ["success", "success"]
        function.shutdown()
        assert_ended_well(function)
        assert len([line for line in printed(function) if "Configuration error: " in line]) == 1


@pytest.mark.parametrize(("name", "value"), [("O2_ENDPOINT", "nonsense"), ("O2_CA_CERT", "/no/such/file")])
def test_strict_reports_a_bad_setting_as_an_init_error(arena: Arena, name: str, value: str) -> None:
    """With O2_STRICT the function's start fails, with the setting's name in the log, before any `/next`."""
    rig = arena.rig(starts=False, O2_STRICT="true", **{name: value})
    ending = rig.process.await_end()
    assert ending.status == 1
    [request] = rig.lambda_.calls("/init/error")
    assert request.headers["lambda-extension-function-error-type"] == "Extension.ConfigurationError"
    assert request.headers["lambda-extension-identifier"] == "the-id"
    assert [line for line in ending.lines if f"Configuration error: {name}" in line] == ending.lines
    assert rig.lambda_.nexts == 0


def test_strict_with_good_settings_starts_as_ever(arena: Arena) -> None:
    """O2_STRICT changes nothing where nothing is wrong."""
    rig = arena.rig(O2_STRICT="true")
    rig.invocation("a")
    assert rig.end().status == 0
    assert rig.sink.lines() == ["a"]


def test_strict_fails_the_functions_init_under_the_emulator(stage: Stage) -> None:
    """Lambda reports Extension.InitError for the function instead of running it without telemetry."""
    with stage.function(settings={"O2_ENDPOINT": "nonsense", "O2_STRICT": "true"}) as function:
        assert function.init_result is not None
        assert (function.init_result.status, function.init_result.error_type) == ("error", "Extension.InitError")


@pytest.mark.parametrize("name", BUGS)
def test_a_bug_is_one_line_and_the_function_is_served(arena: Arena, name: str) -> None:
    """Whatever breaks inside: one line names it, `/next` is polled on, SHUTDOWN ends it with status 0."""
    patch, error = BUGS[name]
    rig = arena.rig(patch=patch)
    rig.lambda_.invoke("r-1")
    if name == "listener":
        with socket.create_connection(("127.0.0.1", rig.lambda_.destination[1]), timeout=PATIENCE_S) as client:
            client.sendall(b"POST / HTTP/1.1\r\n\r\n")
    elif name == "uplink":
        rig.lambda_.post(
            event("platform.start", {"requestId": "r-1"}), event("platform.runtimeDone", {"requestId": "r-1"})
        )
    line = rig.process.await_line("Internal error: ")
    assert f"Internal error: {error}: " in line
    assert "planned" in line
    rig.lambda_.await_next(2)
    for number in (3, 4):
        rig.lambda_.invoke(f"r-{number}")
        rig.lambda_.await_next(number)
    rig.lambda_.shutdown()
    ending = rig.process.await_end()
    assert ending.status == 0
    assert [each for each in ending.lines if " ERROR " in each] == [line]
    assert not [each for each in ending.lines if "Traceback" in each]


def test_a_bug_leaves_the_function_unharmed(stage: Stage) -> None:
    """The same under the emulator, in the middle of its life: every invocation is answered, nobody is killed."""
    with stage.function(patch=STEP_RAISES_ON_THE_SECOND_INVOCATION) as function:
        results = [function.invoke() for _ in range(4)]
        assert [result.outcome for result in results] == ["success"] * 4
        function.shutdown()
        assert_ended_well(function)
        assert len([line for line in printed(function) if "Internal error: ZeroDivisionError" in line]) == 1


def test_after_a_bug_clients_are_refused_at_once(arena: Arena) -> None:
    """An SDK or Lambda that keeps a connection open sees its end; waiting for an answer would delay the function."""
    rig = arena.rig(patch=STEP_RAISES_ON_THE_SECOND_INVOCATION, **with_otlp())
    rig.invocation("a")
    with socket.create_connection(("127.0.0.1", rig.otlp_port), timeout=PATIENCE_S) as client:
        client.sendall(b"POST /v1/traces HTTP/1.1\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 200"
        rig.lambda_.invoke("r-2")
        rig.process.await_line("Internal error: ")
        rig.lambda_.await_next(3)
        with pytest.raises(OSError, match=r".+"):
            socket.create_connection(("127.0.0.1", rig.otlp_port), timeout=PATIENCE_S)
        try:
            while client.recv(65_536):
                pass
        except ConnectionResetError:
            pass


def test_a_shutdown_that_meets_a_bug_still_ends_the_extension(arena: Arena) -> None:
    """The bug strikes while SHUTDOWN is handled: the event is not forgotten, the process exits before the deadline."""
    patch = (
        "from o2_lambda.extension.engine import Engine\n"
        "def begin(self, *arguments):\n    raise ZeroDivisionError('planned')\n"
        "Engine._begin_shutdown = begin\n"
    )
    rig = arena.rig(patch=patch)
    rig.lambda_.shutdown()
    ending = rig.process.await_end()
    assert ending.status == 0
    assert ending.took_ms < 2000, "Lambda kills what is still there after two seconds"


def test_a_refused_registration_is_tried_again(arena: Arena) -> None:
    """Without a registration the function cannot start either: five refusals later all is well."""
    lambda_ = arena.stack.enter_context(StubLambda())
    lambda_.scripts["register"] = [refusal(500, "ServiceError")] * 3 + [HANG_UP] + [refusal(403, "Extension.Odd")]
    rig = arena.rig(lambda_=lambda_)
    assert len(rig.lambda_.calls("/register")) == 6
    rig.invocation("a")
    assert rig.sink.lines() == ["a"]
    assert rig.end().status == 0


def test_refused_registrations_under_the_emulator_cost_time_only(stage: Stage) -> None:
    """The emulator refuses twice; the function starts and its logs arrive."""
    config = stage.config()
    config.faults.refuse_registers = 2
    with LocalLambda(config) as function:
        assert function.invoke().outcome == "success"
        function.shutdown()
        assert_ended_well(function)
    assert stage.stored("function")


def test_an_extensions_api_that_is_not_there_yet_is_waited_for(arena: Arena) -> None:
    """Connections refused at first are no reason to exit."""
    lambda_ = arena.stack.enter_context(StubLambda())
    lambda_.down()
    rig = arena.rig(lambda_=lambda_, starts=False)
    with pytest.raises(subprocess.TimeoutExpired):
        rig.process.popen.wait(0.2)
    lambda_.up()
    lambda_.await_next(1)
    assert rig.end().status == 0


@pytest.mark.parametrize("error", ["ConnectionResetError", "TimeoutError"])
def test_a_connection_that_breaks_while_parked_is_made_anew(arena: Arena, error: str) -> None:
    """The Extensions API's connection may break at any time, as after a freeze: `/next` is asked again."""
    patch = f"""
from o2_lambda.extension.io.runtime_api import RuntimeApi
_read = RuntimeApi._read
def read(self):
    try:
        _read(self)
    except ConnectionError:
        raise {error} from None
RuntimeApi._read = read
"""
    rig = arena.rig(patch=patch)
    rig.process.await_line("Successfully subscribed")
    rig.lambda_.break_connection()
    rig.lambda_.await_next(2)
    rig.repeated_nexts = 1
    rig.invocation("after the break")
    assert rig.sink.lines() == ["after the break"]
    assert rig.end().status == 0


def test_a_connection_that_breaks_in_an_invocation_is_made_anew(arena: Arena) -> None:
    """The same while no `/next` is outstanding; the extension does not spin meanwhile."""
    rig = arena.rig()
    rig.begin()
    rig.log("before")
    rig.lambda_.break_connection()
    spent_s = cpu_s(rig)
    rig.lambda_.never(lambda: rig.lambda_.nexts > 1, for_s=0.4, what="/next before runtimeDone")
    assert cpu_s(rig) - spent_s < 0.2, "the extension spins on a dead connection"
    rig.done()
    rig.await_next()
    assert rig.sink.lines() == ["before"]
    assert rig.end().status == 0


def cpu_s(rig: Rig) -> float:
    """CPU time of the process so far, in seconds."""
    return int(Path(f"/proc/{rig.process.pid}/schedstat").read_text().split()[0]) / 1e9


@pytest.mark.parametrize(
    "answer",
    [
        response(202, b'{"errorMessage":"Telemetry API is not supported","errorType":"Telemetry.NotSupported"}'),
        refusal(403, "Telemetry.SubscriptionClosed"),
        refusal(500, "InternalError"),
    ],
    ids=["202", "403", "500"],
)
def test_without_telemetry_the_extension_carries_on(arena: Arena, answer: bytes) -> None:
    """One line says so; nobody waits for a runtimeDone that cannot come, and OTLP still works."""
    lambda_ = arena.stack.enter_context(StubLambda())
    lambda_.scripts["telemetry"] = [answer]
    rig = arena.rig(lambda_=lambda_, **with_otlp())
    rig.process.await_line("Telemetry subscription refused with status")
    rig.lambda_.invoke("r-1")
    rig.lambda_.await_next(2)
    # One span: resource_spans { scope_spans { spans { name: "a" } } }
    assert rig.export("/v1/traces", b"\x0a\x07\x12\x05\x12\x03\x2a\x01a").status == 200
    rig.lambda_.shutdown()
    ending = rig.process.await_end()
    assert ending.status == 0
    assert ending.ledger["traces"]["delivered"] == 1


@pytest.mark.parametrize("knob", ["telemetry_not_supported", "telemetry_closed"])
def test_without_telemetry_the_function_is_unharmed(stage: Stage, knob: str) -> None:
    """The emulator offers no telemetry, as local stubs do."""
    config = stage.config()
    setattr(config.faults, knob, 1)
    with LocalLambda(config) as function:
        results = [function.invoke() for _ in range(2)]
        assert [result.outcome for result in results] == ["success"] * 2
        assert max(result.extension_overhead_ms for result in results) < 500
        function.shutdown()
        assert_ended_well(function)


def test_the_lines_that_users_know_are_printed(arena: Arena) -> None:
    """Registration, subscription, shutdown and the final flush are told in the reference's words."""
    rig = arena.rig()
    rig.invocation("a")
    lines = "\n".join(rig.end().lines)
    port = rig.lambda_.destination[1]
    for text in (
        "Extension registered successfully: orders (ID: the-id)",
        f"telemetry on port {port}",
        "to OpenObserve",
        "Starting shutdown sequence with ",
        "Final flush completed successfully",
    ):
        assert text in lines
    assert "is not encrypted" in lines


def test_an_environment_that_is_no_utf8_is_survived(arena: Arena) -> None:
    """A variable of the function with foreign bytes does not disturb; in a setting of ours it is refused."""
    rig = arena.rig(OTHER="\udcff\udcfe")
    rig.invocation("a")
    assert rig.end().status == 0
    rig = arena.rig(O2_ENV="\udcff")
    assert "Configuration error: O2_ENV" in rig.process.await_line("Configuration error")
