"""WriteRows, the native sink: Storage Write appends with offsets, for an engine of one process.

A bundle's rows are sent some hundred at a time by a thread of the table's own, so that BigQuery
works on them while the next ones are decoded. `finish_bundle` waits for all of them, before the
engine counts the bundle as done, so before the read acknowledges. A bundle that fails after its
append is delivered again and dropped by the warmed duplicate cache: so exactly once within a
process, at least once across a kill.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from pipeline import resident
from pipeline.append_stream import MAX_REQUEST_BYTES, Encoded, Refused, TableWriter
from schemas.encode import Encoder
from schemas.failure import Failure
from schemas.layouts import layout_of
from schemas.row import Row
from schemas.table import Table
from transforms.attempt import FAILED

ROWS = "rows"
_ROWS_A_REQUEST = 500
_MOST_SENT = 8  # requests under way: bounds memory where one bundle is a whole recording
_ROW_OVERHEAD = 8  # tag and length of a row in the request
_REQUEST_OVERHEAD = 20_000  # names, offset and the writer's schema
_MOST_BYTES = MAX_REQUEST_BYTES - _REQUEST_OVERHEAD  # of a request's rows


class AppendRows(beam.PTransform):
    """Appends each Row to its table.

    Output: `failed` (Failure of stage `write`) for what BigQuery refused for its content, and for
    a row that alone is beyond what a request takes.

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
        self._sent: deque[tuple[_Batch, Future[list[Refused]]]] = deque()
        self._failures: list[Failure] = []

    def process(self, row: Row) -> None:
        data = self._encoders[row.table].encode(row.values)
        size = len(data) + _ROW_OVERHEAD
        if size > _MOST_BYTES:
            # Never sent: the service's answer to a request that is too large need not say whose
            # fault it is, and as RESOURCE_EXHAUSTED it would be waited out for ever.
            self._failed.inc()
            self._failures.append(Failure(row.message, "write", "RowTooLarge", _too_large(size)))
            return
        batch = self._batches.get(row.table)
        if batch is None:
            batch = self._batches[row.table] = _Batch()
        if batch.rows and batch.bytes + size > _MOST_BYTES:
            self._send(row.table, batch)
            batch = self._batches[row.table] = _Batch()
        batch.rows.append(row)
        batch.encoded.append(
            Encoded(
                data,
                row.values.get("event_id") or "",
                row.values.get(self._tables[row.table].partition) or 0,
            )
        )
        batch.bytes += size
        if len(batch.rows) >= _ROWS_A_REQUEST:
            self._send(row.table, batch)
            del self._batches[row.table]

    def finish_bundle(self) -> Iterable[TaggedOutput]:
        for table, batch in self._batches.items():
            self._send(table, batch)
        self._settle(0)
        for table in self._tables:
            self._count(table)
        for failure in self._failures:
            value = WindowedValue(failure, MIN_TIMESTAMP, (GlobalWindow(),))
            yield TaggedOutput(FAILED, value)

    def _send(self, table: str, batch: "_Batch") -> None:
        sender = table_sender(self._dataset, self._tables[table], self._encoders[table].descriptor)
        self._settle(_MOST_SENT)
        self._sent.append((batch, sender.send(batch.encoded)))

    def _settle(self, left: int) -> None:
        """Waits for the oldest of the requests under way until so many are left."""
        try:
            with resident.reporting():
                while len(self._sent) > left:
                    batch, outcome = self._sent.popleft()
                    self._failures += self._outcome(batch, outcome.result())
        except resident.BundleFailed:
            for _, outcome in self._sent:
                outcome.cancel()  # what has not begun never does
            raise

    def _outcome(self, batch: "_Batch", refused: list[Refused]) -> list[Failure]:
        self._failed.inc(len(refused))
        self._written.inc(len(batch.rows) - len(refused))
        return [
            Failure(batch.rows[row.index].message, "write", row.error, row.reason)
            for row in refused
        ]

    def _count(self, table: str) -> None:
        """Counts here what the thread met, since Beam counts nothing outside of a bundle."""
        sender = resident.existing(("sender", self._dataset, table))
        if sender is not None:
            key = (self._dataset, table)
            self._waits.inc(resident.growth(("waits", *key), sender.waits))
            self._streams.inc(resident.growth(("streams", *key), sender.streams))


def _too_large(size: int) -> str:
    return f"the row takes {size} bytes of a request, which takes {_MOST_BYTES}"


class _Batch:
    __slots__ = ("bytes", "encoded", "rows")

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.encoded: list[Encoded] = []
        self.bytes = 0


class Sender:
    """A table's writer with a thread of its own; rows are written in the order they are sent.

    Args:
        writer: Not used by anyone else.
    """

    def __init__(self, writer: TableWriter) -> None:
        self._writer = writer
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="append")
        self.waits = 0
        self.streams = 0
        writer.on_repeat, writer.on_open = self._waited, self._opened

    def send(self, rows: list[Encoded]) -> "Future[list[Refused]]":
        """Begins to write rows; the future has the refused ones once the others are written."""
        return self._thread.submit(self._writer.append, rows)

    def close(self) -> None:
        """Waits for what has begun, then closes the writer."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._writer.close()

    def _waited(self) -> None:
        self.waits += 1

    def _opened(self) -> None:
        self.streams += 1


def table_sender(dataset: str, table: Table, descriptor: Any) -> Sender:
    """The process's sender of a table, opened at the first call."""

    def make() -> Sender:
        return Sender(table_writer(dataset, table, descriptor))

    return resident.resident(("sender", dataset, table.name), make, Sender.close)


def table_writer(dataset: str, table: Table, descriptor: Any) -> TableWriter:
    """A writer of a table through clients of its own."""
    from pipeline.lookups import Lookups  # noqa: PLC0415 - loads cloud clients
    from schemas import live  # noqa: PLC0415

    project, _, name = dataset.partition(".")
    lookups = Lookups(live.bigquery_client(project), dataset, table)
    return TableWriter(
        live.bigquery_write_client(),
        f"projects/{project}/datasets/{name}/tables/{table.name}",
        descriptor,
        lag=lookups.check_present,
        written=lookups.written if layout_of(table).has_event_id else None,
    )
