"""Waits until Storage Write knows the tables and columns that BigQuery has: both may be new.

For Beam's Java sink on an engine that ends at the first exception. That sink waits for a new table
by itself; a column that is new to Storage Write fails its bundle.
"""

from collections.abc import Callable, Sequence
from typing import Any

from google.api_core import exceptions
from google.cloud.bigquery_storage_v1.types import WriteStreamView

from pipeline.lookups import Lookups
from pipeline.outages import Backoff, ride_out
from schemas import live
from schemas.problem import Problem, ProblemsFound
from schemas.table import Table

_DEADLINE = 30.0


def await_known(project: str, dataset: str, tables: Sequence[Table]) -> None:
    """Returns when Storage Write names every column of the tables.

    Args:
        project: Of the job.
        dataset: `project.dataset`.
        tables: Of the job.

    Raises:
        ProblemsFound: BigQuery itself lacks a table or column, or closes them to this account.
        StoppedWaiting: The job was told to stop.
    """
    with live.bigquery_write_client() as writer, live.bigquery_client(project) as client:
        for table in tables:
            lookups = Lookups(client, dataset, table)
            await_columns(writer, dataset, table, lookups.check_present)


def await_columns(
    writer: Any,
    dataset: str,
    table: Table,
    check_present: Callable[[], None],
    backoff: Backoff | None = None,
) -> None:
    """As `await_known`, for one table.

    Args:
        writer: A `BigQueryWriteClient`.
        dataset: `project.dataset`.
        table: As its file declares it.
        check_present: Raises ProblemsFound where BigQuery has no such table or column.
        backoff: Of the waits.
    """
    project, name = dataset.split(".")
    stream = f"projects/{project}/datasets/{name}/tables/{table.name}/streams/_default"
    backoff = backoff or Backoff("BigQuery")
    while why := _unknown(writer, stream, table):
        check_present()
        backoff.pause(why)
    backoff.done()


def _unknown(writer: Any, stream: str, table: Table) -> str:
    """What Storage Write does not know of a table; '' if nothing."""
    request = {"name": stream, "view": WriteStreamView.FULL}
    try:
        known = ride_out(
            "BigQuery",
            lambda: writer.get_write_stream(request=request, timeout=_DEADLINE, retry=None),
        )
    except exceptions.NotFound as error:
        return f"the table is new to Storage Write: {error.message}"
    except exceptions.GoogleAPICallError as error:
        what = f"Storage Write does not tell its columns: {error}"
        remedy = "grant the job's account roles/bigquery.dataEditor on the dataset"
        raise ProblemsFound([Problem(stream, what, remedy)]) from error
    names = {field.name.lower() for field in known.table_schema.fields}
    new = [column.name for column in table.columns if column.name.lower() not in names]
    return f"new to Storage Write: {', '.join(new)}" if new else ""
