"""Frozen as `encodings.idna`, the codec through which CPython passes a host name given as text: ASCII names only.

The full codec needs the Unicode database, which is larger than everything else here. An internationalized name is to
be given in its ASCII form, as it stands in certificates ("xn--...").
"""

from codecs import CodecInfo, ascii_decode, ascii_encode


def getregentry() -> CodecInfo:
    """What `encodings` asks a codec's module for."""
    return CodecInfo(ascii_encode, ascii_decode, name="idna")  # type: ignore[arg-type] # typeshed wants keywords too
