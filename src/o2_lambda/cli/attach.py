"""`o2-lambda attach` and `o2-lambda detach`: give functions the layer, and take it off again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from o2_lambda.aws.attaching import Catalogue, Selection, Settings, attach_decider, run, select
from o2_lambda.aws.model import secret_values
from o2_lambda.aws.permission import tell_permissions
from o2_lambda.aws.plan import plan_detach, plan_purge
from o2_lambda.cli.aws_options import FAILED, account_options, patience, read_pairs, selection_options
from o2_lambda.cli.aws_report import print_functions, working
from o2_lambda.cli.aws_settings import check_variables, permission_to_read, read_settings

if TYPE_CHECKING:
    from o2_lambda.aws.session import Account


@click.command(short_help="Add the layer to functions, or upgrade it.")
@selection_options
@click.option("--organization", metavar="NAME", help="Sets O2_ORGANIZATION_ID.")
@click.option("--endpoint", metavar="URL", help="Sets O2_ENDPOINT.")
@click.option(
    "--authorization",
    metavar="VALUE",
    help="Sets O2_AUTHORIZATION_HEADER, `Basic <base64>`; - reads it from standard input, out of the shell's history.",
)
@click.option(
    "--secret",
    metavar="NAME",
    help="Sets O2_AUTHORIZATION_SECRET instead: a secret's name or ARN, or ssm:/NAME; says if it may be read.",
)
@click.option("--set", "pairs", multiple=True, metavar="NAME=VALUE", help="Any other setting; repeatable.")
@click.option("--tracing", is_flag=True, help="Turn on auto-instrumentation by the exec wrapper.")
@click.option(
    "--layer-arn", "layer_arns", multiple=True, metavar="ARN", help="This version instead of the newest; repeatable."
)
@click.option("--force", is_flag=True, help="Replace variables that someone else has set; detach brings them back.")
@account_options
def attach(  # noqa: PLR0913 - one parameter per option
    *, account: Account, regions: list[str], functions: tuple[str, ...], tags: tuple[str, ...], everything: bool,
    organization: str | None, endpoint: str | None, authorization: str | None, secret: str | None,
    pairs: tuple[str, ...], tracing: bool, layer_arns: tuple[str, ...], force: bool,
    dry_run: bool, wait_s: float, as_json: bool,
) -> None:  # fmt: skip
    """Add the layer to each FUNCTION (a name or an ARN), or upgrade it, and merge the settings into its variables.

    No other layer or variable is dropped or changed. Settings that a function has already need not be given again.
    Published versions, and aliases to them, stay as they are: publish a new version.
    The exit status is 1 when a function failed; the others are done all the same.
    """
    variables = read_settings(
        organization=organization, endpoint=endpoint, authorization=authorization, secret=secret, pairs=pairs
    )
    settings = Settings(variables, tracing=tracing, force=force)
    chosen, failures = select(account, regions, _selection(functions, tags, everything=everything))
    asked = dict.fromkeys([*regions, *(region for region, _name in chosen)])
    decide = attach_decider(Catalogue(account, asked, layer_arns), settings, check_variables)
    with working(f"Attaching to {len(chosen)} functions"):
        outcomes = run(account, chosen, decide, patience(wait_s), dry_run=dry_run, secrets=secret_values(variables))
        outcomes = [*failures, *tell_permissions(account, outcomes, permission_to_read)]
    print_functions(outcomes, as_json=as_json)
    sys.exit(FAILED if any(outcome.status == "failed" for outcome in outcomes) else 0)


@click.command(short_help="Undo what attach did.")
@selection_options
@click.option("--purge", is_flag=True, help="Remove the layer and every O2_ variable, whoever set them.")
@account_options
def detach(
    *, account: Account, regions: list[str], functions: tuple[str, ...], tags: tuple[str, ...], everything: bool,
    purge: bool, dry_run: bool, wait_s: float, as_json: bool,
) -> None:  # fmt: skip
    """Undo what `attach` did to each FUNCTION: its layers and variables are afterwards as they were before.

    Published versions, and aliases to them, stay as they are: publish a new version.
    The exit status is 1 when a function failed; the others are done all the same.
    """
    chosen, failures = select(account, regions, _selection(functions, tags, everything=everything, only_ours=True))
    decide = plan_purge if purge else plan_detach
    with working(f"Detaching from {len(chosen)} functions"):
        outcomes = [*failures, *run(account, chosen, decide, patience(wait_s), dry_run=dry_run)]
    print_functions(outcomes, as_json=as_json)
    sys.exit(FAILED if any(outcome.status == "failed" for outcome in outcomes) else 0)


def _selection(
    functions: tuple[str, ...], tags: tuple[str, ...], *, everything: bool, only_ours: bool = False
) -> Selection:
    if [bool(functions), bool(tags), everything].count(True) != 1:
        raise click.UsageError("choose functions by name, by --tag or with --all: one of the three")
    wanted = read_pairs("--tag", tags)
    if len(wanted) < len(tags) or "" in wanted.values():
        raise click.UsageError("--tag takes KEY=VALUE, each key once and with a value: all of them must match")
    return Selection(functions, tuple(wanted.items()), everything, only_ours)
