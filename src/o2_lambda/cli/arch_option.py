"""--arch, as the commands have it that are about the layer's zips."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from o2_lambda.layer.names import ARCHITECTURES

if TYPE_CHECKING:
    from collections.abc import Callable

_ALL = "all"


def arch_option(command: Callable[..., object]) -> Callable[..., object]:
    """Adds --arch; the command gets `architectures`, a tuple."""
    return click.option(
        "--arch",
        "architectures",
        type=click.Choice([*ARCHITECTURES, _ALL]),
        default=_ALL,
        show_default=True,
        callback=lambda _context, _option, chosen: ARCHITECTURES if chosen == _ALL else (chosen,),
        help="Architecture of the Lambda functions.",
    )(command)
