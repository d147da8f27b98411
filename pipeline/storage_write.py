"""WriteRows, Beam's sink: Java's Storage Write transform, exactly once on Dataflow.

Rows enter as typed Beam Rows and without `schema=`: Beam's conversion from dicts drops unknown
keys in silence and knows no JSON. Tables are created by `schemas.apply`, never by the sink. Each
table is a sink of its own, since dynamic schemas are not supported from Python.

A row that the service refuses comes back without its message. Of a table with `raw` that is
restored whole; else the letter is the row as JSON (`schemas.restored`). With a TIMESTAMP in it, it
does not come back at all: Beam 2.70 to 2.76 print the time in one form and read it in another
(beam#40110), the bundle fails, and Dataflow repeats it without end. So no row may come here that
BigQuery would refuse for its content; `schemas` checks for that (tests/sinks/bad_content.py).

A number of streams and no number are two graphs with other step names: a running job cannot be
updated from one to the other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import apache_beam as beam
import grpc
from apache_beam.io.gcp.bigquery import BigQueryDisposition, StorageWriteToBigQuery
from apache_beam.metrics import Metrics
from apache_beam.typehints.row_type import RowTypeConstraint
from apache_beam.utils.timestamp import Timestamp

from schemas.failure import Failure
from schemas.problem import Problem, ProblemsFound
from schemas.raw import from_raw
from schemas.restored import message_of_row
from schemas.row import Row
from schemas.table import RAW, Column, Table, Type
from transforms.attempt import FAILED


@dataclass(frozen=True, slots=True)
class Slices:
    """How the sink appends on a streaming runner.

    Args:
        seconds: For which it collects rows.
        streams: Write streams of a table; None lets the runner choose as it goes.
    """

    seconds: int
    streams: int | None = None


_FAILED_ROWS = Metrics.counter("write", "failed")

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

    Raises ProblemsFound where it is applied, if Java's steps cannot be made.

    Args:
        tables: Of the job.
        dataset: `project.dataset`.
        slices: How it appends on a streaming runner; None on one of bounded input, where it
            writes all and commits it at the end.
        expansion: Tells where Java's steps come from (`pipeline.expansion`), once for all tables,
            when the graph is built.
    """

    def __init__(
        self,
        tables: Sequence[Table],
        dataset: str,
        *,
        slices: Slices | None,
        expansion: Callable[[], Any] = lambda: None,
    ) -> None:
        super().__init__()
        self._tables = tuple(tables)
        self._dataset = dataset
        self._slices = slices
        self._expansion = expansion

    def expand(self, rows: Any) -> Any:
        """PCollection[Row] to a dict with `failed`."""
        expansion = self._expansion()
        failed = [self._write(rows, table, expansion) for table in self._tables]
        if len(failed) == 1:
            return {FAILED: failed[0]}
        return {FAILED: failed | "Failed" >> beam.Flatten()}

    def _write(self, rows: Any, table: Table, expansion: Any) -> Any:
        typed = (
            rows
            | f"Of {table.name}" >> beam.Filter(_is_of, table.name)
            | f"Type {table.name}"
            >> beam.Map(to_beam_row, table).with_output_types(beam_row_type(table))
        )
        try:
            result = typed | f"Write {table.name}" >> StorageWriteToBigQuery(
                f"{self._dataset.replace('.', ':', 1)}.{table.name}",
                create_disposition=BigQueryDisposition.CREATE_NEVER,
                write_disposition=BigQueryDisposition.WRITE_APPEND,
                expansion_service=expansion,
                **self._streaming(),
            )
        except (RuntimeError, ValueError, grpc.RpcError) as error:
            if not _of_service(error):
                raise
            raise ProblemsFound([_no_steps(error)]) from error
        return result.failed_rows_with_errors | f"Failed {table.name}" >> beam.Map(_refused, table)

    def _streaming(self) -> dict[str, Any]:
        if self._slices is None:
            return {}
        streams = self._slices.streams
        return {
            "triggering_frequency": self._slices.seconds,
            "with_auto_sharding": streams is None,
            "num_storage_api_streams": streams or 0,
        }


def _of_service(error: Exception) -> bool:
    """Whether the expansion service is to blame; an error of the program keeps its trace."""
    if isinstance(error, ValueError):  # Beam's own where a service has no such sink
        return str(error).startswith("Did not discover ")
    return not isinstance(error, (NotImplementedError, RecursionError))


def _no_steps(error: Exception) -> Problem:
    """The expansion service's own words; a trace of Java's follows its first line."""
    why = error.details() if isinstance(error, grpc.RpcError) else str(error)
    what = f"its steps could not be made: {first_line(why)}"
    remedy = "look at the expansion service that --expansion_service names, or leave it out"
    return Problem("Beam's Java sink", what, remedy)


def first_line(text: str) -> str:
    """What a text says first, in 300 characters at most."""
    lines = text.strip().splitlines() or ["it does not say why"]
    return lines[0][:300]


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


def _refused(failed: Any, table: Table) -> Failure:
    _FAILED_ROWS.inc()
    return to_failure(failed, table)


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
