"""WriteRows, the native sink: Storage Write appends with offsets, for an engine of one process.

A bundle's rows are appended in `finish_bundle`, before the engine counts the bundle as done, so
before the read acknowledges. A bundle that fails after its append is delivered again and dropped
by the warmed duplicate cache: so exactly once within a process, at least once across a kill.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from pipeline import resident
from pipeline.append_stream import MAX_REQUEST_BYTES, Encoded, TableWriter
from schemas.encode import Encoder
from schemas.failure import Failure
from schemas.row import Row
from schemas.table import Table
from transforms.attempt import FAILED

ROWS = "rows"
_ROW_OVERHEAD = 8  # tag and length of a row in the request
_REQUEST_OVERHEAD = 20_000  # names, offset and the writer's schema


class AppendRows(beam.PTransform):
    """Appends each Row to its table.

    Output: `failed` (Failure of stage `write`) for what BigQuery refused for its content.

    Args:
        tables: Of the job.
        dataset: `project.dataset`.
    """

    def __init__(self, tables: Sequence[Table], dataset: str) -> None:
        super().__init__()
        self._tables = tuple(tables)
        self._dataset = dataset

    def expand(self, rows: Any) -> Any:
        """PCollection[Row] to a DoOutputsTuple with `failed`."""
        step = _Append(self._tables, self._dataset)
        return rows | "Append" >> beam.ParDo(step).with_outputs(FAILED, main=ROWS)


class _Append(beam.DoFn):
    def __init__(self, tables: tuple[Table, ...], dataset: str) -> None:
        self._tables = {table.name: table for table in tables}
        self._dataset = dataset
        self._written = Metrics.counter("write", "rows")
        self._failed = Metrics.counter("write", "failed")
        self._streams = Metrics.counter("write", "streams")
        self._waits = Metrics.counter("outage", "waits_bigquery")

    def setup(self) -> None:
        self._encoders = {name: Encoder(table) for name, table in self._tables.items()}

    def start_bundle(self) -> None:
        self._batches: dict[str, _Batch] = {}
        self._failures: list[Failure] = []

    def process(self, row: Row) -> None:
        batch = self._batches.get(row.table)
        if batch is None:
            batch = self._batches[row.table] = _Batch()
        data = self._encoders[row.table].encode(row.values)
        size = len(data) + _ROW_OVERHEAD
        if batch.rows and batch.bytes + size > MAX_REQUEST_BYTES - _REQUEST_OVERHEAD:
            self._flush(row.table, batch)
            batch = self._batches[row.table] = _Batch()
        batch.rows.append(row)
        batch.encoded.append(
            Encoded(data, row.values.get("event_id") or "", _partition(row.values))
        )
        batch.bytes += size

    def finish_bundle(self) -> Iterable[TaggedOutput]:
        for table, batch in self._batches.items():
            self._flush(table, batch)
        for failure in self._failures:
            value = WindowedValue(failure, MIN_TIMESTAMP, (GlobalWindow(),))
            yield TaggedOutput(FAILED, value)

    def _flush(self, table: str, batch: "_Batch") -> None:
        writer = table_writer(self._dataset, self._tables[table], self._encoders[table].descriptor)
        writer.on_repeat, writer.on_open = self._waits.inc, self._streams.inc
        with resident.reporting():
            refused = writer.append(batch.encoded)
        for row in refused:
            message = batch.rows[row.index].message
            self._failures.append(Failure(message, "write", row.error, row.reason))
        self._failed.inc(len(refused))
        self._written.inc(len(batch.rows) - len(refused))


class _Batch:
    __slots__ = ("bytes", "encoded", "rows")

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.encoded: list[Encoded] = []
        self.bytes = 0


def _partition(values: Any) -> int:
    created_at = values.get("created_at")
    return created_at if isinstance(created_at, int) else 0


def table_writer(dataset: str, table: Table, descriptor: Any) -> TableWriter:
    """The process's writer of a table, opened at the first call."""

    def make() -> TableWriter:
        from pipeline.lookups import Lookups  # noqa: PLC0415 - loads cloud clients
        from schemas import live  # noqa: PLC0415

        project, _, name = dataset.partition(".")
        lookups = Lookups(live.bigquery_client(project), dataset, table)
        return TableWriter(
            live.bigquery_write_client(),
            f"projects/{project}/datasets/{name}/tables/{table.name}",
            descriptor,
            lag=lookups.check_present,
            written=lookups.written if table.layout == "structured" else None,
        )

    return resident.resident(("writer", dataset, table.name), make, TableWriter.close)
