"""Calls on functions: find them, read one when it is settled, change one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from o2_lambda.aws.errors import AwsError, code_of, explain, message_of
from o2_lambda.aws.model import read_function

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from o2_lambda.aws.model import Function, Plan

# Someone else's change: the revision is no longer the one that was read, or an update is still in progress.
_OVERTAKEN = ("PreconditionFailedException", "ResourceConflictException")
_POLL_S = 1.0


@dataclass(frozen=True)
class Patience:
    """How long to wait for a function that is being changed, and by which clock."""

    timeout_s: float
    now_s: Callable[[], float]
    sleep: Callable[[float], None]


def list_functions(client: Any) -> Iterator[Function]:
    """All functions of the client's region."""
    for page in client.get_paginator("list_functions").paginate():
        for item in page["Functions"]:
            yield read_function(item)


def tagged_functions(client: Any, tags: Mapping[str, str]) -> list[str]:
    """Names of the functions that carry all the tags. `client` is one of resourcegroupstaggingapi."""
    filters = [{"Key": key, "Values": [value]} for key, value in tags.items()]
    pages = client.get_paginator("get_resources").paginate(ResourceTypeFilters=["lambda:function"], TagFilters=filters)
    return [item["ResourceARN"].rpartition(":")[2] for page in pages for item in page["ResourceTagMappingList"]]


def get_function(client: Any, name: str) -> Function:
    """The function as it is now."""
    return read_function(client.get_function_configuration(FunctionName=name))


def get_settled(client: Any, name: str, patience: Patience) -> Function:
    """The function, once it is neither being created nor being updated. Raises AwsError when that takes too long."""
    deadline_s = patience.now_s() + patience.timeout_s
    while not (function := get_function(client, name)).is_settled:
        if patience.now_s() >= deadline_s:
            raise AwsError(
                f"Lambda is still updating it after {patience.timeout_s:g} s: try again later or --wait longer"
            )
        patience.sleep(_POLL_S)
    return function


def change(client: Any, name: str, decide: Callable[[Function], Plan], patience: Patience) -> Plan:
    """Read, decide, write; when someone else was faster, all over again, so that no change of theirs is lost.

    Returns the plan that was carried out, which may be empty. Raises what `decide` raises, ClientError, and AwsError
    when others keep changing the function or Lambda could not apply the change.
    """
    deadline_s = patience.now_s() + patience.timeout_s
    while True:
        plan = decide(get_settled(client, name, patience))
        if plan.is_empty:
            return plan
        try:
            client.update_function_configuration(**plan.request())
        except ClientError as error:
            if code_of(error) not in _OVERTAKEN:
                raise
            if patience.now_s() >= deadline_s:
                raise AwsError(
                    f"others keep changing it, for {patience.timeout_s:g} s now ({message_of(error)}): try again later"
                ) from None
            patience.sleep(_POLL_S)
            continue
        try:
            settled = get_settled(client, name, patience)
        except (AwsError, BotoCoreError, ClientError) as error:
            raise AwsError(f"the change is written, but not confirmed: {explain(error)}") from None
        if settled.update_status == "Failed":
            raise AwsError(f"Lambda could not apply the change: {settled.update_reason}")
        return plan
