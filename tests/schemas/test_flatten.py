"""Declared columns: where a value is found, and what fits which type."""

import json
import math

import orjson
import pytest
from hypothesis import given

from schemas.firestore import fields_to_json
from schemas.flatten import FITS, flatten, json_text, slots
from schemas.table import Column, Type
from schemas.times import MAX_MICROS, format_micros
from tests.strategies import fields, int64, is_same, micros

FIT = [
    (Type.STRING, "x", "x"),
    (Type.STRING, "", ""),
    (Type.STRING, "2027-01-15T08:00:00Z", "2027-01-15T08:00:00Z"),
    (Type.INT64, 0, 0),
    (Type.INT64, 2**63 - 1, 2**63 - 1),
    (Type.INT64, -(2**63), -(2**63)),
    (Type.INT64, 3.0, 3),
    (Type.INT64, -0.0, 0),
    (Type.INT64, 2.0**62, 2**62),
    (Type.FLOAT64, 0.1, 0.1),
    (Type.FLOAT64, -0.0, -0.0),
    (Type.FLOAT64, 7, 7.0),
    (Type.FLOAT64, 2**53, 2.0**53),
    (Type.FLOAT64, 2**63, 2.0**63),
    (Type.FLOAT64, "NaN", math.nan),
    (Type.FLOAT64, "Infinity", math.inf),
    (Type.FLOAT64, "-Infinity", -math.inf),
    (Type.BOOL, True, True),
    (Type.BOOL, False, False),
    (Type.TIMESTAMP, "2027-01-15T08:00:00.123456789Z", 1_800_000_000_123_456),
    (Type.TIMESTAMP, "1969-12-31T23:59:59.5Z", -500_000),
    (Type.TIMESTAMP, "9999-12-31T23:59:59.999999999Z", MAX_MICROS),
    (Type.BYTES, "", b""),
    (Type.BYTES, "AP/+", b"\x00\xff\xfe"),
    (Type.JSON, "x", '"x"'),
    (Type.JSON, 0, "0"),
    (Type.JSON, False, "false"),
    (Type.JSON, {"a": [1, 2.5, None]}, '{"a":[1,2.5,null]}'),
    (Type.JSON, 2**64 - 1, "18446744073709551615"),
]
NO_FIT = [
    (Type.STRING, 5),
    (Type.STRING, True),
    (Type.STRING, ["x"]),
    (Type.STRING, {}),
    (Type.INT64, "5"),
    (Type.INT64, True),
    (Type.INT64, 2.5),
    (Type.INT64, 2**63),
    (Type.INT64, 1e19),
    (Type.INT64, "NaN"),
    (Type.FLOAT64, 2**53 + 1),
    (Type.FLOAT64, 2**63 - 1),
    (Type.FLOAT64, "1.5"),
    (Type.FLOAT64, "nan"),
    (Type.FLOAT64, False),
    (Type.BOOL, 0),
    (Type.BOOL, "true"),
    (Type.TIMESTAMP, "2027-01-15"),
    (Type.TIMESTAMP, 1_800_000_000),
    (Type.TIMESTAMP, ""),
    (Type.BYTES, "A"),
    (Type.BYTES, "_w=="),
    (Type.BYTES, "é==="),
    (Type.BYTES, 5),
]


def flat(value, kind, *, repeated=False, path=("f",)):
    column = Column("c", kind, repeated, path=path)
    values = {}
    errors = flatten({"f": value}, slots([column]), values)
    assert list(values) == ["c"]
    return values["c"], errors


@pytest.mark.parametrize(("kind", "value", "expected"), FIT)
def test_what_fits_is_exact(kind, value, expected):
    """The module's table, row by row, in a NULLABLE column as in a REPEATED one."""
    found, errors = flat(value, kind)
    assert errors == []
    assert is_same(found, expected)
    found, errors = flat([value, None, value], kind, repeated=True)
    assert errors == []
    assert is_same(found, [expected, expected])


@pytest.mark.parametrize(("kind", "value"), NO_FIT)
def test_what_does_not_fit_is_null_and_named(kind, value):
    """No guess: NULL (or []), with the path; the element's, where it is one."""
    assert flat(value, kind) == (None, ["f"])
    assert flat([None, value], kind, repeated=True) == ([], ["f[1]"])


@pytest.mark.parametrize("kind", list(Type))
def test_null_and_absence_are_null_and_no_error(kind):
    """A null field and a missing one are NULL, or [] where the column is REPEATED."""
    assert flat(None, kind) == (None, [])
    assert flat(None, kind, repeated=True) == ([], [])
    assert flat(1, kind, path=("other",)) == (None, [])
    assert flat(1, kind, path=("other",), repeated=True) == ([], [])


@pytest.mark.parametrize("value", ["x", 0, False, {}, {"0": "x"}])
def test_a_repeated_column_takes_arrays_only(value):
    """Anything else is named, and the column is []."""
    assert flat(value, Type.STRING, repeated=True) == ([], ["f"])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a b": {"c": "x"}}, "x"),
        ({"a b": {}}, None),
        ({"a b": "x"}, None),
        ({"a b": [{"c": "x"}]}, None),
        ({"a b": None}, None),
        ([], None),
    ],
)
def test_a_path_goes_through_maps_only(value, expected):
    """What ends on the way, or at an array, is absent, not an error."""
    assert flat(value, Type.STRING, path=("f", "a b", "c")) == (expected, [])


def test_paths_in_errors_are_quoted():
    """The path in `type_errors` is the one that the table's file would have."""
    assert flat({"a b": 5}, Type.STRING, path=("f", "a b")) == (None, ["f.`a b`"])


def test_each_column_gets_its_value_and_each_fault_its_name():
    """Faults come in the columns' order, and the input is not changed."""
    document = {"a": 1, "b": "x", "c": [1, "y"], "d": {"e": True}}
    before = json.dumps(document)
    columns = [
        Column("a", Type.STRING, path=("a",)),
        Column("b", Type.STRING, path=("b",)),
        Column("c", Type.INT64, repeated=True, path=("c",)),
        Column("d_e", Type.BOOL, path=("d", "e")),
        Column("whole", Type.JSON, path=("d",)),
    ]
    values = {"event_id": "E"}
    assert flatten(document, slots(columns), values) == ["a", "c[1]"]
    assert values == {
        "event_id": "E", "a": None, "b": "x", "c": [], "d_e": True, "whole": '{"e":true}',
    }  # fmt: skip
    assert json.dumps(document) == before


@given(micros)
def test_every_time_fits_a_timestamp(value):
    """What the codec writes for a timestamp is what a TIMESTAMP column reads."""
    assert FITS[Type.TIMESTAMP](format_micros(value)) == value


@given(int64)
def test_an_integer_is_a_float64_only_where_it_is_the_same(value):
    """A FLOAT64 column never holds another number than the document."""
    found, errors = flat(value, Type.FLOAT64)
    assert errors == ([] if found is not None else ["f"])
    assert (found is None) == (int(float(value)) != value)
    assert found is None or int(found) == value


@given(fields)
def test_any_document_shapes_into_any_columns(document):
    """Every value of every type against every column type: a value of the column's, or a name."""
    values_of = fields_to_json(document)
    python = {
        Type.STRING: str, Type.INT64: int, Type.FLOAT64: float, Type.BOOL: bool,
        Type.BYTES: bytes, Type.TIMESTAMP: int, Type.JSON: str,
    }  # fmt: skip
    for kind, expected in python.items():
        columns = [
            Column(f"c{i}{mode}", kind, repeated=bool(mode), path=(name,))
            for i, name in enumerate(values_of)
            for mode in ("", "r")
        ]
        found = {}
        errors = flatten(values_of, slots(columns), found)
        assert list(found) == [column.name for column in columns]
        for column in columns:
            value = found[column.name]
            if column.repeated:
                assert all(type(item) is expected for item in value)
            else:
                assert value is None or type(value) is expected
        assert len(errors) <= len(columns)


@given(fields)
def test_json_text_is_the_value(document):
    """The text of a JSON column reads back as the value, in one line of valid JSON."""
    value = fields_to_json(document)
    text = json_text(value)
    assert is_same(json.loads(text), value)
    assert is_same(orjson.loads(text), value)


def test_json_text_goes_as_deep_as_bigquery():
    """500 levels, where orjson ends at 254."""
    value = 0
    for _ in range(250):
        value = {"a": [value]}
    text = json_text(value)
    assert text == '{"a":[' * 250 + "0" + "]}" * 250
