"""WriteRows, Beam's sink: Java's Storage Write transform, exactly once on Dataflow.

Rows enter as typed Beam Rows and without `schema=`: Beam's conversion from dicts drops unknown
keys in silence and knows no JSON. Tables are created by `schemas.apply`, never by the sink. Each
table is a sink of its own, since dynamic schemas are not supported from Python.

A row that the service refuses comes back without its message. Of a table with `raw` that is
restored whole; else the letter is the row as JSON (`schemas.restored`).
"""

from collections.abc import Sequence
from typing import Any, Optional

import apache_beam as beam
from apache_beam.io.gcp.bigquery import BigQueryDisposition, StorageWriteToBigQuery
from apache_beam.typehints.row_type import RowTypeConstraint
from apache_beam.utils.timestamp import Timestamp

from schemas.failure import Failure
from schemas.raw import from_raw
from schemas.restored import message_of_row
from schemas.row import Row
from schemas.table import RAW, Column, Table, Type
from transforms.attempt import FAILED

TRIGGERING_SECONDS = 5
"""How long the sink collects rows before it appends them, on a streaming runner."""

_TYPES: dict[Type, Any] = {
    Type.STRING: str,
    Type.JSON: str,
    Type.INT64: int,
    Type.FLOAT64: float,
    Type.BOOL: bool,
    Type.BYTES: bytes,
    Type.TIMESTAMP: Timestamp,
}


class WriteWithBeam(beam.PTransform):
    """Writes each Row with Beam's Java sink.

    Output: `failed` (Failure of stage `write`), its message standing in for the original one.

    Args:
        tables: Of the job.
        dataset: `project.dataset`.
        streaming: Whether the sink must append in time slices.
    """

    def __init__(self, tables: Sequence[Table], dataset: str, *, streaming: bool) -> None:
        super().__init__()
        self._tables = tuple(tables)
        self._dataset = dataset
        self._streaming = streaming

    def expand(self, rows: Any) -> Any:
        """PCollection[Row] to a dict with `failed`."""
        failed = [self._write(rows, table) for table in self._tables]
        if len(failed) == 1:
            return {FAILED: failed[0]}
        return {FAILED: failed | "Failed" >> beam.Flatten()}

    def _write(self, rows: Any, table: Table) -> Any:
        streaming = {"triggering_frequency": TRIGGERING_SECONDS, "with_auto_sharding": True}
        result = (
            rows
            | f"Of {table.name}" >> beam.Filter(_is_of, table.name)
            | f"Type {table.name}"
            >> beam.Map(to_beam_row, table).with_output_types(beam_row_type(table))
            | f"Write {table.name}"
            >> StorageWriteToBigQuery(
                f"{self._dataset.replace('.', ':', 1)}.{table.name}",
                create_disposition=BigQueryDisposition.CREATE_NEVER,
                write_disposition=BigQueryDisposition.WRITE_APPEND,
                **(streaming if self._streaming else {}),
            )
        )
        return result.failed_rows_with_errors | f"Failed {table.name}" >> beam.Map(
            to_failure, table
        )


def _is_of(row: Row, table: str) -> bool:
    return row.table == table


def beam_row_type(table: Table) -> RowTypeConstraint:
    """The type of a table's Beam Rows; every column is nullable or a sequence."""
    return RowTypeConstraint.from_fields(
        [(column.name, _beam_type(column)) for column in table.columns]
    )


def _beam_type(column: Column) -> Any:
    type_ = _TYPES[column.type]
    sequence: Any = Sequence
    # Not `type_ | None`: Beam reads typing's own form.
    return sequence[type_] if column.repeated else Optional[type_]  # noqa: UP045


def to_beam_row(row: Row, table: Table) -> beam.Row:
    """A row's values as a Beam Row of `beam_row_type`."""
    values = row.values
    return beam.Row(
        **{column.name: _to_beam(values[column.name], column) for column in table.columns}
    )


def _to_beam(value: Any, column: Column) -> Any:
    if column.type is not Type.TIMESTAMP or value is None:
        return value
    if column.repeated:
        return [Timestamp(micros=item) for item in value]
    return Timestamp(micros=value)


def to_failure(failed: Any, table: Table) -> Failure:
    """A Failure of the sink's `FailedRowsWithErrors` (fields `failed_row`, `error_message`)."""
    given = failed.failed_row._asdict()
    values = {column.name: _from_beam(given.get(column.name), column) for column in table.columns}
    raw = values[RAW.name] if table.raw else None
    message = message_of_row(table.name, values) if raw is None else from_raw(raw)
    return Failure(message, "write", "RowRefused", str(failed.error_message))


def _from_beam(value: Any, column: Column) -> Any:
    if column.repeated:
        return [_from_beam_item(item) for item in value or []]
    return _from_beam_item(value)


def _from_beam_item(value: Any) -> Any:
    return value.micros if isinstance(value, Timestamp) else value
