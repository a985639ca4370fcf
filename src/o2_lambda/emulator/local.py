"""The emulator for code that is not async: the same methods, its loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Self, TypeVar

from o2_lambda.emulator.emulator import Emulator, InitResult
from o2_lambda.emulator.timeline import Observed

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType

    from o2_lambda.emulator.config import LambdaConfig
    from o2_lambda.emulator.invocation import InvokeResult
    from o2_lambda.emulator.teardown import ShutdownResult

T = TypeVar("T")


class LocalLambda(Observed):
    """`with LocalLambda(config) as fn: fn.invoke(b"{}")`. One thread may use it at a time."""

    def __init__(self, config: LambdaConfig) -> None:
        self.config = config
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="local-lambda", daemon=True)
        self._emulator: Emulator | None = None

    def __enter__(self) -> Self:
        """Start the thread, the servers and the environment."""
        self._thread.start()
        try:
            self._emulator = self._call(self._open())
            self.record = self._emulator.record
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Shut down and stop the thread."""
        try:
            self._call(self.emulator.__aexit__(None, None, None))
        finally:
            self._stop()

    @property
    def emulator(self) -> Emulator:
        """The async emulator behind; its methods belong to the other thread, its facts may be read."""
        if self._emulator is None:
            raise RuntimeError("use LocalLambda in a with statement")
        return self._emulator

    @property
    def init_result(self) -> InitResult | None:
        """How the last init phase went."""
        return self.emulator.init_result

    def init(self) -> InitResult:
        """Run the init phase (only with `eager_init=False`)."""
        return self._call(self.emulator.init())

    def invoke(self, payload: bytes = b"{}", **options: str | None) -> InvokeResult:
        """Invoke and wait for the end of the phase; options as in `Emulator.begin_invoke`."""
        return self._call(self.emulator.invoke(payload, **options))

    def shutdown(self, reason: str = "spindown") -> ShutdownResult:
        """End the environment."""
        return self._call(self.emulator.shutdown(reason))

    async def _open(self) -> Emulator:
        return await Emulator(self.config).__aenter__()

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
