"""SnapStart: the environment lies as a snapshot between its init and its first invocation, and is restored for that.

A process cannot be copied here, so one environment is restored once. What its processes see is faithful: a long freeze,
connections that end with it, deadlines and event times that have moved on, the restore phase of the Runtime API.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from o2_lambda.emulator import events
from o2_lambda.emulator.config import RESTORE_LIMIT_MS
from o2_lambda.emulator.errors import Fatal
from o2_lambda.emulator.sandbox import PhaseTimeout
from o2_lambda.emulator.startup import init_start

if TYPE_CHECKING:
    from o2_lambda.emulator.sandbox import Sandbox

# What an invocation whose restore takes too long fails with; AWS names it for the Invoke API only.
RESTORE_TIMEOUT = "Runtime.RestoreTimeout"


async def restore(sandbox: Sandbox) -> float:
    """Restore `sandbox`, which is frozen; return how long that took in ms. Raises Fatal after reporting it."""
    sandbox.awaits_restore = False
    sandbox.renew_instance_id()
    started_ms = sandbox.clock.mono_ms()
    sandbox.thaw()
    sandbox.emit("platform.restoreStart", events.restore_start(init_start(sandbox)))
    sandbox.answer_restore()
    fatal = None
    try:
        await sandbox.until(lambda: bool(sandbox.runtime_idle), started_ms + RESTORE_LIMIT_MS)
    except Fatal as problem:
        fatal = problem
    except PhaseTimeout:
        fatal = Fatal(RESTORE_TIMEOUT, f"the restore took over {RESTORE_LIMIT_MS} ms", status="timeout")
    status = fatal.status if fatal else "success"
    error_type = fatal.error_type if fatal and status != "timeout" else None
    sandbox.emit("platform.restoreRuntimeDone", events.restore_runtime_done(status=status, error_type=error_type))
    took_ms = sandbox.clock.mono_ms() - started_ms
    record = events.restore_report(status=status, error_type=error_type, duration_ms=took_ms)
    sandbox.emit("platform.restoreReport", record)
    if fatal:
        raise fatal
    return took_ms
