"""Everything that affects the state of an extension: the transition table and the registry that applies it.

No sockets, no clock: calls come in as arguments, refusals go out as `ApiError` with AWS's own wording.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from o2_lambda.emulator.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterable

EXTENSIONS_MAX = 10  # AWS's quota of extensions per function, internal ones included
INTERNAL_SHUTDOWN = "ShutdownEventNotSupportedForInternalExtension"
NOT_ALLOWED = "State transition is not allowed"

# States
STARTED = "Started"
REGISTERED = "Registered"
READY = "Ready"
RUNNING = "Running"
INIT_ERROR = "InitError"
EXIT_ERROR = "ExitError"
SHUTDOWN_FAILED = "ShutdownFailed"
EXITED = "Exited"
LAUNCH_ERROR = "LaunchError"

# Verbs: what an extension asks for, and what happens to it
REGISTER = "register"
NEXT = "next"
DELIVER = "deliver"
REPORT_INIT_ERROR = "init/error"
REPORT_EXIT_ERROR = "exit/error"
EXIT = "exit"
LAUNCH_FAILED = "launch failed"
KILL = "kill"

# (state, verb) -> state; a missing key is a refusal.
TRANSITIONS = {
    (STARTED, REGISTER): REGISTERED,
    (STARTED, LAUNCH_FAILED): LAUNCH_ERROR,
    (STARTED, EXIT): EXITED,
    (STARTED, KILL): SHUTDOWN_FAILED,
    (REGISTERED, NEXT): READY,
    (REGISTERED, REPORT_INIT_ERROR): INIT_ERROR,
    (REGISTERED, REPORT_EXIT_ERROR): EXIT_ERROR,
    (REGISTERED, EXIT): EXITED,
    (REGISTERED, KILL): SHUTDOWN_FAILED,
    (READY, DELIVER): RUNNING,
    (READY, REPORT_EXIT_ERROR): EXIT_ERROR,
    (READY, EXIT): EXITED,
    (READY, KILL): SHUTDOWN_FAILED,
    (RUNNING, NEXT): READY,
    (RUNNING, REPORT_EXIT_ERROR): EXIT_ERROR,
    (RUNNING, EXIT): EXITED,
    (RUNNING, KILL): SHUTDOWN_FAILED,
    # Repeating an error report is an accepted no-op; nothing else is possible afterwards.
    (INIT_ERROR, REPORT_INIT_ERROR): INIT_ERROR,
    (INIT_ERROR, EXIT): EXITED,
    (INIT_ERROR, KILL): SHUTDOWN_FAILED,
    (EXIT_ERROR, REPORT_EXIT_ERROR): EXIT_ERROR,
    (EXIT_ERROR, EXIT): EXITED,
    (EXIT_ERROR, KILL): SHUTDOWN_FAILED,
}

# The state a refused verb would have led to, for the wording of the refusal.
GOALS = {REGISTER: REGISTERED, NEXT: READY, REPORT_INIT_ERROR: INIT_ERROR, REPORT_EXIT_ERROR: EXIT_ERROR}

INVOKE = "INVOKE"
SHUTDOWN = "SHUTDOWN"
EVENTS_EXTERNAL = frozenset({INVOKE, SHUTDOWN})
EVENTS_INTERNAL = frozenset({INVOKE})  # an internal extension ends with the runtime's process
EVENTS_MANAGED = frozenset({SHUTDOWN})  # invocations run side by side: there is no "current" one to announce


@dataclass
class Extension:
    """One extension: who it is, what it asked for, where it stands."""

    name: str
    external: bool
    state: str = STARTED
    identifier: str = ""
    events: list[str] = field(default_factory=list)
    error_type: str | None = None

    @property
    def registered(self) -> bool:
        """Whether it has an identifier, that is, it got past `register`."""
        return bool(self.identifier)

    def wants(self, event: str) -> bool:
        """Whether it subscribed to `event` (INVOKE or SHUTDOWN)."""
        return event in self.events

    def move(self, verb: str) -> None:
        """Apply `verb`; raises ApiError (403 Extension.InvalidExtensionState) when the table has no such row."""
        target = TRANSITIONS.get((self.state, verb))
        if target is None:
            goal = EXITED if (self.state, verb) == (INIT_ERROR, REPORT_EXIT_ERROR) else GOALS.get(verb, verb)
            who = self.name if verb == REGISTER else self.identifier
            msg = f"State transition from {self.state} to {goal} failed for extension {who}. Error: {NOT_ALLOWED}"
            raise ApiError("Extension.InvalidExtensionState", msg)
        self.state = target

    def try_move(self, verb: str) -> None:
        """Apply what happens to a process whatever its state: an exit after a kill changes nothing any more."""
        self.state = TRANSITIONS.get((self.state, verb), self.state)


class Registry:
    """All extensions of one environment, by name and by identifier."""

    def __init__(self, names: Iterable[str], *, managed: bool) -> None:
        self.extensions = {name: Extension(name, external=True) for name in names}
        self.closed = False
        self._managed = managed
        self._by_id: dict[str, Extension] = {}

    @property
    def external(self) -> list[Extension]:
        """The extensions that are processes of their own."""
        return [extension for extension in self.extensions.values() if extension.external]

    def all_external_registered(self) -> bool:
        """Barrier A: the runtime may start."""
        return all(extension.registered for extension in self.external)

    def all_ready(self) -> bool:
        """Barrier B: every registered extension waits in `next`."""
        return all(extension.state == READY for extension in self.extensions.values())

    def invoke_done(self) -> bool:
        """Whether every INVOKE subscriber is back in `next`."""
        return all(extension.state == READY for extension in self.extensions.values() if extension.wants(INVOKE))

    def register(self, name: str | None, body: bytes) -> Extension:
        """Register an extension under `name` with the request's `body`; raises ApiError as AWS words it."""
        if not name:
            raise ApiError("Extension.InvalidExtensionName", "Empty extension name")
        events = self._parse_events(body)
        extension = self.extensions.get(name) or self._new_internal(name)
        allowed = EVENTS_MANAGED if self._managed else EVENTS_EXTERNAL if extension.external else EVENTS_INTERNAL
        for event in events:
            if event not in allowed:
                internal_shutdown = event == SHUTDOWN and not extension.external and not self._managed
                reason = INTERNAL_SHUTDOWN if internal_shutdown else "ErrorInvalidEventType"
                raise ApiError("Extension.InvalidEventType", f"{event}: {reason}")
        extension.move(REGISTER)
        extension.events = list(dict.fromkeys(events))
        extension.identifier = str(uuid.uuid4())
        self._by_id[extension.identifier] = extension
        self.extensions[name] = extension
        return extension

    def find(self, identifier: str | None, *, naming_it: bool = True) -> Extension:
        """Return the extension an identifier header names; raises ApiError when it names none.

        AWS's error calls do not repeat the unknown identifier (`naming_it`), its other calls do.
        """
        if not identifier:
            raise ApiError("Extension.MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header")
        try:
            uuid.UUID(identifier)
        except ValueError:
            raise ApiError("Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier") from None
        extension = self._by_id.get(identifier)
        if extension is None:
            raise ApiError(
                "Extension.UnknownExtensionIdentifier",
                f"Unknown extension {identifier}" if naming_it else "Unknown Lambda-Extension-Identifier",
            )
        return extension

    def _new_internal(self, name: str) -> Extension:
        if self.closed:
            raise ApiError("Extension.RegistrationClosed", "Extension registration closed already")
        if len(self.extensions) >= EXTENSIONS_MAX:
            raise ApiError("Extension.TooManyExtensions", f"Extension limit ({EXTENSIONS_MAX}) reached")
        return Extension(name, external=False)

    @staticmethod
    def _parse_events(body: bytes) -> list[str]:
        try:
            request = json.loads(body)
            events = request.get("events", [])
            if not isinstance(events, list) or not all(isinstance(event, str) for event in events):
                raise TypeError  # noqa: TRY301 - every malformed body gets the same answer
        except (ValueError, AttributeError, TypeError):
            raise ApiError("InvalidRequestFormat", "Invalid Register request format") from None
        return events


# States of the environment as a whole, and what may follow what.
IDLE = "IDLE"
INIT = "INIT"
ENV_READY = "READY"
ENV_INVOKE = "INVOKE"
RESET = "RESET"
IDLE_SUPPRESSED = "IDLE_SUPPRESSED"
ENV_SHUTDOWN = "SHUTDOWN"
TERMINATED = "TERMINATED"

ENVIRONMENT_TRANSITIONS = {
    IDLE: {INIT, ENV_SHUTDOWN},
    INIT: {ENV_READY, RESET, ENV_SHUTDOWN},  # shutdown: whoever waited for the init gave up
    ENV_READY: {ENV_INVOKE, RESET, ENV_SHUTDOWN},
    ENV_INVOKE: {ENV_READY, RESET, ENV_SHUTDOWN},
    RESET: {IDLE_SUPPRESSED, IDLE},
    IDLE_SUPPRESSED: {ENV_INVOKE, ENV_SHUTDOWN},
    ENV_SHUTDOWN: {TERMINATED},
    TERMINATED: set[str](),
}
