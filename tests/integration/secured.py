"""Certificates and contexts for servers with TLS."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import trustme


def server_context(authority: trustme.CA, *names: str, **options: object) -> ssl.SSLContext:
    """The context of a server whose certificate `authority` signed; by default for 127.0.0.1 and localhost."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = authority.issue_cert(*(names or ("127.0.0.1", "localhost")), **options)  # type: ignore[arg-type]
    certificate.configure_cert(context)
    return context


def write_authority(authority: trustme.CA, folder: Path) -> str:
    """The authority's certificate as a file for O2_CA_CERT."""
    path = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)
