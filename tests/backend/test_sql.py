"""The lexical adaptation of SQL."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o2_lambda.backend.sql import join, order_newest_first, quote, quote_tables, replace_calls, table_of, tokenize


@given(st.text())
def test_tokens_join_to_the_statement(sql: str) -> None:
    """Nothing is lost or invented, whatever the text."""
    assert join(tokenize(sql)) == sql


@given(st.text())
def test_quoting_is_reversible(name: str) -> None:
    """A quoted identifier names what was quoted."""
    assert table_of(quote(name)) == name
    assert table_of(f"{quote(name)} AS other") == name


def test_qualified_tables_stay_qualified() -> None:
    """A table of another schema is never taken for a stream."""
    assert table_of('"default/logs".default') == '"default/logs".default'
    assert table_of("plain") == "plain"


@pytest.mark.parametrize(
    ("sql", "quoted"),
    [
        ("select * from default", 'select * from "default"'),
        ("SELECT 1 FROM a JOIN b ON a.x=b.x", 'SELECT 1 FROM "a" JOIN "b" ON a.x=b.x'),
        ('select * from "default"', 'select * from "default"'),
        ("select 'from default' from t", "select 'from default' from \"t\""),
        ("select 1 -- from x\nfrom/*y*/t", 'select 1 -- from x\nfrom/*y*/"t"'),
        ("select * from (select 1) q", "select * from (select 1) q"),
        ("select * from range(3)", "select * from range(3)"),
    ],
)
def test_bare_tables_are_quoted(sql: str, quoted: str) -> None:
    """Only names after FROM and JOIN, never text, comments, subqueries or functions."""
    assert quote_tables(sql) == quoted


@pytest.mark.parametrize(
    ("sql", "ordered"),
    [
        ("select * from t", 'select * from t ORDER BY "_timestamp" DESC '),
        ("select * from t;", 'select * from t ORDER BY "_timestamp" DESC '),
        ("select * from t limit 5", 'select * from t  ORDER BY "_timestamp" DESC limit 5'),
        ("select * from t order by a limit 5", "select * from t order by a limit 5"),
        ("select * from (select 1) q order by a", "select * from (select 1) q order by a"),
        (
            "select * from (select * from t order by a limit 3)",
            'select * from (select * from t order by a limit 3) ORDER BY "_timestamp" DESC ',
        ),
    ],
)
def test_newest_first_unless_ordered(sql: str, ordered: str) -> None:
    """An order of the outer statement is kept; one of a subquery is not the outer one."""
    assert order_newest_first(sql, "_timestamp") == ordered


def test_calls_are_replaced_outside_text() -> None:
    """A function's name in a string or without parentheses is left alone."""
    sql = "select f(1), 'f(2)', f from t where F('x')"
    assert replace_calls(sql, ("f",), "g(0, ") == "select g(0, 1), 'f(2)', f from t where g(0, 'x')"
