"""Start: what is serial on every cold start, and nothing else, up to the first `/next` on the wire.

Until `register` has answered, Lambda does not start the function's runtime; between `register` and `/next` the two run
side by side. So the receiver that the function may use at once is bound before `register`, everything else after it,
and settings, TLS and the engine are loaded only when `/next` is out.
"""

from __future__ import annotations

from _socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_IPV6,
    IPV6_V6ONLY,
    SO_REUSEADDR,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)
from posix import O_CLOEXEC, O_RDONLY, close, environ, read, urandom
from posix import open as open_
from time import sleep

from o2_lambda.extension.io.runtime_api import RuntimeApi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from o2_lambda.extension.core.http1 import Message

BACKLOG = 128
OTLP_PORT = 4318
REGISTER_PAUSE_S_MAX = 1.0  # between two attempts; to exit instead would break the function
TOKEN_BYTES = 16  # of the telemetry path: nobody else in the sandbox can guess where events are taken
HOSTS_FILE = "/etc/hosts"
HOSTS_BYTES_MAX = 65_536
TELEMETRY_HOST = b"sandbox.localdomain"
_MANAGED = b"lambda-managed-instances"
_SNAP_START = b"snap-start"


class Boot:
    """What start-up leaves for the rest: sockets, ids, answers, and lines that could not be printed yet."""

    __slots__ = (
        "api",
        "lines",
        "managed",
        "name",
        "otlp",
        "registration",
        "snap_start",
        "subscription",
        "telemetry",
        "telemetry_path",
        "token",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.api: RuntimeApi
        initialization_type = environ.get(b"AWS_LAMBDA_INITIALIZATION_TYPE")
        self.managed = initialization_type == _MANAGED
        self.snap_start = initialization_type == _SNAP_START
        self.otlp: list[socket] = []
        self.telemetry: socket | None = None
        self.token = urandom(TOKEN_BYTES).hex()
        self.telemetry_path = f"/{self.token}"
        self.registration: Message | None = None
        self.subscription: Message | None = None
        self.lines: list[tuple[str, str]] = []  # (level, text)


def run(name: str) -> None:
    """Registers, subscribes, polls, and hands over to the loop. Returns when the sandbox is shut down."""
    boot = Boot(name)
    try:
        _bind_otlp(boot)
        register(boot)
        if environ.get(b"O2_STRICT", b"").strip().lower() in (b"1", b"true", b"yes", b"on"):
            _refuse_bad_settings(boot)
        _subscribe_and_poll(boot)
        from o2_lambda.extension import serve  # noqa: PLC0415 - after the first `/next`: all the rest of the program

        serve.run(boot)
    except Exception as error:  # noqa: BLE001 - whatever it is, the function must not notice
        from o2_lambda.extension import passive  # noqa: PLC0415 - only after a bug

        passive.run(boot, error)


def _bind_otlp(boot: Boot) -> None:
    """The OTLP receiver listens before Lambda can start the function. A taken port costs OTLP, nothing else."""
    port = _port(b"O2_OTLP_PORT", OTLP_PORT)
    if port == 0:
        return
    try:
        boot.otlp.append(_listen(AF_INET, "127.0.0.1", port))
    except OSError as error:
        boot.lines.append(
            ("WARN", f"OTLP receiver is off: port {port} cannot be bound ({error.strerror}); logs are not affected")
        )
        return
    try:
        boot.otlp.append(_listen(AF_INET6, "::1", port))
    except OSError:
        return  # no IPv6 in this sandbox


def register(boot: Boot) -> None:
    """Registers, for as long as it takes: without it the function cannot start either."""
    pause_s = 0.01
    while True:
        try:
            boot.api = RuntimeApi(environ.get(b"AWS_LAMBDA_RUNTIME_API", b"127.0.0.1:9001").decode())
            boot.api.connect()
            answer = boot.api.register(boot.name, managed=boot.managed)
            if answer.status == 403 and b"InvalidEventType" in answer.body and not boot.managed:  # noqa: PLR2004 - refused
                boot.managed = True  # no INVOKE events here: managed instances
                continue
            if answer.status == 200:  # noqa: PLR2004 - OK
                boot.registration = answer
                return
            reason = f"status {answer.status}: {bytes(answer.body[:200]).decode('utf-8', 'replace')}"
        except OSError as error:
            reason = str(error)
        if pause_s == REGISTER_PAUSE_S_MAX:
            boot.lines.append(("ERROR", f"Registration failed, trying on: {reason}"))
            _print(boot)
        sleep(pause_s)
        pause_s = min(pause_s * 2, REGISTER_PAUSE_S_MAX)


def _refuse_bad_settings(boot: Boot) -> None:
    """O2_STRICT: a bad setting fails the function's init, which is possible before `/next` only."""
    from o2_lambda.extension import config  # noqa: PLC0415 - before `/next` only where the customer asks for it
    from o2_lambda.extension.core.url import ConfigError  # noqa: PLC0415 - as above

    try:
        config.check_files(config.load(environment()))
    except ConfigError as error:
        boot.lines.append(("ERROR", f"Configuration error: {error}"))
        _print(boot)
        boot.api.report_init_error("Extension.ConfigurationError")
        raise SystemExit(1) from None


def _subscribe_and_poll(boot: Boot) -> None:
    port = _port(b"O2_TELEMETRY_PORT", 0)
    host = _telemetry_host() or boot.api.local_host
    for where in (host, port), (host, 0), ("0.0.0.0", 0):  # noqa: S104 - the path token guards the last resort as well
        try:
            boot.telemetry = _listen(AF_INET, *where)
            break
        except OSError as error:
            problem = f"Telemetry port {where[1]} cannot be bound on {where[0]} ({error.strerror}): another one is used"
            boot.lines.append(("WARN", problem))
    if boot.telemetry is None:
        raise OSError("no address for the telemetry listener")
    wanted = environ.get(b"O2_LOG_TYPES", b"").strip() or b"extension"
    # Platform events steer us and function lines are wanted nearly always; of the extensions' only who asks gets them.
    types = '["platform","function","extension"]' if b"extension" in wanted else '["platform","function"]'
    schema = "2025-01-29" if boot.managed else "2022-12-13"
    boot.subscription = boot.api.subscribe_and_poll(
        f'{{"schemaVersion":"{schema}","types":{types},'
        '"buffering":{"maxItems":1000,"maxBytes":1048576,"timeoutMs":25},'
        f'"destination":{{"protocol":"HTTP","URI":"http://sandbox.localdomain:{boot.telemetry.getsockname()[1]}{boot.telemetry_path}"}}}}'
    )


def _listen(family: int, host: str, port: int) -> socket:
    listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
    try:
        listener.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        if family == AF_INET6:
            listener.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _port(name: bytes, default: int) -> int:
    """A port out of the environment; what is none is told later, by the settings' own check."""
    text = environ.get(name, b"").strip()
    return int(text) if text.isdigit() and int(text) < 65_536 else default  # noqa: PLR2004 - ports


def _telemetry_host() -> str | None:
    """The address of `sandbox.localdomain` from the hosts file; never a DNS query, which could hang."""
    try:
        file = open_(HOSTS_FILE, O_RDONLY | O_CLOEXEC)
    except OSError:
        return None
    text = read(file, HOSTS_BYTES_MAX)
    close(file)
    for line in text.splitlines():
        words = line.partition(b"#")[0].split()
        if TELEMETRY_HOST in words[1:] and b":" not in words[0]:
            return words[0].decode("latin-1")
    return None


def environment() -> dict[str, str]:
    """The environment as text; what is no UTF-8 is replaced, to be refused by the settings' checks."""
    return {key.decode("utf-8", "replace"): value.decode("utf-8", "replace") for key, value in environ.items()}


def _print(boot: Boot) -> None:
    from o2_lambda.extension.io import log  # noqa: PLC0415 - only where something went wrong

    for level, text in boot.lines:
        log.emit(level, text)
    boot.lines.clear()
