"""Declared against live: what differs, what can be changed in place, and what is refused.

Nothing here opens a client; `schemas.live_tables` asks BigQuery and does what is decided here. The
refusals are this module's own: the stand-in for BigQuery changes types and drops columns.

| differs | then |
|---|---|
| dataset, table, view or function is not there | it is created |
| a column is not there | it is added at the end; old rows are NULL in it ([] where REPEATED) |
| a column's or a table's description | it is changed; one that the file leaves out is let be |
| clustering | it is changed; BigQuery sorts old rows when it gets round to it |
| SQL or description of a view or function | it is replaced |
| REQUIRED in BigQuery, NULLABLE here | no difference where the job always fills the column, else \
it is made NULLABLE |
| a column that the file does not name | it is kept: to drop it would lose its data |
| type, REPEATED or not, partitioning | refused: BigQuery changes none of them in place |
| a REQUIRED column that the file does not name | refused: every row would be |
| more than 10,000 columns, with those that only BigQuery has | refused |
| the name is taken by something of another kind | refused |

https://cloud.google.com/bigquery/docs/managing-table-schemas
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from schemas.bigquery_rules import MAX_COLUMNS
from schemas.field_path import field_path
from schemas.table import RAW, Column, Table
from schemas.views import View

# BigQuery's REST API answers with the older names of some types.
_OLD_NAMES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "STRUCT": "RECORD"}
# Columns of which no row of the job is without a value, so that REQUIRED does no harm. In a
# changelog table these are the ones that the Firebase extension made REQUIRED.
_ALWAYS_FILLED: Mapping[str, frozenset[str]] = {
    "structured": frozenset(
        {"event_id", "issue_id", "issue_key", "source", "created_at", "ingest_time"}
    ),
    "flat": frozenset({"issue_id", "source", "created_at", "payload"}),
    "changelog": frozenset({"timestamp", "event_id", "document_name", "operation"}),
}


class Action(StrEnum):
    """What `apply` does about a difference."""

    CREATE = "create"
    ADD = "add"
    CHANGE = "change"
    KEEP = "keep"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which BigQuery differs from the table files.

    Args:
        action: What `apply` does about it.
        where: The dataset, table, column or view.
        what: How it differs, as a clause.
        remedy: Of what is kept or refused: what the reader can do.
    """

    action: Action
    where: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f" ({self.remedy})" if self.remedy else ""
        return f"{self.action:<6}  {self.where}: {self.what}{remedy}"


def table_differences(table: Table, dataset: str, live: Any) -> list[Difference]:
    """How a live table differs from its file.

    Args:
        table: As its file declares it.
        dataset: `project.dataset`.
        live: A `bigquery.Table`; None where there is none.
    """
    where = f"table {dataset}.{table.name}"
    if live is None:
        return [Difference(Action.CREATE, where, "is not there")]
    if live.table_type != "TABLE":
        return [_other_kind(where, live.table_type)]
    return [
        *_columns(table, where, live.schema),
        *_room(table, where, live.schema),
        *_description(where, live.description, table.description),
        *_partitioning(table, where, live),
        *_clustering(table, where, live),
    ]


def view_differences(name: str, view: View, live: Any) -> list[Difference]:
    """How a live view differs from what its table's file asks for.

    Args:
        name: `project.dataset.view`.
        view: As `schemas.views` derives it.
        live: A `bigquery.Table`; None where there is none.
    """
    where = f"view {name}"
    if live is None:
        return [Difference(Action.CREATE, where, "is not there")]
    if live.table_type != "VIEW":
        return [_other_kind(where, live.table_type)]
    if live.view_query != view.query:
        return [Difference(Action.CHANGE, where, "has other SQL in BigQuery")]
    return list(_description(where, live.description, view.description))


def function_differences(name: str, made: Any, live: Any, *, same: bool) -> list[Difference]:
    """How a live table function differs from what its table's file asks for.

    Args:
        name: `project.dataset.function`.
        made: A `bigquery.Routine`, as the file asks for it.
        live: A `bigquery.Routine`; None where there is none.
        same: Whether the two say the same.
    """
    where = f"function {name}"
    if live is None:
        return [Difference(Action.CREATE, where, "is not there")]
    if live.type_ != made.type_:
        return [_other_kind(where, live.type_)]
    what = "has other SQL, parameters or description in BigQuery"
    return [] if same else [Difference(Action.CHANGE, where, what)]


def evolved_schema(table: Table, fields: Sequence[Any]) -> list[dict[str, Any]]:
    """A live table's columns as they are to be: the live ones, changed in place, and the new ones.

    Args:
        table: As its file declares it.
        fields: The live table's `schema`; what it says beyond the file (defaults, policy tags)
            stays.

    Returns:
        Columns as BigQuery's API takes them.
    """
    declared = {column.name.lower(): column for column in table.columns}
    found = []
    for field in fields:
        changed = dict(field.to_api_repr())
        column = declared.pop(field.name.lower(), None)
        if column is not None:
            if column.description:
                changed["description"] = column.description
            if _relaxed(table, column, field):
                changed["mode"] = "NULLABLE"
        found.append(changed)
    return [*found, *map(column_json, declared.values())]


def column_json(column: Column) -> dict[str, Any]:
    """A column as BigQuery's API, `bq mk --schema` and Terraform take it."""
    found = {"name": column.name, "type": column.type.value, "mode": _mode(column)}
    return found | ({"description": column.description} if column.description else {})


def column_conflicts(table: Table, where: str, schema: Sequence[Any]) -> list[Difference]:
    """The live columns for which rows of the job would be refused, or not fit.

    Args:
        table: As its file declares it.
        where: What the live table is called in what is said.
        schema: The live table's.
    """
    live = {field.name.lower(): field for field in schema}
    relaxed = {
        column.name
        for column in table.columns
        if column.name.lower() in live and _relaxed(table, column, live[column.name.lower()])
    }
    found = []
    for each in _columns(table, where, schema):
        if each.action == Action.REFUSE:
            found.append(each)
        elif each.where.rpartition(" ")[2] in relaxed and each.action == Action.CHANGE:
            found.append(replace(each, remedy="`python -m schemas apply` makes it NULLABLE"))
    return found


def _columns(table: Table, where: str, schema: Sequence[Any]) -> Iterator[Difference]:
    fields = {field.name.lower(): field for field in schema}
    for column in table.columns:
        here = f"{where}, column {column.name}"
        field = fields.pop(column.name.lower(), None)
        if field is None:
            what = f"{_type(column)} is not there"
            yield Difference(Action.ADD, here, what)
            continue
        difference = _shape_differs(table, column, field, here)
        if difference is None:
            yield from _description(here, field.description, column.description)
        else:
            yield difference
    for field in fields.values():
        yield _theirs(table, field, f"{where}, column {field.name}", where.partition(" ")[2])


def _room(table: Table, where: str, schema: Sequence[Any]) -> Iterator[Difference]:
    """Refuses what BigQuery has no room for beside the columns that only it has."""
    there = {field.name.lower() for field in schema}
    added = sum(column.name.lower() not in there for column in table.columns)
    count = _count(schema) + added
    if added and count > MAX_COLUMNS:
        what = (
            f"would have {count:,} columns, with those in BigQuery only; it takes {MAX_COLUMNS:,}"
        )
        remedy = "declare fewer, or drop some that are in BigQuery only"
        yield Difference(Action.REFUSE, where, what, remedy)


def _count(fields: Sequence[Any]) -> int:
    """Columns with those inside a RECORD, which count too."""
    return sum(1 + _count(field.fields) for field in fields)


def _shape_differs(table: Table, column: Column, field: Any, here: str) -> Difference | None:
    is_live = f"is {_live_type(field)} in BigQuery and {_type(column)} in its file"
    new_name = "BigQuery keeps a column's type: give it another `name` in the file, and it is added"
    kind = _OLD_NAMES.get(field.field_type, field.field_type)
    repeated = field.mode == "REPEATED"
    if kind != column.type or repeated != column.repeated:
        return Difference(Action.REFUSE, here, is_live, new_name)
    if field.max_length is not None:
        full = here.partition(" ")[2].rpartition(", column ")[0]
        remedy = f"ALTER TABLE `{full}` ALTER COLUMN {field.name} SET DATA TYPE {kind}"
        return Difference(Action.REFUSE, here, f"{is_live}: longer values are refused", remedy)
    if _relaxed(table, column, field):
        return Difference(Action.CHANGE, here, is_live)
    return None


def _relaxed(table: Table, column: Column, field: Any) -> bool:
    always = _ALWAYS_FILLED.get(table.layout, frozenset())
    return field.mode == "REQUIRED" and column.name not in always


def _theirs(table: Table, field: Any, here: str, full: str) -> Difference:
    if field.mode == "REQUIRED":
        return Difference(
            Action.REFUSE,
            here,
            f"is {_live_type(field)} in BigQuery and not in its file: every row would be refused",
            f"ALTER TABLE `{full}` ALTER COLUMN {field.name} DROP NOT NULL",
        )
    more = _may_hold_dropped(table, field.name.lower())
    return Difference(
        Action.KEEP,
        here,
        f"is in BigQuery only{more}; new rows are NULL in it",
        f"its data would be lost: ALTER TABLE `{full}` DROP COLUMN {field.name}, if that is meant",
    )


def _may_hold_dropped(table: Table, name: str) -> str:
    """What old rows of a column that only BigQuery has may have of the table's dropped fields."""
    if not table.dropped:
        return ""
    if name == RAW.name:
        return ", and has old messages whole, with the fields that are now dropped"
    if any("_".join(path).lower() == name for path in table.dropped):
        return ", though its field is now dropped"
    for path in table.dropped:
        if any("_".join(path[:end]).lower() == name for end in range(1, len(path))):
            return f", and may have {field_path(path)}, which is now dropped"
    return ", and may have a dropped field that had this `name`"


def _description(here: str, live: str | None, declared: str) -> Iterator[Difference]:
    if declared and declared != live:
        what = f"its description is {live or ''!r} in BigQuery and {declared!r} in its file"
        yield Difference(Action.CHANGE, here, what)


def _partitioning(table: Table, where: str, live: Any) -> Iterator[Difference]:
    declared = _partition_text(table.partition_by, table.partition)
    time = live.time_partitioning
    found = "not at all"
    if time is not None:
        found = _partition_text(time.type_ or "DAY", time.field or "the time of ingestion")
    elif live.range_partitioning is not None:
        found = f"by ranges of {live.range_partitioning.field}"
    if found != declared:
        yield Difference(
            Action.REFUSE,
            where,
            f"is partitioned {found} in BigQuery and {declared} in its file",
            "BigQuery keeps a table's partitioning: give the file another `table`, and copy the "
            "rows, or declare what is there",
        )


def _partition_text(by: str, column: str) -> str:
    return f"by {by} of {column}" if column else "not at all"


def _clustering(table: Table, where: str, live: Any) -> Iterator[Difference]:
    found = tuple(live.clustering_fields or ())
    # BigQuery's column names are case-insensitive.
    if [name.lower() for name in found] != [name.lower() for name in table.clustering]:
        texts = [", ".join(names) or "nothing" for names in (found, table.clustering)]
        what = f"is clustered by {texts[0]} in BigQuery and by {texts[1]} in its file"
        yield Difference(Action.CHANGE, where, what)


def _other_kind(where: str, kind: str) -> Difference:
    return Difference(
        Action.REFUSE,
        where,
        f"the name is taken by a {kind} in BigQuery",
        "give it another name in the file, or remove what is there",
    )


def _type(column: Column) -> str:
    return f"{column.type} {_mode(column)}"


def _live_type(field: Any) -> str:
    kind = _OLD_NAMES.get(field.field_type, field.field_type)
    size = "" if field.max_length is None else f"({field.max_length})"
    return f"{kind}{size} {field.mode or 'NULLABLE'}"


def _mode(column: Column) -> str:
    return "REPEATED" if column.repeated else "NULLABLE"
