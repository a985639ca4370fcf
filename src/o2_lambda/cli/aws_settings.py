"""The settings that `o2-lambda attach` puts into functions: read from options, checked as the extension checks them."""

from __future__ import annotations

import difflib
import re
import sys
from typing import TYPE_CHECKING

import click

from o2_lambda.aws.errors import AwsError
from o2_lambda.aws.plan import HEADER_VARIABLE, SECRET_VARIABLE
from o2_lambda.aws.record import VARIABLE as RECORD_VARIABLE
from o2_lambda.cli.aws_options import read_pairs
from o2_lambda.extension.config import load
from o2_lambda.extension.core.url import ConfigError
from o2_lambda.extension.settings import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z]\w+")  # Lambda's rule
_SECRET = re.compile(
    r"arn:[a-z0-9-]+:(?:secretsmanager:[a-z0-9-]+:\d{12}:secret:|ssm:[a-z0-9-]+:\d{12}:parameter/).+|/.+"
)
# Stands in for a credential that only the function will read, when the rest is checked.
_PLACEHOLDER = "Basic cGxhY2Vob2xkZXI="


def read_settings(
    *,
    organization: str | None,
    endpoint: str | None,
    authorization: str | None,
    secret: str,
    pairs: tuple[str, ...],
) -> dict[str, str]:
    """The variables to set. Raises UsageError for what contradicts itself or Lambda would refuse."""
    if authorization and secret:
        raise click.UsageError("--authorization and --secret exclude each other")
    if secret and not _SECRET.fullmatch(secret):
        raise click.UsageError("--secret takes a Secrets Manager or SSM parameter ARN, or a parameter's /name")
    if authorization == "-":
        authorization = sys.stdin.readline().strip()
    variables = read_pairs("--set", pairs)
    for name in variables:
        _check_name(name)
    options = {"O2_ORGANIZATION_ID": organization, "O2_ENDPOINT": endpoint, HEADER_VARIABLE: authorization}
    for name, value in options.items():
        if value is not None:
            variables[name] = value
    return variables


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise click.UsageError(f"--set {name}: a variable's name is letters, digits and _, and starts with a letter")
    if name.startswith("AWS_") or name == RECORD_VARIABLE:
        raise click.UsageError(f"--set {name}: this name is reserved")
    if name == SECRET_VARIABLE:
        raise click.UsageError(f"--set {name}: use --secret, which checks it")
    if name.startswith("O2_") and name not in BY_NAME:
        for close in difflib.get_close_matches(name, BY_NAME, n=1, cutoff=0.85):
            raise click.UsageError(f"--set {name}: there is no such setting, did you mean {close}?")


def check_variables(variables: Mapping[str, str]) -> None:
    """Raise AwsError when the extension could not work with a function's variables as they would be."""
    if SECRET_VARIABLE in variables:
        variables = {HEADER_VARIABLE: _PLACEHOLDER, **variables}
    try:
        load(variables)
    except ConfigError as error:
        hint = {
            "O2_ORGANIZATION_ID environment variable is required": (
                "--organization is needed: the function has no O2_ORGANIZATION_ID"
            ),
            f"{HEADER_VARIABLE} environment variable is required": (
                "credentials are needed, by --authorization or --secret: the function has none"
            ),
        }
        raise AwsError(hint.get(str(error), str(error))) from None
