"""Preflight of BigQuery: whether each table takes the rows of the job, and keeps them."""

from datetime import timedelta
from typing import Any

from pipeline import refusals
from pipeline.questions import Inquiry
from pipeline.table_files import apply_command
from schemas import live
from schemas.apply import missing_columns
from schemas.evolve import Action, table_differences
from schemas.problem import Problem
from schemas.table import Table

LEAST_PARTITION_DAYS = 41
"""What the job reads of a table when it starts (events of 40 days), and the day that begins."""

_WRITE = ("bigquery.tables.get", "bigquery.tables.updateData")
_READ = "bigquery.tables.getData"
_EDITOR = "roles/bigquery.dataEditor"


def check_table(inquiry: Inquiry, table: Table, dataset: str, *, rights: bool, reads: bool) -> None:
    """One table, as it is in BigQuery.

    Args:
        inquiry: Is told what is found.
        table: As its file declares it.
        dataset: `project.dataset`.
        rights: Whether the account that asks is the one that will write.
        reads: Whether the job reads the table too, to know what it wrote.
    """
    full = f"{dataset}.{table.name}"
    where = f"table {full}"
    client = live.bigquery_client(dataset.partition(".")[0])
    missing = refusals.TABLE_MISSING.at(where, command=apply_command(table, dataset))
    found = inquiry.ask(
        where,
        lambda seconds: client.get_table(full, timeout=seconds, retry=None),
        absent=missing,
        role="roles/bigquery.metadataViewer",
    )
    if found is None:
        return
    problems = table_problems(table, dataset, found)
    for problem in problems:
        inquiry.refuse(problem)
    if not problems:
        inquiry.checked(f"{where}: has the {len(table.columns)} columns{_kept(found)}")
    if rights:
        wanted = (*_WRITE, _READ) if reads else _WRITE
        inquiry.rights(
            where,
            lambda seconds: client.test_iam_permissions(
                full, list(wanted), timeout=seconds, retry=None
            )["permissions"],
            wanted,
            _EDITOR,
        )


def table_problems(table: Table, dataset: str, found: Any) -> list[Problem]:
    """What in a live table would have rows refused or lost.

    Other clustering, further NULLABLE columns and `require_partition_filter` do no harm.

    Args:
        table: As its file declares it.
        dataset: `project.dataset`.
        found: A `bigquery.Table`.
    """
    full = f"{dataset}.{table.name}"
    where = f"table {full}"
    problems = [
        Problem(each.where, each.what, each.remedy)
        for each in table_differences(table, dataset, found)
        if each.action == Action.REFUSE
    ]
    if found.table_type != "TABLE":
        return problems
    missing, wrong = missing_columns(table, found.schema, full)
    problems += [each for each in wrong if each not in problems]
    if missing:
        columns = ", ".join(column.name for column in missing)
        command = apply_command(table, dataset)
        problems.append(refusals.COLUMNS_MISSING.at(where, columns=columns, command=command))
    days = _partition_days(found)
    if days is not None and days < LEAST_PARTITION_DAYS:
        column = found.time_partitioning.field or "they are written"
        problems.append(
            refusals.PARTITION_EXPIRES.at(
                where, days=days, column=column, needed=LEAST_PARTITION_DAYS, table=full
            )
        )
    if found.expires is not None:
        when = found.expires.isoformat(timespec="seconds")
        problems.append(refusals.TABLE_EXPIRES.at(where, when=when, table=full))
    return problems


def _partition_days(found: Any) -> float | None:
    """Days after which BigQuery drops a partition; None for never."""
    time = found.time_partitioning
    if time is None or not time.expiration_ms:
        return None
    return timedelta(milliseconds=int(time.expiration_ms)) / timedelta(days=1)


def _kept(found: Any) -> str:
    days = _partition_days(found)
    return "" if days is None else f"; BigQuery drops rows {days:g} days old, late ones at once"
