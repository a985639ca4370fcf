"""What the AWS subcommands share: options, and how trouble becomes one line."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

import click

from o2_lambda.aws.errors import AwsError, explain
from o2_lambda.aws.fanout import pause
from o2_lambda.aws.functions import Patience
from o2_lambda.aws.names import Layer
from o2_lambda.aws.session import Account
from o2_lambda.cli.arch_option import arch_option
from o2_lambda.layer.names import VARIANTS

if TYPE_CHECKING:
    from collections.abc import Callable

    Command = Callable[..., Any]

FAILED = 1


def account_options(command: Command) -> Command:
    """Adds --region, --profile and --json; the command gets an `account`, `regions` and `as_json`."""

    @click.option(
        "--region",
        "chosen",
        multiple=True,
        metavar="REGION",
        help="Region; repeatable.  [default: AWS_REGION, then the profile's]",
    )
    @click.option("--profile", metavar="NAME", help="Profile of the AWS configuration.")
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
    @functools.wraps(command)
    def wrapper(*, chosen: tuple[str, ...], profile: str | None, **options: Any) -> Any:
        try:
            account = Account(profile)
            return command(account=account, regions=account.regions(chosen), **options)
        except AwsError as error:
            raise click.ClickException(explain(error)) from None

    return wrapper


def layer_options(*default_variants: str) -> Callable[[Command], Command]:
    """Adds --arch and --variant; the command gets `chosen_layers`."""

    def add(command: Command) -> Command:
        @arch_option
        @click.option(
            "--variant",
            "variants",
            type=click.Choice(VARIANTS),
            multiple=True,
            default=default_variants,
            show_default=True,
            help="Variant of the layer, each a layer of its own; repeatable.",
        )
        @functools.wraps(command)
        def wrapper(*, architectures: tuple[str, ...], variants: tuple[str, ...], **options: Any) -> Any:
            chosen = [
                Layer(architecture, variant) for variant in dict.fromkeys(variants) for architecture in architectures
            ]
            return command(chosen_layers=chosen, **options)

        return wrapper

    return add


def selection_options(command: Command) -> Command:
    """Adds FUNCTION..., --tag, --all, --dry-run and --wait, which attach and detach share."""
    options = (
        click.argument("functions", nargs=-1, metavar="[FUNCTION]..."),
        click.option(
            "--tag",
            "tags",
            multiple=True,
            metavar="KEY=VALUE",
            help="Functions with this tag; repeated: with all of them.",
        ),
        click.option("--all", "everything", is_flag=True, help="Every function of the region."),
        click.option("--dry-run", is_flag=True, help="Show what would change in each function; write nothing."),
        click.option(
            "--wait",
            "wait_s",
            type=click.FloatRange(min=0),
            default=300,
            show_default=True,
            metavar="SECONDS",
            help="How long to wait for a function that is being changed.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def patience(wait_s: float) -> Patience:
    """Patience by the real clock, which Ctrl-C ends."""
    return Patience(wait_s, time.monotonic, pause)


def read_pairs(option: str, pairs: tuple[str, ...]) -> dict[str, str]:
    """NAME=VALUE arguments as a dictionary. Raises UsageError naming the option, never the value."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise click.UsageError(
                f"{option} takes NAME=VALUE, got {name!r} without a value" if name else f"{option} takes NAME=VALUE"
            )
        found[name] = value
    return found
