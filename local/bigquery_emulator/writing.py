"""Storage Write: appends that are stored or refused as a whole, and told apart by StorageError.

Where the guarantee starts and ends: an append is acked after DuckDB has committed its rows and
flushed its log, so what was acked before a SIGKILL is there after the restart; one that was not
acked may be there. Streams and their offsets live in memory.
"""

# ruff: noqa: SLF001 - a mend reaches into what it mends; the version is pinned.

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import duckdb
import grpc
from bqemulator.grpc_api import write_servicer as stock
from bqemulator.streaming.arrow_deserializer import deserialize_arrow_rows
from bqemulator.streaming.strategies import select_strategy
from bqemulator.streaming.strategies.base import AppendStatus
from bqemulator.streaming.write_stream import (
    DEFAULT_STREAM_SUFFIX,
    WriteStreamType,
    parse_stream_name,
)
from google.cloud.bigquery_storage_v1 import types
from google.protobuf.message import DecodeError

from local.bigquery_emulator import storing
from local.bigquery_emulator.admission import admit, check_offset, check_size
from local.bigquery_emulator.lateness import Lateness
from local.bigquery_emulator.refusals import Code, Refused, not_found
from local.bigquery_emulator.rows import Batch, ProtoBatch, ProtoReader, arrow_batch

Unary = Callable[[bytes, Any], bytes]
_BUFFERED = frozenset((WriteStreamType.BUFFERED, WriteStreamType.PENDING))


@dataclass(slots=True)
class _Connection:
    """What one AppendRows call keeps from request to request.

    Java's client names the stream and sends the schema in a connection's first request only.
    """

    stream: str = ""
    descriptor: Any = None
    reader: ProtoReader | None = None
    fields: Any = None
    arrow_schema: bytes = b""

    def note_schema(self, request: Any) -> None:
        """Keeps the schema that a request brings, though its offset be refused.

        Java's client sends it no more after an answer such as ALREADY_EXISTS.
        """
        if request.HasField("arrow_rows"):
            sent = request.arrow_rows.writer_schema.serialized_schema
            self.arrow_schema = sent or self.arrow_schema
        elif request.proto_rows.HasField("writer_schema"):
            self.descriptor = request.proto_rows.writer_schema.proto_descriptor
            self.reader = None


class _Answer:
    """Stands in for a call's context while stock code answers it: keeps code and words."""

    code: grpc.StatusCode | None = None
    details = ""

    def set_code(self, code: grpc.StatusCode) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        self.details = details


class Writing(stock.BigQueryWriteHandler):  # type: ignore[misc]
    """The BigQueryWrite service.

    Unary calls are answered in threads: the stock server answers them on the event loop, where
    a flush's insert would stop all else.
    """

    @property
    def _lateness(self) -> Lateness:
        lateness: Lateness = self._ctx.catalog.lateness
        return lateness

    def service(self, handler_call_details: Any) -> Any:
        """The handler of a call, None if it is not ours."""
        method = handler_call_details.method
        if method == stock._APPEND_ROWS:
            return grpc.stream_stream_rpc_method_handler(self._append_rows)
        unary: dict[str, Unary] = {
            stock._CREATE_WRITE_STREAM: self._create,
            stock._GET_WRITE_STREAM: self._get,
            stock._FINALIZE_WRITE_STREAM: self._finalize,
            stock._BATCH_COMMIT_WRITE_STREAMS: self._handle_batch_commit_write_streams,
            stock._FLUSH_ROWS: self._flush,
        }
        answer = unary.get(method)
        if answer is None:
            return None

        async def in_thread(request: bytes, context: Any) -> bytes:
            return await asyncio.to_thread(answer, request, context)

        return grpc.unary_unary_rpc_method_handler(in_thread)

    # AppendRows

    def _append_rows(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """Answers each request; a stream or table that is not there ends the call."""
        connection = _Connection()
        limit = self._ctx.settings.write_api_max_request_bytes
        for data in requests:
            try:
                request = types.AppendRowsRequest.pb().FromString(data)
                connection.stream = request.write_stream or connection.stream
                stream, table = self._target(connection.stream)
            except DecodeError as error:
                Refused(
                    grpc.StatusCode.INVALID_ARGUMENT, f"{error}.", entity=connection.stream
                ).end(context)
                return
            except Refused as refused:
                refused.end(context)
                return
            try:
                check_size(len(data), limit, stream.name)
                connection.note_schema(request)
                yield self._append(connection, request, stream, table)
            except Refused as refused:
                yield refused.response(stream.name)

    def _target(self, name: str) -> tuple[Any, Any]:
        """The stream of that name and the table behind it as it is now.

        Raises:
            Refused: One of them is not there, or the name is none.
        """
        try:
            project, dataset, table_id, stream_id = parse_stream_name(name)
        except ValueError as error:
            raise Refused(
                grpc.StatusCode.INVALID_ARGUMENT, "Invalid stream name.", entity=name
            ) from error
        table = self._ctx.catalog.get_table(project, dataset, table_id)
        if table is None:
            raise not_found(name.partition("/streams/")[0], Code.TABLE_NOT_FOUND)
        self._lateness.check_table((project, dataset, table_id), name.partition("/streams/")[0])
        if stream_id == DEFAULT_STREAM_SUFFIX:
            return self._manager.get_or_create_default(project, dataset, table_id), table
        stream = self._manager.get(name)
        if stream is None:
            raise not_found(name, Code.STREAM_NOT_FOUND)
        return stream, table

    def _append(self, connection: _Connection, request: Any, stream: Any, table: Any) -> bytes:
        """Stores one request's rows and returns its answer; raises Refused, nothing stored."""
        offset = request.offset.value if request.HasField("offset") else None
        with stream.lock:
            admit(stream, offset)
            batch = self._batch(connection, request, stream, table)
            start = stream.next_offset
            buffered = stream.stream_type in _BUFFERED
            keep = partial(storing.probe, self._ctx.engine) if buffered else self._flush_to_target
            rows = storing.store(self._ctx.engine, batch, stream, keep)
            outcome = select_strategy(stream.stream_type).append(
                stream,
                rows,
                offset,
                max_buffered_rows=self._ctx.settings.write_api_max_stream_rows,
            )
        if outcome.status is not AppendStatus.OK:
            raise Refused(
                stock._proto_to_grpc_status(outcome.status), outcome.detail, entity=stream.name
            )
        result = types.AppendRowsResponse.AppendResult()
        if stream.stream_type is not WriteStreamType.DEFAULT:
            result.offset = start
        answer = types.AppendRowsResponse(append_result=result, write_stream=stream.name)
        serialized: bytes = types.AppendRowsResponse.serialize(answer)
        return serialized

    def _batch(self, connection: _Connection, request: Any, stream: Any, table: Any) -> Batch:
        """The request's rows, read by the connection's schema in the table's shape of today."""
        if request.HasField("arrow_rows"):
            try:
                rows = deserialize_arrow_rows(
                    connection.arrow_schema, request.arrow_rows.rows.serialized_record_batch
                )
            except ValueError as error:
                raise Refused(
                    grpc.StatusCode.INVALID_ARGUMENT, f"{error}.", entity=stream.name
                ) from error
            return arrow_batch(rows, self._known(table, rows.column_names), stream.name)
        if connection.descriptor is None:
            raise Refused(
                grpc.StatusCode.INVALID_ARGUMENT,
                "The connection's first request has no writer schema.",
                entity=stream.name,
            )
        fields = self._known(table, (field.name for field in connection.descriptor.field))
        if connection.reader is None or connection.fields != fields:
            connection.reader = ProtoReader(connection.descriptor, fields, stream.name)
            connection.fields = fields
        return ProtoBatch(connection.reader, request.proto_rows.rows.serialized_rows)

    def _known(self, table: Any, sent: Iterable[str]) -> Sequence[Any]:
        """The table's columns, so far as Storage Write knows them already."""
        key = (table.project_id, table.dataset_id, table.table_id)
        return self._lateness.known(key, table.schema_.fields, sent)

    def _flush_to_target(self, stream: Any, rows: Any) -> None:
        """Inserts rows by name; the stock method does so by position."""
        storing.insert(self._ctx.engine, stream, rows)
        self._ctx.snapshots.record_change(stream.project_id, stream.dataset_id, stream.table_id)

    # The unary calls

    def _create(self, data: bytes, context: Any) -> bytes:
        parent = types.CreateWriteStreamRequest.pb().FromString(data).parent
        try:
            self._lateness.check_table(tuple(parent.split("/")[1::2]), parent)
        except Refused as refused:
            refused.end(context)
            return b""
        storage = {grpc.StatusCode.NOT_FOUND: Code.TABLE_NOT_FOUND}
        return self._answered(self._handle_create_write_stream, data, context, parent, storage)

    def _get(self, data: bytes, context: Any) -> bytes:
        """GetWriteStream, whose schema lacks the columns that are late."""
        name = types.GetWriteStreamRequest.pb().FromString(data).name
        try:
            _, table = self._target(name)
        except Refused as refused:
            refused.end(context)
            return b""
        answer = self._answered(self._handle_get_write_stream, data, context, name, {})
        stream = types.WriteStream.deserialize(answer)
        names = [field.name for field in stream.table_schema.fields]
        known = {field.name for field in self._known(table, names)}
        stream.table_schema.fields = [
            field for field in stream.table_schema.fields if field.name in known
        ]
        return bytes(types.WriteStream.serialize(stream))

    def _finalize(self, data: bytes, context: Any) -> bytes:
        """Seals a stream once the append under way is through: `row_count` is then exact."""
        name = types.FinalizeWriteStreamRequest.pb().FromString(data).name
        try:
            stream, _ = self._target(name)
        except Refused as refused:
            refused.end(context)
            return b""
        storage = {
            grpc.StatusCode.INVALID_ARGUMENT: Code.INVALID_STREAM_TYPE,
            grpc.StatusCode.FAILED_PRECONDITION: Code.STREAM_ALREADY_COMMITTED,
        }
        with stream.lock:
            return self._answered(self._handle_finalize_write_stream, data, context, name, storage)

    def _answered(
        self, answer: Unary, data: bytes, context: Any, entity: str, storage: dict[Any, Any]
    ) -> bytes:
        """What stock code answers; its refusals with the StorageError of their gRPC code."""
        seen = _Answer()
        answered = answer(data, seen)
        if seen.code is None:
            return answered
        words = seen.details.partition(" Entity: ")[0]
        Refused(seen.code, words, entity=entity, storage=storage.get(seen.code)).end(context)
        return b""

    def _flush(self, data: bytes, context: Any) -> bytes:
        """FlushRows: shows the rows up to and with the offset.

        Beam's Java sink counts on both answers: ALREADY_EXISTS means flushed before,
        INVALID_ARGUMENT on a stream that is finalized.
        """
        request = types.FlushRowsRequest.pb().FromString(data)
        try:
            self._flush_rows(request.write_stream, request.offset.value)
        except Refused as refused:
            refused.end(context)
            return b""
        answer = types.FlushRowsResponse(offset=request.offset.value)
        serialized: bytes = types.FlushRowsResponse.serialize(answer)
        return serialized

    def _flush_rows(self, name: str, offset: int) -> None:
        stream, _ = self._target(name)
        if stream.stream_type is not WriteStreamType.BUFFERED:
            raise Refused(
                grpc.StatusCode.INVALID_ARGUMENT,
                "FlushRows is for BUFFERED streams.",
                entity=name,
                storage=Code.INVALID_STREAM_TYPE,
            )
        with stream.lock:
            admit(stream, None)
            check_offset(stream, offset, stream.flushed_rows, stream.next_offset - 1)
            before = stream.flushed_rows
            # The stock method's offset is the first row that stays hidden.
            outcome = select_strategy(stream.stream_type).flush(stream, offset + 1)
            try:
                self._flush_to_target(stream, outcome.committed_rows)
            except duckdb.Error as error:
                stream.flushed_rows = before
                raise Refused(grpc.StatusCode.INTERNAL, f"{error}.", entity=name) from error
