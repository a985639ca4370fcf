"""What the demo shows: what arrived by signal, some log lines, a trace as a tree, the ledger, the time added."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text
from rich.tree import Tree

if TYPE_CHECKING:
    from rich.console import Console

    from o2_lambda.backend import BackendServer
    from o2_lambda.emulator import InitResult, InvokeResult, OutputLine, ShutdownResult

SAMPLE_NAME = "demo"  # of the function that the demo brings, one invocation of which fails on purpose
LINES_SHOWN = 8
NANOSECONDS = 1_000_000
_ORDER = ("logs", "traces", "metrics", "otlp_logs")


@dataclass
class Findings:
    """All that one run of the demo found out."""

    function_name: str
    init: InitResult | None = None
    results: list[InvokeResult] = field(default_factory=list)
    shutdown: ShutdownResult | None = None
    output: list[OutputLine] = field(default_factory=list)
    ledger: dict[str, Any] = field(default_factory=dict)
    logs: list[dict[str, Any]] = field(default_factory=list)  # those that Lambda's telemetry brought
    spans: list[dict[str, Any]] = field(default_factory=list)
    stored: Counter[str] = field(default_factory=Counter)  # signal -> rows at the backend

    @property
    def complete(self) -> bool:
        """Whether the ledger balances with nothing lost and the backend holds what was delivered."""
        signals = [signal for signal in _ORDER if signal in self.ledger]
        return bool(signals) and all(self._is_stored(signal) for signal in signals)

    def _is_stored(self, signal: str) -> bool:
        account, rows = self.ledger[signal], self.stored[signal]
        delivered: int = account["delivered"]
        # A point of a histogram is several rows.
        is_there = rows >= delivered if signal == "metrics" else rows == delivered
        return is_there and account["received"] == delivered


def collect(findings: Findings, backend: BackendServer) -> None:
    """Reads the ledger from the extension's output and everything else from the backend."""
    for line in findings.output:
        if line.source.startswith("extension:") and line.line.startswith('{"ledger"'):
            findings.ledger = json.loads(line.line)["ledger"]
    for info in backend.streams():
        findings.stored[info.key.stream_type] += info.rows
    findings.logs = [row for row in backend.rows("logs", "default") if "event_id" in row]
    findings.stored["otlp_logs"] = findings.stored["logs"] - len(findings.logs)
    findings.stored["logs"] = len(findings.logs)
    findings.spans = backend.rows("traces", "default")


def show(findings: Findings, console: Console) -> None:
    """Prints the findings."""
    console.print(_arrivals(findings))
    console.print(f"\n[bold]Log lines[/] of {findings.function_name}, as they lie in the backend")
    for line in _log_lines(findings):
        console.print(line, no_wrap=True, overflow="ellipsis")
    tree = _trace_tree(findings)
    if tree is not None:
        console.print()
        console.print(tree)
    console.print()
    console.print(_ledger(findings))
    console.print(_overhead(findings))


def _arrivals(findings: Findings) -> Table:
    table = Table(title="What arrived", title_justify="left", title_style="bold")
    for name, side in (("signal", "left"), ("received", "right"), ("delivered", "right"), ("at the backend", "right")):
        table.add_column(name, justify="right" if side == "right" else "left")
    kinds = Counter(str(row["type"]).partition(".")[0] for row in findings.logs)
    for signal in _ORDER:
        account = findings.ledger.get(signal)
        if account:
            table.add_row(signal, str(account["received"]), str(account["delivered"]), str(findings.stored[signal]))
        for kind, count in sorted(kinds.items()) if signal == "logs" else ():
            table.add_row(f"  of type {kind}", "", "", str(count), style="dim")
    return table


def _log_lines(findings: Findings) -> list[Text]:
    lines = []
    for row in findings.logs:
        if row.get("type") != "function":
            continue
        request = str(row.get("requestid", "-"))[:8]
        message = (
            str(row.get("message", row.get("record", "")))
            .strip()
            .replace("\t", "  ")
            .replace("\n", " ⏎ ")
            .replace("\r", " ⏎ ")
        )
        lines.append(Text.assemble((str(row.get("time", ""))[11:23], "dim"), "  ", (request, "cyan"), "  ", message))
    return lines[:LINES_SHOWN]


def _trace_tree(findings: Findings) -> Tree | None:
    """The trace with the most spans."""
    traces: dict[str, list[dict[str, Any]]] = {}
    for span in findings.spans:
        traces.setdefault(span["trace_id"], []).append(span)
    if not traces:
        return None
    trace_id, spans = max(
        traces.items(), key=lambda item: (any(s["span_status"] == "ERROR" for s in item[1]), len(item[1]))
    )
    tree = Tree(Text.assemble(("Trace ", "bold"), (trace_id, "cyan")))
    ids = {span["span_id"] for span in spans}
    roots = [span for span in spans if span.get("reference_parent_span_id") not in ids]
    pending = [(tree, span) for span in sorted(roots, key=lambda span: int(span["start_time"]))]
    while pending:
        parent, span = pending.pop(0)
        milliseconds = (int(span["end_time"]) - int(span["start_time"])) / NANOSECONDS
        failed = span["span_status"] == "ERROR"
        label = Text.assemble(
            str(span["operation_name"]), (f"  {milliseconds:.1f} ms", "yellow"), ("  error" if failed else "", "red")
        )
        branch = parent.add(label)
        children = [child for child in spans if child.get("reference_parent_span_id") == span["span_id"]]
        pending += [(branch, child) for child in sorted(children, key=lambda child: int(child["start_time"]))]
    return tree


def _ledger(findings: Findings) -> Text:
    if not findings.ledger:
        return Text("The extension printed no ledger: see its lines with o2-lambda local run", style="red")
    parts = []
    for signal in _ORDER:
        account = findings.ledger.get(signal)
        if account:
            lost = sum(account["rejected"].values()) + sum(account["dropped"].values())
            parts.append(
                f"{signal}: {account['received']} received = {account['delivered']} delivered "
                f"+ {lost} rejected or dropped + {account['held']} held"
            )
    text = Text.assemble(("Ledger\n", "bold"), "\n".join(f"  {part}" for part in parts))
    text.append(
        "\n  everything arrived" if findings.complete else "\n  something is missing",
        "green" if findings.complete else "red",
    )
    return text


def _overhead(findings: Findings) -> Text:
    text = Text.assemble(("\nTime the extension added\n", "bold"))
    overheads = [result.extension_overhead_ms for result in findings.results]
    if overheads:
        text.append(f"  per invocation, median {statistics.median(overheads):.1f} ms, longest {max(overheads):.1f} ms")
        text.append(" (Lambda buffers telemetry for 25 ms of it)\n", "dim")
    failed = sum(result.outcome != "success" for result in findings.results)
    purpose = " on purpose" if findings.function_name == SAMPLE_NAME else ""
    text.append(f"  {len(findings.results)} invocations" + (f", {failed} failed{purpose}\n" if failed else "\n"))
    end = next(iter(findings.shutdown.extensions.values()), None) if findings.shutdown else None
    if end is not None:
        text.append(f"  shutdown {end.took_ms:.0f} ms, exit status {end.returncode}")
    return text
