"""Reads the rows of tables, whatever their layout: which event each is of, and what is in it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.cloud import bigquery

from local.expected import Expected
from schemas.layouts import layout_of
from schemas.table import Table

_QUERY_SECONDS = 30.0
_FULL_NAME, _DOCUMENTS = "document_name", "/documents/"
_NOTHING = "CAST(NULL AS STRING)"


@dataclass(frozen=True, slots=True)
class Reading:
    """Where the rows of a layout have what every reader looks for; '' for what they have not.

    Args:
        time: By which a reader orders them.
        arrival: By which the newest are found.
        issue_id: For people.
        document: The document's path inside its database, or its full name.
        operation: CREATE, UPDATE, DELETE, MANUAL.
        new: The document as it is.
        old: The document as it was.
        parameters: A STRING column with the path's parameters, but the document's own, as JSON,
            where they have no columns of their own.
        exact: Whether new and old have every value by the table of `schemas/firestore.py`.
    """

    time: str
    arrival: str
    issue_id: str = ""
    document: str = ""
    operation: str = ""
    new: str = ""
    old: str = ""
    parameters: str = ""
    exact: bool = True

    @property
    def identity(self) -> tuple[str, ...]:
        """The columns that `arrived` takes, in its order."""
        return "event_id", self.issue_id, self.document, self.operation

    def arrived(self, values: Sequence[str | None], table: str) -> "Arrived":
        """Of which event a row is, by its values in the columns of `identity`."""
        event_id, issue_id, document, operation = (value or "" for value in values)
        return Arrived(event_id, issue_id, self.path(document), operation, table)

    def path(self, document: str) -> str:
        """The path inside the database, of what the column `document` has."""
        return document.partition(_DOCUMENTS)[2] if self.document == _FULL_NAME else document


READINGS: Mapping[str, Reading] = {
    "structured": Reading(
        time="created_at",
        arrival="ingest_time",
        issue_id="issue_id",
        document="document_path",
        operation="operation",
        new="payload",
        old="old_payload",
    ),
    "changelog": Reading(
        time="timestamp",
        arrival="timestamp",
        document=_FULL_NAME,
        operation="operation",
        new="data",
        old="old_data",
        parameters="path_params",
        exact=False,
    ),
    "flat": Reading(time="created_at", arrival="created_at", issue_id="issue_id", new="payload"),
}
"""One for each of `schemas.layouts`."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A row, by what tells which event it is of.

    Args:
        event_id: Of the event.
        issue_id: '' where the layout has none.
        document_path: '' where it is of no document.
        operation: As the row has it.
        table: The table that it stands in.
    """

    event_id: str
    issue_id: str
    document_path: str
    operation: str
    table: str = ""

    def __str__(self) -> str:
        known = (
            self.operation,
            self.document_path,
            self.issue_id,
            f"event_id {self.event_id}",
            f"in {self.table}" if self.table else "",
        )
        return " ".join(filter(None, known))

    def answers(self, expected: Expected) -> bool:
        """Whether it is what was expected, as far as that was known beforehand."""
        known = (
            (expected.table, self.table),
            (expected.event_id, self.event_id),
            (expected.issue_id, self.issue_id),
            (expected.document_path, self.document_path),
            (expected.operation, self.operation),
        )
        return expected.outcome == "row" and all(want in ("", have) for want, have in known)


@dataclass(frozen=True, slots=True)
class Found:
    """A row, whole.

    Args:
        arrived: Which event it is of.
        table: The table that it stands in.
        values: Of all its columns, JSON ones read.
    """

    arrived: Arrived
    table: Table
    values: Mapping[str, Any]

    @property
    def new(self) -> Any:
        """The document as it is after the event; None where nothing is left."""
        return self._side(self.reading.new)

    @property
    def old(self) -> Any:
        """The document as it was before the event; None where nothing was there."""
        return self._side(self.reading.old)

    def parameter(self, name: str) -> Any:
        """The id that stands in the document's path where the table's pattern has `{name}`."""
        column = self.reading.parameters
        return json.loads(self.values[column] or "{}").get(name) if column else self.values[name]

    @property
    def reading(self) -> Reading:
        """Of its table's layout."""
        return READINGS[self.table.layout]

    def _side(self, column: str) -> Any:
        value = self.values.get(column)
        return json.loads(value) if isinstance(value, str) else value  # JSON, or text of it


def with_event_id(tables: Sequence[Table]) -> tuple[Table, ...]:
    """Those whose rows can be told to be of which event."""
    return tuple(table for table in tables if layout_of(table).has_event_id)


def arrived(client: bigquery.Client, dataset: str, tables: Sequence[Table]) -> list[Arrived]:
    """Every row of the tables, in one query: none of them is read earlier than another.

    Args:
        client: Aimed at BigQuery.
        dataset: Where the tables are.
        tables: Of layouts with an event_id.
    """
    if not tables:
        return []
    readings = {table.name: READINGS[table.layout] for table in tables}
    queries = [
        f"SELECT '{name}' AS name, "  # noqa: S608
        + ", ".join(
            f"{column or _NOTHING} AS value_{number}"
            for number, column in enumerate(reading.identity)
        )
        + f" FROM `{client.project}.{dataset}.{name}`"
        for name, reading in readings.items()
    ]
    rows, _ = run(client, " UNION ALL ".join(queries))
    return [
        readings[name].arrived(values, name)
        for name, *values in (list(row.values()) for row in rows)
    ]


def whole(client: bigquery.Client, dataset: str, tables: Sequence[Table]) -> list[Found]:
    """Every row of the tables with all its columns.

    Args:
        client: Aimed at BigQuery.
        dataset: Where the tables are.
        tables: Of layouts with an event_id.
    """
    found = []
    for table in tables:
        reading = READINGS[table.layout]
        rows, _ = run(client, f"SELECT * FROM `{client.project}.{dataset}.{table.name}`")  # noqa: S608
        for row in rows:
            values = [row[column] if column else None for column in reading.identity]
            found.append(Found(reading.arrived(values, table.name), table, row))
    return found


def run(
    client: bigquery.Client, query: str, most: int | None = None
) -> tuple[list[dict[str, Any]], int]:
    """The rows of a query, `most` of them, and how many there are in all."""
    job = client.query(query, timeout=_QUERY_SECONDS, retry=None, job_retry=None)
    result = job.result(max_results=most, timeout=_QUERY_SECONDS, retry=None, job_retry=None)
    rows = [dict(row.items()) for row in result]
    return rows, max(len(rows), result.total_rows or 0)
