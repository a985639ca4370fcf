"""A function under the emulator, whatever its runtime."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

from o2_lambda.emulator import LocalLambda

if TYPE_CHECKING:
    from o2_lambda.emulator import LambdaConfig


class Function:
    """Runs in a with statement."""

    def __init__(self, config: LambdaConfig) -> None:
        self.running = LocalLambda(config)

    def __enter__(self) -> Self:
        self.running.__enter__()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.running.__exit__(None, None, None)

    def invoke(self, event: Any = None, **options: Any) -> bytes:
        """The payload of the answer."""
        return self.running.invoke(json.dumps(event or {}).encode(), **options).payload

    def lines(self) -> list[str]:
        """What the function and the wrapper have printed."""
        return [entry.line for entry in self.running.output if entry.source == "function"]
