"""Rows as protobuf bytes: the descriptor, and every value read back."""

import math

import pytest
from google.protobuf import descriptor_pb2
from hypothesis import given
from hypothesis import strategies as st

from schemas.encode import Encoder, descriptor
from schemas.table import Column, Table, Type
from schemas.table_file import shipped
from schemas.times import MAX_MICROS, MIN_MICROS
from tests.strategies import is_same, row_values

EVERY = Table(
    "every",
    "structured",
    tuple(
        Column(f"{kind.lower()}_{'list' if repeated else 'one'}", kind, repeated)
        for kind in Type
        for repeated in (False, True)
    ),
)
ENCODER = Encoder(EVERY)
SHIPPED = Encoder(shipped()[0])
EMPTY = {column.name: [] if column.repeated else None for column in EVERY.columns}


def test_the_descriptor_names_columns_in_order():
    """One field a column, numbered from 1, optional or repeated, by Google's table of types."""
    field = descriptor_pb2.FieldDescriptorProto
    types = {
        Type.STRING: field.TYPE_STRING, Type.JSON: field.TYPE_STRING,
        Type.INT64: field.TYPE_INT64, Type.TIMESTAMP: field.TYPE_INT64,
        Type.FLOAT64: field.TYPE_DOUBLE, Type.BOOL: field.TYPE_BOOL, Type.BYTES: field.TYPE_BYTES,
    }  # fmt: skip
    found = [(f.name, f.number, f.type, f.label) for f in descriptor(EVERY).field]
    assert found == [
        (
            column.name,
            number,
            types[column.type],
            field.LABEL_REPEATED if column.repeated else field.LABEL_OPTIONAL,
        )
        for number, column in enumerate(EVERY.columns, start=1)
    ]
    assert [f.name for f in descriptor(shipped()[0]).field] == [
        column.name for column in shipped()[0].columns
    ]


@given(row_values(EVERY.columns))
def test_every_row_reads_back(values):
    """Every type, None and lists; NaN, -0.0 and the ends of every range among them."""
    assert is_same(ENCODER.decode(ENCODER.encode(values)), values)


@given(row_values(shipped()[0].columns))
def test_every_row_of_the_shipped_table_reads_back(values):
    """The table that is used, by the encoder that is used."""
    assert is_same(SHIPPED.decode(SHIPPED.encode(values)), values)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("string_one", ""),
        ("string_one", "\x00 ü 🚒"),
        ("int64_one", 0),
        ("int64_one", 2**63 - 1),
        ("int64_one", -(2**63)),
        ("float64_one", 0.0),
        ("float64_one", -0.0),
        ("float64_one", math.nan),
        ("float64_one", -math.inf),
        ("bool_one", False),
        ("bytes_one", b""),
        ("timestamp_one", 0),
        ("timestamp_one", MIN_MICROS),
        ("timestamp_one", MAX_MICROS),
        ("json_one", "null"),
        ("bool_list", [False, True]),
        ("string_list", ["", ""]),
        ("bytes_list", [b"", b"\xff"]),
    ],
)
def test_zero_and_empty_are_values_and_not_absence(column, value):
    """What is set comes back as set; all else as None or []."""
    found = ENCODER.decode(ENCODER.encode(EMPTY | {column: value}))
    assert is_same(found, EMPTY | {column: value})


def test_a_row_of_nothing_is_no_bytes():
    """NULL is a field's absence."""
    assert ENCODER.encode(EMPTY) == b""
    assert ENCODER.decode(b"") == EMPTY


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("unknown", 1),
        ("string_one", 5),
        ("int64_one", 2**63),
        ("int64_one", "5"),
        ("string_one", "\ud800"),
        ("bool_one", "true"),
        ("bytes_one", "text"),
        ("string_list", [None]),
        ("float64_one", "NaN"),
    ],
)
def test_what_is_no_value_of_its_column_is_a_fault(column, value):
    """A row that was not shaped for the table is refused, not written differently."""
    with pytest.raises((ValueError, TypeError)):
        ENCODER.encode({column: value})


@given(st.lists(st.sampled_from(["a_b", "aB", "self", "class", "from", "Row", "a__b", "_x", "x1"]),
                min_size=1, unique=True))  # fmt: skip
def test_any_column_name_is_a_fields_name(names):
    """Names that Python or protobuf's JSON would trip over are names like others."""
    table = Table("t", "structured", tuple(Column(name, Type.STRING) for name in names))
    encoder = Encoder(table)
    values = {name: name for name in names}
    assert encoder.decode(encoder.encode(values)) == values
