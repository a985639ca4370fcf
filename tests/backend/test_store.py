"""The stores below the server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from o2_lambda.backend import CountingStore, SearchError
from o2_lambda.backend.columns import BIGINT, BOOLEAN, DOUBLE, VARCHAR, infer_types, merge_types, sql_type
from o2_lambda.backend.duckstore import INSERT_ROWS_MAX, DuckStore
from o2_lambda.backend.names import StreamKey
from o2_lambda.backend.store import Query

if TYPE_CHECKING:
    from pathlib import Path

    from o2_lambda.backend.flatten import Row, Scalar

KEY = StreamKey("default", "logs", "default")


def rows_of(store: DuckStore, sql: str = "select * from default order by _timestamp") -> list[dict[str, object]]:
    return store.query(Query(sql, "default", "logs")).hits


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("x", VARCHAR),
        (True, BOOLEAN),
        (1, BIGINT),
        (2**63 - 1, BIGINT),
        (2**63, DOUBLE),
        (-(2**63), BIGINT),
        (-(2**63) - 1, DOUBLE),
        (0.5, DOUBLE),
    ],
)
def test_types_of_values(value: Scalar, expected: str) -> None:
    """Booleans are no integers, integers beyond 64 bits are doubles."""
    assert sql_type(value) == expected


@pytest.mark.parametrize("one", [BIGINT, DOUBLE, BOOLEAN, VARCHAR])
@pytest.mark.parametrize("other", [BIGINT, DOUBLE, BOOLEAN, VARCHAR])
def test_merging_types(one: str, other: str) -> None:
    """Numbers widen to doubles; every other pair becomes text, in either order."""
    expected = one if one == other else DOUBLE if {one, other} == {BIGINT, DOUBLE} else VARCHAR
    assert merge_types(one, other) == merge_types(other, one) == expected


def test_known_columns_keep_their_place() -> None:
    """New columns are appended; a text column stays text."""
    types = infer_types([{"new": 1, "b": 2}], {"a": BIGINT, "b": VARCHAR})
    assert list(types.items()) == [("a", BIGINT), ("b", VARCHAR), ("new", BIGINT)]


def test_rows_survive_type_changes() -> None:
    """Old values follow their column from integer over double to text."""
    store = DuckStore()
    for value in (1, 2.5, "x", True, 7):
        store.insert(KEY, [{"_timestamp": 1, "v": value}])
    assert sorted(str(row["v"]) for row in rows_of(store)) == ["1.0", "2.5", "7", "true", "x"]
    store.close()


def test_batches_beyond_one_binding_are_stored_whole() -> None:
    """Columns may be missing from whole slices of a batch."""
    store = DuckStore()
    rows: list[Row] = [{"_timestamp": i} for i in range(INSERT_ROWS_MAX + 1)]
    rows[-1]["late"] = "x"
    store.insert(KEY, rows)
    assert rows_of(store, "select count(*) as n, count(late) as late from default") == [
        {"n": INSERT_ROWS_MAX + 1, "late": 1}
    ]
    store.close()


def test_odd_names_are_only_names() -> None:
    """Quotes and dots in names do no harm."""
    store = DuckStore()
    key = StreamKey('o"r.g', "logs", "a:b")
    store.insert(key, [{"_timestamp": 1, "select": "x", "1": 2}])
    assert store.query(Query('select "select", "1" from "a:b"', 'o"r.g', "logs")).hits == [{"select": "x", "1": 2}]
    store.close()


def test_concurrent_inserts_with_new_columns_lose_nothing() -> None:
    """Threads that all change the table at once are serialised."""
    store = DuckStore()

    def insert(worker: int) -> None:
        for i in range(10):
            store.insert(KEY, [{"_timestamp": i, f"c{worker}_{i}": i, "v": i if worker else "text"}])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(insert, range(8)))
    (info,) = store.streams("default")
    assert (info.rows, len(info.columns), info.columns["v"]) == (80, 82, VARCHAR)
    store.close()


def test_file_keeps_rows_and_types(tmp_path: Path) -> None:
    """A database opened again knows its streams and goes on."""
    path = tmp_path / "o2.duckdb"
    store = DuckStore(path)
    store.insert(KEY, [{"_timestamp": 1, "v": 1}])
    store.close()
    again = DuckStore(path)
    again.insert(KEY, [{"_timestamp": 2, "v": "x", "w": 0.5}])
    assert rows_of(again) == [{"_timestamp": 1, "v": "1"}, {"_timestamp": 2, "v": "x", "w": 0.5}]
    again.close()


def test_counting_store_counts_and_forgets() -> None:
    """Counts and time span per stream, no rows to search."""
    store = CountingStore()
    store.insert(KEY, [{"_timestamp": 5}, {"_timestamp": 3}])
    store.insert(KEY, [{"_timestamp": 9}])
    (info,) = store.streams("default")
    assert (info.rows, info.first_us, info.last_us, store.count(KEY)) == (3, 3, 9, 3)
    with pytest.raises(SearchError):
        store.query(Query("select 1", "default", "logs"))
