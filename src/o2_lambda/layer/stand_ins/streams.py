"""Frozen as `io`: the C types alone, without the abstract base classes over them."""

from _io import (
    BufferedReader,
    BufferedWriter,
    BytesIO,
    FileIO,
    StringIO,
    TextIOWrapper,
    UnsupportedOperation,
    open,  # noqa: A004 - as `io` does
)

__all__ = [
    "BufferedReader",
    "BufferedWriter",
    "BytesIO",
    "FileIO",
    "StringIO",
    "TextIOWrapper",
    "UnsupportedOperation",
    "open",
]
