"""The changelog layout's views beside the Firebase extension's own SQL, on the extension's rows.

BigQuery's stand-in runs the extension's `raw_latest` and typed views as `make judge` recorded them.
It has no JavaScript, in which the extension takes arrays apart: a model stands for that function.
"""

import itertools
import json
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest
from google.cloud import bigquery as cloud

from schemas import changelog, live
from schemas.apply import bigquery_schema
from schemas.changelog_views import changelog_views
from schemas.event import decode_message
from schemas.shaping import Plan
from schemas.table import Column, Table, Type
from schemas.times import format_micros, parse_rfc3339
from tests.strategies import manual_message, recorded_messages

PROJECT, DATASET = "demo-project", "firestore_export"
GOLDEN = Path(__file__).parents[1] / "data" / "changelog"
DEADLINE = 30
NAME = "projects/demo-project/databases/(default)/documents/issues/"
START = parse_rfc3339("2026-11-25T00:00:00Z")
FIXED = ["document_name", "document_id", "timestamp", "operation"]

DECLARED = (
    Column("title", Type.STRING, path=("title",)),
    Column("votes", Type.INT64, path=("votes",)),
    Column("blocked", Type.BOOL, path=("blocked",)),
    Column("due_at", Type.TIMESTAMP, path=("due_at",)),
    Column("reference", Type.STRING, path=("reference",)),
    Column("environment", Type.JSON, path=("environment",)),
    Column("reporter_name", Type.STRING, path=("reporter", "name")),
    Column("reporter_address", Type.STRING, path=("reporter", "email")),
)
"""What the schema `plain` of tests/judge/record.js declares, but for its type `null`."""

OTHERS = (
    Column("title", Type.STRING, path=("title",)),
    Column("votes", Type.INT64, path=("votes",)),
    Column("due_at", Type.TIMESTAMP, path=("due_at",)),
    Column("before", Type.TIMESTAMP, path=("before_1970",)),
    Column("estimate", Type.FLOAT64, path=("estimate",)),
    Column("bytes", Type.BYTES, path=("bytes",)),
    Column("latitude", Type.FLOAT64, path=("geo_point", "_latitude")),
    Column("labels", Type.STRING, repeated=True, path=("labels",)),
    Column("array", Type.STRING, repeated=True, path=("array",)),
    Column("whole", Type.INT64, repeated=True, path=("array",)),
    Column("dot", Type.STRING, path=("a.b",)),
    Column("group", Type.INT64, path=("with space",)),
    Column("backslash", Type.INT64, path=("back\\slash",)),
    Column("deep", Type.BOOL, path=("map", "a.b", "c.d")),
)

_numbers = itertools.count()


def golden_rows():
    """The extension's rows of issues, each at a microsecond of its own."""
    lines = (GOLDEN / "rows.jsonl").read_text("utf-8").split("\n")
    rows = [json.loads(line) for line in lines if line]
    rows = [row["json"] for row in rows if row["table"] == "issues_raw_changelog"]
    return [row | {"timestamp": format_micros(START + i)} for i, row in enumerate(rows)]


class Changelog:
    """A changelog table in the stand-in.

    Args:
        name: Of the table.
        declared: Columns of the typed views.
        schema: Its columns, where they are not the layout's.
    """

    def __init__(self, name, declared, schema=None):
        self.client = live.bigquery_client(PROJECT)
        self.table = Table(name, "changelog", changelog.COLUMNS, declared=declared)
        self.full = f"{PROJECT}.{DATASET}.{name}"
        self.client.create_dataset(DATASET, exists_ok=True, timeout=DEADLINE, retry=None)
        made = cloud.Table(self.full, schema=schema or bigquery_schema(changelog.COLUMNS))
        self.client.create_table(made, timeout=DEADLINE, retry=None)

    def insert(self, rows):
        errors = self.client.insert_rows_json(self.full, rows, timeout=DEADLINE, retry=None)
        assert errors == []

    def query(self, sql):
        job = self.client.query(sql, timeout=DEADLINE, retry=None, job_retry=None)
        return [dict(row) for row in job.result(timeout=DEADLINE, retry=None, job_retry=None)]

    def read(self, kind, days="TRUE"):
        text = changelog_views(self.table)[kind]
        return self.query(text.replace("{source}", self.full).replace("{days}", days))

    def read_by_id(self, kind):
        rows = {row["document_id"]: row for row in self.read(kind)}
        assert all(list(row)[:4] == FIXED for row in rows.values())
        return rows


@pytest.fixture(scope="session")
def theirs():
    """What is the same for each test: the recorded SQL."""
    return json.loads((GOLDEN / "views.json").read_text("utf-8"))


@pytest.fixture
def extension(bigquery, theirs):
    """The extension's table with its rows and views; functions but the one in JavaScript."""
    tables = json.loads((GOLDEN / "tables.json").read_text("utf-8"))
    schema = tables["issues_raw_changelog"]["schema"]["fields"]
    schema = [cloud.SchemaField.from_api_repr(field) for field in schema]
    made = Changelog("issues_raw_changelog", DECLARED, schema)
    made.insert(golden_rows())
    javascript, *functions = theirs["functions"]
    assert "LANGUAGE js" in javascript
    for function in functions:
        made.query(function.replace("CREATE FUNCTION IF NOT EXISTS", "CREATE OR REPLACE FUNCTION"))
    view = cloud.Table(f"{PROJECT}.{DATASET}.issues_raw_latest")
    view.view_query = theirs["views"]["issues_raw_latest"]["query"]
    made.client.create_table(view, timeout=DEADLINE, retry=None)
    yield made
    for name in ("issues_raw_latest", "issues_raw_changelog"):
        made.client.delete_table(f"{DATASET}.{name}", timeout=DEADLINE, retry=None)


@pytest.fixture
def ours(bigquery):
    """A table of the test's own."""
    return Changelog(f"t{next(_numbers)}_raw_changelog", OTHERS)


def ordered(rows):
    return sorted(rows, key=lambda row: (row["document_name"], row["timestamp"]))


def test_raw_latest_has_the_rows_of_the_extensions_view(extension):
    """The same columns in the same order, and the same row for each document that is there."""
    theirs = extension.query(f"SELECT * FROM {DATASET}.issues_raw_latest")
    found = extension.read("raw_latest")
    assert [list(row) for row in found] == [list(row) for row in theirs]
    assert ordered(found) == ordered(theirs)
    assert len(found) > 20


@pytest.mark.parametrize("kind", ["schema_changelog", "schema_latest"])
def test_typed_views_have_the_rows_of_the_extensions(extension, theirs, kind):
    """But for the time's microseconds, which theirs rounds, and JSON, which is text in theirs."""
    name = kind.replace("schema", "issues_schema_plain")
    expected = ordered(extension.query(theirs["views"][name]["query"]))
    found = ordered(extension.read(kind))
    assert {row.pop("nothing") for row in expected} == {None}
    assert [list(row) for row in found] == [list(row) for row in expected]
    rounded = 0
    for row, their in zip(found, expected, strict=True):
        environment = their.pop("environment")
        assert row.pop("environment") == (environment and json.loads(environment))
        due_at, theirs_due = row.pop("due_at"), their.pop("due_at")
        rounded += due_at != theirs_due
        assert due_at == theirs_due or round(due_at.timestamp(), 3) == theirs_due.timestamp()
        assert row == their
    assert rounded == 1
    assert any(row["votes"] for row in found)


def test_an_array_is_a_repeated_column_where_theirs_is_a_row_for_each_element(ours):
    """The same elements by the extension's function, in order, but for nulls."""
    ours.insert(golden_rows())
    found = ours.read_by_id("schema_latest")
    for row in golden_rows():
        latest = found.get(row["document_id"])
        if latest is None or format_micros(micros(latest["timestamp"])) != row["timestamp"]:
            continue
        for name in ("labels", "array"):
            members = firestore_array(json.loads(row["data"]).get(name))
            assert latest[name] == [member for member in members if member != "null"]
    assert found["labels"]["labels"] == ["a", "", "ü"]
    assert found["ill-typed"]["labels"] == []


def firestore_array(value):
    """What the extension's function `firestoreArray` gives of parsed JSON."""
    if not isinstance(value, list):
        return []
    compact = {"ensure_ascii": False, "separators": (",", ":")}
    return [each if isinstance(each, str) else json.dumps(each, **compact) for each in value]


def micros(time):
    return round((time - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000)


def test_every_type_of_a_declared_column_is_read_from_our_rows(ours):
    """From the JSON text that the layout writes, whatever the keys; what does not fit is NULL."""
    plan = Plan.of(ours.table)
    messages = [
        message
        for message in recorded_messages()
        if message.attribute("ce-document") in ("issues/every-type", "issues/odd-keys")
    ][:3]
    manual = {"title": True, "votes": 2.5e3, "due_at": "2030-01-02T03:04:05.678901Z", "bytes": 1}
    messages.append(manual_message(manual, now=START, issue_id="INC-1"))
    rows = [changelog.shape(decode_message(message), plan, {}, START) for message in messages]
    for i, row in enumerate(rows):
        ours.insert([row | {"timestamp": format_micros(START + i)}])
    found = ours.read_by_id("schema_latest")
    every = found["every-type"]
    assert every["title"] == "Every type of value"
    assert every["before"] == datetime(1901, 12, 13, 20, 45, 51, 500000, tzinfo=UTC)
    assert every["bytes"] == bytes(range(256))
    assert every["latitude"] == 47.3769
    assert every["array"] == ["1", "two", "3.5", "true", "AP8="]
    assert every["whole"][0] == 1
    assert [every[name] for name in ("votes", "due_at", "estimate", "dot")] == [None] * 4
    odd = found["odd-keys"]
    assert [odd[n] for n in ("dot", "group", "backslash", "deep")] == ["dot", 1, 4, True]
    issue = found["INC-1"]
    assert issue["operation"] == "MANUAL"
    assert issue["title"] == "true"
    assert issue["due_at"] == datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


# Rows that share a time, repeats, and rows that are not ours


def change(document, timestamp, operation, event_id, data="{}"):
    return {
        "timestamp": format_micros(START + timestamp),
        "event_id": event_id,
        "document_name": NAME + document,
        "document_id": document,
        "operation": operation,
        "data": None if operation == "DELETE" else data,
        "old_data": None,
        "path_params": "{}",
    }


HISTORY = [
    change("created", 1, "CREATE", "1"),
    change("updated", 1, "UPDATE", "2", '{"n":2}'),
    change("updated", 1, "CREATE", "3", '{"n":1}'),
    change("gone", 1, "CREATE", "6"),
    change("gone", 1, "UPDATE", "5"),
    change("gone", 1, "DELETE", "4"),
    change("back", 1, "DELETE", "9"),
    change("back", 2, "CREATE", "8"),
    change("two", 1, "UPDATE", "10", '{"n":1}'),
    change("two", 1, "UPDATE", "11", '{"n":2}'),
    # The extension's own: an import has no event_id, and is at the epoch.
    change("imported", -START, "IMPORT", "", '{"n":1}'),
    change("imported twice", -START, "IMPORT", "", '{"n":1}'),
    change("imported twice", -START, "IMPORT", "", '{"n":2}'),
    change("superseded", -START, "IMPORT", "", '{"n":1}'),
    change("superseded", 1, "UPDATE", "12", '{"n":2}'),
    change("superseded too", -START, "IMPORT", "", '{"n":1}'),
    change("superseded too", -START, "CREATE", "13", '{"n":2}'),
]
LATEST = {
    "created": ("CREATE", "1", "{}"),
    "updated": ("UPDATE", "2", '{"n":2}'),
    "back": ("CREATE", "8", "{}"),
    "two": ("UPDATE", "11", '{"n":2}'),
    "imported": ("IMPORT", "", '{"n":1}'),
    "imported twice": ("IMPORT", "", '{"n":2}'),
    "superseded": ("UPDATE", "12", '{"n":2}'),
    "superseded too": ("CREATE", "13", '{"n":2}'),
}


@pytest.mark.parametrize("seed", range(3))
def test_rows_that_share_a_time_have_one_order_however_they_came(ours, seed):
    """A DELETE after an UPDATE after the rest after an IMPORT, then by event_id; repeats too."""
    rows = [*HISTORY, *HISTORY]
    random.Random(seed).shuffle(rows)
    ours.insert(rows)
    found = ours.read("raw_latest")
    assert {
        row["document_id"]: (row["operation"], row["event_id"], row["data"]) for row in found
    } == LATEST
    assert len(found) == len(LATEST)


def test_the_typed_changelog_drops_repeats_and_nothing_else(ours):
    """One row an event; imports without an event_id are told by their documents."""
    ours.insert([*HISTORY, *HISTORY])
    found = ours.read("schema_changelog")
    events = {(r["document_name"], r["timestamp"], r["operation"], r["event_id"]) for r in HISTORY}
    assert len(found) == len(events) == len(HISTORY) - 1  # one document was imported twice


def test_raw_latest_of_some_days_has_their_rows_alone(ours):
    """The condition on the days stands on the table, so that it prunes partitions."""
    ours.insert(HISTORY)
    found = ours.read("raw_latest", "timestamp < TIMESTAMP('2000-01-01')")
    assert {row["document_id"]: row["data"] for row in found} == {
        "imported": '{"n":1}',
        "imported twice": '{"n":2}',
        "superseded": '{"n":1}',
        "superseded too": '{"n":2}',
    }
