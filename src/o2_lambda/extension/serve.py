"""What follows the first `/next`: settings, the way to the servers, and while that opens the engine and the loop.

To load the engine takes a plain executable longer than all the rest, and nothing needs it before an event has come.
"""

from __future__ import annotations

from posix import O_CLOEXEC, O_NONBLOCK, pipe2, write
from time import sleep

from o2_lambda import __version__
from o2_lambda.extension import config as settings
from o2_lambda.extension.boot import environment
from o2_lambda.extension.io import log
from o2_lambda.extension.io.uplink import Uplink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from o2_lambda.extension.boot import Boot
    from o2_lambda.extension.config import Config

# The uplink's thread would wait for its first turn until the engine is loaded, or for the interpreter's 5 ms.
GIVE_WAY_S = 0.0005


def run(boot: Boot) -> None:
    """Serves until the sandbox is shut down. Raises ConfigError for a setting that cannot be used."""
    config = settings.load(environment())
    log.configure(config.log_level, config.secrets())
    settings.check_files(config)
    wake_fd, waking_fd = pipe2(O_NONBLOCK | O_CLOEXEC)
    uplinks = [Uplink(config, __version__, lambda: write(waking_fd, b"\0")) for _ in config.targets]
    for uplink, target in zip(uplinks, config.targets, strict=True):
        uplink.start()
        uplink.warm(target.first_url)
    sleep(GIVE_WAY_S)
    _announce(boot, config)
    from o2_lambda.extension.io.loop import Shell  # noqa: PLC0415 - loads the engine

    shell = Shell(boot, config, uplinks, wake_fd)
    try:
        shell.run()
    except Exception:
        shell.give_up()
        raise
    finally:
        shell.close()


def _announce(boot: Boot, config: Config) -> None:
    """The lines that users of the reference know, now that there is time to print them."""
    for level, text in boot.lines:
        log.emit(level, text)
    boot.lines.clear()
    log.emit("NOTICE", f"Extension registered successfully: {config.function_name} (ID: {boot.api.extension_id})")
    answer = boot.subscription
    if answer is not None and answer.status == 200 and boot.telemetry is not None:  # noqa: PLR2004 - OK
        port = boot.telemetry.getsockname()[1]
        log.emit("NOTICE", f"Successfully subscribed to platform, function and extension telemetry on port {port}")
    elif answer is not None:
        reason = bytes(answer.body[:200]).decode("utf-8", "replace")
        log.emit("WARN", f"Telemetry subscription refused with status {answer.status}: {reason}; OTLP only")
    for warning in config.warnings:
        log.emit("WARN", warning)
