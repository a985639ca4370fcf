"""The settings that `o2-lambda attach` puts into functions: read from options, checked as the extension checks them."""

from __future__ import annotations

import difflib
import re
import sys
from typing import TYPE_CHECKING

import click

from o2_lambda.aws.errors import AwsError
from o2_lambda.aws.record import VARIABLE as RECORD_VARIABLE
from o2_lambda.cli.aws_options import read_pairs
from o2_lambda.extension.config import load
from o2_lambda.extension.core.url import ConfigError
from o2_lambda.extension.settings import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z]\w+")  # Lambda's rule
_HEADER = "O2_AUTHORIZATION_HEADER"


def read_settings(
    *,
    organization: str | None,
    endpoint: str | None,
    authorization: str | None,
    pairs: tuple[str, ...],
) -> dict[str, str]:
    """The variables to set. Raises UsageError for names that are mistyped or that Lambda would refuse."""
    if authorization == "-":
        authorization = sys.stdin.readline().strip()
    variables = read_pairs("--set", pairs)
    for name in variables:
        _check_name(name)
    options = {"O2_ORGANIZATION_ID": organization, "O2_ENDPOINT": endpoint, _HEADER: authorization}
    for name, value in options.items():
        if value is not None:
            variables[name] = value
    return variables


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise click.UsageError(f"--set {name}: a variable's name is letters, digits and _, and starts with a letter")
    if name.startswith("AWS_") or name == RECORD_VARIABLE:
        raise click.UsageError(f"--set {name}: this name is reserved")
    if name.startswith("O2_") and name not in BY_NAME:
        for close in difflib.get_close_matches(name, BY_NAME, n=1, cutoff=0.85):
            raise click.UsageError(f"--set {name}: there is no such setting, did you mean {close}?")


def check_variables(variables: Mapping[str, str]) -> None:
    """Raise AwsError when the extension could not work with a function's variables as they would be."""
    try:
        load(variables)
    except ConfigError as error:
        hint = {
            "O2_ORGANIZATION_ID environment variable is required": (
                "--organization is needed: the function has no O2_ORGANIZATION_ID"
            ),
            f"{_HEADER} environment variable is required": (
                f"--authorization is needed: the function has no {_HEADER}"
            ),
        }
        raise AwsError(hint.get(str(error), str(error))) from None
