"""Creates in BigQuery what the table files declare: dataset, tables, views; adds missing columns.

By API, not by DDL. Nothing is ever dropped or changed in type: what differs otherwise is a Problem.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from google.api_core.exceptions import Conflict, NotFound
from google.cloud import bigquery

from schemas.problem import Problem, ProblemsFound
from schemas.table import Column, Table
from schemas.views import view_queries

# BigQuery's REST API answers with the older names of some types.
_OLD_NAMES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}


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
            type_=bigquery.TimePartitioningType.DAY, field=table.partition
        )
    if table.clustering:
        made.clustering_fields = list(table.clustering)
    return made


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
    """Creates the dataset, the tables and their views where they are missing; adds columns.

    Args:
        client: Aimed at the project.
        dataset: The dataset's id.
        tables: What to create.
        deadline: Seconds for each request.

    Returns:
        A sentence for each thing that was done; empty when all was there.

    Raises:
        ProblemsFound: A live column has another type or mode; nothing of that table was changed.
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
        try:
            live = client.get_table(f"{full}.{table.name}", timeout=deadline, retry=None)
        except NotFound:
            client.create_table(bigquery_table(table, full), timeout=deadline, retry=None)
            done.append(f"created table {full}.{table.name}")
        else:
            missing, wrong = missing_columns(table, live.schema)
            problems += wrong
            if missing and not wrong:
                live.schema = [*live.schema, *bigquery_schema(missing)]
                client.update_table(live, ["schema"], timeout=deadline, retry=None)
                names = ", ".join(column.name for column in missing)
                done.append(f"added to table {full}.{table.name}: {names}")
        done += _views(client, table, full, deadline)
    if problems:
        raise ProblemsFound(problems)
    return done


def _views(client: bigquery.Client, table: Table, dataset: str, deadline: float) -> list[str]:
    done = []
    for name, query in view_queries(table, dataset).items():
        view = bigquery.Table(f"{dataset}.{name}")
        view.view_query = query
        try:
            live = client.get_table(view.reference, timeout=deadline, retry=None)
        except NotFound:
            client.create_table(view, timeout=deadline, retry=None)
            done.append(f"created view {dataset}.{name}")
        else:
            if live.view_query != query:
                live.view_query = query
                client.update_table(live, ["view_query"], timeout=deadline, retry=None)
                done.append(f"changed view {dataset}.{name}")
    return done
