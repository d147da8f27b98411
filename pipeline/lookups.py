"""What the native sink and the duplicate cache ask BigQuery: which rows a table already holds."""

from collections.abc import Sequence
from typing import Any

from google.api_core.exceptions import NotFound
from google.cloud import bigquery

from pipeline.append_stream import Encoded
from pipeline.outages import ride_out
from schemas.apply import missing_columns
from schemas.problem import Problem, ProblemsFound
from schemas.shaping import DAY
from schemas.table import Table
from schemas.times import format_micros

_DEADLINE = 60.0
_WARM_DAYS = 40
"""Events older than this are not looked for when the cache is warmed: Pub/Sub keeps a message 31
days at the most, and Eventarc tries for one."""
_INGEST_TIME = "ingest_time"


class Lookups:
    """Questions about one table that has `event_id`s.

    Each names the table's partitioning column, `table.partition`: `created_at` in the structured
    layout, `timestamp` in the changelog layout, the event's own time in both.

    Args:
        client: A `bigquery.Client`.
        dataset: `project.dataset`.
        table: As its file declares it.
    """

    def __init__(self, client: bigquery.Client, dataset: str, table: Table) -> None:
        self._client = client
        self._table = table
        self._full = f"{dataset}.{table.name}"

    def check_present(self) -> None:
        """Asks whether the table has every declared column.

        Raises:
            ProblemsFound: The table or a column is missing: waiting would not help.
        """
        try:
            live = ride_out(
                "BigQuery",
                lambda: self._client.get_table(self._full, timeout=_DEADLINE, retry=None),
            )
        except NotFound as error:
            raise ProblemsFound([self._problem("is not there")]) from error
        missing, problems = missing_columns(self._table, live.schema)
        problems += [self._problem(f"has no column {column.name}") for column in missing]
        if problems:
            raise ProblemsFound(problems)

    def written(self, rows: Sequence[Encoded]) -> set[str]:
        """Which of these rows the table holds, by `event_id`, asking only their partitions."""
        query = (
            f"SELECT event_id FROM `{self._full}` "  # noqa: S608 - names are checked when read
            "WHERE event_id IN UNNEST(@ids) "
            f"AND {self._table.partition} BETWEEN @first AND @last"
        )
        times = [row.partition for row in rows]
        parameters = [
            bigquery.ArrayQueryParameter("ids", "STRING", [row.event_id for row in rows]),
            _timestamp("first", min(times)),
            _timestamp("last", max(times)),
        ]
        return {event_id for (event_id,) in self._ask(query, parameters)}

    def recent(self, since: int, until: int, limit: int) -> list[tuple[int, str]]:
        """What may have been ingested within a time: the newest `limit` rows, the oldest first.

        A table with an `ingest_time` is asked by it, among events of at most 40 days before. One
        without (the changelog layout has the columns of another system) cannot tell when a row
        came: there all events since 40 days before are recent, the newest `limit` by the event's
        own time. So a job that starts knows every row that the one before can have left without
        an acknowledgement, at the price of more ids: 40 days of the table, two million at most.

        Args:
            since: Microseconds since the epoch.
            until: Likewise; not included.
            limit: How many at the most.

        Returns:
            Pairs of `ingest_time`, else the event's own time, in microseconds and `event_id`.
        """
        partition = self._table.partition
        day = _timestamp("day", since - _WARM_DAYS * DAY)
        if any(column.name == _INGEST_TIME for column in self._table.columns):
            order = _INGEST_TIME
            where = f"{order} >= @since AND {order} < @until AND {partition} >= @day"
            parameters = [_timestamp("since", since), _timestamp("until", until), day]
        else:
            # Without `until`: an event's time is its sender's, and may lie ahead of ours.
            order, where, parameters = partition, f"{partition} >= @day", [day]
        query = (
            f"SELECT UNIX_MICROS({order}), event_id "  # noqa: S608 - names are checked when read
            f"FROM `{self._full}` WHERE {where} ORDER BY {order} DESC LIMIT {limit}"
        )
        return [(micros, event_id) for micros, event_id in self._ask(query, parameters)][::-1]

    def _ask(self, query: str, parameters: list[Any]) -> list[tuple[Any, ...]]:
        def ask() -> list[tuple[Any, ...]]:
            config = bigquery.QueryJobConfig(query_parameters=parameters)
            job = self._client.query(
                query, job_config=config, timeout=_DEADLINE, retry=None, job_retry=None
            )
            rows = job.result(timeout=_DEADLINE, retry=None, job_retry=None)
            return [tuple(row.values()) for row in rows]

        return ride_out("BigQuery", ask)

    def _problem(self, what: str) -> Problem:
        return Problem(
            f"table {self._full}", what, "python -m schemas apply creates it; then start again"
        )


def _timestamp(name: str, micros: int) -> bigquery.ScalarQueryParameter:
    # As text: the client's own conversion goes through datetime, which has no year 0 to spare.
    return bigquery.ScalarQueryParameter(name, "TIMESTAMP", format_micros(micros))
