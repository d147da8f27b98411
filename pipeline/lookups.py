"""What the native sink and the duplicate cache ask BigQuery: which rows a table already holds."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from google.api_core.exceptions import NotFound
from google.cloud import bigquery
from google.cloud.bigquery.table import Row

from pipeline.append_stream import Encoded
from pipeline.outages import ride_out
from pipeline.table_files import apply_command
from schemas.apply import missing_columns
from schemas.problem import Problem, ProblemsFound
from schemas.shaping import DAY
from schemas.table import Table
from schemas.times import format_micros
from transforms.deduplicate import SeenIds

T = TypeVar("T")

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
        self._dataset = dataset
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
        missing, problems = missing_columns(self._table, live.schema, self._full)
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
        return set(self._ask(query, parameters, lambda row: str(row[0])))

    @property
    def name(self) -> str:
        """`project.dataset.table`."""
        return self._full

    @property
    def tells_ingest_time(self) -> bool:
        """Whether the table can tell when a row came."""
        return any(column.name == _INGEST_TIME for column in self._table.columns)

    def recent(self, since: int, until: int, limit: int) -> list[bytes]:
        """What may have been ingested within a time: the newest `limit` rows, the oldest first.

        A table with an `ingest_time` is asked by it, among events of at most 40 days before. One
        without (the changelog layout has the columns of another system) cannot tell when a row
        came: there all events since 40 days before are recent, the newest `limit` by the event's
        own time, at the price of more ids.

        In both the 40 days are by the event's own time, which its sender says. So a job that
        starts knows every row that the one before can have left without an acknowledgement, but
        for those of events that were older when they were sent (a backfill that keeps the dates
        of its documents, a sender whose clock is wrong) and those beyond `limit`: a kill between
        append and acknowledgement can double these. Rows without an `event_id`, which another
        system's import may have left, are nobody's repeat.

        Args:
            since: Microseconds since the epoch.
            until: Likewise; not included.
            limit: How many at the most.

        Returns:
            The keys of their `event_id`s, made page by page: 57 bytes an id where the id as text
            takes twice that.
        """
        partition = self._table.partition
        day = _timestamp("day", since - _WARM_DAYS * DAY)
        if self.tells_ingest_time:
            order = _INGEST_TIME
            where = f"{order} >= @since AND {order} < @until AND {partition} >= @day"
            parameters = [_timestamp("since", since), _timestamp("until", until), day]
        else:
            # Without `until`: an event's time is its sender's, and may lie ahead of ours.
            order, where, parameters = partition, f"{partition} >= @day", [day]
        query = (
            f"SELECT event_id FROM `{self._full}` "  # noqa: S608 - names are checked when read
            f"WHERE {where} AND event_id IS NOT NULL ORDER BY {order} DESC LIMIT {limit}"
        )
        keys = self._ask(query, parameters, lambda row: SeenIds.key(row[0]))
        keys.reverse()
        return keys

    def _ask(self, query: str, parameters: list[Any], kept: Callable[[Row], T]) -> list[T]:
        def ask() -> list[T]:
            config = bigquery.QueryJobConfig(query_parameters=parameters)
            job = self._client.query(
                query, job_config=config, timeout=_DEADLINE, retry=None, job_retry=None
            )
            rows = job.result(timeout=_DEADLINE, retry=None, job_retry=None)
            return [kept(row) for row in rows]

        return ride_out("BigQuery", ask)

    def _problem(self, what: str) -> Problem:
        command = apply_command(self._table, self._dataset)
        return Problem(f"table {self._full}", what, f"run {command}, then start again")


def _timestamp(name: str, micros: int) -> bigquery.ScalarQueryParameter:
    # As text: the client's own conversion goes through datetime, which has no year 0 to spare.
    return bigquery.ScalarQueryParameter(name, "TIMESTAMP", format_micros(micros))
