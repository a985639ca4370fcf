"""Flattening of records to rows."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o2_lambda.backend.flatten import LEVELS_UNLIMITED, flatten, format_key
from o2_lambda.backend.names import format_label_name, format_stream_name

CASES: list[tuple[str, Any, Any]] = [
    ("plain values stay", {"a": 1, "b": 2.5, "c": "x", "d": True}, {"a": 1, "b": 2.5, "c": "x", "d": True}),
    ("camelCase is lowered, not split", {"requestId": "r", "durationMs": 1}, {"requestid": "r", "durationms": 1}),
    ("foreign characters become underscores", {"a-b.c d": 1, "@x": 2, "é": 3}, {"a_b_c_d": 1, "_x": 2, "_": 3}),
    ("a non-ASCII capital is not lowered", {"\u212aelvin": 1}, {"_elvin": 1}),
    ("an empty key becomes an underscore", {"": 1}, {"_": 1}),
    ("nested keys are joined", {"record": {"message": "m"}}, {"record_message": "m"}),
    (
        "the third level is still flattened",
        {"record": {"metrics": {"durationMs": 1.5}}},
        {"record_metrics_durationms": 1.5},
    ),
    ("the fourth level is JSON text", {"a": {"b": {"c": {"Z": 1, "A": [2]}}}}, {"a_b_c": '{"A":[2],"Z":1}'}),
    ("arrays are JSON text", {"a": [1, {"b": None}, "é"]}, {"a": '[1,{"b":null},"é"]'}),
    ("empty objects and arrays vanish", {"a": {}, "b": [], "c": {"d": {}}}, {}),
    ("nulls are not stored", {"a": None, "b": {"c": None, "d": 1}}, {"b_d": 1}),
    ("text and object of one name do not collide", {"record": "t", "record_a": 1}, {"record": "t", "record_a": 1}),
    ("of two keys on one column the later wins", {"A": 1, "a": 2}, {"a": 2}),
]


@pytest.mark.parametrize(("record", "row"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_flatten_follows_the_rules(record: Any, row: Any) -> None:
    """Each rule of the server, by example."""
    assert flatten(record) == row


def test_unlimited_levels_flatten_everything() -> None:
    """Spans and data points are flattened to any depth."""
    assert flatten({"a": {"b": {"c": {"d": {"e": 1}}}}}, LEVELS_UNLIMITED) == {"a_b_c_d_e": 1}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=4))
def test_rows_hold_scalars_under_legal_names(record: dict[str, Any]) -> None:
    """Whatever comes in, columns match [a-z0-9_]+ and values are scalars, and a row is flat already."""
    row = flatten(record)
    for column, value in row.items():
        assert re.fullmatch("[a-z0-9_]+", column)
        assert isinstance(value, (str, int, float, bool))
    assert flatten(row) == row


def nest(depth: int) -> Any:
    return {"k": nest(depth - 1)} if depth else 1


@given(st.integers(min_value=1, max_value=12))
def test_depth_is_bounded_and_nothing_is_lost(depth: int) -> None:
    """However deep a record, its columns end at level three and the rest is in the JSON text."""
    row = flatten(nest(depth))
    (column,) = row
    assert column == "_".join(["k"] * min(depth, 3))
    assert (json.loads(str(row[column])) if depth > 3 else row[column]) == nest(max(0, depth - 3))


@given(st.text())
def test_format_key_is_idempotent(key: str) -> None:
    """A column name is its own column name."""
    assert format_key(format_key(key)) == format_key(key)


@pytest.mark.parametrize(
    ("name", "stream"),
    [
        ("default", "default"),
        ("My App/1", "my_app_1"),
        ("a--b", "a_b"),
        ("http.server.duration", "http_server_duration"),
        ("ns:Metric", "ns:metric"),
        ("é", "_"),
    ],
)
def test_stream_names_replace_runs(name: str, stream: str) -> None:
    """A run of foreign characters becomes one underscore; colons stay."""
    assert format_stream_name(name) == stream


def test_label_names_replace_each_character_and_keep_case() -> None:
    """Metric labels follow Prometheus, not the rule of stream names."""
    assert format_label_name("http..Method") == "http__Method"
