"""Do the same to many regions or functions side by side; one that fails holds up no other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Generic, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from o2_lambda.aws.errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Item = TypeVar("Item")
Result = TypeVar("Result")

WORKERS_MAX = 8  # well below what the control plane takes from one account


class Done(Generic[Item, Result]):
    """What became of one item: `result`, or the `error` that AWS or the plan gave."""

    __slots__ = ("_result", "error", "item")

    def __init__(self, item: Item, result: Result | None, error: Exception | None) -> None:
        self.item = item
        self._result = result
        self.error = error

    @property
    def result(self) -> Result:
        """The result; only where `error` is None."""
        assert self.error is None, "a failed item has no result"
        return self._result  # type: ignore[return-value] # set whenever there is no error


def for_each(items: Iterable[Item], work: Callable[[Item], Result]) -> list[Done[Item, Result]]:
    """Work on all items and return what became of each, in their order. Bugs are raised, AWS's troubles returned."""

    def guarded(item: Item) -> Done[Item, Result]:
        try:
            return Done(item, work(item), None)
        except (AwsError, BotoCoreError, ClientError) as error:
            return Done(item, None, error)

    with ThreadPoolExecutor(WORKERS_MAX, thread_name_prefix="aws") as pool:
        return list(pool.map(guarded, items))
