"""`o2-lambda deploy`: publish the layer."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from o2_lambda import __version__
from o2_lambda.aws.package import read_package
from o2_lambda.aws.publishing import Grant, publish_all
from o2_lambda.cli.aws_options import FAILED, account_options, layer_options
from o2_lambda.cli.aws_report import print_layers, working
from o2_lambda.layer.names import FULL

if TYPE_CHECKING:
    from o2_lambda.aws.names import Layer
    from o2_lambda.aws.session import Account

_ORGANIZATION = re.compile(r"o-[a-z0-9]{10,32}")


@click.command(short_help="Publish the layer to one or more regions.")
@layer_options(FULL)
@click.option(
    "--zips",
    "folder",
    type=click.Path(path_type=Path),
    default=Path("target"),
    show_default=True,
    help="Folder of the zips that `o2-lambda build` made.",
)
@click.option("--public", is_flag=True, help="Let every AWS account use the new versions.")
@click.option("--org-id", metavar="o-...", help="Let an AWS organization use the new versions.")
@click.option("--force", is_flag=True, help="Publish even what is published already.")
@click.option("--dry-run", is_flag=True, help="Show what would be published; write nothing.")
@account_options
def deploy(
    *,
    account: Account,
    regions: list[str],
    chosen_layers: list[Layer],
    folder: Path,
    public: bool,
    org_id: str | None,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Publish the layer, by default for both architectures, and print the ARNs.

    A layer whose newest version holds the same bytes already is not published again. The exit status is 1 when a
    region failed; the others are done all the same.
    """
    if public and org_id:
        raise click.UsageError("--public and --org-id exclude each other")
    if org_id and not _ORGANIZATION.fullmatch(org_id):
        raise click.UsageError(f"--org-id takes an organization's id such as o-a1b2c3d4e5, got {org_id!r}")
    packages = [read_package(folder, layer) for layer in chosen_layers]
    with working(f"Publishing to {', '.join(regions)}"):
        outcomes = publish_all(
            account,
            regions,
            packages,
            project_version=__version__,
            grant=Grant(org_id) if public or org_id else None,
            force=force,
            dry_run=dry_run,
        )
    print_layers(outcomes, as_json=as_json)
    sys.exit(FAILED if any(outcome.status == "failed" for outcome in outcomes) else 0)
