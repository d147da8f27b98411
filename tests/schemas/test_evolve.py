"""Declared against live, decided without a service: what differs and what is done about it."""

import dataclasses

import pytest
from google.cloud import bigquery
from google.cloud.bigquery import SchemaField

from schemas.apply import bigquery_function, bigquery_table
from schemas.evolve import (
    Action,
    Difference,
    evolved_schema,
    function_differences,
    table_differences,
    view_differences,
)
from schemas.layouts import LAYOUTS
from schemas.live_tables import Step, take
from schemas.table_file import parse_table
from schemas.views import TableFunction, View

TABLE = parse_table(
    "{table: t, description: d, columns: [{path: a, type: INT64, description: Of a.}, {path: b}]}",
    "t.yaml",
)
OLD_NAMES = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN"}


def live(change=lambda resource: None, table=TABLE):
    """A live table as the API answers: with the older names of types, and its own kind."""
    resource = bigquery_table(table, "p.d").to_api_repr() | {"type": "TABLE"}
    for field in resource["schema"]["fields"]:
        field["type"] = OLD_NAMES.get(field["type"], field["type"])
    change(resource)
    return bigquery.Table.from_api_repr(resource)


def field(resource, name):
    return next(each for each in resource["schema"]["fields"] if each["name"] == name)


def found(change, table=TABLE):
    return [(d.action.value, d.where) for d in table_differences(table, "p.d", live(change, table))]


def test_what_is_as_declared_does_not_differ():
    """The API's older names of types are the same types, and case does not count in names."""

    def upper(resource):
        for each in resource["schema"]["fields"]:
            each["name"] = each["name"].upper()

    assert found(lambda resource: None) == []
    assert found(upper) == []


def test_what_the_file_leaves_out_is_let_be():
    """A description of their own, a default, the order of columns."""
    silent = parse_table("{table: t, columns: [{path: a, type: INT64}, {path: b}]}", "t.yaml")

    def change(resource):
        resource["description"] = "Theirs."
        field(resource, "a")["description"] = "Theirs."
        field(resource, "b")["defaultValueExpression"] = "'x'"
        resource["schema"]["fields"].reverse()

    assert found(change, silent) == []


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if LAYOUTS[name].partition])
def test_required_is_accepted_where_the_job_always_fills(layout):
    """Columns of which no row is without a value; the others are made NULLABLE."""
    table = parse_table(f"{{table: t, layout: {layout}}}", "t.yaml")

    def change(resource):
        for each in resource["schema"]["fields"]:
            if each["mode"] == "NULLABLE":
                each["mode"] = "REQUIRED"

    differing = {where.rpartition(" ")[2] for action, where in found(change, table)}
    assert {action for action, _ in found(change, table)} == {"change"}
    assert "event_id" not in differing
    assert table.partition not in differing
    assert "document_id" in differing


def test_longer_values_would_be_refused():
    """A STRING of a length refuses rows that the job takes: it has to be widened by hand."""
    (difference,) = table_differences(
        TABLE, "p.d", live(lambda resource: field(resource, "b").update(maxLength="9"))
    )
    assert str(difference) == (
        "refuse  table p.d.t, column b: is STRING(9) NULLABLE in BigQuery and STRING NULLABLE in "
        "its file: longer values are refused (ALTER TABLE `p.d.t` ALTER COLUMN b SET DATA TYPE "
        "STRING)"
    )


def test_partitioning_of_other_kinds_is_refused():
    """By the time of ingestion, and by ranges of numbers."""

    def by_ingestion(resource):
        resource["timePartitioning"] = {"type": "DAY"}

    def by_range(resource):
        del resource["timePartitioning"]
        bounds = {"start": "0", "end": "9", "interval": "1"}
        resource["rangePartitioning"] = {"field": "a", "range": bounds}

    for change, words in (
        (by_ingestion, "by DAY of the time of ingestion"),
        (by_range, "by ranges of a"),
    ):
        (difference,) = table_differences(TABLE, "p.d", live(change))
        assert difference.action == Action.REFUSE
        assert difference.what == (
            f"is partitioned {words} in BigQuery and by DAY of created_at in its file"
        )


def test_a_dropped_field_whose_column_is_there_is_told():
    """Its old rows still have what is now kept nowhere."""
    table = parse_table("{table: t, columns: [{path: b, policy: drop}]}", "t.yaml")
    more = parse_table("{table: t, columns: [{path: b}]}", "t.yaml")
    (difference,) = table_differences(table, "p.d", live(table=more))
    assert (difference.action, difference.what) == (
        Action.KEEP,
        "is in BigQuery only, though its field is now dropped; new rows are NULL in it",
    )


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("raw", "BYTES", ", and has old messages whole, with the fields that are now dropped"),
        ("a", "JSON", ", and may have a.b, which is now dropped"),
        ("A_B", "STRING", ", though its field is now dropped"),
        (
            "secret",
            "STRING",
            ", and may have a dropped field that had this `name`",
        ),
    ],
)
def test_where_old_rows_may_still_have_a_dropped_field_is_told(name, kind, said):
    """As far as a live column's name tells; a file without dropped fields says nothing of it."""
    table = parse_table("{table: t, columns: [{path: a.b, policy: drop}]}", "t.yaml")
    silent = parse_table("{table: t}", "t.yaml")

    def change(resource):
        resource["schema"]["fields"].append({"name": name, "type": kind, "mode": "NULLABLE"})

    for each, more in ((table, said), (silent, "")):
        (difference,) = table_differences(each, "p.d", live(change, each))
        assert difference.what == f"is in BigQuery only{more}; new rows are NULL in it"


def test_case_does_not_count_in_clustering():
    """BigQuery's column names are case-insensitive."""

    def cluster(*names):
        return lambda resource: resource.update(clustering={"fields": names})

    assert found(cluster("ISSUE_KEY", "Operation")) == []
    assert found(cluster("operation", "issue_key")) == [("change", "table p.d.t")]


def test_columns_that_only_bigquery_has_count_too():
    """Those inside a RECORD among them: what is to be added has to find room."""
    table = parse_table("{table: t, columns: [{path: new}]}", "t.yaml")
    own = len(table.columns) - 1

    def change(number):
        def to(resource):
            fields = resource["schema"]["fields"]
            fields[:] = [each for each in fields if each["name"] != "new"]
            inner = [{"name": f"x{i}", "type": "STRING"} for i in range(number - own - 1)]
            fields.append({"name": "theirs", "type": "RECORD", "fields": inner})

        return to

    added = ("add", "table p.d.t, column new")
    kept = ("keep", "table p.d.t, column theirs")
    assert found(change(9_999), table) == [added, kept]
    assert found(change(10_000), table) == [added, kept, ("refuse", "table p.d.t")]
    (refused,) = [
        each
        for each in table_differences(table, "p.d", live(change(10_000), table))
        if each.action == Action.REFUSE
    ]
    assert str(refused) == (
        "refuse  table p.d.t: would have 10,001 columns, with those in BigQuery only; it takes "
        "10,000 (declare fewer, or drop some that are in BigQuery only)"
    )
    assert found(change(10_000), parse_table("{table: t}", "")) == [kept]


def test_the_evolved_schema_keeps_what_is_not_declared():
    """Live columns in their order with all that they have, changed in place; new ones last."""

    def change(resource):
        resource["schema"]["fields"] = [
            {"name": "theirs", "type": "RECORD", "mode": "REPEATED",
             "fields": [{"name": "x", "type": "STRING", "mode": "NULLABLE"}]},
            {"name": "A", "type": "INTEGER", "mode": "REQUIRED", "description": "Before.",
             "policyTags": {"names": ["tag"]}, "defaultValueExpression": "0"},
        ]  # fmt: skip

    evolved = evolved_schema(TABLE, live(change).schema)
    theirs, a, *added = evolved
    assert (theirs["name"], theirs["mode"], len(theirs["fields"])) == ("theirs", "REPEATED", 1)
    assert a == {
        "name": "A", "type": "INTEGER", "mode": "NULLABLE", "description": "Of a.",
        "policyTags": {"names": ["tag"]}, "defaultValueExpression": "0",
    }  # fmt: skip
    assert [each["name"] for each in added] == [c.name for c in TABLE.columns if c.name != "a"]
    assert [SchemaField.from_api_repr(each).name for each in evolved][:2] == ["theirs", "A"]


VIEW = View("SELECT 2", "What it is.")


def test_views_are_compared_by_sql_and_description():
    """A missing one is created, another kind is refused."""

    def live_view(query="SELECT 2", description="What it is.", kind="VIEW"):
        reference = {"projectId": "p", "datasetId": "d", "tableId": "v"}
        return bigquery.Table.from_api_repr(
            {"tableReference": reference, "type": kind, "description": description,
             "view": {"query": query, "useLegacySql": False}}
        )  # fmt: skip

    def action(live):
        return [difference.action.value for difference in view_differences("p.d.v", VIEW, live)]

    assert action(None) == ["create"]
    assert action(live_view()) == []
    assert action(live_view(query="SELECT 1")) == ["change"]
    assert action(live_view(description="")) == ["change"]
    assert action(live_view(kind="MATERIALIZED_VIEW")) == ["refuse"]


def test_functions_are_compared():
    """A missing one is created, another kind of routine is refused."""
    made = bigquery_function("p.d.f", TableFunction("SELECT 1", ("a", "b"), "What it is."))
    other = bigquery.Routine("p.d.f", type_="PROCEDURE")

    def action(live, *, same):
        found = function_differences("p.d.f", made, live, same=same)
        return [difference.action.value for difference in found]

    assert action(None, same=False) == ["create"]
    assert action(made, same=True) == []
    assert action(made, same=False) == ["change"]
    assert action(other, same=False) == ["refuse"]


def test_nothing_is_done_where_one_thing_is_refused():
    """Not even what comes before it."""
    done = []
    fine = Difference(Action.ADD, "x", "is not there")
    refused = dataclasses.replace(fine, action=Action.REFUSE)
    steps = (
        Step((fine,), lambda: done.append("first")),
        Step((refused,), lambda: done.append("second")),
    )
    with pytest.raises(ValueError, match="refused"):
        list(take(steps))
    assert done == []
    assert list(take(steps[:1])) == [fine]
    assert done == ["first"]


def test_a_step_that_fails_leaves_the_ones_before_it_told():
    """What is yielded is done, in order."""
    fine = Difference(Action.ADD, "x", "is not there")

    def fail():
        raise RuntimeError

    steps = take((Step((fine,), lambda: None), Step((fine,), fail)))
    assert next(steps) == fine
    with pytest.raises(RuntimeError):
        next(steps)
