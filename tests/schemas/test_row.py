"""Events as rows: both layouts, routing, and what no row can hold."""

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.encode import Encoder
from schemas.event import decode_message
from schemas.firestore import Value
from schemas.message import Message, event_id_of, issue_id_of_document
from schemas.restored import message_of_row
from schemas.row import MAX_ROW_BYTES, Row, Shaper
from schemas.shaping import (
    DAY,
    InvalidPayload,
    InvalidRow,
    NoTime,
    OutsidePartitionRange,
    RowTooLarge,
    Unshapeable,
)
from schemas.table_file import parse_table, parse_tables, shipped
from schemas.times import MAX_MICROS, MIN_MICROS, format_micros
from tests.strategies import (
    NAME,
    NOW,
    document_event,
    fields,
    firestore_message,
    is_same,
    manual_message,
    recorded_messages,
    row_values,
)

SHIPPED = Shaper(shipped())
FLAT = Shaper((parse_table("{table: flat, layout: flat, default: true}", ""),))
TABLE = shipped()[0]
EMPTY = {column.name: [] if column.repeated else None for column in TABLE.columns}
TIME = format_micros(NOW)


def shape(message, shaper=SHIPPED, now=NOW):
    return shaper.shape(decode_message(message), now)


def refusal(message, shaper=SHIPPED, now=NOW):
    with pytest.raises(Unshapeable) as caught:
        shape(message, shaper, now)
    return type(caught.value), str(caught.value)


def flat_message(**changes):
    body = {"issue_id": "I", "source": "manual-api", "created_at": TIME, "payload": '{"title":"x"}'}
    return Message(json.dumps(body | changes).encode(), {}, "1", NOW + 5)


# The structured layout


def test_an_update_fills_every_column():
    """Each column of the shipped table, exactly, from one event with both sides."""
    new = {
        "title": {"string_value": "Login fails"},
        "reporter": {"map_value": {"fields": {"name": {"string_value": "Grace"}}}},
        "labels": {"array_value": {"values": [{"string_value": "web"}, {"null_value": 0}]}},
        "votes": {"integer_value": 3},
        "estimate": {"double_value": 1.5},
        "blocked": {"boolean_value": False},
        "due_at": {"timestamp_value": {"seconds": 1_900_000_000}},
        "environment": {"array_value": {"values": [{"integer_value": 1}]}},
        "priority": {"integer_value": 1},
        "other": {"null_value": 0},
    }
    message = dataclasses.replace(
        firestore_message(
            document_event(new, {"title": {"string_value": "Login"}}, mask=("title", "`x y`")),
            ce_time=TIME,
            ce_authtype="user",
            ce_authid="ada",
        ),
        publish_time=NOW - 1,
    )
    row = shape(message, now=NOW + 9)
    assert (row.table, row.message) == ("issues_stream", message)
    payload = row.values["payload"]
    assert json.loads(payload) == {
        "title": "Login fails",
        "reporter": {"name": "Grace"},
        "labels": ["web", None],
        "votes": 3,
        "estimate": 1.5,
        "blocked": False,
        "due_at": "2030-03-17T17:46:40Z",
        "environment": [1],
        "priority": 1,
        "other": None,
    }
    assert is_same(
        dict(row.values),
        EMPTY
        | {
            "event_id": event_id_of("//test", "1"),
            "issue_id": issue_id_of_document(NAME),
            "issue_key": NAME,
            "source": "firestore-eventarc",
            "created_at": NOW,
            "update_time": 1_800_000_000_123_456,
            "event_type": "google.cloud.firestore.document.v1.written",
            "operation": "UPDATE",
            "document_name": NAME,
            "document_path": "issues/one",
            "document_id": "one",
            "collection": "issues",
            "changed_fields": ["title", "`x y`"],
            "title": "Login fails",
            "reporter_name": "Grace",
            "labels": ["web"],
            "votes": 3,
            "estimate": 1.5,
            "blocked": False,
            "due_at": 1_900_000_000_000_000,
            "environment": "[1]",
            "type_errors": ["priority"],
            "payload": payload,
            "old_payload": '{"title":"Login"}',
            "auth_type": "user",
            "auth_id": "ada",
            "publish_time": NOW - 1,
            "ingest_time": NOW + 9,
        },
    )


def test_a_manual_issue_fills_its_columns():
    """No document, no sides, no type errors; the body is the payload, its numbers exact."""
    message = manual_message(b'{"issue": "Test", "votes": 1e400, "x": -0, "reporter": {"name": 5}}')
    row = shape(message)
    event_id = event_id_of("//test/manual", "7")
    assert row.values == EMPTY | {
        "event_id": event_id,
        "issue_id": decode_message(message).issue_id,
        "issue_key": event_id,
        "source": "manual-api",
        "created_at": NOW,
        "event_type": "issues.manual.created",
        "operation": "MANUAL",
        "issue": "Test",
        "type_errors": ["reporter.name", "votes", "votes"],
        "payload": '{"issue":"Test","votes":"1e400","x":-0.0,"reporter":{"name":5}}',
        "ingest_time": NOW,
    }


def test_a_deletions_columns_are_the_old_values():
    """`payload` is NULL; declared columns, and their type errors, are of what was deleted."""
    old = {"title": {"string_value": "Gone"}, "votes": {"string_value": "many"}}
    row = shape(firestore_message(document_event(None, old), ce_time=TIME))
    assert row.values["payload"] is None
    assert row.values["old_payload"] == '{"title":"Gone","votes":"many"}'
    assert row.values["title"] == "Gone"
    assert row.values["type_errors"] == ["votes"]
    assert row.values["changed_fields"] == []


def test_an_empty_documents_payload_is_an_object():
    """{} where a document has no fields, NULL where there is none."""
    created = shape(firestore_message(document_event({}), ce_time=TIME)).values
    assert (created["payload"], created["old_payload"]) == ("{}", None)
    deleted = shape(firestore_message(document_event(None, {}), ce_time=TIME)).values
    assert (deleted["payload"], deleted["old_payload"]) == (None, "{}")


def test_a_flat_message_fills_a_structured_table():
    """`issue_key` is the event_id, no document, MANUAL only where the source says so."""
    values = shape(flat_message(source="firestore-eventarc")).values
    assert (
        values["issue_key"]
        == values["event_id"]
        == flat_message(source="firestore-eventarc").event_id
    )
    assert values["operation"] is None
    assert (values["issue_id"], values["source"]) == ("I", "firestore-eventarc")
    assert (values["document_name"], values["event_type"]) == (None, None)
    assert (values["title"], values["payload"]) == ("x", '{"title":"x"}')
    assert shape(flat_message()).values["operation"] == "MANUAL"


def test_a_flat_time_that_is_none_gives_the_publish_time():
    """The row has a day to lie in, and says that its time did not fit."""
    values = shape(flat_message(created_at="yesterday")).values
    assert (values["created_at"], values["type_errors"]) == (NOW + 5, ["created_at"])


@pytest.mark.parametrize("payload", ["", "text", "[]"])
def test_a_flat_payload_that_is_no_object_fits_no_json_column(payload):
    """The structured layout needs the object."""
    assert refusal(flat_message(payload=payload)) == (
        InvalidPayload,
        "$.payload: the flat message's payload is no JSON object",
    )


@pytest.mark.parametrize("shaper", [SHIPPED, FLAT])
def test_an_event_without_any_time_is_refused(shaper):
    """No time is made up."""
    message = Message(b"{}", {"ce-type": "issues.manual.created"})
    found, reason = refusal(message, shaper)
    assert found is NoTime
    assert reason.startswith("neither ce-time")
    assert shape(dataclasses.replace(message, publish_time=NOW), shaper).values["created_at"] in (
        NOW,
        TIME,
    )


@pytest.mark.parametrize(
    ("offset", "fits"),
    [
        (0, True),
        (-1_824 * DAY + 1, True),
        (-1_824 * DAY, False),
        (366 * DAY - 1, True),
        (366 * DAY, False),
        (MIN_MICROS - NOW, False),
        (MAX_MICROS - NOW, False),
    ],
)
def test_a_time_beyond_bigquerys_partitions_is_refused(offset, fits):
    """1,824 days back and 366 ahead, to the microsecond; the flat layout has no partitions."""
    message = manual_message({}, now=NOW + offset)
    assert shape(message, FLAT).values["created_at"] == format_micros(NOW + offset)
    if fits:
        assert shape(message).values["created_at"] == NOW + offset
    else:
        assert refusal(message) == (
            OutsidePartitionRange,
            (
                f"created_at {format_micros(NOW + offset)} is more than 1824 days back or 366 "
                "ahead, where BigQuery takes no streamed rows"
            ),
        )


# The flat layout


def test_the_flat_layout_from_each_kind_of_event():
    """Four strings: from a change, a deletion, a manual issue and a flat message."""
    new, old = {"a": {"integer_value": 1}}, {"a": {"integer_value": 2}}
    issue_id = issue_id_of_document(NAME)
    firestore = {"issue_id": issue_id, "source": "firestore-eventarc", "created_at": TIME}
    written = firestore_message(document_event(new, old), ce_time=TIME)
    assert shape(written, FLAT) == Row("flat", firestore | {"payload": '{"a":1}'}, written)
    deleted = firestore_message(document_event(None, old), ce_time=TIME)
    assert shape(deleted, FLAT).values == firestore | {"payload": '{"a":2}'}
    manual = manual_message({"a": 0}, issue_id="INC-1")
    assert shape(manual, FLAT).values == {
        "issue_id": "INC-1",
        "source": "manual-api",
        "created_at": TIME,
        "payload": '{"a":0}',
    }
    flat = flat_message(created_at="any text", payload="any text")
    assert shape(flat, FLAT).values == {
        "issue_id": "I",
        "source": "manual-api",
        "created_at": "any text",
        "payload": "any text",
    }


# Routing


def test_a_document_goes_where_its_innermost_collection_is_taken():
    """What no table takes, and every manual issue, goes to the default table."""
    shaper = Shaper(
        parse_tables(
            [
                ("1", "{table: rest, default: true, collections: [issues]}"),
                ("2", "{table: talk, collections: [comments, notes]}"),
                ("3", "{table: old, layout: flat, collections: [teams]}"),
            ]
        )
    )

    def table_of(path):
        name = f"projects/p/databases/(default)/documents/{path}"
        message = firestore_message(document_event({}, name=name), ce_time=TIME)
        return shape(message, shaper).table

    assert table_of("issues/1") == "rest"
    assert table_of("issues/1/comments/2") == "talk"
    assert table_of("notes/1") == "talk"
    assert table_of("comments/1/issues/2") == "rest"
    assert table_of("teams/1") == "old"
    assert table_of("unheard/1") == "rest"
    assert shape(manual_message({}), shaper).table == "rest"
    assert shape(flat_message(), shaper).table == "rest"


# Size


@pytest.mark.parametrize("shaper", [SHIPPED, FLAT])
def test_a_row_of_more_than_a_request_is_refused(shaper):
    """The reason names the columns that are largest; just below the limit the row is whole."""
    found, reason = refusal(manual_message({"x": "\x01" * 1_700_000}), shaper)
    assert found is RowTooLarge
    assert "bytes, Storage Write takes 9900000 (payload 10200" in reason
    assert shape(manual_message({"x": "y" * 9_000_000}), shaper).values["payload"][-3:] == 'y"}'


def test_both_sides_and_every_column_count():
    """Two sides of 4 MB fit; with a declared column that repeats the text they do not."""
    big = {"x": {"string_value": "y" * 4_000_000}}
    assert shape(firestore_message(document_event(big, big), ce_time=TIME)).table
    big = {"description": {"string_value": "y" * 4_000_000}}
    found, reason = refusal(firestore_message(document_event(big, big), ce_time=TIME))
    assert found is RowTooLarge
    assert all(f"{name} 4" in reason for name in ("payload", "old_payload", "description"))


def test_small_data_that_grow_are_measured():
    """Empty geo points are 4 bytes of protobuf and 33 of JSON, in a JSON column once more."""
    point = Value(geo_point_value={})
    document = {"environment": Value(array_value={"values": [point] * 170_000})}
    message = firestore_message(document_event(document), ce_time=TIME)
    assert len(message.data) < MAX_ROW_BYTES // 14
    assert refusal(message)[0] is RowTooLarge


@pytest.mark.parametrize("numbers", [320, 500])
def test_the_paths_of_inexact_numbers_count(numbers):
    """Each repeats the names above it: a body of 23 KB is a row of 10 MB."""
    name = "\u044f" * 10_000
    message = manual_message(f'{{"{name}": [{",".join(["1e400"] * numbers)}]}}'.encode())
    assert len(message.data) < 25_000
    if numbers == 320:
        assert len(shape(message).values["type_errors"]) == 320
    else:
        found, reason = refusal(message)
        assert found is RowTooLarge
        assert "(type_errors 100" in reason


@settings(max_examples=30)
@given(fields, st.integers(1, 40))
def test_no_row_grows_beyond_what_is_not_measured(document, repeats):
    """Data below the bound of a table make no row above the limit: growth is bounded by it."""
    whole = {f"f{i}": value for i, value in enumerate(document.values())}
    whole["environment"] = Value(map_value={"fields": document})
    whole["labels"] = Value(array_value={"values": list(document.values()) * repeats})
    message = firestore_message(document_event(whole, whole), ce_time=TIME)
    bound = SHIPPED._surely_small[TABLE.name]
    encoded = Encoder(TABLE).encode(shape(message).values)
    fixed = 1_000  # ids, names and times of any row
    assert len(encoded) - fixed <= len(message.data) * MAX_ROW_BYTES / bound


# All that is recorded, and all that can be


def test_every_recorded_event_becomes_a_row():
    """The emulator's own events, in both layouts, each encoded by its table."""
    for shaper in (SHIPPED, FLAT):
        encoder = Encoder(shaper._tables[0])
        for message in recorded_messages():
            row = shape(message, shaper, now=message.publish_time)
            assert is_same(encoder.decode(encoder.encode(row.values)), dict(row.values))


@given(fields, fields | st.none())
def test_any_document_becomes_a_row_that_can_be_written(new, old):
    """Whatever the fields: a value for each column and no other, which the encoder takes."""
    message = firestore_message(document_event(new, old), ce_time=TIME)
    row = shape(message)
    assert list(row.values)
    assert set(row.values) == set(EMPTY)
    encoder = Encoder(TABLE)
    assert is_same(encoder.decode(encoder.encode(row.values)), dict(row.values))


# Rows that come back


@given(row_values(TABLE.columns))
def test_a_row_as_a_letter_comes_back_as_the_row(values):
    """Every type, the ends of each range among them; the letter is the row's message."""
    values = values | {"created_at": NOW, "event_id": values["event_id"] or "E"}
    message = message_of_row("issues_stream", values)
    row = shape(message)
    assert (row.table, row.message) == ("issues_stream", message)
    assert is_same(dict(row.values), values)


def test_a_rows_letter_carries_its_ids():
    """So that a replay of it is known as the event; a flat row has none."""
    message = message_of_row("t", {"event_id": "E", "x": b"\xff"})
    assert message.attributes == {"dead_letter_data": "row", "event_id": "E", "dedup_id": "E"}
    assert json.loads(message.data) == {"table": "t", "values": {"event_id": "E", "x": "/w=="}}
    flat = message_of_row("t", {"issue_id": "I"})
    assert flat.attributes == {"dead_letter_data": "row"}
    assert shape(message_of_row("flat", {"issue_id": "I"}), FLAT).values == {
        "issue_id": "I",
        "source": None,
        "created_at": None,
        "payload": None,
    }


def letter(data):
    data = data if isinstance(data, bytes) else json.dumps(data).encode()
    return Message(data, {"dead_letter_data": "row"})


def row_letter(**values):
    given = {"event_id": "E", "created_at": NOW} | values
    return letter({"table": "issues_stream", "values": given})


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (letter(b""), "Expecting value"),
        (letter(b"\xff"), "invalid start byte"),
        (letter(b"[" * 100_000), "nested too deep"),
        (letter([]), "an object of `table` and `values`"),
        (letter({"table": "issues_stream"}), "an object of `table` and `values`"),
        (letter({"table": "issues_stream", "values": {}, "x": 1}), "an object of `table`"),
        (letter({"table": "other", "values": {}}), "no table of this job is called 'other'"),
        (letter({"table": [], "values": {}}), "no table of this job is called []"),
        (letter({"table": "issues_stream", "values": []}), "`values` is no object"),
        (row_letter(nope=1), "table issues_stream has no column 'nope'"),
        (row_letter(title=5), "$.values.title: 5 is no STRING"),
        (row_letter(title="\ud800"), "$.values.title: 'utf-8' codec can't encode"),
        (row_letter(votes="5"), "$.values.votes: '5' is no INT64"),
        (row_letter(votes=True), "$.values.votes: True is no INT64"),
        (row_letter(votes=2**63), "is outside the range of INT64"),
        (row_letter(created_at=MAX_MICROS + 1), "is outside the range of TIMESTAMP"),
        (row_letter(created_at=TIME), "is no TIMESTAMP"),
        (row_letter(estimate=True), "$.values.estimate: True is no FLOAT64"),
        (row_letter(estimate="1.5"), "$.values.estimate: '1.5' is no FLOAT64"),
        (row_letter(blocked=1), "$.values.blocked: 1 is no BOOL"),
        (row_letter(labels="abc"), "$.values.labels: a list is expected, not 'abc'"),
        (row_letter(labels={"a": 1}), "$.values.labels: a list is expected"),
        (row_letter(labels=["a", None]), "$.values.labels: None is no STRING"),
        (row_letter(payload="{"), "$.values.payload: Expecting property name"),
        (row_letter(payload="NaN"), "$.values.payload: NaN is not JSON"),
        (row_letter(payload="[" * 100_000), "$.values.payload: nested more than 500 levels deep"),
    ],
)
def test_a_letter_that_is_no_row_is_refused(message, reason):
    """A stranger's letter reaches no sink: each value is judged by its column."""
    found, text = refusal(message)
    assert found is InvalidRow
    assert text.startswith("the data are no row as JSON: ")
    assert reason in text


def test_a_restored_row_is_judged_like_another():
    """Its day may have gone out of reach since it was shaped, and it may be too large."""
    assert refusal(row_letter(created_at=NOW - 1_824 * DAY))[0] is OutsidePartitionRange
    assert refusal(row_letter(created_at=NOW, title="x" * 9_900_001))[0] is RowTooLarge
    assert shape(row_letter()).values == EMPTY | {"event_id": "E", "created_at": NOW}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"event_id": None}, "$.values.event_id: none, by which table issues_stream tells repeats"),
        ({"event_id": ""}, "$.values.event_id: none"),
        ({"created_at": None}, "$.values.created_at: none, so no partition for the row"),
    ],
)
def test_a_restored_row_has_an_id_and_a_day(values, reason):
    """Without them it would be in no partition, and no view could tell it from its repeats."""
    found, text = refusal(row_letter(**values))
    assert found is InvalidRow
    assert text.startswith(reason)
