"""Rows as protobuf bytes for the Storage Write API, by a descriptor derived from the table.

Types by Google's page "Supported protocol buffer and Arrow data types": TIMESTAMP is an int64 of
microseconds, JSON a string. Every field is proto2 optional or repeated, so that NULL is absence.
"""

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from schemas.table import Column, Table, Type

_Field = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    Type.STRING: _Field.TYPE_STRING,
    Type.JSON: _Field.TYPE_STRING,
    Type.INT64: _Field.TYPE_INT64,
    Type.TIMESTAMP: _Field.TYPE_INT64,
    Type.FLOAT64: _Field.TYPE_DOUBLE,
    Type.BOOL: _Field.TYPE_BOOL,
    Type.BYTES: _Field.TYPE_BYTES,
}


def descriptor(table: Table) -> descriptor_pb2.DescriptorProto:
    """The write descriptor: one self-contained message type, a field a column, in order."""
    fields = [_field(number, column) for number, column in enumerate(table.columns, start=1)]
    return descriptor_pb2.DescriptorProto(name="Row", field=fields)


def _field(number: int, column: Column) -> descriptor_pb2.FieldDescriptorProto:
    return _Field(
        name=column.name,
        number=number,
        type=_TYPES[column.type],
        label=_Field.LABEL_REPEATED if column.repeated else _Field.LABEL_OPTIONAL,
    )


class Encoder:
    """Encodes the rows of one table.

    Args:
        table: Whose columns, and no others, a row has.
    """

    def __init__(self, table: Table) -> None:
        self.descriptor = descriptor(table)
        file = descriptor_pb2.FileDescriptorProto(
            name="row.proto", syntax="proto2", message_type=[self.descriptor]
        )
        for field in file.message_type[0].field:
            field.json_name = field.name  # else columns a_b and aB would both be aB, and refused
        pool = descriptor_pool.DescriptorPool()
        pool.Add(file)
        self._message: Any = message_factory.GetMessageClass(pool.FindMessageTypeByName("Row"))

    def encode(self, values: Mapping[str, Any]) -> bytes:
        """One row's serialized bytes.

        Raises:
            ValueError, TypeError: A value is not what `schemas.table.Type` says, or a key is no
                column: a fault of the program, since rows are shaped from the same table.
        """
        encoded: bytes = self._message(**values).SerializeToString()
        return encoded

    def decode(self, encoded: bytes) -> dict[str, Any]:
        """Reads a row back, each column with its value, None where it is absent."""
        message = self._message.FromString(encoded)
        values: dict[str, Any] = {}
        for field in message.DESCRIPTOR.fields:
            if field.is_repeated:
                values[field.name] = list(getattr(message, field.name))
            else:
                has = message.HasField(field.name)
                values[field.name] = getattr(message, field.name) if has else None
        return values
