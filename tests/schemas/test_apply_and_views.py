"""What is derived from a table's file: BigQuery's schema, missing columns, the views' SQL."""

import dataclasses
import re

import pytest
from google.cloud import bigquery

from schemas.apply import bigquery_schema, bigquery_table, missing_columns
from schemas.table import Type
from schemas.table_file import parse_table, shipped
from schemas.views import view_queries

TABLE = parse_table(
    "{table: t, description: d, view_prefix: v, columns: [{path: a, type: INT64}, "
    "{path: b, type: FLOAT64, mode: REPEATED, description: Of b.}, {path: c, type: BOOL}]}",
    "t.yaml",
)


def live(table=TABLE, **changes):
    """A live table's schema as BigQuery's REST API answers: with the older names of types."""
    old = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN"}
    fields = []
    for field in bigquery_schema(table.columns):
        kind, mode = old.get(field.field_type, field.field_type), field.mode
        kind, mode = changes.get(field.name, (kind, mode)) or (None, None)
        if kind:
            fields.append(bigquery.SchemaField(field.name, kind, mode=mode))
    return fields


def test_the_schema_is_the_files():
    """Names, types, modes and descriptions in the columns' order; nothing is REQUIRED."""
    for table in (TABLE, *shipped()):
        assert [(f.name, f.field_type, f.mode, f.description) for f in bigquery_schema(
            table.columns)] == [
            (c.name, c.type.value, "REPEATED" if c.repeated else "NULLABLE", c.description or None)
            for c in table.columns
        ]  # fmt: skip
    assert {f.field_type for f in bigquery_schema(TABLE.columns)} <= {t.value for t in Type}


def test_the_table_is_partitioned_and_clustered_as_its_file_says():
    """By day on created_at; a flat table by nothing."""
    made = bigquery_table(TABLE, "p.d").to_api_repr()
    assert made["tableReference"] == {"projectId": "p", "datasetId": "d", "tableId": "t"}
    assert made["timePartitioning"] == {"type": "DAY", "field": "created_at"}
    assert made["clustering"] == {"fields": ["issue_key", "operation"]}
    assert made["description"] == "d"
    flat = bigquery_table(parse_table("{table: f, layout: flat}", ""), "p.d").to_api_repr()
    assert "timePartitioning" not in flat
    assert "clustering" not in flat


def test_a_live_table_that_is_equal_lacks_nothing():
    """The REST API's older names are the same types, and case does not count in names."""
    assert missing_columns(TABLE, live()) == ([], [])
    upper = [bigquery.SchemaField(f.name.upper(), f.field_type, mode=f.mode) for f in live()]
    assert missing_columns(TABLE, upper) == ([], [])


def test_columns_that_a_live_table_lacks_are_found():
    """In the file's order; columns that only the live table has are let be."""
    missing, problems = missing_columns(TABLE, live(c=None, a=None))
    assert [column.name for column in missing] == ["a", "c"]
    assert problems == []
    more = [*live(), bigquery.SchemaField("theirs", "STRING")]
    assert missing_columns(TABLE, more) == ([], [])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("STRING", "NULLABLE"), "is STRING NULLABLE in BigQuery and INT64 NULLABLE in its file"),
        (("INTEGER", "REPEATED"), "is INT64 REPEATED in BigQuery and INT64 NULLABLE in its file"),
        (("INTEGER", "REQUIRED"), "is INT64 REQUIRED in BigQuery and INT64 NULLABLE in its file"),
    ],
)
def test_a_column_of_another_type_or_mode_is_a_problem(change, said):
    """Nothing is changed in type or mode: the reader is told what to do."""
    missing, problems = missing_columns(TABLE, live(a=change))
    assert missing == []
    assert [str(problem) for problem in problems] == [
        (
            f"table t, column a: {said} (BigQuery cannot change it in place: give the column a new "
            "`name` in the file)"
        )
    ]


def test_a_required_column_of_their_own_is_a_problem():
    """Every row without it would be refused."""
    more = [*live(), bigquery.SchemaField("theirs", "STRING", mode="REQUIRED")]
    _, (problem,) = missing_columns(TABLE, more)
    assert str(problem) == (
        "table t, column theirs: is REQUIRED in BigQuery and not in its file "
        "(ALTER TABLE t ALTER COLUMN theirs DROP NOT NULL)"
    )


def test_the_views_read_from_their_table():
    """Three views, named by the prefix, each of the one table in the one dataset."""
    queries = view_queries(TABLE, "my-project.ds")
    assert list(queries) == ["v_latest", "v_changes", "v_daily"]
    for query in queries.values():
        assert re.findall(r"`([^`]*)`", query) == ["my-project.ds.t"]
        assert "{" not in query
    assert "PARTITION BY issue_key" in queries["v_latest"]
    assert "PARTITION BY event_id" in queries["v_changes"]
    assert "COUNT(DISTINCT event_id)" in queries["v_daily"]


def test_the_views_name_columns_that_the_table_has():
    """Every column that a view orders or counts by is a fixed one of the structured layout."""
    names = {column.name for column in TABLE.columns}
    used = {"event_id", "issue_key", "update_time", "operation", "created_at", "ingest_time",
            "publish_time", "source"}  # fmt: skip
    assert used <= names
    text = " ".join(view_queries(TABLE, "p.d").values())
    words = set(re.findall(r"\b[a-z]+_[a-z]+\b", re.sub(r"--.*", "", text)))
    assert words == used - {"operation", "source"}


def test_a_table_without_a_prefix_has_no_views():
    """A flat table has none, nor does one that does not ask."""
    assert view_queries(dataclasses.replace(TABLE, view_prefix=""), "p.d") == {}
