"""`o2-lambda backend`: run the local backend until Ctrl-C."""

from __future__ import annotations

import shlex
import signal
import threading
from pathlib import Path

import click
from rich.console import Console

from o2_lambda.backend import BackendConfig, BackendError, BackendServer
from o2_lambda.backend.config import DEFAULT_ORGANIZATION, DEFAULT_PORT, DEFAULT_SECRET, DEFAULT_USER

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_MEMORY = ":memory:"


@click.command(short_help="Run the local OpenObserve-compatible backend.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, show_default=True, help="0 takes any free port."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--database", default=_MEMORY, show_default=True, metavar="FILE", help="DuckDB file that keeps the data.")
@click.option("--organization", default=DEFAULT_ORGANIZATION, show_default=True)
@click.option("--user", default=DEFAULT_USER, show_default=True)
@click.option("--secret", default=DEFAULT_SECRET, show_default=True, help="Password or token of the user.")
@click.option("--certificate", type=_FILE, help="PEM certificate: serve HTTPS.")
@click.option("--private-key", type=_FILE, help="PEM private key of the certificate.")
@click.option("--latency-ms", type=click.FloatRange(0), default=0, help="Fault: answer this much later.")
@click.option("--status", type=click.IntRange(200, 599), help="Fault: answer every request with this status.")
@click.option("--retry-after", metavar="SECONDS", help="Fault: send Retry-After along with --status.")
@click.option(
    "--slow-loris-ms", type=click.FloatRange(0), default=0, help="Fault: one byte of the answer per this time."
)
@click.option("--black-hole", is_flag=True, help="Fault: accept requests and never answer.")
def backend(  # noqa: PLR0913 - one parameter per option
    *,
    port: int,
    host: str,
    database: str,
    organization: str,
    user: str,
    secret: str,
    certificate: Path | None,
    private_key: Path | None,
    latency_ms: float,
    status: int | None,
    retry_after: str | None,
    slow_loris_ms: float,
    black_hole: bool,
) -> None:
    """Run a local backend that takes logs, traces and metrics as OpenObserve does, and answers SQL."""
    if (certificate is None) != (private_key is None):
        raise click.UsageError("--certificate and --private-key belong together: give both or none")
    config = BackendConfig(
        host=host,
        port=port,
        user=user,
        secret=secret,
        organization=organization,
        database=database if database == _MEMORY else Path(database),
        certificate=certificate,
        private_key=private_key,
    )
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    try:
        with BackendServer(config) as server:
            faults = server.faults
            faults.latency_ms, faults.slow_loris_ms, faults.black_hole = latency_ms, slow_loris_ms, black_hole
            faults.status, faults.retry_after = status, retry_after
            _print_start(Console(), server)
            stopped.wait()
    except BackendError as error:
        raise click.ClickException(str(error)) from error


def _print_start(console: Console, server: BackendServer) -> None:
    console.print(f"[bold green]Backend listening[/] on [bold]{server.url}[/]", soft_wrap=True)
    console.print("\nSettings for the extension:")
    settings = {
        "O2_ENDPOINT": server.url,
        "O2_ORGANIZATION_ID": server.config.organization,
        "O2_AUTHORIZATION_HEADER": server.authorization_header,
    }
    for name, value in settings.items():
        console.print(f"  export {name}={shlex.quote(value)}", soft_wrap=True, highlight=False, markup=False)
    where = "in memory, gone at the end" if server.config.database == _MEMORY else str(server.config.database)
    console.print(f"\nData: {where}. Stop with Ctrl-C.", soft_wrap=True, highlight=False, markup=False)
