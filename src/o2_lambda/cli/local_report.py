"""What `o2-lambda local run` prints: text with colours on a terminal, or one JSON object per line."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

import click
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from o2_lambda.emulator import InitResult, InvokeResult, OutputLine, ShutdownResult

SOURCE_STYLES = {"function": "cyan", "extension": "magenta"}
OUTCOME_STYLES = {"success": "green", "error": "yellow", "failure": "red", "timeout": "red"}


class Report(Protocol):
    """What either format can tell."""

    def notice(self, text: str) -> None:
        """Tell something about the run itself."""

    def init(self, result: InitResult) -> None:
        """Tell how the init phase went."""

    def output(self, line: OutputLine) -> None:
        """Tell what a process wrote."""

    def invocation(self, result: InvokeResult) -> None:
        """Tell how an invocation went."""

    def shutdown(self, result: ShutdownResult) -> None:
        """Tell how the shutdown went."""

    def summary(self) -> None:
        """Sum up the invocations."""


class TextReport:
    """For people."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, markup=False, soft_wrap=True)
        self._results: list[InvokeResult] = []

    def notice(self, text: str) -> None:
        """Tell something about the run itself."""
        self._line("platform", text, "dim")

    def init(self, result: InitResult) -> None:
        """Tell how the init phase went."""
        text = f"init {result.status} in {result.duration_ms:.1f} ms"
        if result.error_type:
            text += f": {result.error_type}: {result.message}"
        self._line("platform", text, "green" if result.status == "success" else "red")

    def output(self, line: OutputLine) -> None:
        """Tell what a process wrote."""
        self._line(line.source, line.line.rstrip("\r\n"), SOURCE_STYLES[line.source.partition(":")[0]])

    def invocation(self, result: InvokeResult) -> None:
        """Tell how an invocation went."""
        self._results.append(result)
        text = (
            f"invoke {result.outcome}  {result.duration_ms:.1f} ms  billed {result.billed_duration_ms} ms"
            f"  extensions +{result.extension_overhead_ms:.1f} ms  memory {result.memory_used_mb} MB"
        )
        if result.restore_duration_ms is not None:
            text += f"  restore {result.restore_duration_ms:.1f} ms"
        self._line("platform", text, OUTCOME_STYLES[result.outcome])
        self._console.print(Text(result.payload.decode(errors="replace")))

    def shutdown(self, result: ShutdownResult) -> None:
        """Tell how the shutdown went."""
        for name, end in result.extensions.items():
            how = "killed at the deadline" if end.killed else f"exit {end.returncode}"
            style = "red" if end.killed else "dim"
            self._line("platform", f"extension {name}: {how} after {end.took_ms:.0f} ms", style)

    def summary(self) -> None:
        """Sum up the invocations."""
        if self._results:
            good = sum(result.outcome == "success" for result in self._results)
            durations = [result.duration_ms for result in self._results]
            billed = sum(result.billed_duration_ms for result in self._results)
            times = f"median {statistics.median(durations):.1f} ms, longest {max(durations):.1f} ms"
            text = f"{good} of {len(durations)} succeeded; {times}; billed {billed} ms"
            self._line("platform", text, "green" if good == len(durations) else "red")

    def _line(self, source: str, text: str, style: str) -> None:
        self._console.print(
            Text(f"[{source}] ", style="bold" if source == "platform" else style) + Text(text, style=style)
        )


class JsonReport:
    """For programs."""

    def __init__(self) -> None:
        self._results: list[InvokeResult] = []

    def notice(self, text: str) -> None:
        """Tell something about the run itself."""
        _print(kind="notice", text=text)

    def init(self, result: InitResult) -> None:
        """Tell how the init phase went."""
        _print(kind="init", **asdict(result))

    def output(self, line: OutputLine) -> None:
        """Tell what a process wrote."""
        _print(kind="log", source=line.source, line=line.line)

    def invocation(self, result: InvokeResult) -> None:
        """Tell how an invocation went; a payload that is JSON is embedded as such."""
        self._results.append(result)
        detail: dict[str, Any] = asdict(result)
        detail["log_tail"] = result.log_tail.decode(errors="replace")
        try:
            detail["payload"] = result.json()
        except ValueError:
            detail["payload"] = result.payload.decode(errors="replace")
        _print(kind="invocation", **detail)

    def shutdown(self, result: ShutdownResult) -> None:
        """Tell how the shutdown went."""
        _print(kind="shutdown", **asdict(result))

    def summary(self) -> None:
        """Sum up the invocations."""
        succeeded = sum(result.outcome == "success" for result in self._results)
        billed_ms = sum(result.billed_duration_ms for result in self._results)
        _print(kind="summary", invocations=len(self._results), succeeded=succeeded, billed_duration_ms=billed_ms)


def _print(**fields: object) -> None:
    click.echo(json.dumps(fields, ensure_ascii=False))
