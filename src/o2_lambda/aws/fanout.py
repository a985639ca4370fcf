"""Do the same to many regions or functions side by side; one that fails holds up no other."""

from __future__ import annotations

import threading
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Generic, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from o2_lambda.aws.errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

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

    Ctrl-C begins nothing more and ends what waits. It is raised at once, but with `writes` what is under way comes to
    its end, and each item left comes back as an error: what was done can still be told.
    """
    futures: dict[Future[Done[Item, Result]], Item] = {Future(): item for item in items}
    left = iter(futures.items())  # each goes to one of the threads
    _interrupted.clear()
    for _ in range(min(WORKERS_MAX, len(futures))):
        # A daemon, for which the end of the program does not wait: AWS may be silent for minutes.
        threading.Thread(target=_labour, args=(left, work), name="aws", daemon=True).start()
    try:
        wait(futures)
    except KeyboardInterrupt:
        _interrupted.set()
        for future in futures:
            future.cancel()
        if not writes:
            raise
        wait(futures)
    return [
        Done(item, None, AwsError("interrupted before it was begun")) if future.cancelled() else future.result()
        for future, item in futures.items()
    ]


def _labour(left: Iterator[tuple[Future[Done[Item, Result]], Item]], work: Callable[[Item], Result]) -> None:
    for future, item in left:
        if not future.set_running_or_notify_cancel():
            continue
        try:
            future.set_result(Done(item, work(item), None))
        except (AwsError, BotoCoreError, ClientError) as error:
            future.set_result(Done(item, None, error))
        except Exception as bug:  # noqa: BLE001 - raised where the result is asked for
            future.set_exception(bug)
