"""Which functions have the layer, and which version of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from o2_lambda.aws.errors import explain
from o2_lambda.aws.fanout import for_each
from o2_lambda.aws.functions import list_functions
from o2_lambda.aws.layers import newest_versions
from o2_lambda.aws.names import tracing_variant
from o2_lambda.aws.record import VARIABLE as RECORD_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from o2_lambda.aws.model import Function
    from o2_lambda.aws.session import Account


@dataclass(frozen=True)
class Status:
    """One function. `version` 0 and no `variant`: no layer; `newest` 0: unknown, as of another account's layer."""

    region: str
    function: str
    runtime: str
    architecture: str
    variant: str
    version: int
    newest: int
    tracing: bool
    remark: str


def take_status(account: Account, regions: Sequence[str]) -> tuple[list[Status], dict[str, str]]:
    """Every function of the regions, and for each region that did not answer, why."""

    def look(region: str) -> list[Status]:
        client = account.client("lambda", region)
        newest = newest_versions(client)
        return [judge(region, function, newest) for function in list_functions(client)]

    found: list[Status] = []
    failures = {}
    for done in for_each(regions, look):
        if done.error:
            failures[done.item] = explain(done.error)
        else:
            found += sorted(done.result, key=lambda each: each.function)
    return found, failures


def judge(region: str, function: Function, newest: dict[str, int]) -> Status:
    """The function's status. `newest` maps a layer's ARN, without version, to its newest version."""
    ours = function.own_layers
    version = ours[0].version if ours else 0
    available = newest.get(ours[0].arn.rpartition(":")[0], 0) if ours else 0
    remark = ""
    if function.is_image:
        remark = "container image: copy the extension into it"
    elif len(ours) > 1:
        remark = "has the layer twice: remove one"
    elif ours and ours[0].layer.architecture != function.architecture:
        remark = f"layer is for {ours[0].layer.architecture}: attach again"
    elif ours and function.is_traced and ours[0].layer.variant != (variant := tracing_variant(function.runtime)):
        remark = f"its traces need the {variant} variant: attach again"
    elif ours and version < available:
        remark = "newer version available: attach again"
    elif ours and function.unreadable:
        remark = "variables cannot be read"
    elif ours and RECORD_VARIABLE not in function.variables:
        remark = "attached by other means"
    return Status(
        region=region,
        function=function.name,
        runtime=function.runtime,
        architecture=function.architecture,
        variant=ours[0].layer.variant if ours else "",
        version=version,
        newest=available,
        tracing=function.is_traced,
        remark=remark,
    )
