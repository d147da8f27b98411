"""The SQL of views and table functions, as derived from a table's file."""

import re
from dataclasses import replace

import pytest

from schemas.layouts import LAYOUTS
from schemas.table_file import parse_table
from schemas.views import LAYOUT_VIEWS, view_functions, view_names, view_queries, views

TABLE = parse_table(
    "{table: t, view_prefix: v, columns: [{path: status}, {path: a.priority, name: priority}]}", ""
)
KINDS = ("latest", "changes", "daily")
ONCE = """
    ROW_NUMBER() OVER (
      PARTITION BY issue_key, event_id
      ORDER BY ingest_time ASC NULLS LAST, publish_time ASC NULLS LAST, created_at
    ) = 1
"""


def words(sql):
    """SQL without comments, its words one space apart."""
    return " ".join(re.sub(r"--.*", "", sql).split())


def daily(columns):
    table = parse_table(f"{{table: t, view_prefix: v, columns: [{columns}]}}", "")
    return words(view_queries(table, "p.d")["v_daily"])


def test_views_and_functions_are_named_by_the_prefix():
    """Three views and three functions; their kinds are the layout's."""
    assert view_names(TABLE) == {f"v_{kind}": kind for kind in KINDS}
    assert [*view_queries(TABLE, "p.d")] == [f"v_{kind}" for kind in KINDS]
    assert [*view_functions(TABLE, "p.d")] == [f"v_{kind}_between" for kind in KINDS]


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_layout_has_the_views_that_it_says(name):
    """What is checked of a prefix, before there is a table, is what is derived later."""
    table = replace(TABLE, layout=name)
    assert tuple(LAYOUT_VIEWS[name](table) if name in LAYOUT_VIEWS else ()) == LAYOUTS[name].views


def test_a_table_without_a_prefix_has_none():
    """Nor has a flat one."""
    for table in (replace(TABLE, view_prefix=""), parse_table("{table: f, layout: flat}", "")):
        assert view_queries(table, "p.d") == view_functions(table, "p.d") == {}


def test_all_read_their_table_only():
    """The one table of the one dataset, by its full name; no placeholder is left."""
    functions = view_functions(TABLE, "my-project.ds").values()
    for query in (*view_queries(TABLE, "my-project.ds").values(), *(f.query for f in functions)):
        assert re.findall(r"`([^`]*)`", query) == ["my-project.ds.t"]
        assert "{" not in query


def test_a_function_prunes():
    """The days stand directly on the table, on the bare partitioning column, before any window."""
    for function in view_functions(TABLE, "p.d").values():
        query = words(function.query)
        days = (
            "created_at >= TIMESTAMP(first_day) "
            "AND created_at < TIMESTAMP(DATE_ADD(last_day, INTERVAL 1 DAY))"
        )
        assert query.count("`p.d.t`") == query.count(f"FROM `p.d.t` WHERE {days} QUALIFY") == 1
        assert query.count("first_day") == query.count("last_day") == 1


def test_a_function_is_its_view_but_for_the_days():
    """Put TRUE for the days, and the view's SQL is there."""
    views_ = views(TABLE, "p.d")
    for name, function in view_functions(TABLE, "p.d").items():
        query = re.sub(r"WHERE created_at .*", "WHERE TRUE", function.query)
        assert words(query) == words(views_[name.removesuffix("_between")].query)


def test_a_filter_of_one_issue_can_be_applied_first():
    """Every window of the two views with an issue_key partitions by it; repeats go first, alike."""
    for kind in KINDS:
        query = view_queries(TABLE, "p.d")[f"v_{kind}"]
        windows = re.findall(r"PARTITION BY ([\w, ]+)", query)
        assert all("issue_key" in each.split(", ") for each in windows)
        assert f"FROM `p.d.t` WHERE TRUE QUALIFY {words(ONCE)}" in words(query)


def test_parameters_are_named_as_no_column_is():
    """BigQuery takes a name that is both for the column's, and would return every row."""
    table = parse_table(
        "{table: t, view_prefix: v, columns: [{path: First_Day}, {path: last_day_}]}", ""
    )
    for function in view_functions(table, "p.d").values():
        assert function.parameters == ("first_day__", "last_day__")
        assert "TIMESTAMP(first_day__)" in function.query
        assert "DATE_ADD(last_day__, INTERVAL 1 DAY)" in function.query


def test_a_table_that_is_not_partitioned_has_views_only():
    """There is nothing to prune."""
    table = replace(TABLE, partition="")
    assert view_functions(table, "p.d") == {}
    assert len(view_queries(table, "p.d")) == 3


def test_views_change_with_the_columns():
    """By name and type, those that select everything; the counts only by what they count."""
    before = view_queries(TABLE, "p.d")
    for column in ("{path: c}", "{path: c, type: INT64}"):
        other = parse_table(
            "{table: t, view_prefix: v, columns: [{path: status}, "
            f"{{path: a.priority, name: priority}}, {column}]}}",
            "",
        )
        after = view_queries(other, "p.d")
        assert [name for name in before if before[name] != after[name]] == ["v_latest", "v_changes"]
        before = after


def test_descriptions_say_what_a_row_is():
    """A view's is the comment at the head of its SQL; a function's names its view and the days."""
    assert views(TABLE, "p.d")["v_changes"].description == (
        "One row an event: of its repeats (at least once after a kill), the one that was written "
        "first."
    )
    for view in views(TABLE, "p.d").values():
        head = " ".join(line.strip("- ") for line in view.query.partition("SELECT")[0].splitlines())
        assert view.description == head
    function = view_functions(TABLE, "p.d")["v_latest_between"]
    assert function.description == (
        "What v_latest would be if t had only the rows whose created_at is on the days from "
        "first_day to last_day, both included, in UTC. It reads their partitions alone."
    )


def test_counts_are_by_the_declared_columns():
    """By priority and status where these are STRING and not REPEATED, whatever their case."""
    assert "GROUP BY day, source, priority, status" in daily("{path: status}, {path: Priority}")
    assert daily("{path: status}").endswith("GROUP BY day, source, status")
    for other in ("", "{path: status, type: INT64}", "{path: status, mode: REPEATED}"):
        query = daily(other)
        assert query.endswith("GROUP BY day, source")
        assert "status" not in query
        assert "priority" not in query


@pytest.mark.parametrize(
    ("path", "among"),
    [
        ("status", "'status' IN UNNEST(changed_fields)"),
        (
            "a.`b c`",
            "('a' IN UNNEST(changed_fields) OR 'a.`b c`' IN UNNEST(changed_fields))",
        ),
        ("`{source}`", "'`\\x7bsource}`' IN UNNEST(changed_fields)"),
        ("`{groups}`", "'`\\x7bgroups}`' IN UNNEST(changed_fields)"),
        (r"`it's \\ here`", r"'`it\'s \\\\ here`' IN UNNEST(changed_fields)"),
    ],
)
def test_a_change_is_told_by_the_fields_path(path, among):
    """The column's field, or a map that it is in; in Firestore's quoting, and that in SQL's.

    No placeholder's name in it is taken for one.
    """
    table = parse_table("{table: t, view_prefix: v, columns: [{path: status}]}", "")
    column = parse_table(
        "table: t\ncolumns:\n- path: " + "'" + path.replace("'", "''") + "'\n  name: status", ""
    ).declared
    query = words(view_queries(replace(table, declared=column), "p.d")["v_daily"])
    assert f"COUNTIF(operation = 'UPDATE' AND {among}) AS status_changed," in query
