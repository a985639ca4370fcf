"""`o2-lambda status`: which functions have the layer."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from o2_lambda.aws.status import Status, take_status
from o2_lambda.cli.aws_options import FAILED, account_options
from o2_lambda.cli.aws_report import print_json, print_table

if TYPE_CHECKING:
    from o2_lambda.aws.session import Account


@click.command(short_help="Show which functions have the layer, and which version.")
@click.option("--all", "everything", is_flag=True, help="Functions without the layer as well.")
@account_options
def status(*, account: Account, regions: list[str], everything: bool, as_json: bool) -> None:
    """Show which functions have the layer, which version of it, and what should be looked at."""
    found, failures = take_status(account, regions)
    chosen = [each for each in found if each.version or everything]
    if as_json:
        print_json({"functions": [asdict(each) for each in chosen], "failures": failures})
    else:
        if chosen:
            print_table(
                ("region", "function", "runtime", "arch", "variant", "version", "newest", "tracing", "remark"),
                [_row(each) for each in chosen],
            )
        if len(failures) < len(regions):
            click.echo(f"{sum(each.version > 0 for each in found)} of {len(found)} functions have the layer")
        for region, why in failures.items():
            click.echo(f"failed    {region}  {why}", err=True)
    sys.exit(FAILED if failures else 0)


def _row(each: Status) -> tuple[str, ...]:
    return (
        each.region,
        each.function,
        each.runtime or "-",
        each.architecture,
        each.variant or "-",
        str(each.version or "-"),
        str(each.newest or "-"),
        "on" if each.tracing else "-",
        each.remark,
    )
