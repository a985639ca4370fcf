"""Lambda's limits that attaching a layer can hit, checked before anything is written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from o2_lambda.aws.errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Lambda quotas: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
LAYERS_MAX = 5
ENVIRONMENT_BYTES_MAX = 4096
UNZIPPED_BYTES_MAX = 262_144_000


def environment_bytes(variables: Mapping[str, str]) -> int:
    """The size that Lambda measures: that of the variables as compact JSON."""
    return len(json.dumps(variables, ensure_ascii=False, separators=(",", ":")).encode())


def check_layers(layers: Sequence[str]) -> None:
    """Raise AwsError when there are more layers than a function may have."""
    if len(layers) > LAYERS_MAX:
        raise AwsError(
            f"it has {len(layers) - 1} layers already and Lambda takes {LAYERS_MAX}: merge or remove one of them"
        )


def check_environment(variables: Mapping[str, str]) -> None:
    """Raise AwsError when the variables would not fit."""
    size = environment_bytes(variables)
    if size > ENVIRONMENT_BYTES_MAX:
        raise AwsError(
            f"its environment variables would take {size} bytes, {size - ENVIRONMENT_BYTES_MAX} more than Lambda "
            "allows: shorten or remove some"
        )


def check_unzipped(ours: int, others: Sequence[int]) -> None:
    """Raise AwsError when code and layers are certain to be too large.

    `others` are the zipped sizes of the function's code and its other layers: all that AWS tells, and less than what
    counts, so passing is no promise; AWS then says so itself.
    """
    least = ours + sum(others)
    if least > UNZIPPED_BYTES_MAX:
        raise AwsError(
            f"its code and layers would take at least {least} bytes unzipped, Lambda allows {UNZIPPED_BYTES_MAX}: "
            "make the code smaller or ship it as a container image"
        )
