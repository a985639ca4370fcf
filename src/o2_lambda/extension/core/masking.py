"""The shapes in which a credential could turn up in a text: each of them is to be masked."""

from __future__ import annotations

from binascii import a2b_base64

from o2_lambda.extension.core.jsonscan import quote
from o2_lambda.extension.core.url import quoted

SHAPE_LENGTH_MIN = 4  # what is shorter would mask half of every line


def shapes(secrets: set[str]) -> tuple[str, ...]:
    """The secrets as a server or the ledger might repeat them, longest first: whole, in part, decoded, encoded."""
    values = set(secrets)
    for value in tuple(values):
        token = value.partition(" ")[2].strip()
        values |= {token, decoded(token)}
    values |= {value.partition(":")[2] for value in tuple(values)}
    in_json = {value.replace("\\", "\\\\").replace('"', '\\"') for value in values}
    values |= in_json | {quote(value)[1:-1] for value in values} | {quoted(value) for value in values}
    return tuple(sorted((value for value in values if len(value) >= SHAPE_LENGTH_MIN), key=len, reverse=True))


def decoded(token: str) -> str:
    """The `user:secret` of a Basic credential; empty for what is none."""
    try:
        return a2b_base64(token).decode()
    except ValueError:
        return ""


def excerpt(text: str, length_max: int) -> str:
    """The beginning of a text in one line, up to a whole word: no mask would know the first half of a credential."""
    line = text.replace("\n", " ").strip()
    if len(line) <= length_max:
        return line
    return line[: length_max - 1].rpartition(" ")[0] + " …"
