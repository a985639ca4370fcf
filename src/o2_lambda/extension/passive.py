"""Passive mode: after a bug or with a setting that cannot be used, `/next` is polled and nothing else.

An extension that exits, even with status 0, makes Lambda reset the environment: the function would pay for our fault.
"""

from __future__ import annotations

from time import sleep

from o2_lambda.extension.boot import register
from o2_lambda.extension.core.url import ConfigError
from o2_lambda.extension.io import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from o2_lambda.extension.boot import Boot
    from o2_lambda.extension.io.runtime_api import RuntimeApi

RECONNECT_PAUSE_S = 0.1


def run(boot: Boot, cause: BaseException) -> None:
    """Prints one line about the cause, closes the listeners, and polls until SHUTDOWN."""
    for level, text in boot.lines:
        log.emit(level, text)
    if isinstance(cause, ConfigError):
        log.emit("ERROR", f"Configuration error: {cause}; the function runs on, telemetry is off")
    else:
        log.emit("ERROR", f"Internal error: {describe(cause)}; the function runs on, telemetry is off")
    cause.__traceback__ = cause.__context__ = None  # lets go of the engine and of all that it held
    for listener in (*boot.otlp, boot.telemetry):
        if listener is not None:
            listener.close()  # refused at once is better for a client than a connection that nobody reads
    if boot.registration is None:
        register(boot)
    while not boot.api.is_shut_down:
        _poll_once(boot.api)


def _poll_once(api: RuntimeApi) -> None:
    """Waits for one event."""
    try:
        if api.socket is None:
            api.connect()
        if api.socket is not None:
            api.socket.setblocking(True)
        if not api.awaits_event:
            api.poll_next()
        message = None
        while message is None:
            message = api.receive_event()
        if message.status != 200:  # noqa: PLR2004 - OK
            raise ConnectionError(message.status)
    except (OSError, MemoryError):
        api.socket, api.awaits_event = None, False
        sleep(RECONNECT_PAUSE_S)


def describe(error: BaseException) -> str:
    """An exception in one line: its type, text, and the innermost place in our code."""
    place = ""
    trace = error.__traceback__
    while trace is not None:
        place = f" at {trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(error).__name__}: {error}{place}"
