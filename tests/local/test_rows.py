"""Reading rows of every layout: of which event each is, and what is in it."""

from types import SimpleNamespace

import pytest

from local.compare import comparable, faults
from local.expected import Expected
from local.rows import READINGS, Arrived, Found, arrived, whole
from schemas.layouts import LAYOUTS
from schemas.table import Table

NAME = "projects/p/databases/(default)/documents/people/ada/documents/1"
CHANGELOG = Table("people_raw_changelog", "changelog", ())
STRUCTURED = Table("people", "structured", ())
ROW = {
    "timestamp": None,
    "event_id": "1",
    "document_name": NAME,
    "document_id": "1",
    "operation": "UPDATE",
    "data": '{"n":9223372036854776000}',
    "old_data": None,
    "path_params": '{"person":"ada"}',
}


class Client:
    """BigQuery that gives the same rows to every query, and keeps the queries."""

    project = "p"

    def __init__(self, *rows):
        self.rows = rows
        self.queries = []

    def query(self, query, **deadlines):
        assert deadlines["timeout"] > 0
        self.queries.append(query)
        return SimpleNamespace(result=lambda **_: Result(self.rows))


class Result(list):
    total_rows = None


def test_every_layout_can_be_read():
    """A layout of `schemas.layouts` without a reading would end a run at its first look."""
    assert READINGS.keys() >= LAYOUTS.keys()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_reading_names_columns_that_its_layout_has(layout):
    """None is made up; '' is what the layout has not."""
    reading = READINGS[layout]
    named = {
        reading.time, reading.arrival, reading.issue_id, reading.document, reading.operation,
        reading.new, reading.old, reading.parameters,
    }  # fmt: skip
    columns = {column.name for column in LAYOUTS[layout].columns((), ())}
    assert named - {""} <= columns


def test_rows_of_two_layouts_are_read_in_one_query():
    """What a layout has not is NULL in it, and a full name is read as a path."""
    client = Client(
        {"name": "people", "v0": "1", "v1": "FS-1", "v2": "people/ada", "v3": "CREATE"},
        {"name": CHANGELOG.name, "v0": "2", "v1": None, "v2": NAME, "v3": "UPDATE"},
        {"name": CHANGELOG.name, "v0": "3", "v1": None, "v2": None, "v3": None},
    )
    assert arrived(client, "ds", (STRUCTURED, CHANGELOG)) == [
        Arrived("1", "FS-1", "people/ada", "CREATE", "people"),
        Arrived("2", "", "people/ada/documents/1", "UPDATE", CHANGELOG.name),
        Arrived("3", "", "", "", CHANGELOG.name),
    ]
    (query,) = client.queries
    assert query == (
        "SELECT 'people' AS name, event_id AS value_0, issue_id AS value_1, "
        "document_path AS value_2, operation AS value_3 FROM `p.ds.people`"
        " UNION ALL "
        "SELECT 'people_raw_changelog' AS name, event_id AS value_0, "
        "CAST(NULL AS STRING) AS value_1, document_name AS value_2, operation AS value_3 "
        "FROM `p.ds.people_raw_changelog`"
    )
    assert arrived(client, "ds", ()) == []


def test_a_changelog_row_has_both_sides_and_the_paths_parameters():
    """They are text of JSON there; values that its JSON rounds are not compared."""
    (row,) = whole(Client(ROW), "ds", (CHANGELOG,))
    assert row.arrived == Arrived("1", "", "people/ada/documents/1", "UPDATE", CHANGELOG.name)
    assert (row.new, row.old) == ({"n": 9223372036854776000}, None)
    assert (row.parameter("person"), row.parameter("other")) == ("ada", None)
    changed = Expected(
        "row",
        "changed",
        table=CHANGELOG.name,
        document_path="people/ada/documents/1",
        fields={"n": 2**63 - 1},
        parameters={"person": "ada"},
    )
    assert comparable([changed], [row]) == []
    assert faults([changed], [row]) == []
    (astray,) = whole(Client(ROW | {"path_params": None}), "ds", (CHANGELOG,))
    (fault,) = faults([changed], [astray])
    assert fault.startswith("person is None, not 'ada': UPDATE people/ada/documents/1 ")


def test_a_structured_row_has_json_columns():
    """They are read by the client already; parameters have columns of their own."""
    made = Arrived("1", "FS-1", "people/ada", "CREATE", "people")
    row = Found(made, STRUCTURED, {"payload": {"a": 1}, "old_payload": None, "person": "ada"})
    assert (row.new, row.old, row.parameter("person")) == ({"a": 1}, None, "ada")
    expected = [Expected("row", "made", table="people", fields={"a": 1})]
    assert comparable(expected, [row]) == expected
