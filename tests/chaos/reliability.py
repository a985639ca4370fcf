"""`make reliability`: plays every scenario, for our executable and any other, and writes docs/reliability.md.

What is counted is seen from outside: lines that the function printed and Lambda pushed, lines that the backend holds.
So the same table can be made for any extension that sends to OpenObserve: `--vs NAME=PATH`.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos import naive
from tests.chaos.confine import possible
from tests.chaos.oracle import runtime_done_late_ms, total, violations
from tests.chaos.scenarios import OPEN_CIRCUITS, SCENARIOS, WEATHERS
from tests.chaos.upstream import Upstream
from tests.chaos.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.schedule import Schedule
    from tests.chaos.world import Evidence

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
OURS = "o2-lambda"
KILLED = "**killed**"
COLUMNS = (
    "| scenario | runs | lines pushed | delivered | duplicated | dropped | held at the end | longest hold, ms | exit |"
)
CIRCUITS = "| OpenObserve | invocations | p50 | max |"
COSTS = "| OpenObserve | extension | invocations | p50 | p90 | p99 | max | added in total |"


@dataclass
class Row:
    """What came of one scenario, over all its runs."""

    runs: int = 0
    pushed: int = 0
    delivered: int = 0
    duplicated: int = 0
    held: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    holds_ms: list[float] = field(default_factory=list)
    killed: int = 0
    broken: list[str] = field(default_factory=list)

    def add(self, evidence: Evidence, *, ours: bool) -> None:
        """Counts one run."""
        pushed = {str(event["record"]).strip() for event in evidence.sent if event["type"] == "function"}
        stored = Counter(str(row.get("message", row.get("record"))).strip() for row in evidence.rows)
        found = {line: count for line, count in stored.items() if line in pushed}
        self.runs += 1
        self.pushed += len(pushed)
        self.delivered += len(found)
        self.duplicated += sum(found.values()) - len(found)
        self.holds_ms += [
            result.extension_overhead_ms for result in evidence.results if result.outcome in ("success", "error")
        ]
        exits = [fact for fact in evidence.facts if fact.kind == "exit" and fact.detail["name"] == evidence.name]
        self.killed += sum(1 for fact in exits if fact.detail["returncode"] != 0)
        if ours:
            logs = total(evidence, "logs")
            self.held += logs["held"]
            self.dropped += Counter(logs["dropped"]) + Counter(logs["rejected"])
            self.broken += violations(evidence)

    def cells(self, *, ours: bool) -> str:
        """The row's end."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items()) or "0"
        lost = self.pushed - self.delivered
        dropped, held = (reasons, str(self.held)) if ours else (f"**{lost}** in silence" if lost else "0", "")
        end = f"{self.killed} x {KILLED}" if self.killed else "in time"
        hold = f"{max(self.holds_ms, default=0):.0f}"
        cells = (self.runs, self.pushed, self.delivered, self.duplicated, dropped, held, hold, end)
        return " | ".join(str(cell) for cell in cells)


def play(world: World, schedule: Schedule, runs: int, *, ours: bool) -> Row:
    """Some runs of a scenario."""
    row = Row()
    for _ in range(runs):
        row.add(world.perform(schedule), ours=ours)
    return row


def scenario_table(worlds: dict[str, World], runs: int, wanted: str) -> Iterator[str]:
    """One table for each executable."""
    for name, world in worlds.items():
        yield f"\n### {name}\n"
        yield COLUMNS
        yield "|---" * 9 + "|"
        for title, schedule in SCENARIOS.items():
            if wanted in title and possible(schedule.confinement):
                row = play(world, schedule, runs, ours=name == OURS)
                print(f"{name}: {title}: {row.cells(ours=name == OURS)}", *row.broken, flush=True)
                yield f"| {title} | {row.cells(ours=name == OURS)} |"


def cost_table(worlds: dict[str, World]) -> Iterator[str]:
    """What an invocation is prolonged by, from runtimeDone to `/next`, as a distribution."""
    yield COSTS
    yield "|---" * 8 + "|"
    for title, schedule in WEATHERS.items():
        for name, world in worlds.items():
            held = [result.extension_overhead_ms for result in world.perform(schedule).results]
            print(f"{title}: {name}: {[round(each) for each in held]}", flush=True)
            cuts = statistics.quantiles(held, n=100, method="inclusive")
            figures = " | ".join(f"{value:.0f}" for value in (cuts[49], cuts[89], cuts[98], max(held)))
            yield f"| {title} | {name} | {len(held)} | {figures} | {sum(held) / 1000:.1f} s |"


def circuit_table(world: World) -> Iterator[str]:
    """What is added to an invocation while the circuit is open, beyond Lambda's own way of telling that it is over."""
    yield CIRCUITS
    yield "|---" * 4 + "|"
    for title, schedule in OPEN_CIRCUITS.items():
        evidence = world.perform(schedule)
        own_ms = []
        for result in evidence.results[1:]:
            told_late_ms = runtime_done_late_ms(evidence, result.request_id)
            own_ms.append(max(0.0, result.extension_overhead_ms - (told_late_ms or 0.0)))
        print(f"circuit open, {title}: {[round(each, 1) for each in own_ms]}", flush=True)
        yield f"| {title} | {len(own_ms)} | {statistics.median(own_ms):.1f} | {max(own_ms):.1f} |"


def write(section: str, lines: list[str]) -> None:
    """Replaces a generated section of the document."""
    pattern = re.compile(rf"(<!-- {section}:begin -->\n).*?(<!-- {section}:end -->)", re.DOTALL)
    text, count = pattern.subn(lambda match: match[1] + "\n".join(lines) + "\n" + match[2], DOCUMENT.read_text())
    if count != 1:
        raise SystemExit(f"{DOCUMENT.name} needs one section {section}, has {count}")
    DOCUMENT.write_text(text)


def naive_worlds(folder: Path, upstream: Upstream) -> dict[str, World]:
    """The extensions to compare the cost with."""
    worlds = {}
    for mode, name in (("flush", "flush and wait"), ("sleep", "sleep 100 ms")):
        path = folder / mode / f"naive-{mode}"
        path.parent.mkdir()
        path.write_text(f'#!/bin/sh\nNAIVE_MODE={mode} exec {sys.executable} -I "{folder}/{mode}/py/{path.name}"\n')
        (path.parent / "py").mkdir()
        (path.parent / "py" / path.name).write_text(Path(naive.__file__).read_text())
        path.chmod(0o755)
        worlds[name] = World(folder, upstream, executable=path)
    return worlds


def main() -> int:
    """Plays, prints and writes; returns 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="make reliability ARGS=…", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="of every scenario (default: 3)")
    parser.add_argument("--only", default="", help="scenarios whose names contain this; nothing is written")
    parser.add_argument("--vs", action="append", default=[], metavar="NAME=PATH", help="another executable, repeatable")
    parser.add_argument("--no-costs", action="store_true", help="leave out the distribution of the time added")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, Upstream(Path(name)) as upstream:
        folder = Path(name)
        worlds = {OURS: World(folder, upstream)}
        simple = naive_worlds(folder, upstream)
        for entry in options.vs:
            title, _, path = entry.partition("=")
            worlds[title] = simple.get(path) or World(folder, upstream, executable=Path(path).resolve())
        lines = list(scenario_table(worlds, options.runs, options.only))
        costs = [] if options.no_costs or options.only else list(cost_table(worlds | simple))
        circuits = [] if not costs else list(circuit_table(worlds[OURS]))
    if not options.only:
        write("scenarios", lines)
    if costs:
        write("costs", costs)
        write("circuits", circuits)
    return 0


if __name__ == "__main__":
    sys.exit(main())
