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


class Lookups:
    """Questions about one table.

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
            "WHERE event_id IN UNNEST(@ids) AND created_at BETWEEN @first AND @last"
        )
        times = [row.created_at for row in rows]
        parameters = [
            bigquery.ArrayQueryParameter("ids", "STRING", [row.event_id for row in rows]),
            _timestamp("first", min(times)),
            _timestamp("last", max(times)),
        ]
        return {event_id for (event_id,) in self._ask(query, parameters)}

    def recent(self, since: int, until: int, limit: int) -> list[tuple[int, str]]:
        """What was ingested within a time: the newest `limit` rows, the oldest of them first.

        Args:
            since: Microseconds since the epoch.
            until: Likewise; not included.
            limit: How many at the most.

        Returns:
            Pairs of `ingest_time` in microseconds and `event_id`.
        """
        query = (
            "SELECT UNIX_MICROS(ingest_time), event_id "  # noqa: S608 - names are checked when read
            f"FROM `{self._full}` "
            "WHERE ingest_time >= @since AND ingest_time < @until AND created_at >= @day "
            f"ORDER BY ingest_time DESC LIMIT {limit}"
        )
        parameters = [
            _timestamp("since", since),
            _timestamp("until", until),
            _timestamp("day", since - _WARM_DAYS * DAY),
        ]
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
        return Problem(f"table {self._full}", what, "create it from its file, then start again")


def _timestamp(name: str, micros: int) -> bigquery.ScalarQueryParameter:
    # As text: the client's own conversion goes through datetime, which has no year 0 to spare.
    return bigquery.ScalarQueryParameter(name, "TIMESTAMP", format_micros(micros))
