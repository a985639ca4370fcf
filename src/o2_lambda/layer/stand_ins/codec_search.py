"""Frozen as `encodings`: finds the codecs that CPython has in C, by name.

`idna` takes ASCII names only. The full codec needs the Unicode database, which is larger than everything else here; an
internationalized name is to be given in the form in which it stands in certificates ("xn--...").
"""

import _codecs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Incremental:
    """What a text stream keeps per direction. Output goes through C; standard input is never read."""

    def __init__(self, errors: str = "strict") -> None:
        self.errors = errors

    def setstate(self, state: object) -> None:
        """There is none to set."""

    def reset(self) -> None:
        """There is none to reset."""


class Codec(tuple):  # type: ignore[type-arg] # noqa: SLOT001 - encode, decode, stream reader, stream writer
    """An entry of CPython's registry of codecs, a tuple with attributes."""

    _is_text_encoding = True
    incrementalencoder = incrementaldecoder = Incremental
    name: str


def _codec(name: str, encode: "Any", decode: "Any") -> Codec:
    codec = Codec((encode, decode, None, None))
    codec.name = name
    return codec


_UTF_8 = _codec("utf-8", _codecs.utf_8_encode, _codecs.utf_8_decode)
_ASCII = _codec("ascii", _codecs.ascii_encode, _codecs.ascii_decode)
_LATIN_1 = _codec("iso8859-1", _codecs.latin_1_encode, _codecs.latin_1_decode)
_IDNA = _codec("idna", _codecs.ascii_encode, _codecs.ascii_decode)
_CODECS = {
    "utf_8": _UTF_8,
    "utf8": _UTF_8,
    "ascii": _ASCII,
    "us_ascii": _ASCII,
    "latin_1": _LATIN_1,
    "latin1": _LATIN_1,
    "iso_8859_1": _LATIN_1,
    "idna": _IDNA,
}

# Called with a name in lower case, "_" for what is no letter or digit.
_codecs.register(_CODECS.get)  # type: ignore[arg-type] # typeshed wants the `codecs` module's own type
