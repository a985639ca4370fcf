"""TLS through the C module `_ssl`: the `ssl` package around it costs ten times as much to import.

Imported by the uplink's thread, after the first `/next`.
"""

from __future__ import annotations

import _ssl
from posix import environ, stat, urandom
from stat import S_ISDIR

from o2_lambda.extension.core.url import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Any

# Where systems keep their CA certificates: Amazon Linux and RHEL, Debian, Alpine.
CA_FOLDER = "/opt/o2/ca"  # the layer's own, one file a certificate: loading it costs next to nothing
CA_FILES = ("/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/cert.pem")
SEED_BYTES = 32
_TLS_1_2 = 0x0303
_ALPN = b"\x08http/1.1"


class TlsError(OSError):
    """The CA material cannot be used; the text names the setting."""


class Context:
    """A verifying client context and the sessions that it can resume, per host.

    It trusts `ca_cert` instead of the system's certificates where that is set, and both with `system`.
    """

    def __init__(self, ca_cert: str, *, system: bool = False) -> None:
        context: Any = _ssl._SSLContext(_ssl.PROTOCOL_TLS_CLIENT)  # noqa: SLF001 - the C type behind ssl.SSLContext
        context.verify_mode = _ssl.CERT_REQUIRED
        context.check_hostname = True
        context.minimum_version = _TLS_1_2
        # HTTP's framing tells a cut answer; an end without close_notify as a TLS error would spoil the session.
        context.options |= _ssl.OP_IGNORE_UNEXPECTED_EOF
        context._set_alpn_protocols(_ALPN)  # noqa: SLF001 - as above
        if ca_cert:
            _load_named(context, ca_cert)
        if system or not ca_cert:
            _load_system(context)
        self._context = context
        self._sessions: dict[str, Any] = {}

    def wrap(self, sock: socket, host: str) -> Any:
        """A TLS connection over a connected socket, handshake done within the socket's timeout. Raises OSError."""
        session = self._sessions.get(host)
        tls = self._context._wrap_socket(sock, False, host, owner=None, session=session)  # noqa: SLF001 - C signature
        tls.do_handshake()
        return tls

    def remember(self, tls: Any, host: str) -> None:
        """Keeps the session for the next handshake; TLS 1.3 sends it with the first answer, not in the handshake."""
        if tls.session is not None:
            self._sessions[host] = tls.session

    def renew(self) -> None:
        """After a restore from a snapshot: no session is resumed, and OpenSSL's chance is no longer every copy's.

        AWS-LC, in the layer, asks the kernel for each random number anyway.
        """
        self._sessions.clear()
        _ssl.RAND_add(urandom(SEED_BYTES), SEED_BYTES)


def is_alive(tls: Any) -> bool:
    """Whether a connection that should be silent is; its socket must not block. Takes in session tickets on the way."""
    try:
        tls.read(1)
    except _ssl.SSLWantReadError:
        return True
    except OSError:
        return False
    return False  # data that nobody asked for, or the end of the stream


def check_ca(ca_cert: str) -> None:
    """Raises ConfigError where O2_CA_CERT cannot be used; a folder is looked into in a handshake only."""
    try:
        stat(ca_cert)
    except OSError as error:
        problem = f"O2_CA_CERT {ca_cert!r} cannot be read ({error.strerror})"
        raise ConfigError(f"{problem}; give the path of a PEM file or a folder of them") from None
    if not _is_folder(ca_cert):
        try:
            _load_named(_ssl._SSLContext(_ssl.PROTOCOL_TLS_CLIENT), ca_cert)  # noqa: SLF001 - the C type
        except TlsError as error:
            raise ConfigError(str(error)) from None


def _load_named(context: Any, ca_cert: str) -> None:
    try:
        if _is_folder(ca_cert):
            context.load_verify_locations(None, ca_cert, None)
        else:
            context.load_verify_locations(ca_cert, None, None)
    except OSError:
        raise TlsError(f"O2_CA_CERT {ca_cert!r} holds no usable certificate; give the path of a PEM file") from None


def _load_system(context: Any) -> None:
    named = environ.get(b"SSL_CERT_FILE", b"").decode("utf-8", "replace")
    if named and _load_file(context, named):
        return
    if _is_folder(CA_FOLDER):  # asked first: one takes a folder that is not there without a word
        context.load_verify_locations(None, CA_FOLDER, None)
        return
    if not any(_load_file(context, path) for path in CA_FILES):
        context.set_default_verify_paths()


def _load_file(context: Any, path: str) -> bool:
    try:
        context.load_verify_locations(path, None, None)
    except OSError:
        return False
    return True


def _is_folder(path: str) -> bool:
    try:
        return S_ISDIR(stat(path).st_mode)
    except OSError:
        return False
