"""Creates in BigQuery what the table files declare; adds missing columns.

Dataset, tables, views and table functions, by API, not by DDL. Nothing is ever dropped or changed
in type: what differs otherwise is a Problem.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from google.api_core.exceptions import Conflict, NotFound
from google.cloud import bigquery

from schemas.problem import Problem, ProblemsFound
from schemas.table import Column, Table
from schemas.views import TableFunction, View, view_functions, views

# BigQuery's REST API answers with the older names of some types.
_OLD_NAMES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}
_TABLE_FUNCTION = "TABLE_VALUED_FUNCTION"
# "During beta, partial updates are not supported. You must provide all fields" (the client's docs).
FUNCTION_FIELDS = ("arguments", "body", "description", "language", "type_")
"""What an update of a table function names."""


def bigquery_schema(columns: Iterable[Column]) -> list[bigquery.SchemaField]:
    """The columns as BigQuery's API takes them."""
    return [
        bigquery.SchemaField(
            column.name,
            column.type.value,
            mode="REPEATED" if column.repeated else "NULLABLE",
            description=column.description or None,
        )
        for column in columns
    ]


def bigquery_table(table: Table, dataset: str) -> bigquery.Table:
    """A table as BigQuery's API takes it, with partitioning, clustering and descriptions.

    Args:
        table: As its file declares it.
        dataset: `project.dataset`.
    """
    made = bigquery.Table(f"{dataset}.{table.name}", schema=bigquery_schema(table.columns))
    made.description = table.description or None
    if table.partition:
        made.time_partitioning = bigquery.TimePartitioning(
            type_=table.partition_by, field=table.partition
        )
    if table.clustering:
        made.clustering_fields = list(table.clustering)
    return made


def bigquery_function(name: str, function: TableFunction) -> bigquery.Routine:
    """A table function as BigQuery's API takes it.

    Its columns are not named: BigQuery infers them from the query each time it is used.

    Args:
        name: `project.dataset.function`.
        function: As `schemas.views` derives it.
    """
    date = bigquery.StandardSqlDataType(type_kind=bigquery.StandardSqlTypeNames.DATE)
    return bigquery.Routine(
        name,
        type_=_TABLE_FUNCTION,
        language="SQL",
        arguments=[
            bigquery.RoutineArgument(name=each, data_type=date) for each in function.parameters
        ],
        body=function.query.strip(),
        description=function.description,
    )


def same_function(one: bigquery.Routine, other: bigquery.Routine) -> bool:
    """Whether two table functions are equal in what this project says of them."""
    return _said(one) == _said(other)


def _said(function: bigquery.Routine) -> tuple[Any, ...]:
    arguments = [
        (each.name, each.data_type.type_kind if each.data_type else None)
        for each in function.arguments
    ]
    return arguments, function.body.strip(), function.description


def missing_columns(table: Table, fields: Sequence[Any]) -> tuple[list[Column], list[Problem]]:
    """What a live table's schema lacks, and what in it is of another type or mode.

    Args:
        table: As its file declares it.
        fields: The live table's `schema`.
    """
    live = {field.name.lower(): field for field in fields}
    missing, problems = [], []
    for column in table.columns:
        field = live.get(column.name.lower())
        if field is None:
            missing.append(column)
            continue
        type_ = _OLD_NAMES.get(field.field_type, field.field_type)
        mode = "REPEATED" if column.repeated else "NULLABLE"
        if type_ != column.type or field.mode != mode:
            problems.append(
                Problem(
                    f"table {table.name}, column {column.name}",
                    f"is {type_} {field.mode} in BigQuery and {column.type} {mode} in its file",
                    "BigQuery cannot change it in place: give the column a new `name` in the file",
                )
            )
    declared = {column.name.lower() for column in table.columns}
    problems += [
        Problem(
            f"table {table.name}, column {field.name}",
            "is REQUIRED in BigQuery and not in its file",
            f"ALTER TABLE {table.name} ALTER COLUMN {field.name} DROP NOT NULL",
        )
        for field in fields
        if field.mode == "REQUIRED" and field.name.lower() not in declared
    ]
    return missing, problems


def apply(
    client: bigquery.Client, dataset: str, tables: Sequence[Table], deadline: float = 30.0
) -> list[str]:
    """Creates the dataset, tables, views and functions that are missing; adds columns.

    A view or function that is there with other SQL is given that of today.

    Args:
        client: Aimed at the project.
        dataset: The dataset's id.
        tables: What to create.
        deadline: Seconds for each request.

    Returns:
        A sentence for each thing that was done; empty when all was there.

    Raises:
        ProblemsFound: A live column has another type or mode, and nothing of that table was
            changed; or the name of a view or function is taken.
    """
    done: list[str] = []
    full = f"{client.project}.{dataset}"
    try:
        client.create_dataset(full, timeout=deadline, retry=None)
        done.append(f"created dataset {full}")
    except Conflict:
        pass  # it is there
    problems: list[Problem] = []
    for table in tables:
        wrong = _table(client, table, full, deadline, done)
        if not wrong:  # its views may name columns that are not there
            for name, view in views(table, full).items():
                wrong += _view(client, f"{full}.{name}", view, deadline, done)
            for name, function in view_functions(table, full).items():
                made = bigquery_function(f"{full}.{name}", function)
                wrong += _function(client, made, deadline, done)
        problems += wrong
    if problems:
        raise ProblemsFound(problems)
    return done


def _table(
    client: bigquery.Client, table: Table, dataset: str, deadline: float, done: list[str]
) -> list[Problem]:
    name = f"{dataset}.{table.name}"
    try:
        live = client.get_table(name, timeout=deadline, retry=None)
    except NotFound:
        client.create_table(bigquery_table(table, dataset), timeout=deadline, retry=None)
        done.append(f"created table {name}")
        return []
    missing, wrong = missing_columns(table, live.schema)
    if missing and not wrong:
        live.schema = [*live.schema, *bigquery_schema(missing)]
        client.update_table(live, ["schema"], timeout=deadline, retry=None)
        done.append(f"added to table {name}: {', '.join(column.name for column in missing)}")
    return wrong


def _view(
    client: bigquery.Client, name: str, view: View, deadline: float, done: list[str]
) -> list[Problem]:
    made = bigquery.Table(name)
    made.view_query = view.query
    made.description = view.description
    try:
        live = client.get_table(name, timeout=deadline, retry=None)
    except NotFound:
        client.create_table(made, timeout=deadline, retry=None)
        done.append(f"created view {name}")
        return []
    if live.table_type != "VIEW":
        return [_taken(f"view {name}", live.table_type)]
    if (live.view_query, live.description) != (view.query, view.description):
        client.update_table(made, ["view_query", "description"], timeout=deadline, retry=None)
        done.append(f"changed view {name}")
    return []


def _function(
    client: bigquery.Client, made: bigquery.Routine, deadline: float, done: list[str]
) -> list[Problem]:
    name = f"{made.project}.{made.dataset_id}.{made.routine_id}"
    try:
        live = client.get_routine(made.reference, timeout=deadline, retry=None)
    except NotFound:
        client.create_routine(made, timeout=deadline, retry=None)
        done.append(f"created function {name}")
        return []
    if live.type_ != _TABLE_FUNCTION:
        return [_taken(f"function {name}", live.type_)]
    if not same_function(live, made):
        client.update_routine(made, FUNCTION_FIELDS, timeout=deadline, retry=None)
        done.append(f"changed function {name}")
    return []


def _taken(where: str, kind: str) -> Problem:
    remedy = "give the file another `view_prefix`, or remove what is there"
    return Problem(where, f"the name is taken by a {kind} in BigQuery", remedy)
