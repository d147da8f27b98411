"""Appends rows to one BigQuery table, each exactly once, through whatever happens on the way.

Starts with rows in hand and ends when BigQuery has each of them, or has refused it for its
content. Within one process nothing is lost and nothing is twice:
- Rows go to a COMMITTED stream at an offset of our own counting. Until the outcome is known, the
  same bytes are sent again at the same offset: the service answers OFFSET_ALREADY_EXISTS when it
  had them.
- A stream that answers no more is finalized; its `row_count` tells whether the rows are in it.
- A stream that is gone: the rows' `event_id`s are looked up in the table, and what is missing is
  written to a new stream. A table of the flat layout has no ids: there the rows are written
  again, at least once, and the log says so.

https://cloud.google.com/bigquery/docs/write-api
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from google.api_core import exceptions
from google.cloud.bigquery_storage_v1.types import (
    AppendRowsRequest,
    ProtoRows,
    ProtoSchema,
    WriteStream,
)

from pipeline.append_refusals import (
    REFUSALS,
    BatchRefused,
    Late,
    StreamEnded,
    of_call,
    of_response,
    table_is_late,
)
from pipeline.connection import Connection
from pipeline.outages import TRANSIENT, Backoff, ride_out
from schemas.problem import Problem, ProblemsFound

MAX_REQUEST_BYTES = 9_950_000
"""Of rows in one request; https://cloud.google.com/bigquery/quotas#write-api-limits: 10 MB."""

_DEADLINE = 30.0
_TRIES_ON_A_STREAM = 5

ROW_REFUSED = "RowRefused"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A row ready to be sent.

    Args:
        data: Its protobuf bytes.
        event_id: Who it is in the table; '' in a table without ids.
        partition: The time by which the table is partitioned, microseconds since the epoch; 0 in
            a table without one.
    """

    data: bytes
    event_id: str = ""
    partition: int = 0


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that BigQuery refused for its content.

    Args:
        index: Its place among the rows given.
        error: `RowRefused`.
        reason: What the service said.
    """

    index: int
    error: str
    reason: str


_Pending = list[tuple[int, Encoded]]
"""Rows whose outcome is not known, each with its place among the rows given."""


class TableWriter:
    """Appends to one table; not safe for several threads at once.

    Args:
        client: A `BigQueryWriteClient`.
        table: Full name, `projects/P/datasets/D/tables/T`.
        descriptor: The rows' DescriptorProto.
        lag: Asks BigQuery whether a refusal is mere lateness: raises ProblemsFound when the table
            or a column is missing, or is of another type.
        written: Which of these rows the table holds, by `event_id`; None for a table without ids.

    Attributes:
        on_repeat: Called at each wait, to count it.
        on_open: Called at each new write stream, to count it.
    """

    def __init__(
        self,
        client: Any,
        table: str,
        descriptor: Any,
        *,
        lag: Callable[[], None],
        written: Callable[[Sequence[Encoded]], set[str]] | None,
    ) -> None:
        self._client = client
        self._table = table
        self._schema = ProtoSchema(proto_descriptor=descriptor)
        self._lag = lag
        self._written = written
        self.on_repeat: Callable[[], None] = _nothing
        self.on_open: Callable[[], None] = _nothing
        self._stream = ""
        self._offset = 0
        self._connection: Connection | None = None
        self._schema_taken = False

    def append(self, rows: Sequence[Encoded]) -> list[Refused]:
        """Writes rows; returns once each is in the table or refused.

        Args:
            rows: At most `MAX_REQUEST_BYTES` of data in all.

        Returns:
            The refused ones; every other row is in the table.

        Raises:
            ProblemsFound: The table or a column is missing, or access is denied.
            StoppedWaiting: The process was told to stop during an outage.
        """
        refused: list[Refused] = []
        try:
            self._append([*enumerate(rows)], refused)
        except BaseException:
            # Whether the stream has these rows is not known, so its offset is not: nothing more
            # is written to it, or the next rows could be taken for these.
            self._disconnect()
            self._stream = ""
            raise
        return sorted(refused, key=lambda row: row.index)

    def close(self) -> None:
        """Finalizes the stream, if BigQuery can be reached; what was acknowledged is there."""
        self._disconnect()
        if self._stream:
            try:
                self._client.finalize_write_stream(name=self._stream, timeout=5, retry=None)
            except exceptions.GoogleAPICallError as error:
                _log.info("left write stream %s open: %s", self._stream, error)
            self._stream = ""

    def _append(self, pending: _Pending, refused: list[Refused], *, checked: bool = False) -> None:
        backoff = Backoff("BigQuery", repeated=self.on_repeat)
        while pending:
            try:
                pending = self._append_once(pending, refused, backoff)
            except BatchRefused as error:
                if not checked:
                    # The service may mean the table: then no row is at fault, and the job ends.
                    self._lag()
                    checked = True
                if len(pending) == 1:
                    refused.append(Refused(pending[0][0], ROW_REFUSED, str(error)))
                    return
                half = len(pending) // 2
                self._append(pending[:half], refused, checked=True)
                pending = pending[half:]

    def _append_once(self, pending: _Pending, refused: list[Refused], backoff: Backoff) -> _Pending:
        """Brings one request to a known outcome; returns the rows neither written nor refused."""
        tries = 0
        while True:
            try:
                bad = self._exchange([row for _, row in pending], repeated=tries > 0)
            except StreamEnded as error:
                missing = self._settle(pending, str(error))
                if missing:
                    backoff.pause(error)
                return missing
            except Late as error:
                self._disconnect()
                self._lag()
                backoff.pause(error)
            except TRANSIENT as error:
                self._disconnect()
                backoff.pause(error)
                tries += 1
                if tries >= _TRIES_ON_A_STREAM and self._stream:
                    return self._settle(pending, f"no answer in {tries} tries")
            except exceptions.GoogleAPICallError as error:
                self._disconnect()
                raise ProblemsFound([_problem(self._table, error)]) from error
            else:
                backoff.done()
                if not bad:
                    self._offset += len(pending)
                    return []
                refused += [Refused(pending[i][0], ROW_REFUSED, why) for i, why in bad.items()]
                return [row for i, row in enumerate(pending) if i not in bad]

    def _exchange(self, rows: list[Encoded], *, repeated: bool) -> dict[int, str]:
        """One request and its answer: {} when the rows are in, else why which ones are not.

        Args:
            rows: What to write at the offset.
            repeated: Whether the same bytes were sent before at the same offset.
        """
        if not self._stream:
            self._open()
        if self._connection is None:
            self._connection = Connection(self._client, self._stream)
            self._schema_taken = False
        data = AppendRowsRequest.ProtoData(
            rows=ProtoRows(serialized_rows=[row.data for row in rows])
        )
        if not self._schema_taken:
            # Until a request was carried out: that the schema of a refused one (its offset was
            # written before) is kept for the next is promised nowhere, and rows without a schema
            # would all be refused.
            data.writer_schema = self._schema
        request = AppendRowsRequest(write_stream=self._stream, offset=self._offset, proto_rows=data)
        try:
            response = self._connection.exchange(request, _DEADLINE)
        except REFUSALS as error:
            self._disconnect()
            raise of_call(error) from error
        # Rows first: where one is named, none of the request is written (AppendRowsResponse).
        if response.row_errors:
            return {error.index: error.message for error in response.row_errors}
        if not response.HasField("error"):
            self._schema_taken = True
            return {}
        refusal = of_response(response.error)
        if refusal is not None:
            raise refusal
        if repeated:
            return {}  # the first sending arrived; its answer did not
        raise StreamEnded(f"unexpected: {response.error.message}")

    def _open(self) -> None:
        try:
            stream = self._client.create_write_stream(
                parent=self._table,
                write_stream=WriteStream(type_=WriteStream.Type.COMMITTED),
                timeout=_DEADLINE,
                retry=None,
            )
        except exceptions.NotFound as error:
            raise table_is_late(error) from error
        self._stream, self._offset = stream.name, 0
        self.on_open()

    def _settle(self, pending: _Pending, why: str) -> _Pending:
        """Leaves a stream whose last outcome is not known; returns the rows that are not in it."""
        stream, self._stream = self._stream, ""
        self._disconnect()
        _log.warning("leaving write stream %s: %s", stream, why)
        row_count: int | None = None
        try:
            row_count = ride_out(
                "BigQuery",
                lambda: (
                    self._client.finalize_write_stream(
                        name=stream, timeout=_DEADLINE, retry=None
                    ).row_count
                ),
                repeated=self.on_repeat,
            )
        except exceptions.GoogleAPICallError as error:
            _log.warning("write stream %s is gone: %s", stream, error.message)
        if row_count == self._offset:
            return pending
        if row_count == self._offset + len(pending):
            return []
        if self._written is None:
            _log.warning("%d rows of %s may be written twice", len(pending), self._table)
            return pending
        try:
            written = self._written([row for _, row in pending])
        except exceptions.NotFound:
            self._lag()
            raise
        missing = [(i, row) for i, row in pending if row.event_id not in written]
        _log.warning("of %d rows, %d are in the table", len(pending), len(pending) - len(missing))
        return missing

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _nothing() -> None:
    """Counts nothing."""


def _problem(table: str, error: exceptions.GoogleAPICallError) -> Problem:
    remedy = "grant the job's account roles/bigquery.dataEditor on the dataset"
    denied = isinstance(error, (exceptions.Forbidden, exceptions.Unauthorized))
    return Problem(table, f"BigQuery refuses the rows: {error}", remedy if denied else "")
