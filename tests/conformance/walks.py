"""Runs the probe extension under AWS's emulator and under ours, and brings what it saw into comparable words."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from o2_lambda.emulator import Emulator, LambdaConfig

from .rie import CLIENT_HEADERS, Answer, Rie

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).parent
PROBE = "probe-extension"
RUNTIME = (sys.executable, "-m", "awslambdaric")
HANDLER = "obedient.handler"
ECHO = b'{"do":"echo","n":1}'
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
RIE_ACCOUNT = "012345678912"  # in the ARN of every function there


@dataclass(frozen=True)
class Walk:
    """One run of the probe: which walk, and what the client of the function asks for meanwhile."""

    name: str
    invokes: Sequence[bytes] = (ECHO, ECHO)
    timeout_s: int = 30


@dataclass(frozen=True)
class Run:
    """What came of a walk: the probe's own notes, and the client's answers."""

    trace: list[dict[str, Any]]
    alive_at_ms: float | None
    answers: list[Answer]


class Stage:
    """A folder with the probe as the only extension, and the obedient function."""

    def __init__(self, folder: Path, walk: Walk) -> None:
        self.walk = walk
        self.opt = folder / "opt"
        self.task = folder / "task"
        self.trace = folder / "trace"
        self.file = self.opt / "extensions" / PROBE
        self.file.parent.mkdir(parents=True)
        source = (HERE / "probe" / "api_walk.py").read_text()
        self.file.write_text(f"#!{sys.executable} -IS\n{source}")
        self.file.chmod(0o755)
        self.task.mkdir()
        shutil.copy(HERE / "functions" / "obedient.py", self.task)
        self.environment = {"PROBE_WALK": walk.name, "PROBE_TRACE": str(self.trace)}

    def run_rie(self) -> Run:
        """Under AWS's emulator."""
        environment = {
            **self.environment,
            "AWS_LAMBDA_FUNCTION_NAME": "probed",
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(self.walk.timeout_s),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "_HANDLER": HANDLER,
        }
        with Rie(self.opt, self.task, command=[*RUNTIME, HANDLER], environment=environment) as rie:
            answers = [rie.invoke(payload) for payload in self.walk.invokes]
        return self._collect(answers)

    async def run_ours(self) -> Run:
        """Under this project's emulator, by HTTP as well; the first call initialises, as it does there."""
        config = LambdaConfig(
            RUNTIME,
            handler=HANDLER,
            task_root=self.task,
            extensions=[self.file],
            environment=self.environment,
            function_name="probed",
            memory_mb=256,
            timeout_ms=self.walk.timeout_s * 1000,
            eager_init=False,
            account_id=RIE_ACCOUNT,
        )
        async with Emulator(config) as emulator, aiohttp.ClientSession() as client:
            address = await emulator.serve()
            answers = [await _post(client, address, payload) for payload in self.walk.invokes]
        return self._collect(answers)

    def _collect(self, answers: list[Answer]) -> Run:
        trace = [json.loads(line) for line in self.trace.read_text().splitlines()]
        alive = self.trace.with_name(f"{self.trace.name}.alive")
        alive_at_ms = alive.stat().st_mtime_ns / 1e6 if alive.exists() else None
        return Run(trace, alive_at_ms, answers)


async def _post(client: aiohttp.ClientSession, address: str, payload: bytes) -> Answer:
    url = f"http://{address}/2015-03-31/functions/function/invocations"
    async with client.post(url, data=payload, headers=CLIENT_HEADERS) as response:
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, headers, await response.read())


def run_both(folder: Path, walk: Walk) -> tuple[Run, Run]:
    """The walk under AWS's emulator and under ours."""
    theirs = Stage(folder / "rie", walk).run_rie()
    ours = asyncio.run(Stage(folder / "ours", walk).run_ours())
    return theirs, ours


# Into comparable words

# Set by the interpreter, by the shell that mounts, and by the tests themselves.
FOREIGN_VARIABLES = re.compile(r"PROBE_.*|LC_CTYPE|PWD|OLDPWD|SHLVL|_")
SHUTDOWN_CLASSES_MS = ((1000, "at once"), (1500, "late"), (3000, "at the limit of two seconds"))


def words(run: Run) -> dict[str, str]:
    """A run as `subject/aspect` -> text, free of ids, ports and times: equal where two emulators behave alike."""
    found = _fate_words(run)
    request_ids = [_json(entry["body"]).get("requestId") for entry in run.trace if "step" in entry]
    lives = 0
    for entry in run.trace:
        if entry.get("mark") == "start":
            lives += 1
            found["fate/leads its group"] = str(entry["leads_group"])
            names = (name for name in entry["variables"] if not FOREIGN_VARIABLES.fullmatch(name))
            found |= {f"environment/{name}": "set" for name in names}
        life = f"life {lives}: " if lives > 1 else ""
        if "step" in entry:
            found |= _answer_words(life + entry["step"], entry, request_ids)
        elif entry["mark"] == "event" and entry["deadline_ms"]:
            seconds = (entry["deadline_ms"] - entry["at_ms"]) / 1000
            found[f"{life}{entry['call']}/body.deadlineMs"] = f"some {round(seconds, -1):.0f} s ahead"
    for number, answer in enumerate(run.answers, 1):
        found[f"client {number}/status"] = str(answer.status)
        for header in ("content-type", "x-amz-function-error"):
            if header in answer.headers:
                found[f"client {number}/{header}"] = answer.headers[header]
        found |= _body_words(f"client {number}", answer.body.decode())
    return found


def _answer_words(step: str, entry: dict[str, Any], request_ids: list[Any]) -> dict[str, str]:
    found = {f"{step}/status": str(entry["status"])}
    for header, value in entry["headers"].items():
        is_request_id = header.endswith("Event-Identifier") and value in request_ids
        found[f"{step}/{header}"] = "the request's id" if is_request_id else UUID.sub("<id>", value)
    return found | _body_words(step, entry["body"])


def _body_words(subject: str, body: str) -> dict[str, str]:
    members = _json(body)
    if not members:
        return {f"{subject}/body": UUID.sub("<id>", body)}
    members.pop("stackTrace", None)  # names the stage's own folder
    return {
        f"{subject}/body.{name}": UUID.sub("<id>", json.dumps(value))
        for name, value in members.items()
        if name != "deadlineMs"
    }


def _json(body: str) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _fate_words(run: Run) -> dict[str, str]:
    exits = [entry for entry in run.trace if entry.get("mark") == "exit"]
    signals = [entry["name"] for entry in run.trace if entry.get("mark") == "signal"]
    told = [entry["at_ms"] for entry in run.trace if entry.get("kind") == "SHUTDOWN"]
    found = {
        "fate/starts": str(sum(entry.get("mark") == "start" for entry in run.trace)),
        "fate/ends": " ".join(f"exit {entry['code']}" for entry in exits) or "killed",
        "fate/signals": " ".join(signals) or "none",
        "fate/told": f"SHUTDOWN {len(told)} times",
    }
    end_ms = exits[-1]["at_ms"] if exits else run.alive_at_ms
    if told and end_ms is not None:
        took_ms = end_ms - told[-1]
        classes = (name for limit_ms, name in SHUTDOWN_CLASSES_MS if took_ms < limit_ms)
        found["fate/after SHUTDOWN"] = next(classes, "too late")
    return found
