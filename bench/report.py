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
    print(f"  {'':<22}" + "".join(f"{name:>34}" for name in names))
    for figure in dict.fromkeys(figure for name in names for figure in found[name][0]):
        cells = []
        first = None
        for name in names:
            measured = values(found[name], figure)
            if not measured:
                cells.append(f"{'-':>34}")
                continue
            middle = statistics.median(measured)
            ratio = "" if not first else f" x{middle / first:.2f}"
            first = middle if first is None else first
            cells.append(f"{f'{middle:.2f} ({min(measured):.2f} to {max(measured):.2f}){ratio}':>34}")
        print(f"  {figure:<22}" + "".join(cells))


def write_json(path: Path, header: dict[str, object], results: Results) -> None:
    """Everything, raw."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(header | {"results": results}, indent=1) + "\n")
