"""Rows of an append request: protobuf or Arrow in, a table of the target's columns out.

A row that BigQuery would refuse raises here, with the field in its message. The stock server
takes a TIMESTAMP or DATE outside the years 1 to 9999, which then breaks every SELECT of the
table, and NULL for a REQUIRED column; it drops fields that the table lacks, and all fields of
RECORD columns.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
from bqemulator.api.routes.tabledata import _build_arrow_schema, _fields_raw_from_schema
from bqemulator.grpc_api.write_servicer import _align_to_target
from bqemulator.storage.arrow_bridge import _coerce_to_arrow_value
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError

from local.bigquery_emulator.refusals import Code, Refused
from schemas.times import MAX_MICROS, MIN_MICROS

# What a bad row raises: wire format, text that is not UTF-8, types, ranges, decimals.
BAD_ROW = (DecodeError, ValueError, TypeError, ArithmeticError, pa.ArrowException)

# DATE: days since the Unix epoch, 0001-01-01 to 9999-12-31.
MIN_DAYS, MAX_DAYS = MIN_MICROS // 86_400_000_000, MAX_MICROS // 86_400_000_000

_LIMITS = {
    "TIMESTAMP": (MIN_MICROS, MAX_MICROS, "Timestamp field value is out of range"),
    "DATE": (MIN_DAYS, MAX_DAYS, "Date field value is out of range"),
}
_RECORDS = frozenset(("RECORD", "STRUCT"))
_PACKED = frozenset(("DATETIME", "TIME"))
# Values of these protobuf types go into Arrow as they are.
_PLAIN = {
    "STRING": FieldDescriptor.TYPE_STRING,
    "JSON": FieldDescriptor.TYPE_STRING,
    "BYTES": FieldDescriptor.TYPE_BYTES,
    "INT64": FieldDescriptor.TYPE_INT64,
    "INTEGER": FieldDescriptor.TYPE_INT64,
    "FLOAT64": FieldDescriptor.TYPE_DOUBLE,
    "FLOAT": FieldDescriptor.TYPE_DOUBLE,
    "BOOL": FieldDescriptor.TYPE_BOOL,
    "BOOLEAN": FieldDescriptor.TYPE_BOOL,
}

# The values of one field in each of several messages; and what becomes of one value.
Reader = Callable[[Sequence[Any]], list[Any]]
Conversion = Callable[[Any], Any]


class Batch(Protocol):
    """The rows of one request, before anybody knows whether they will do."""

    def __len__(self) -> int:
        """How many rows the request has."""
        ...

    def table(self, start: int, end: int) -> Any:
        """The rows start..end-1 as an Arrow table; raises one of BAD_ROW if one is bad."""
        ...


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the target, and how the writer's messages are read into it, if they are."""

    name: str
    kind: Any
    required: bool
    read: Reader | None


class ProtoReader:
    """Reads rows by a writer's descriptor into the columns of a table.

    Fields and columns are matched by name in any case, as the service does. Columns that the
    writer does not send are NULL.

    Args:
        descriptor: The writer's schema, self-contained; proto2, as the service reads it.
        fields: The table's columns, from the catalog.
        entity: The stream's name, for the refusal.

    Raises:
        Refused: The writer sends fields that the table lacks, or no valid schema.
    """

    def __init__(
        self, descriptor: descriptor_pb2.DescriptorProto, fields: Sequence[Any], entity: str
    ) -> None:
        try:
            self._message = _message_class(descriptor)
        except (TypeError, KeyError) as error:
            raise Refused(
                grpc.StatusCode.INVALID_ARGUMENT, f"Invalid proto schema: {error}.", entity=entity
            ) from error
        self._schema = table_schema(fields)
        sent = {field.name.lower(): field for field in self._message.DESCRIPTOR.fields}
        _refuse_extra(_extra_fields(self._message.DESCRIPTOR, fields), entity)
        self._columns = tuple(
            _Column(
                name=column.name,
                kind=self._schema.field(column.name).type,
                required=column.mode == "REQUIRED",
                read=_field_reader(field, column, self._schema.field(column.name).type)
                if (field := sent.get(column.name.lower()))
                else None,
            )
            for column in fields
        )

    def table(self, serialized: Sequence[bytes]) -> Any:
        """The rows as an Arrow table in the target's columns; raises one of BAD_ROW."""
        messages = [self._message.FromString(row) for row in serialized]
        arrays = [_array(column, messages) for column in self._columns]
        return pa.Table.from_arrays(arrays, schema=self._schema)


@dataclass(frozen=True, slots=True)
class ProtoBatch:
    """Serialized protobuf rows and their reader."""

    reader: ProtoReader
    serialized: Sequence[bytes]

    def __len__(self) -> int:
        return len(self.serialized)

    def table(self, start: int, end: int) -> Any:
        """See `Batch`."""
        return self.reader.table(self.serialized[start:end])


@dataclass(frozen=True, slots=True)
class ArrowBatch:
    """Rows that came as one Arrow record batch."""

    rows: Any
    fields: Sequence[Any]

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    def table(self, start: int, end: int) -> Any:
        """See `Batch`."""
        schema = table_schema(self.fields)
        table = _align_to_target(self.rows.slice(start, end - start), schema)
        for column in self.fields:
            if column.mode == "REQUIRED" and table.column(column.name).null_count:
                raise ValueError(f"Field value of {column.name} cannot be empty.")
        return table


def arrow_batch(rows: Any, fields: Sequence[Any], entity: str) -> ArrowBatch:
    """The batch of an Arrow request.

    Raises:
        Refused: It has columns that the table lacks.
    """
    known = {column.name.lower() for column in fields}
    _refuse_extra([name for name in rows.column_names if name.lower() not in known], entity)
    return ArrowBatch(rows, fields)


def table_schema(fields: Sequence[Any]) -> Any:
    """The Arrow schema of a table's columns, with the fields of RECORD columns."""
    return _build_arrow_schema(_fields_raw_from_schema(fields))


def faults(
    count: int, fault: Callable[[int, int], str | None], start: int = 0
) -> list[tuple[int, str]]:
    """Which rows are at fault, as (index, message), by halving whatever part is.

    Args:
        count: How many rows there are from `start` on.
        fault: What is wrong with the rows start..end-1 as a whole; None if they will do.
        start: The first row.
    """
    message = fault(start, start + count) if count else None
    if message is None:
        return []
    if count == 1:
        return [(start, message)]
    half = count // 2
    return faults(half, fault, start) + faults(count - half, fault, start + half)


def _message_class(descriptor: descriptor_pb2.DescriptorProto) -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="writer.proto", syntax="proto2")
    file.message_type.add().CopyFrom(descriptor)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(descriptor.name))


def _extra_fields(descriptor: Descriptor, columns: Sequence[Any], prefix: str = "") -> list[str]:
    known = {column.name.lower(): column for column in columns}
    extra = []
    for field in descriptor.fields:
        column = known.get(field.name.lower())
        if column is None:
            extra.append(prefix + field.name)
        elif field.message_type and column.type.upper() in _RECORDS:
            extra += _extra_fields(field.message_type, column.fields, f"{prefix}{field.name}.")
    return extra


def _refuse_extra(extra: Sequence[str], entity: str) -> None:
    if extra:
        raise Refused(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"Input schema has more fields than BigQuery schema, extra fields: '{','.join(extra)}'",
            entity=entity,
            storage=Code.SCHEMA_MISMATCH_EXTRA_FIELDS,
        )


def _array(column: _Column, messages: Sequence[Any]) -> Any:
    if column.read is None:
        array = pa.nulls(len(messages), column.kind)
    else:
        try:
            array = pa.array(column.read(messages), type=column.kind)
        except BAD_ROW as error:
            raise ValueError(f"{error} on field {column.name}.") from error
    if column.required and array.null_count:
        raise ValueError(f"Field value of {column.name} cannot be empty.")
    return array


def _field_reader(field: FieldDescriptor, column: Any, kind: Any) -> Reader:
    """How a column is read from messages: None where it is not set, a list if repeated."""
    name = field.name
    get = operator.attrgetter(name)
    element = kind.value_type if column.mode == "REPEATED" else kind
    convert = _conversion(field, column, element)
    if field.is_repeated:
        if convert is None:
            return lambda messages: [list(get(message)) for message in messages]
        return lambda messages: [[convert(value) for value in get(message)] for message in messages]
    if convert is None:
        # Only a value that equals the default may be one that is not set: half the calls.
        return lambda messages: [
            value if value or message.HasField(name) else None
            for message, value in zip(messages, map(get, messages), strict=True)
        ]
    return lambda messages: [
        convert(get(message)) if message.HasField(name) else None for message in messages
    ]


def _conversion(field: FieldDescriptor, column: Any, kind: Any) -> Conversion | None:
    """How one value becomes what Arrow takes for the column; None: it is that already."""
    bq_type = column.type.upper()
    if bq_type in _RECORDS and field.message_type:
        return _record(field.message_type, column.fields, kind)
    if _PLAIN.get(bq_type) == field.type:
        return None
    if bq_type in _LIMITS:
        return _limited(*_LIMITS[bq_type], kind)
    if bq_type in _PACKED:
        return _literal(bq_type, kind)
    return lambda value: _coerce_to_arrow_value(value, kind)


def _record(descriptor: Descriptor, columns: Sequence[Any], kind: Any) -> Conversion:
    sent = {field.name.lower(): field for field in descriptor.fields}
    readers = {
        column.name: _field_reader(field, column, kind.field(column.name).type)
        for column in columns
        if (field := sent.get(column.name.lower()))
    }
    return lambda message: {name: read((message,))[0] for name, read in readers.items()}


def _limited(low: int, high: int, message: str, kind: Any) -> Conversion:
    """Integers within limits (micros or days since the epoch), and literals."""

    def convert(value: Any) -> Any:
        if isinstance(value, int):
            if not low <= value <= high:
                raise ValueError(f"{message}: {value}")
            return value
        return _coerce_to_arrow_value(value, kind)

    return convert


def _literal(bq_type: str, kind: Any) -> Conversion:
    """DATETIME and TIME literals; the packed integers of the service would be misread here."""

    def convert(value: Any) -> Any:
        if isinstance(value, int):
            raise TypeError(f"this stand-in reads {bq_type} from strings only, not {value}")
        return _coerce_to_arrow_value(value, kind)

    return convert
