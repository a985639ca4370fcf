"""`o2-lambda list` and `o2-lambda delete`: the published versions of the layer."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from o2_lambda.aws.publishing import Outcome, count_users, delete_all, surplus, take_inventory
from o2_lambda.cli.aws_options import FAILED, account_options, layer_options
from o2_lambda.cli.aws_report import print_json, print_layers, print_table
from o2_lambda.layer.names import VARIANTS

if TYPE_CHECKING:
    from collections import Counter

    from o2_lambda.aws.layers import LayerVersion
    from o2_lambda.aws.names import Layer
    from o2_lambda.aws.session import Account


@click.command("list", short_help="List the published versions of the layer.")
@layer_options(*VARIANTS)
@account_options
def list_(*, account: Account, regions: list[str], chosen_layers: list[Layer], as_json: bool) -> None:
    """List every published version of the layer, newest first."""
    inventory = take_inventory(account, regions, chosen_layers)
    if as_json:
        failures = [asdict(failure) for failure in inventory.failures]
        print_json({"versions": [_as_document(version) for version in inventory.versions], "failures": failures})
    else:
        if inventory.versions:
            _print_versions(inventory.versions)
        elif not inventory.failures:
            click.echo(f"no layer in {', '.join(regions)}: `o2-lambda deploy` publishes it")
        _print_failures(inventory.failures)
    sys.exit(FAILED if inventory.failures else 0)


@click.command(short_help="Delete published versions of the layer.")
@layer_options(*VARIANTS)
@click.option(
    "--keep", type=click.IntRange(min=0), default=0, metavar="N", help="Keep the newest N of each layer.  [default: 0]"
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Show what would be deleted; delete nothing.")
@account_options
def delete(
    *,
    account: Account,
    regions: list[str],
    chosen_layers: list[Layer],
    keep: int,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Delete versions of the layer, after a confirmation.

    Functions that have a deleted version keep running with it; other changes to them go on working, but no other
    function can be given that version any more.
    """
    if as_json and not (yes or dry_run):
        raise click.UsageError("--json cannot ask: add --yes or --dry-run")
    inventory = take_inventory(account, regions, chosen_layers)
    chosen = surplus(inventory.versions, keep)
    if chosen and not as_json:
        _print_versions(chosen, count_users(account, regions))
    if dry_run:
        outcomes = [Outcome(each.region, each.layer.name, "planned", each.arn) for each in chosen]
    else:
        if chosen and not yes:
            click.confirm(
                f"Delete {'this version' if len(chosen) == 1 else f'these {len(chosen)} versions'}?", abort=True
            )
        outcomes = delete_all(account, chosen)
    outcomes = [*inventory.failures, *outcomes]
    if outcomes or as_json:
        print_layers(outcomes, as_json=as_json)
    else:
        click.echo("nothing to delete")
    sys.exit(FAILED if any(outcome.status == "failed" for outcome in outcomes) else 0)


def _print_versions(versions: list[LayerVersion], users: dict[str, Counter[str]] | None = None) -> None:
    columns = ["region", "layer", "version", "created", "description", "ARN"]
    rows = [
        [each.region, each.layer.name, str(each.version), each.created[:19], each.description, each.arn]
        for each in versions
    ]
    if users is not None:
        columns.insert(3, "functions")
        for row, version in zip(rows, versions, strict=True):
            row.insert(3, str(users[version.region][version.arn]) if version.region in users else "?")
    print_table(columns, rows)


def _as_document(version: LayerVersion) -> dict[str, Any]:
    document = asdict(version)
    return {"layer": version.layer.name, **document.pop("layer"), **document}


def _print_failures(failures: list[Outcome]) -> None:
    for failure in failures:
        click.echo(f"failed    {failure.region}  {failure.layer}  {failure.detail}", err=True)
