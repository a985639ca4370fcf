"""`o2-lambda build`: makes the layer zips from pinned sources."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from o2_lambda.cli.arch_option import arch_option
from o2_lambda.layer.build import build as build_layers
from o2_lambda.layer.build import cache_folder
from o2_lambda.layer.linking import FLAVOURS
from o2_lambda.layer.names import DEFAULT_VARIANTS, VARIANTS
from o2_lambda.layer.packing import sizes
from o2_lambda.layer.process import LayerError

_BYTES_PER_KB = 1000


@click.command(short_help="Build the layer zips.")
@arch_option
@click.option(
    "--variant",
    "variants",
    type=click.Choice(VARIANTS),
    multiple=True,
    help="full: with auto-instrumentation for Python and Node.js; core: the extension alone; java: with the "
    "OpenTelemetry Java agent, which takes mvn and java. Repeatable.  [default: full, core]",
)
@click.option(
    "--flavour",
    type=click.Choice(FLAVOURS),
    help="plain: the interpreter starts in each process; snapshot: it has started when the layer was built. "
    "By default what is known to work on the architecture.",
)
@click.option(
    "--target",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("target"),
    show_default=True,
    help="Folder for the zips.",
)
@click.option("--inspect", is_flag=True, help="Print the sizes of each zip's parts.")
def build(
    *, architectures: tuple[str, ...], variants: tuple[str, ...], flavour: str | None, target: Path, inspect: bool
) -> None:
    """Build the layer from pinned sources; only what has changed is made anew.

    Needs a Debian machine with make, cargo and Maven, and for the other architecture qemu-user-static.
    """
    console = Console()
    began = time.monotonic()

    def made(step: str, seconds: float) -> None:
        console.print(f"[dim]{step}: {seconds:.1f} s[/dim]")

    try:
        with console.status(f"Building for {' and '.join(architectures)} ..."):
            paths = build_layers(
                architectures, variants or DEFAULT_VARIANTS, target, cache_folder(), flavour=flavour, made=made
            )
    except LayerError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:  # a full disk, a folder that may not be written
        raise click.ClickException(f"{error.filename or target}: {error.strerror or error}") from None
    for path in paths:
        content = path.read_bytes()
        console.print(
            f"{path}  {len(content) / 1e6:.2f} MB  sha256 {hashlib.sha256(content).hexdigest()}", soft_wrap=True
        )
    if inspect:
        for path in paths:
            console.print(_parts(path))
    console.print(f"[dim]{time.monotonic() - began:.1f} s[/dim]")


def _parts(path: Path) -> Table:
    table = Table(title=path.name, title_justify="left")
    table.add_column("part, below /opt")
    for heading in ("files", "kB unpacked", "kB in the zip"):
        table.add_column(heading, justify="right")
    parts = sizes(path)
    total = tuple(sum(column) for column in zip(*parts.values(), strict=True))
    for name, (files, unpacked, packed) in [*sorted(parts.items()), ("total", total)]:
        table.add_row(name, str(files), f"{unpacked / _BYTES_PER_KB:,.1f}", f"{packed / _BYTES_PER_KB:,.1f}")
    return table
