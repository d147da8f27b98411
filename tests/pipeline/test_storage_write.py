"""WriteRows of Beam's sink: the same rows as Beam Rows, and failed ones back into dead letters."""

from types import SimpleNamespace

import pytest
from apache_beam.coders import RowCoder
from apache_beam.typehints.row_type import RowTypeConstraint
from apache_beam.utils.timestamp import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.storage_write import beam_row_type, to_beam_row, to_failure
from schemas.event import RestoredRow, decode_message
from schemas.failure import DATA, DATA_ROW, Failure, dead_letter
from schemas.message import DEDUP_ID, EVENT_ID, MANUAL_TYPE, Message
from schemas.row import Row, Shaper
from schemas.table import Type
from schemas.table_file import parse_table, shipped
from schemas.times import MAX_MICROS, MIN_MICROS

EVERY = parse_table(
    "table: every\nlayout: structured\ndefault: true\ncolumns:\n"
    + "".join(
        f"  - {{path: {kind.lower()}_{mode.lower()}, type: {kind}, mode: {mode}}}\n"
        for kind in Type
        for mode in ("NULLABLE", "REPEATED")
    ),
    "every.yaml",
)

NOW = 1_795_514_400_000_000
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = {
    Type.STRING: _TEXT,
    Type.JSON: st.sampled_from(["{}", '{"a": [1, null, "Ü"]}', "null", '"x"']),
    Type.INT64: st.integers(-(2**63), 2**63 - 1),
    Type.FLOAT64: st.floats(allow_nan=False),
    Type.BOOL: st.booleans(),
    Type.BYTES: st.binary(max_size=20),
    Type.TIMESTAMP: st.integers(MIN_MICROS, MAX_MICROS),
}


def values_of(table):
    return st.fixed_dictionaries(
        {
            column.name: st.lists(VALUES[column.type], max_size=3)
            if column.repeated
            else st.none() | VALUES[column.type]
            for column in table.columns
        }
    )


def through_the_coder(values, table):
    """A row as Beam's own coder writes and reads it on the way to Java and back."""
    coder = RowCoder.from_type_hint(beam_row_type(table), None)
    given = to_beam_row(Row(table.name, values, Message(b"")), table)
    return coder.decode(coder.encode(given))


def plain(row):
    """A decoded Beam Row's values as a Row has them."""

    def value(item):
        return item.micros if isinstance(item, Timestamp) else item

    return {
        name: [value(item) for item in given]
        if isinstance(given, (list, tuple)) and not isinstance(given, (str, bytes))
        else value(given)
        for name, given in row._asdict().items()
    }


def blank(table):
    return {column.name: [] if column.repeated else None for column in table.columns}


@settings(max_examples=150, deadline=None)
@given(values=values_of(EVERY))
def test_every_type_and_mode_survives_the_coder(values):
    """Each column type, NULLABLE and REPEATED, comes back equal, to the microsecond."""
    assert plain(through_the_coder(values, EVERY)) == values


def test_the_ends_of_each_type_survive():
    """The largest and smallest values, empty ones and NaN are kept."""
    values = blank(EVERY) | {
        "int64_nullable": -(2**63),
        "int64_repeated": [2**63 - 1, 0],
        "float64_repeated": [float("inf"), -0.0, 5e-324],
        "timestamp_repeated": [MIN_MICROS, -1, 0, 1, MAX_MICROS],
        "string_nullable": "",
        "bytes_nullable": b"",
        "bool_nullable": False,
    }
    assert plain(through_the_coder(values, EVERY)) == values
    kept = plain(through_the_coder(blank(EVERY) | {"float64_nullable": float("nan")}, EVERY))
    assert kept["float64_nullable"] != kept["float64_nullable"]


@pytest.mark.parametrize("table", [EVERY, *shipped(), parse_table("table: f\nlayout: flat", "f")])
def test_the_row_type_has_the_table_s_columns(table):
    """The Beam Row's fields are the table's columns, in their order."""
    row_type = beam_row_type(table)
    assert isinstance(row_type, RowTypeConstraint)
    assert [name for name, _ in row_type._fields] == [column.name for column in table.columns]


def failed(values, table, why="no"):
    """What Beam's sink gives back for a row that was refused."""
    return SimpleNamespace(failed_row=through_the_coder(values, table), error_message=why)


@settings(max_examples=100, deadline=None)
@given(values=values_of(EVERY), event_id=st.uuids().map(str))
def test_a_refused_row_comes_back_through_its_dead_letter(values, event_id):
    """Sink, failure, dead letter, DecodeEvents, ShapeRows: the same values for the same table."""
    values = values | {"event_id": event_id, "created_at": NOW}
    failure = to_failure(failed(values, EVERY, "field x is bad"), EVERY)
    assert (failure.stage, failure.error) == ("write", "RowRefused")
    assert failure.reason == "field x is bad"
    letter = dead_letter(failure, time=0, job="j")
    assert letter.unpublishable == ""
    assert letter.attributes[DATA] == DATA_ROW
    assert letter.attributes[EVENT_ID] == event_id
    assert letter.attributes[DEDUP_ID] == f"{event_id}:1"
    replayed = Message(letter.data, letter.attributes)
    event = decode_message(replayed)
    assert event == RestoredRow(replayed)
    assert Shaper([EVERY]).shape(event, now=NOW) == Row("every", values, replayed)


RAW = parse_table("table: kept\ndefault: true\nraw: true", "kept.yaml")


@pytest.mark.parametrize("data", [b'{"issue": "\xc3\xbc", "n":  1.0}', b'\n{"a": "\\u00fc"}\n'])
def test_a_refused_row_of_a_raw_table_is_its_own_message(data):
    """With `raw`, the dead letter has the original bytes and attributes, not the row as JSON."""
    attributes = {
        "ce-type": MANUAL_TYPE,
        "ce-id": "1",
        "ce-source": "//test",
        "ce-time": "2026-11-24T10:00:00Z",
        "some": "Ü ✓",
    }
    message = Message(data, attributes, message_id="77", publish_time=NOW + 123_456)
    row = Shaper([RAW]).shape(decode_message(message), now=NOW)
    failure = to_failure(failed(row.values, RAW, "field x is bad"), RAW)
    assert failure == Failure(message, "write", "RowRefused", "field x is bad")
    letter = dead_letter(failure, time=0, job="j")
    assert letter.data == data
    assert attributes.items() <= letter.attributes.items()
    assert DATA not in letter.attributes
    assert letter.attributes[EVENT_ID] == message.event_id
    assert letter.attributes[DEDUP_ID] == f"{message.event_id}:1"
    # Published again it is shaped anew, from the letter: the same row but for what only the first
    # message had.
    again = Shaper([RAW]).shape(decode_message(Message(data, letter.attributes)), now=NOW)
    assert {**again.values, "raw": None, "publish_time": None} == {
        **row.values,
        "raw": None,
        "publish_time": None,
    }


def test_a_refused_row_of_a_raw_table_without_its_message():
    """A row that a letter brought back by hand may lack `raw`: then the letter is the row."""
    values = blank(RAW) | {"event_id": "e", "created_at": NOW}
    failure = to_failure(failed(values, RAW), RAW)
    assert failure.message.attributes[DATA] == DATA_ROW
    assert Shaper([RAW]).shape(RestoredRow(failure.message), NOW).values == values


def test_a_refused_row_without_an_id_is_kept():
    """A flat row has no id: its letter is known by its data."""
    flat = parse_table("table: f\nlayout: flat\ndefault: true", "f")
    values = {"issue_id": "i", "source": "s", "created_at": "2026", "payload": "{}"}
    failure = to_failure(failed(values, flat), flat)
    assert failure.message.attributes == {DATA: DATA_ROW}
    assert Shaper([flat]).shape(RestoredRow(failure.message), NOW).values == values
