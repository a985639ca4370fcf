"""The reference's defects, planted: for each test of `test_defects_*.py` a few lines that bring the defect back.

A plant runs in the launcher, before the extension. A test that passes with its plant would guard nothing.
"""

from __future__ import annotations

# Test name without `test_` -> Python source.
PLANTS: dict[str, str] = {
    # Lifecycle
    "next_waits_for_runtime_done": """
from o2_lambda.extension.core.flush import Hold
Hold.until_ms = property(lambda self: self.started_ms + 100)
""",
    "a_failed_batch_is_sent_again": """
from o2_lambda.extension.sender import Sender
_failed = Sender._failed
def failed(self, *arguments, **options):
    self.queue.remove(self.queue.next_batch(urgent_first=False))
    _failed(self, *arguments, **options)
Sender._failed = failed
""",
    "a_slow_backend_loses_nothing_in_continuous_mode": """
from o2_lambda.extension.sender import Sender
_request, _failed = Sender._request, Sender._failed
def request(self, *arguments):
    made = _request(self, *arguments)
    made.timeout_ms = 100
    return made
def failed(self, *arguments, **options):
    self.queue.remove(self.queue.next_batch(urgent_first=False))
    _failed(self, *arguments, **options)
Sender._request, Sender._failed = request, failed
""",
    "continuous_mode_keeps_up_with_a_busy_function": """
from o2_lambda.extension import config
from o2_lambda.extension.sender import Sender
_load, _consider = config.load, Sender.consider
def load(environ):
    loaded = _load(environ)
    loaded.batch_size = 100
    return loaded
def consider(self, actions, now, **options):
    if now.ms >= getattr(Sender, "next_ms", 0):
        _consider(self, actions, now, **options)
        if actions.send:
            Sender.next_ms = now.ms + 5000
config.load, Sender.consider = load, consider
""",
    "continuous_mode_delivers_the_last_invocation": """
from o2_lambda.extension.engine import Engine
def drain(self, actions, now, **options):
    self._finish(now)
    actions.exit = True
Engine._drain = drain
""",
    "a_long_invocation_is_sent_while_it_runs": """
from o2_lambda.extension.engine import Engine
Engine._consider_interval = Engine._send_in_silence = lambda self, actions, now: None
""",
    "the_periodic_strategy_sends_every_interval": """
from o2_lambda.extension.engine import Engine
Engine._consider_interval = lambda self, actions, now: None
""",
    "a_few_invocations_are_no_high_rate": """
from o2_lambda.extension.core.flush import RateGauge
def strategy(self, now_ms):
    span_ms = self._times_ms[-1] - self._times_ms[0]
    return "continuous" if span_ms and len(self._times_ms) * 60_000 / span_ms >= 10 else "end"
RateGauge.strategy = strategy
""",
    "a_dead_backend_does_not_make_the_function_time_out": """
from o2_lambda.extension.core.flush import Hold
Hold.until_ms = property(lambda self: (self.done_ms or self.started_ms) + self.budget_ms)
""",
    "a_dead_backend_does_not_outlast_the_shutdown": """
from o2_lambda.extension.engine import Engine
_begin = Engine._begin_shutdown
Engine._begin_shutdown = lambda self, deadline_ms, now: _begin(self, deadline_ms + 14_000, now)
""",
    "the_last_telemetry_is_awaited_at_shutdown": """
from o2_lambda.extension import engine
engine.SETTLE_MS = engine.SETTLE_WITHOUT_REPORT_MS = 0
""",
    "one_refused_batch_does_not_stop_the_others": """
from o2_lambda.extension.sender import Sender
_drop = Sender._drop
def drop(self, *arguments):
    _drop(self, *arguments)
    self.backoff.not_before_ms = 1 << 62
Sender._drop = drop
""",
    "an_outage_costs_nothing_once_it_is_known": """
from o2_lambda.extension.core.flush import Hold
Hold.is_over = lambda self, now_ms, *, all_sent, in_vain: now_ms >= self.until_ms or all_sent
""",
    # Buffer
    "the_batch_size_is_honoured": """
from o2_lambda.extension import engine
_buffer = engine.Buffer
engine.Buffer = lambda *, bytes_max, batch_items_max: _buffer(bytes_max=bytes_max, batch_items_max=5000)
""",
    "the_flush_interval_is_honoured": """
from o2_lambda.extension import config
_load = config.load
def load(environ):
    loaded = _load(environ)
    loaded.flush_interval_ms = 5000
    return loaded
config.load = load
""",
    "the_buffer_is_bounded": """
from o2_lambda.extension.core.buffer import Buffer
Buffer.shed = lambda self, extra_bytes: []
""",
    "a_huge_body_is_refused": """
from o2_lambda.extension.io import listener
listener.TELEMETRY_BODY_BYTES_MAX = listener.OTLP_BODY_BYTES_MAX = 1 << 40
""",
    "an_event_too_large_for_the_backend_does_not_block_the_queue": """
from o2_lambda.extension.sender import Sender
_split = Sender._split
def split(self, batch, *arguments):
    if batch.count > 1:
        _split(self, batch, *arguments)
Sender._split = split
""",
    # Data
    "every_record_says_which_function_it_comes_from": """
from o2_lambda.extension import engine
engine.static_fields = lambda config, sandbox: ""
""",
    "every_line_has_its_request_id": """
from o2_lambda.extension.core.telemetry import Splicer
_middle_for = Splicer._middle_for
Splicer._middle_for = lambda self, request_id, *rest: _middle_for(self, None, *rest)
""",
    "own_progress_does_not_feed_itself": """
from o2_lambda.extension.core import telemetry
telemetry._OWN_PROGRESS = ()
""",
    "one_malformed_event_costs_itself_alone": """
import json
from o2_lambda.extension.core.telemetry import Parsed, Splicer
_feed = Splicer.feed
def feed(self, body, **options):
    try:
        json.loads(body)
    except ValueError:
        return Parsed()
    return _feed(self, body, **options)
Splicer.feed = feed
""",
    "lines_that_lambda_dropped_are_told": """
from o2_lambda.extension.engine import Engine
_platform_fact = Engine._platform_fact
def platform_fact(self, fact, now):
    if fact.type != "platform.logsDropped":
        _platform_fact(self, fact, now)
Engine._platform_fact = platform_fact
""",
    # Robustness
    "it_listens_on_the_loopback_only": """
from o2_lambda.extension import boot
_listen = boot._listen
boot._listen = lambda family, host, port: _listen(family, "0.0.0.0" if "." in host else host, port)
""",
    "a_taken_port_is_survived": """
from o2_lambda.extension import boot
_listen = boot._listen
def listen(*arguments):
    try:
        return _listen(*arguments)
    except OSError:
        raise SystemExit(101) from None
boot._listen = listen
""",
    "a_configuration_error_does_not_end_the_process": """
from o2_lambda.extension import passive
def run(boot, cause):
    raise SystemExit(1)
passive.run = run
""",
    "an_api_error_does_not_end_the_process": """
from o2_lambda.extension import passive
def run(boot, cause):
    raise SystemExit(1)
passive.run = run
""",
    "managed_instances_register_without_invoke": """
from o2_lambda.extension.io.runtime_api import RuntimeApi
_register = RuntimeApi.register
RuntimeApi.register = lambda self, name, *, managed: _register(self, name, managed=False)
""",
    "a_refused_invoke_is_registered_without": """
from o2_lambda.extension.io.runtime_api import RuntimeApi
_register = RuntimeApi.register
RuntimeApi.register = lambda self, name, *, managed: _register(self, name, managed=False)
""",
    "a_proxy_in_the_environment_is_none_of_its_business": """
from posix import environ
from o2_lambda.extension.io.runtime_api import RuntimeApi
_init = RuntimeApi.__init__
def init(self, address):
    _init(self, environ.get(b"HTTP_PROXY", address.encode()).decode().removeprefix("http://"))
RuntimeApi.__init__ = init
""",
    "one_connection_serves_many_requests": """
from o2_lambda.extension.io.uplink import Connection
Connection.is_reusable = lambda self: False
""",
    "the_answer_is_read": """
from o2_lambda.extension.core import verdict
verdict._judge_logs = lambda sent, body: verdict.Verdict(verdict.DELIVERED)
""",
    "pauses_have_jitter": """
from o2_lambda.extension.io import loop
loop.urandom = bytes
""",
    "refused_credentials_do_not_lose_the_logs": """
from o2_lambda.extension.core import verdict
_judge = verdict.judge
def judge(*arguments):
    ruling = _judge(*arguments)
    return verdict.Verdict(verdict.FATAL, "status_401") if ruling.kind == verdict.CREDENTIALS else ruling
verdict.judge = judge
""",
    "it_never_posts_to_itself": """
from o2_lambda.extension import config
config.LOCAL_HOSTS = ()
""",
    "a_compressed_export_is_unpacked": """
from o2_lambda.extension.io import listener
listener._gunzip = lambda body: body
""",
    "a_protobuf_client_gets_a_protobuf_answer": """
from o2_lambda.extension.io.listener import Listener
_answer = Listener._answer
Listener._answer = lambda self, connection, status, body, *rest: _answer(self, connection, status, body or b"{}", *rest)
""",
    "a_full_buffer_is_answered_so_that_the_sdk_tries_again": """
from o2_lambda.extension.engine import Engine
_export = Engine.export
def export(self, *arguments):
    status = _export(self, *arguments)
    return 500 if status == 503 else status
Engine.export = export
""",
    "an_answer_without_json_is_no_success": """
from o2_lambda.extension.core import verdict
verdict._judge_logs = lambda sent, body: verdict.Verdict(verdict.DELIVERED)
""",
    # Health check
    "an_invalid_certificate_is_refused": """
from o2_lambda.extension.io import tls
_init = tls.Context.__init__
def init(self, *arguments, **options):
    _init(self, *arguments, **options)
    self._context.check_hostname = False
    self._context.verify_mode = 0
tls.Context.__init__ = init
""",
    "success_is_told": """
from o2_lambda.extension import command
command.stdout = open("/dev/null", "w")
""",
    "no_row_is_written_where_none_is_wanted": """
from o2_lambda.extension import health
_check = health.check
health.check = lambda settings, *, test_entry, out: _check(settings, test_entry=True, out=out)
""",
    "the_row_that_is_written_is_marked": """
from o2_lambda.extension import health
_add = health.OpenBatch.add
def add(self, items, count):
    _add(self, items.replace(b'"health_check"', b'"function"'), count)
health.OpenBatch.add = add
""",
}
