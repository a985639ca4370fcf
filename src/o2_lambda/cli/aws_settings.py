"""The settings that `o2-lambda attach` puts into functions: read from options, checked as the extension checks them."""

from __future__ import annotations

import difflib
import re
import sys
from typing import TYPE_CHECKING

import click

from o2_lambda.aws.errors import AwsError
from o2_lambda.aws.model import SECRET_VARIABLE
from o2_lambda.aws.record import VARIABLE as RECORD_VARIABLE
from o2_lambda.cli.aws_options import read_pairs
from o2_lambda.extension.config import load
from o2_lambda.extension.core.aws import SSM
from o2_lambda.extension.core.secret import ACTIONS, Reference
from o2_lambda.extension.core.url import ConfigError
from o2_lambda.extension.settings import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z]\w+", re.ASCII)  # Lambda's rule
_HEADER = "O2_AUTHORIZATION_HEADER"


def read_settings(
    *,
    organization: str | None,
    endpoint: str | None,
    authorization: str | None,
    secret: str | None,
    pairs: tuple[str, ...],
) -> dict[str, str | None]:
    """The variables to set, None for one to remove: header and secret exclude each other.

    Raises UsageError for names that are mistyped or that Lambda would refuse.
    """
    if authorization == "-":
        typed = sys.stdin.isatty()
        authorization = click.prompt(_HEADER, hide_input=True, err=True) if typed else sys.stdin.readline().strip()
    variables: dict[str, str | None] = dict(read_pairs("--set", pairs))
    for name in variables:
        _check_name(name)
    options = {"O2_ORGANIZATION_ID": organization, "O2_ENDPOINT": endpoint}
    options |= {_HEADER: authorization, SECRET_VARIABLE: secret}
    variables |= {name: value for name, value in options.items() if value is not None}
    if variables.get(_HEADER) and variables.get(SECRET_VARIABLE):
        raise click.UsageError("--authorization and --secret exclude each other")
    for name, other in ((_HEADER, SECRET_VARIABLE), (SECRET_VARIABLE, _HEADER)):
        if variables.get(name):
            variables[other] = None
    return variables


def permission_to_read(secret: str, function_arn: str) -> tuple[str, str]:
    """(action, ARN) of reading the secret that O2_AUTHORIZATION_SECRET names in a function."""
    reference = Reference(SECRET_VARIABLE, secret)
    action = ACTIONS[reference.service][1]
    if reference.region:
        return action, reference.name
    _arn, partition, _service, region, account, *_rest = function_arn.split(":")
    name = reference.name
    resource = f"parameter/{name.lstrip('/')}" if reference.service == SSM else f"secret:{name}-??????"
    return action, f"arn:{partition}:{reference.service}:{region}:{account}:{resource}"


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise click.UsageError(f"--set {name}: a variable's name is a letter and one or more letters, digits and _")
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
            f"{_HEADER} environment variable is required, or {SECRET_VARIABLE}": (
                f"--authorization is needed, or --secret: the function has neither {_HEADER} nor {SECRET_VARIABLE}"
            ),
        }
        raise AwsError(hint.get(str(error), str(error))) from None
