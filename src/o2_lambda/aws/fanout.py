"""Do the same to many regions or functions side by side; one that fails holds up no other."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Generic, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from o2_lambda.aws.errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Item = TypeVar("Item")
Result = TypeVar("Result")

WORKERS_MAX = 8  # well below what the control plane takes from one account
_interrupted = threading.Event()


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


def pause(seconds: float) -> None:
    """Sleep; raises AwsError when Ctrl-C is pressed, so that what waits in a thread ends at once."""
    if _interrupted.wait(seconds):
        raise AwsError("interrupted")


def for_each(
    items: Iterable[Item], work: Callable[[Item], Result], *, writes: bool = False
) -> list[Done[Item, Result]]:
    """Work on all items and return what became of each, in their order. Bugs are raised, AWS's troubles returned.

    Ctrl-C begins nothing more and ends what waits. It is raised, but with `writes` each item left comes back as an
    error: what was done before can still be told.
    """

    def guarded(item: Item) -> Done[Item, Result]:
        try:
            return Done(item, work(item), None)
        except (AwsError, BotoCoreError, ClientError) as error:
            return Done(item, None, error)

    _interrupted.clear()
    with ThreadPoolExecutor(WORKERS_MAX, thread_name_prefix="aws") as pool:
        futures = {pool.submit(guarded, item): item for item in items}
        try:
            wait(futures)
        except KeyboardInterrupt:
            _interrupted.set()
            pool.shutdown(wait=False, cancel_futures=True)
            if not writes:
                raise
    return [
        Done(item, None, AwsError("interrupted before it was begun")) if future.cancelled() else future.result()
        for future, item in futures.items()
    ]
