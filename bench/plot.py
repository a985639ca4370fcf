"""A picture of a bench run: one panel per figure that matters, every run a dot, the median a line."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

from report import values

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from report import Figures, Results

# (scenario, figure, title); a panel of which nothing was measured is left out.
PANELS = (
    ("start", "next_ms", "spawn → first /next, ms"),
    ("start", "cpu_until_next_ms", "CPU until the first /next, ms"),
    ("start_evicted", "next_ms", "page cache evicted: spawn → /next, ms"),
    ("start_128mb", "next_ms", "0.07 CPU (128 MB): spawn → /next, ms"),
    ("start_tls", "tls_ready_ms", "spawn → TLS handshake begun, ms"),
    ("memory", "rss_idle_mb", "memory at rest, MB"),
    ("memory", "rss_holding_mb", "holding 100,000 lines of 200 B, MB"),
    ("memory", "rss_after_sending_mb", "after sending them, MB"),
    ("bulk_tls", "cpu_per_line_us", "CPU per line over TLS, µs"),
)
COLUMNS = 3
COLOURS = ("#1b6ca8", "#d1495b", "#6b6b6b", "#2e933c", "#8e5ea2", "#e08e0b")


def draw(path: Path, header: dict[str, object], results: Results) -> None:
    """Writes a PNG."""
    panels = [panel for panel in PANELS if any(results.get(panel[0], {}).values())]
    if not panels:
        return
    mpl.rcParams |= {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}
    rows = -(-len(panels) // COLUMNS)
    figure = Figure(figsize=(12, 0.9 + 2.2 * rows), layout="constrained")
    names = list(dict.fromkeys(name for scenario in results.values() for name in scenario))
    colour = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}
    for index, (scenario, key, title) in enumerate(panels):
        axes = figure.add_subplot(rows, COLUMNS, index + 1)
        axes.set_title(title, loc="left")
        _panel(axes, results[scenario], key, colour)
    where = f"{header['machine']}; load {header['load_before']} before, {header['load_after']} after"
    figure.suptitle(where, fontsize=8, color="#555555")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _panel(axes: Axes, found: dict[str, list[Figures]], key: str, colour: dict[str, str]) -> None:
    shown = [(name, values(runs, key)) for name, runs in found.items() if values(runs, key)]
    for row, (name, measured) in enumerate(shown):
        middle = statistics.median(measured)
        # Dots of one row are spread a little, so that equal ones can be told apart.
        offsets = [row + 0.28 * ((index * 0.618) % 1 - 0.5) for index in range(len(measured))]
        axes.scatter(measured, offsets, s=7, alpha=0.4, color=colour[name], linewidths=0)
        axes.plot([middle, middle], [row - 0.32, row + 0.32], color=colour[name], linewidth=2)
        axes.annotate(f"{middle:.2f}", (middle, row - 0.36), ha="left", va="bottom", color=colour[name])
    axes.set_yticks(range(len(shown)), [name for name, _ in shown])
    axes.set_ylim(len(shown) - 0.4, -0.75)
    # What a busy machine does to single runs would squeeze everything else into a corner.
    axes.set_xlim(0, 1.15 * max(_upper(measured) for _, measured in shown))


def _upper(measured: list[float]) -> float:
    ordered = sorted(measured)
    return ordered[int(0.9 * (len(ordered) - 1))]
