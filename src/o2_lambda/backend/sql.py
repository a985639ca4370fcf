"""Just enough of SQL's lexical structure to adapt a query to the database without parsing it."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Literals, quoted identifiers and comments are single tokens, so that nothing inside them is ever mistaken for SQL.
_TOKEN = re.compile(
    r"""
    (?P<string>'(?:[^']|'')*')
  | (?P<quoted>"(?:[^"]|"")*")
  | (?P<comment>--[^\n]*|/\*.*?\*/)
  | (?P<word>[A-Za-z_][A-Za-z0-9_:]*)
  | (?P<space>\s+)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_TABLE_FOLLOWS = frozenset({"from", "join"})


@dataclass(frozen=True, slots=True)
class Token:
    """One token: its kind, its text, and how many parentheses are open around it."""

    kind: str
    text: str
    depth: int

    def is_word(self, *words: str) -> bool:
        """Tell whether this is one of the given keywords, whatever its case."""
        return self.kind == "word" and self.text.lower() in words


def tokenize(sql: str) -> list[Token]:
    """Split a statement into tokens whose texts join to the statement again."""
    tokens = []
    depth = 0
    for match in _TOKEN.finditer(sql):
        kind, text = match.lastgroup or "other", match.group()
        depth -= text == ")"
        tokens.append(Token(kind, text, depth))
        depth += text == "("
    return tokens


def join(tokens: list[Token]) -> str:
    """Return the statement of these tokens."""
    return "".join(token.text for token in tokens)


def quote(name: str) -> str:
    """Return a name as a quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def table_of(reference: str) -> str:
    """Return the table in `table` or `table AS alias`, unquoted.

    A qualified one stays as written, so that it equals no stream's name: other schemas are out of reach.
    """
    first, *rest = tokenize(reference)
    if rest and rest[0].text == ".":
        return reference
    return first.text[1:-1].replace('""', '"') if first.kind == "quoted" else first.text


def quote_tables(sql: str) -> str:
    """Quote the bare names after FROM and JOIN: `default` is a usual stream name and a reserved word."""
    tokens = tokenize(sql)
    expects_table = False
    for index, token in enumerate(tokens):
        if token.kind in {"space", "comment"}:
            continue
        is_call = index + 1 < len(tokens) and tokens[index + 1].text == "("
        if expects_table and token.kind == "word" and not is_call:
            tokens[index] = Token("quoted", quote(token.text), token.depth)
        expects_table = token.is_word(*_TABLE_FOLLOWS)
    return join(tokens)


def order_newest_first(sql: str, column: str) -> str:
    """Add `ORDER BY column DESC` where the statement has no order of its own, before its LIMIT or OFFSET if any."""
    tokens = tokenize(sql.rstrip().rstrip(";"))
    outer = [(index, token) for index, token in enumerate(tokens) if token.depth == 0]
    if any(token.is_word("order") for _, token in outer):
        return join(tokens)
    end = next((index for index, token in outer if token.is_word("limit", "offset")), len(tokens))
    clause = Token("other", f" ORDER BY {quote(column)} DESC ", 0)
    return join([*tokens[:end], clause, *tokens[end:]])


def replace_calls(sql: str, functions: tuple[str, ...], opening: str) -> str:
    """Put `opening` in the place of the name and opening parenthesis of each call of these functions."""
    tokens = tokenize(sql)
    for index, token in enumerate(tokens[:-1]):
        if token.is_word(*functions) and tokens[index + 1].text == "(":
            tokens[index] = Token("other", opening, token.depth)
            tokens[index + 1] = Token("other", "", token.depth)
    return join(tokens)
