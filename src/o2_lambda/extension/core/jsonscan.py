"""JSON without the `json` package: its C scanner alone, which is there at no cost (`json` imports `re`: 5 ms).

Objects come out as lists of pairs, never as dicts: the keys are the customer's, and a dict of foreign keys under a
known hash seed can be made slow on purpose.
"""

from __future__ import annotations

from _json import encode_basestring_ascii, make_scanner, scanstring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["SCAN_ERRORS", "Pairs", "get", "loads", "members", "quote", "scan_once", "scanstring", "skip_space"]

# What the C scanner raises on bad input: ValueError (JSONDecodeError), StopIteration (no value here), RecursionError
# (nested too deep). It looks JSONDecodeError up in json.decoder, which is not imported here: then it raises SystemError
# (CPython 3.11 and 3.12), or ImportError where a frozen interpreter does not carry that module.
SCAN_ERRORS = (ValueError, StopIteration, RecursionError, SystemError, ImportError, IndexError)

quote = encode_basestring_ascii


class Pairs(list):  # type: ignore[type-arg] # a plain list at run time
    """A JSON object as its (key, value) pairs in order; told from a JSON array by its type."""

    __slots__ = ()


def _refuse_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity are not JSON


class _Context:
    strict = True
    object_hook = None
    object_pairs_hook = Pairs
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_refuse_constant)
    memo: dict[str, str] = {}  # noqa: RUF012 - read once by make_scanner


scan_once = make_scanner(_Context())  # type: ignore[arg-type] # typeshed knows json's own context only


def skip_space(text: str, index: int) -> int:
    """The index of the first character at or after `index` that is not JSON white space (may be `len(text)`)."""
    size = len(text)
    while index < size and text[index] in " \t\n\r":
        index += 1
    return index


def loads(text: str) -> Any:
    """The value of a whole JSON text; objects as `Pairs`. Raises one of `SCAN_ERRORS`."""
    value, end = scan_once(text, skip_space(text, 0))
    if skip_space(text, end) != len(text):
        raise ValueError("data after the JSON value")
    return value


def members(text: str, index: int) -> tuple[list[tuple[str, int, int, Any]], int]:
    """The members of the JSON object at `index` as (key, value start, value end, value), and the object's end.

    The spans allow a value to be copied as it stands. Raises one of `SCAN_ERRORS` where the text is no object.
    """
    found: list[tuple[str, int, int, Any]] = []
    if text[index] != "{":
        raise ValueError("not an object")
    index = skip_space(text, index + 1)
    if text[index] == "}":
        return found, index + 1
    while True:
        if text[index] != '"':
            raise ValueError("not a key")
        key, index = scanstring(text, index + 1, True)
        index = skip_space(text, index)
        if text[index] != ":":
            raise ValueError("no colon")
        start = skip_space(text, index + 1)
        value, end = scan_once(text, start)
        found.append((key, start, end, value))
        index = skip_space(text, end)
        if text[index] == "}":
            return found, index + 1
        if text[index] != ",":
            raise ValueError("no comma")
        index = skip_space(text, index + 1)


def get(value: Any, *path: str) -> Any:
    """The value at a path of keys within nested `Pairs`, None where a step is missing."""
    for key in path:
        if type(value) is not Pairs:
            return None
        for name, member in value:
            if name == key:
                value = member
                break
        else:
            return None
    return value
