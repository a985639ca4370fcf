"""CA certificates as a folder that OpenSSL searches by hash: it reads the one file that a handshake needs, no bundle.

The list is Mozilla's, as certifi carries it: every root that is trusted to vouch for servers.
"""

from __future__ import annotations

import base64
import hashlib
import re
import textwrap
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PEM = re.compile("-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)

_SEQUENCE, _SET, _UTF8_STRING, _VERSION = 0x30, 0x31, 0x0C, 0xA0
# String types that a name's hash is indifferent to, and how their bytes are read.
_STRING_ENCODINGS = {
    0x0C: "utf-8",
    0x13: "ascii",  # PrintableString
    0x14: "latin-1",  # T61String, as OpenSSL reads it
    0x16: "ascii",  # IA5String
    0x1A: "ascii",  # VisibleString
    0x1C: "utf-32-be",  # UniversalString
    0x1E: "utf-16-be",  # BMPString
}
_HASH_BYTES = 4


def hashed_folder(bundle: str) -> dict[str, bytes]:
    """File name -> PEM of every certificate in a PEM bundle, named as OpenSSL looks for it."""
    files: dict[str, bytes] = {}
    taken: Counter[str] = Counter()
    for der in sorted(roots(bundle)):
        name = subject_hash(der)
        body = "\n".join(textwrap.wrap(base64.b64encode(der).decode(), 64))
        files[f"{name}.{taken[name]}"] = f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n".encode()
        taken[name] += 1
    return files


def roots(bundle: str) -> list[bytes]:
    """The DER of each certificate in a PEM bundle."""
    return [base64.b64decode(match) for match in _PEM.findall(bundle)]


def subject_hash(certificate: bytes) -> str:
    """OpenSSL's hash of a DER certificate's subject: of its canonical form, so that spelling does not matter."""
    (_tag, body, _end) = _element(certificate, 0)
    (_tag, signed, _end) = _element(body, 0)
    fields = [field for field in _elements(signed) if field[0] != _VERSION]
    subject = fields[4][1]  # serial number, signature, issuer, validity, subject
    canonical = b"".join(_canonical_set(rdn) for _tag, rdn in _elements(subject))
    return hashlib.sha1(canonical, usedforsecurity=False).digest()[:_HASH_BYTES][::-1].hex()


def _canonical_set(rdn: bytes) -> bytes:
    attributes = []
    for _tag, attribute in _elements(rdn):
        (_oid_tag, oid), (tag, value) = _elements(attribute)
        encoding = _STRING_ENCODINGS.get(tag)
        if encoding is not None:
            text = b" ".join(value.decode(encoding).encode().split()).lower()
            tag, value = _UTF8_STRING, text
        attributes.append(_der(_SEQUENCE, _der(0x06, oid) + _der(tag, value)))
    return _der(_SET, b"".join(sorted(attributes)))


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(data):
        tag, content, position = _element(data, position)
        yield tag, content


def _element(data: bytes, position: int) -> tuple[int, bytes, int]:
    """The DER element at a position: tag, content, and where the next one starts."""
    tag, length = data[position], data[position + 1]
    position += 2
    if length & 0x80:
        count = length & 0x7F
        length = int.from_bytes(data[position : position + count])
        position += count
    return tag, data[position : position + length], position + length


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:  # noqa: PLR2004 - DER's short form
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(length))) + length + content
