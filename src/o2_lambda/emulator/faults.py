"""Faults the emulator commits on request: what a real platform does rarely, on demand and as often as asked.

A count of N applies to the next N occasions; `ALWAYS` applies for ever; 0 never.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, field

ALWAYS = -1


@dataclass
class Kill:
    """Kill an extension once, when it enters `state` ("Started", "Registered", "Ready" or "Running")."""

    state: str
    extension: str | None = None  # None: whichever enters the state first
    after_ms: float = 0
    signal: int = signal.SIGKILL


@dataclass
class Faults:
    """Every fault knob. Fields are plain and may be changed while the emulator runs.

    `clock_jump_ms` moves the platform's wall clock (deadlines, event times) at every thaw. A stopped process cannot
    have its own clocks moved; `monotonic_offset_ms` starts extensions in a time namespace of their own
    (`unshare --time`) whose monotonic and boot clocks are ahead by that much, where the system permits it.
    """

    # Delivery of telemetry
    duplicate_batches: int = 0  # the answer gets lost with its connection: the same bytes again on a fresh one
    delay_posts: int = 0  # wait `delay_post_ms` before each POST
    delay_post_ms: float = 200
    drop_posts: int = 0  # taken for delivered, never sent
    reorder_batches: int = 0  # a batch is overtaken by the one after it
    oversize_split_bytes: int | None = None  # cut records over this size instead of over maxBytes
    # Events
    late_reports: int = 0  # platform.report comes after the start of the next invocation
    missing_reports: int = 0
    early_failure_reports: int = 0  # the report of a failed invocation precedes its SHUTDOWN instead of missing it
    missing_runtime_done: int = 0
    # Answers
    telemetry_not_supported: int = 0  # 202 Telemetry.NotSupported
    telemetry_closed: int = 0  # 403 Telemetry.SubscriptionClosed
    refuse_registers: int = 0  # 403 Extension.RegistrationClosed
    # Processes, connections, clocks
    kills: list[Kill] = field(default_factory=list)
    reset_connections_on_thaw: int = 0  # reset every relay of the emulator while it is frozen
    clock_jump_ms: float = 0
    monotonic_offset_ms: int = 0

    def take(self, knob: str) -> bool:
        """Use up one occasion of the counted `knob`; return whether the fault applies."""
        left: int = getattr(self, knob)
        if left > 0:
            setattr(self, knob, left - 1)
        return left != 0

    def take_kill(self, extension: str, state: str) -> Kill | None:
        """Use up and return the first kill meant for `extension` entering `state`."""
        for kill in self.kills:
            if kill.state == state and kill.extension in (None, extension):
                self.kills.remove(kill)
                return kill
        return None
