"""Makes BigQuery as the table files declare: dataset, tables, views and table functions.

By API, not by DDL. Nothing is ever dropped or changed in type (`schemas.evolve` decides).
"""

from collections.abc import Iterable, Sequence
from typing import Any

from google.cloud import bigquery

from schemas.evolve import Action, column_conflicts
from schemas.live_tables import DEADLINE, differences, steps, take
from schemas.problem import Problem, ProblemsFound
from schemas.table import Column, Table
from schemas.views import TableFunction

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


def missing_columns(
    table: Table, fields: Sequence[Any], name: str = ""
) -> tuple[list[Column], list[Problem]]:
    """What a live table's schema lacks, and what in it would have rows refused or lose values.

    Args:
        table: As its file declares it.
        fields: The live table's `schema`.
        name: `project.dataset.table`, so that a remedy can be run as it is written; the table's
            name alone without it.
    """
    live = {field.name.lower() for field in fields}
    missing = [column for column in table.columns if column.name.lower() not in live]
    wrong = column_conflicts(table, f"table {name or table.name}", fields)
    return missing, [Problem(each.where, each.what, each.remedy) for each in wrong]


def apply(
    client: bigquery.Client, dataset: str, tables: Sequence[Table], deadline: float = DEADLINE
) -> list[str]:
    """Makes BigQuery as the table files declare: what `python -m schemas apply` does.

    Args:
        client: Aimed at the project.
        dataset: The dataset's id.
        tables: What to create, or to bring up to date.
        deadline: Seconds for each request.

    Returns:
        A clause for each thing that was done; empty when all was there.

    Raises:
        ProblemsFound: Something is refused (`schemas.evolve`); nothing was done.
    """
    found = steps(client, f"{client.project}.{dataset}", tables, deadline=deadline)
    refused = [each for each in differences(found) if each.action == Action.REFUSE]
    if refused:
        raise ProblemsFound(Problem(each.where, each.what, each.remedy) for each in refused)
    done = take(found)
    return [f"{each.action} {each.where}" for each in done if each.action != Action.KEEP]
