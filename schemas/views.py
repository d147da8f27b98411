"""The views of a table, and the table functions that stand beside them: SQL derived from its file.

A layout's views are a function from a table to texts of SQL by kind (`LAYOUT_VIEWS`), in which
these placeholders stand:

| placeholder | becomes |
|---|---|
| `{source}` | `project.dataset.table` |
| `{days}` | in a view TRUE; in a function, that the partitioning column lies on its days |
| `  -- {columns}` | in a view, how many columns the table's file names, and a digest of them |

A text with `{days}` gives a view `PREFIX_KIND` and a table function `PREFIX_KIND_between`: BigQuery
applies a filter before a window function only if it is on columns that the function partitions by,
so a filter of a view's `created_at` prunes no partition, whereas the function's stands directly on
the table. A text with `{columns}` selects `*`: BigQuery notes a view's columns when its SQL
changes, and by the digest it changes with them; a function's are found anew at each use.
https://cloud.google.com/bigquery/docs/views#view_limitations

The comment at the head of a text is the view's description.
"""

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from schemas.changelog_views import changelog_views, sql_literal
from schemas.field_path import field_path
from schemas.table import Column, Table, Type

_SOURCE, _DAYS, _COLUMNS = "{source}", "{days}", "{columns}"
_BETWEEN = "between"
_COUNTED = ("priority", "status")


@dataclass(frozen=True, slots=True)
class View:
    """A view.

    Args:
        query: Its SQL.
        description: For readers of the dataset.
    """

    query: str
    description: str


@dataclass(frozen=True, slots=True)
class TableFunction:
    """A view of some days: what its query gives of the rows of these days alone.

    Args:
        query: Its SQL.
        parameters: Names of its parameters, each a DATE: the first and the last day, both included,
            in UTC.
        description: For readers of the dataset.
    """

    query: str
    parameters: tuple[str, str]
    description: str


def structured_views(table: Table) -> dict[str, str]:
    """The texts of the structured layout, by kind; it counts by what the table declares."""
    counted = {
        name: column
        for name in _COUNTED
        for column in table.declared
        if column.name.lower() == name and column.type is Type.STRING and not column.repeated
    }
    daily = _file("daily")
    daily = _lines(daily, "{counted}", (f"{name}," for name in counted))
    daily = _lines(daily, "{changed}", itertools.starmap(_changed, counted.items()))
    daily = daily.replace("{groups}", ", ".join(("day", "source", *counted)))
    return {"latest": _file("latest"), "changes": _file("changes"), "daily": daily}


LAYOUT_VIEWS: Mapping[str, Callable[[Table], Mapping[str, str]]] = {
    "structured": structured_views,
    "changelog": changelog_views,
}
"""The texts of each layout that has views, by kind: the same kinds as `Layout.views`."""


def view_names(table: Table) -> dict[str, str]:
    """The name of each view of a table, and its kind; empty without a `view_prefix`."""
    return {f"{table.view_prefix}_{kind}": kind for kind in _texts(table)}


def view_queries(table: Table, dataset: str) -> dict[str, str]:
    """The name of each view of a table, and its query; empty without a `view_prefix`.

    Args:
        table: As its file declares it.
        dataset: `project.dataset`, which goes into the queries.
    """
    return {name: view.query for name, view in views(table, dataset).items()}


def views(table: Table, dataset: str) -> dict[str, View]:
    """The views of a table by name; empty without a `view_prefix`.

    Args:
        table: As its file declares it.
        dataset: `project.dataset`, which goes into the queries.
    """
    return {
        f"{table.view_prefix}_{kind}": View(_query(text, table, dataset, "TRUE"), _head(text))
        for kind, text in _texts(table).items()
    }


def view_functions(table: Table, dataset: str) -> dict[str, TableFunction]:
    """The table functions that stand beside a table's views, by name; empty where none do.

    Args:
        table: As its file declares it.
        dataset: `project.dataset`, which goes into the queries.
    """
    if not table.partition:
        return {}
    first, last = _parameters(table)
    days = (
        f"{table.partition} >= TIMESTAMP({first}) "
        f"AND {table.partition} < TIMESTAMP(DATE_ADD({last}, INTERVAL 1 DAY))"
    )
    return {
        f"{table.view_prefix}_{kind}_{_BETWEEN}": TableFunction(
            _query(text.replace(f"  -- {_COLUMNS}", ""), table, dataset, days),
            (first, last),
            f"What {table.view_prefix}_{kind} would be if {table.name} had only the rows whose "
            f"{table.partition} is on the days from {first} to {last}, both included, in UTC. It "
            "reads their partitions alone.",
        )
        for kind, text in _texts(table).items()
        if _DAYS in text
    }


def _texts(table: Table) -> Mapping[str, str]:
    derive = LAYOUT_VIEWS.get(table.layout)
    return derive(table) if derive and table.view_prefix else {}


@cache
def _file(kind: str) -> str:
    return (resources.files("schemas") / "sql" / f"{kind}.sql").read_text("utf-8")


def _query(text: str, table: Table, dataset: str, days: str) -> str:
    columns = ",".join(f"{column.name} {column.type}" for column in table.columns)
    digest = hashlib.sha256(columns.encode()).hexdigest()[:8]
    return (
        text.replace(_SOURCE, f"{dataset}.{table.name}")
        .replace(_DAYS, days)
        .replace(_COLUMNS, f"{len(table.columns)} columns, {digest}")
    )


def _head(text: str) -> str:
    """The comment with which a text begins, as one line."""
    lines = itertools.takewhile(lambda line: line.startswith("--"), text.splitlines())
    return " ".join(line.removeprefix("--").strip() for line in lines)


def _parameters(table: Table) -> tuple[str, str]:
    """Names that no column has: where one has, BigQuery takes the name for the column.

    https://cloud.google.com/bigquery/docs/table-functions#parameter_names
    """
    taken = {column.name.lower() for column in table.columns}
    first, last = "first_day", "last_day"
    while taken & {first, last}:
        first, last = f"{first}_", f"{last}_"
    return first, last


def _lines(text: str, placeholder: str, lines: Iterator[str]) -> str:
    """Puts lines in the place of one, wherever it stands, as far in as it was."""
    found = list(lines)
    made: list[str] = []
    for line in text.splitlines():
        indent = line.removesuffix(placeholder)
        made += [line] if indent == line else [indent + each for each in found]
    return "\n".join(made) + "\n"


def _changed(name: str, column: Column) -> str:
    """The count of the updates that changed a column's field, or what it is a part of."""
    paths = [field_path(column.path[: end + 1]) for end in range(len(column.path))]
    among = " OR ".join(f"{sql_literal(path)} IN UNNEST(changed_fields)" for path in paths)
    among = f"({among})" if len(paths) > 1 else among
    return f"COUNTIF(operation = 'UPDATE' AND {among}) AS {name}_changed,"
