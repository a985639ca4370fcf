"""Medians, ranges and ratios of what was measured, as text and as JSON."""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from pathlib import Path

Figures: TypeAlias = dict[str, float]
Results: TypeAlias = dict[str, dict[str, list[Figures]]]  # scenario -> candidate -> a set of figures for each run


def values(runs: list[Figures], figure: str) -> list[float]:
    """One figure of every run that has it."""
    return [run[figure] for run in runs if figure in run]


def print_scenario(scenario: str, about: str, found: dict[str, list[Figures]]) -> None:
    """A table: figures down, candidates across; each median with its range, and its ratio to the first candidate's."""
    names = [name for name, runs in found.items() if runs]
    if not names:
        return
    print(f"\n{scenario}: {about}  ({min(len(found[name]) for name in names)} runs)")
    print(" " * 22 + "".join(f"{name:>30}" for name in names))
    for figure in dict.fromkeys(figure for name in names for figure in found[name][0]):
        measured = [values(found[name], figure) for name in names]
        base = statistics.median(measured[0]) if measured[0] else 0.0
        print(f"  {figure:<20}" + "".join(f"{_cell(each, base, first=not i):>30}" for i, each in enumerate(measured)))


def _cell(measured: list[float], base: float, *, first: bool) -> str:
    if not measured:
        return "-"
    middle = statistics.median(measured)
    ratio = "" if first or not base else f" x{middle / base:.2f}"
    return f"{_text(middle)} ({_text(min(measured))}..{_text(max(measured))}){ratio}"


def _text(value: float) -> str:
    return f"{value:.0f}" if isinstance(value, int) or abs(value) >= 1000 else f"{value:.2f}"


def write_json(path: Path, header: dict[str, object], results: Results) -> None:
    """Everything, raw."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(header | {"results": results}, indent=1) + "\n")
