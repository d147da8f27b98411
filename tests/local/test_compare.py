"""Reading back from BigQuery what was written through Firestore's client."""

import json
import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from google.api_core.datetime_helpers import DatetimeWithNanoseconds
from google.auth.credentials import AnonymousCredentials
from google.cloud import firestore
from google.cloud.firestore_v1.vector import Vector

from local.compare import as_json, differing, faults, same
from local.documents import every_type
from local.expected import Expected
from local.rows import Arrived, Found
from schemas.message import Message
from schemas.raw import to_raw
from schemas.table_file import parse_table, shipped

(ISSUES,) = shipped()


def found(arrived, new, old, **values):
    return Found(arrived, ISSUES, {"payload": new, "old_payload": old, **values})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (2**63 - 1, "9223372036854775807"),
        (-0.0, "-0.0"),
        (math.nan, '"NaN"'),
        (-math.inf, '"-Infinity"'),
        (b"\x00\xff", '"AP8="'),
        (firestore.GeoPoint(0.0, 1.5), '{"latitude": 0.0, "longitude": 1.5}'),
        (Vector([1.0, 2.0]), "[1.0, 2.0]"),
        (datetime(1, 1, 1, tzinfo=UTC), '"0001-01-01T00:00:00Z"'),
        (datetime(2024, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))), '"2023-12-31T23:00:00Z"'),
        (
            DatetimeWithNanoseconds(1969, 12, 31, nanosecond=1_000, tzinfo=UTC),
            '"1969-12-31T00:00:00.000001Z"',
        ),
        ({"a": [{"": b""}]}, '{"a": [{"": ""}]}'),
    ],
)
def test_each_type_is_json_by_the_codecs_table(value, text):
    """The client's Python types are the table's JSON."""
    assert json.dumps(as_json(value)) == text


def test_a_reference_is_its_documents_full_name():
    """The full name, with project and database."""
    client = firestore.Client("demo-project", credentials=AnonymousCredentials())
    name = "projects/demo-project/databases/(default)/documents/a/b"
    assert as_json(client.document("a/b")) == name


def test_a_type_that_firestore_has_not_is_refused():
    """What can't come from a document is not guessed at."""
    with pytest.raises(TypeError, match="complex"):
        as_json(1j)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (True, 1),
        (False, 0),
        (0.0, -0.0),
        (2**53 + 1, float(2**53)),
        ("1", 1),
        (None, 0),
        ([], {}),
        ([1], [1, 2]),
        ({"a": 1}, {"a": 1, "b": None}),
        ({"a": [{"b": True}]}, {"a": [{"b": 1}]}),
    ],
)
def test_values_that_python_or_a_codec_may_confuse_differ(left, right):
    """A lost sign, a rounded integer, a boolean as a number are differences."""
    assert not same(left, right)
    assert not same(right, left)


def test_equal_values_are_the_same():
    """Every type is the same as itself, however a whole double is written."""
    client = firestore.Client("demo-project", credentials=AnonymousCredentials())
    value = as_json(dict(every_type(client)))
    assert same(value, json.loads(json.dumps(value)))
    assert same(3.0, 3)


def test_only_a_row_of_the_same_event_counts():
    """Equal fields under another document or operation do not make up for a wrong row."""
    expected = Expected(
        "row", "made", document_path="issues/a", operation="CREATE", fields={"n": -0.0}
    )
    right = Arrived("1", "FS-1", "issues/a", "CREATE")
    other = Arrived("2", "FS-2", "issues/b", "CREATE")
    assert differing([expected], [found(right, {"n": -0.0}, None)]) == []
    wrong = [found(right, {"n": 0.0}, None), found(other, {"n": -0.0}, None)]
    assert differing([expected], wrong) == [expected]
    letter = Expected("dead letter", "bad", event_id="a")
    assert differing([letter], []) == []


def test_what_was_there_before_is_compared_too():
    """A deletion has the last fields as old payload and no payload; an update has both."""
    gone = Expected("row", "gone", event_id="1", old_fields={"n": 1})
    changed = Expected("row", "changed", event_id="2", fields={"n": 2}, old_fields={"n": 1})
    assert gone.compared
    deleted, updated = Arrived("1", "", "", "DELETE"), Arrived("2", "", "", "UPDATE")
    right = [found(deleted, None, {"n": 1}), found(updated, {"n": 2}, {"n": 1})]
    assert differing([gone, changed], right) == []
    for wrong in ((None, None), (None, {"n": True}), ({"n": 1}, {"n": 1})):
        assert differing([gone], [found(deleted, *wrong)]) == [gone]
    for wrong in (({"n": 2}, None), ({"n": 1}, {"n": 1}), (None, {"n": 1})):
        assert differing([changed], [found(updated, *wrong)]) == [changed]


def test_the_columns_of_path_parameters_have_the_ids_of_the_path():
    """Another id, or none, is told with the row that has it."""
    expected = Expected(
        "row", "said", document_path="issues/a/comments/1", parameters={"issue": "a"}
    )
    row = Arrived("1", "FS-1", "issues/a/comments/1", "CREATE", "comments")
    assert faults([expected], [found(row, {}, None, issue="a")]) == []
    for wrong in ("b", None):
        (fault,) = faults([expected], [found(row, {}, None, issue=wrong)])
        assert fault.startswith(f"issue is {wrong!r}, not 'a': CREATE issues/a/comments/1 ")


def test_a_dropped_field_may_show_in_no_column():
    """By its name or by its value, in a column of any type; what is kept may show."""
    row = Arrived("1", "FS-1", "projects/a", "UPDATE")
    dropped = Expected("row", "changed", document_path="projects/a", fields={"name": "A"})
    kept = Expected(
        "row", "changed", document_path="projects/a", fields={"contact": {"confidential_phone": 1}}
    )
    for values in (
        {"changed_fields": ["name", "contact.confidential_phone"]},
        {"payload": {"name": "A", "more": ["confidential: do not tell"]}},
        {"old_payload": {"confidential": None}},
        {"raw": b"\x0a\x10confidential"},
    ):
        row_of = Found(row, ISSUES, {"payload": {"name": "A"}, "old_payload": None, **values})
        (fault,) = faults([dropped], [row_of])
        assert fault.startswith(f"{next(iter(values))} shows a dropped field: UPDATE projects/a ")
        assert faults([kept], [row_of]) == []
    clean = found(row, {"name": "A"}, None, changed_fields=["name"])
    assert faults([dropped], [clean]) == []


def test_a_raw_column_has_the_events_own_message():
    """Another event's, none, or bytes that are no message are told."""
    table = parse_table("table: teams\ncollections: [teams]\nraw: true\n", "teams.yaml")
    message = Message(b"data", {"event_id": "1"})
    row = Arrived("1", "FS-1", "teams/a", "CREATE", "teams")
    assert faults([], [Found(row, table, {"raw": to_raw(message)})]) == []
    other = to_raw(Message(b"data", {"event_id": "2"}))
    for wrong in (None, b"", b"\xff", other):
        assert faults([], [Found(row, table, {"raw": wrong})]) == [
            f"raw is not the event's message: {row}"
        ]
