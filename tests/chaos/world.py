"""Performs schedules: the real executable under the emulator with freeze, a function, the upstream; keeps evidence."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from o2_lambda.emulator import LambdaConfig, LocalLambda
from o2_lambda.emulator.faults import Faults
from o2_lambda.layer.linking import SNAPSHOT_MODULES
from tests.chaos import function
from tests.chaos.confine import NAME_SERVER, tighten, wrap
from tests.integration.process import write_launcher
from tests.integration.wire import free_port
from tests.packaging.dns import DnsServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from o2_lambda.backend.journal import RequestRecord
    from o2_lambda.emulator.invocation import InvokeResult
    from o2_lambda.emulator.timeline import Delivery, Fact
    from tests.chaos.schedule import Schedule, Step
    from tests.chaos.upstream import Upstream

SHUTDOWN_S = 2.0
DOUBTED_SHUTDOWN_S = 1.4  # what the extension takes it for where its clock says that it cannot be
WATCH_S = 0.01
# Who gets no processor for so long cannot be held to times: Lambda's own kill comes 200 ms after the extension's exit.
STALL_MS_MAX = 400
ANSWER_S_MAX = 0.2  # for an answer to pass the proxy on a busy machine
NAME, ELSEWHERE = "openobserve.test", "127.0.0.9"  # where nobody listens
NAMES = {NAME: "127.0.0.1"}
SLOW_ANSWER_S = 0.3
# As the executable has them, where modules are no files: from source they would be opened after `/next`, and a sandbox
# can be frozen in the middle of that, and lose its descriptors.
PRELOAD = "".join(f"import {name}\n" for name in (*SNAPSHOT_MODULES, "o2_lambda.extension.passive"))
_MEMORY = re.compile(r"VmHWM:\s+(\d+) kB")
_streams = itertools.count()


def _is_on_its_way(request: RequestRecord) -> bool:
    """Whether the answer may not have reached the client yet."""
    return request.t_answered is None or time.monotonic() - request.t_answered < ANSWER_S_MAX


def _shutdown_s(clock_ahead_s: float) -> float:
    """The time that the extension believes to have at shutdown, under a clock of Lambda's that is so much ahead."""
    told_s = SHUTDOWN_S + clock_ahead_s
    return told_s if 0 < told_s <= SHUTDOWN_S else DOUBTED_SHUTDOWN_S


@contextlib.contextmanager
def _watching(evidence: Evidence) -> Iterator[None]:
    """Notes how late a thread that wants to run every 10 ms does."""
    over = threading.Event()

    def watch() -> None:
        due_s = time.monotonic() + WATCH_S
        while not over.wait(max(0.0, due_s - time.monotonic())):
            evidence.stalled_ms = max(evidence.stalled_ms, (time.monotonic() - due_s) * 1000)
            due_s = time.monotonic() + WATCH_S

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@dataclass
class Evidence:
    """What a schedule left behind."""

    schedule: Schedule
    name: str  # of the extension
    results: list[InvokeResult] = field(default_factory=list)
    sent: list[dict[str, Any]] = field(default_factory=list)  # events that the extension accepted
    pushed: list[str] = field(default_factory=list)  # lines that the function printed
    exported: list[str] = field(default_factory=list)  # ids of spans that the extension took
    rows: list[dict[str, Any]] = field(default_factory=list)
    spans: list[dict[str, Any]] = field(default_factory=list)
    printed: list[str] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    requests: list[RequestRecord] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)  # of telemetry, failed ones included
    peak_kb: int = 0
    answers_lost: bool = False  # a connection was cut over a request that had been stored, or the client gave up first
    stalled_ms: float = 0.0  # the longest time for which the machine had no processor for us
    busy_s: float = 0.0  # how long into the last shutdown the backend had something to answer
    unused_s: float = 0.0  # what was left of the time that it was told to have
    ends_healthy: bool = False  # nothing stands in the way of what is held when the shutdown begins

    @property
    def ledgers(self) -> list[dict[str, Any]]:
        """One for each environment that ended as it should."""
        return [json.loads(line)["ledger"] for line in self.printed if line.startswith('{"ledger"')]

    @property
    def lives(self) -> int:
        """How many environments there were."""
        return sum(1 for fact in self.facts if fact.kind == "spawn" and fact.detail["name"] == self.name)


class World:
    """Performs schedules one after another. `patch` plants a defect; `executable` is any other extension."""

    def __init__(self, folder: Path, upstream: Upstream, *, patch: str = "", executable: Path | None = None) -> None:
        self.folder = folder
        self.upstream = upstream
        self.executable = executable or write_launcher(folder / "opt", patch, preload=PRELOAD)

    def perform(self, schedule: Schedule) -> Evidence:
        """Runs it to its end."""
        stream = f"chaos_{os.getpid()}_{next(_streams)}"
        self.upstream.begin(tls=schedule.tls)
        config = self._config(schedule, stream)
        evidence = Evidence(schedule, self.executable.name)
        with _watching(evidence), self._name_server(schedule) as names, LocalLambda(config) as sandbox:
            sandbox.emulator.on_freeze.append(lambda: self._weigh(sandbox, evidence))
            if schedule.confinement and sandbox.init_result and sandbox.init_result.status == "success":
                tighten(sandbox.emulator.pid(evidence.name), schedule.confinement)
            abandoned = self.upstream.proxy.requests_abandoned
            for step in schedule.steps:
                self._prepare(step, sandbox, evidence, names)
                evidence.results.append(sandbox.invoke(json.dumps(step.event).encode()))
            self._disarm(sandbox)
            evidence.ends_healthy = self._is_healthy(schedule)
            began_s = time.monotonic()
            sandbox.shutdown()
            ended_s = time.monotonic()
            answered_s = [request.t_answered for request in self.upstream.backend.requests if request.t_answered]
            evidence.busy_s = max(answered_s, default=began_s) - began_s
            evidence.unused_s = _shutdown_s(sandbox.emulator.clock.offset_ms / 1000) - (ended_s - began_s)
            evidence.answers_lost |= self.upstream.proxy.requests_abandoned > abandoned
        self._collect(evidence, sandbox, stream)
        return evidence

    @staticmethod
    def _name_server(schedule: Schedule) -> contextlib.AbstractContextManager[DnsServer | None]:
        if schedule.confinement != "own name server":
            return contextlib.nullcontext()
        return DnsServer(NAME_SERVER, dict(NAMES))

    def _config(self, schedule: Schedule, stream: str) -> LambdaConfig:
        upstream = self.upstream
        named = schedule.confinement == "own name server"
        environment = {
            "O2_ENDPOINT": upstream.url.replace("localhost", NAME) if named else upstream.url,
            "O2_ORGANIZATION_ID": "default",
            "O2_AUTHORIZATION_HEADER": upstream.backend.authorization_header,
            "O2_STREAM": stream,
            "O2_TRACES_STREAM": stream,
            "O2_OTLP_PORT": str(free_port()),
            **schedule.settings,
        }
        if schedule.tls:
            environment["O2_CA_CERT"] = str(upstream.ca_file)
        place = self.folder / "place" / schedule.confinement.replace(" ", "-")
        return LambdaConfig(
            runtime_command=[sys.executable, "-I", "-S", Path(function.__file__)],
            task_root=self.folder,
            extensions=[wrap(self.executable, schedule.confinement, place, upstream.ca_file)],
            environment=environment,
            timeout_ms=schedule.timeout_ms,
            log_format=schedule.log_format,
            cpu_quota=schedule.cpus,
            freeze=True,
            log_fd=False,
        )

    def _prepare(self, step: Step, sandbox: LocalLambda, evidence: Evidence, names: DnsServer | None) -> None:
        if step.idle_ms:
            time.sleep(step.idle_ms / 1000)
        on_its_way = any(_is_on_its_way(request) for request in self.upstream.backend.requests)
        cuts = bool(step.cut)
        self.upstream.cut(step.cut)
        if step.restart:
            evidence.answers_lost = True
            self.upstream.restart()
        if names is not None and step.names:
            names.names = {"gone": {}, "moved": {NAME: ELSEWHERE}}.get(step.names, NAMES)
            names.silent = step.names == "silent"
            names.delay_s = SLOW_ANSWER_S if step.names == "slow" else 0.0
        if step.upstream is not None:
            cuts |= self.upstream.befall(step.upstream)
        evidence.answers_lost |= cuts and on_its_way
        self._disarm(sandbox)
        for name, value in step.platform.items():
            setattr(sandbox.config.faults, name, value)

    @staticmethod
    def _disarm(sandbox: LocalLambda) -> None:
        """What the last step has not used up must not hit the next one."""
        for name, value in vars(Faults()).items():
            setattr(sandbox.config.faults, name, value)

    def _is_healthy(self, schedule: Schedule) -> bool:
        """Whether what is held can go now; an environment that ended in the last step has gone through its shutdown."""
        unanswered = any(request.status is None for request in self.upstream.backend.requests)
        hangs = unanswered and any({"black_hole", "half_close"} & trouble.fault.keys() for trouble in schedule.troubles)
        forgotten = any(step.cut == "forget" for step in schedule.steps)  # takes two seconds to be noticed
        nameless = {"gone", "silent", "slow", "moved"} & {step.names for step in schedule.steps}  # not asked for anew
        return schedule.survives and not forgotten and not hangs and not nameless and self.upstream.is_clear

    def _weigh(self, sandbox: LocalLambda, evidence: Evidence) -> None:
        with contextlib.suppress(OSError, KeyError):
            found = _MEMORY.search(Path(f"/proc/{sandbox.emulator.pid(evidence.name)}/status").read_text())
            evidence.peak_kb = max(evidence.peak_kb, int(found[1]) if found else 0)

    def _collect(self, evidence: Evidence, sandbox: LocalLambda, stream: str) -> None:
        vault = self.upstream.vault
        evidence.requests = self.upstream.backend.requests
        evidence.rows = vault.rows("logs", stream)
        evidence.spans = vault.rows("traces", stream)
        evidence.sent = sandbox.telemetry_sent.get(evidence.name, [])
        evidence.facts = sandbox.timeline
        evidence.deliveries = sandbox.deliveries
        for source, line in sandbox.output:
            if source == f"extension:{evidence.name}":
                evidence.printed.append(line)
            elif source == "function":
                evidence.pushed.append(line)
                if line.startswith(function.EXPORTED):
                    evidence.exported.append(line.removeprefix(function.EXPORTED).strip())
