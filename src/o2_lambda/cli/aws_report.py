"""What the AWS subcommands print: tables and diffs for people, one JSON document for programs."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.status import Status

    from o2_lambda.aws import attaching, publishing
    from o2_lambda.aws.model import Change

STYLES = {
    "published": "green",
    "changed": "green",
    "deleted": "green",
    "planned": "cyan",
    "unchanged": "dim",
    "skipped": "yellow",
    "failed": "bold red",
}


def working(what: str) -> Status:
    """Shows, while it is entered and where someone watches, that something goes on; never on standard output."""
    return Console(stderr=True).status(f"{what} …")


def print_json(document: Any) -> None:
    """The document, indented."""
    click.echo(json.dumps(document, indent=2))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table in which ARNs and reasons stay whole on any terminal, so that they can be copied."""
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    console = Console(highlight=False, soft_wrap=True)
    for row, style in ((columns, "bold"), *((row, "") for row in rows)):
        cells = [Text(cell.ljust(width), STYLES.get(cell, style)) for cell, width in zip(row, widths, strict=True)]
        cells[-1].rstrip()
        console.print(Text("  ").join(cells))


def print_layers(outcomes: Sequence[publishing.Outcome], *, as_json: bool) -> None:
    """What became of each layer."""
    if as_json:
        print_json([asdict(outcome) for outcome in outcomes])
        return
    print_table(
        ("status", "region", "layer", "ARN"),
        [(each.status, each.region, each.layer, "  ".join(filter(None, (each.arn, each.detail)))) for each in outcomes],
    )
    print_summary(outcomes)


def print_functions(outcomes: Sequence[attaching.Outcome], *, as_json: bool) -> None:
    """What became of each function, with its diff."""
    if as_json:
        print_json([_as_document(outcome) for outcome in outcomes])
        return
    console = Console(highlight=False, soft_wrap=True)
    for outcome in outcomes:
        line = Text.assemble(
            (f"{outcome.status:<9} ", STYLES[outcome.status]), f"{outcome.region}  ", (outcome.function, "bold")
        )
        if outcome.detail:
            line.append(f"  {outcome.detail}")
        console.print(line)
        for change in outcome.plan.changes() if outcome.plan else ():
            for text, style in diff_lines(change):
                console.print(Text(f"    {text}", style=style))
    print_summary(outcomes)


def diff_lines(change: Change) -> list[tuple[str, str]]:
    """A change as lines with their styles: `-` what goes, `+` what comes."""
    label = "layer " if change.kind == "layer" else f"{change.name}="
    gone = [] if change.before is None else [(f"- {label}{change.before}", "red")]
    come = [] if change.after is None else [(f"+ {label}{change.after}", "green")]
    return gone + come


def print_summary(outcomes: Sequence[publishing.Outcome] | Sequence[attaching.Outcome]) -> None:
    """How many of each status; nothing for a single one."""
    counts = Counter(outcome.status for outcome in outcomes)
    if len(outcomes) > 1:
        click.echo(", ".join(f"{counts[status]} {status}" for status in STYLES if counts[status]))
    if not outcomes:
        click.echo("nothing to do: no function is chosen")


def _as_document(outcome: attaching.Outcome) -> dict[str, Any]:
    return {
        "region": outcome.region,
        "function": outcome.function,
        "status": outcome.status,
        "detail": outcome.detail,
        "changes": [asdict(change) for change in outcome.plan.changes()] if outcome.plan else [],
    }
