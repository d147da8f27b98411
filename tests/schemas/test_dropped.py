"""Fields whose policy is drop are nowhere in a row; `raw` keeps the whole message."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.event import decode_message
from schemas.field_path import field_path, parse_field_path
from schemas.message import Message
from schemas.problem import ProblemsFound
from schemas.raw import from_raw
from schemas.restored import message_of_row
from schemas.row import MAX_ROW_BYTES, Shaper
from schemas.shaping import InvalidPayload, InvalidRow, Plan, RowTooLarge
from schemas.table_file import parse_table
from schemas.times import format_micros
from tests.strategies import (
    NOW,
    document_event,
    fields,
    firestore_message,
    manual_message,
    recorded_messages,
)

SECRET = "s3cr3t"


def shaper(columns, more=""):
    """A job of one table with these columns, in YAML's flow style."""
    return Shaper([parse_table(f"{{table: t, default: true, columns: {columns}{more}}}", "t.yaml")])


def values(event, columns, more=""):
    """The row of an event."""
    return shaper(columns, more).shape(decode_message(event), NOW).values


def person(**more):
    return {"map_value": {"fields": {name: {"string_value": text} for name, text in more.items()}}}


UPDATE = firestore_message(
    document_event(
        {"title": {"string_value": "new"}, "reporter": person(name="Ann", email=SECRET)},
        {"title": {"string_value": "old"}, "reporter": person(name="Ann", email=SECRET + "-old")},
    )
)


def test_a_dropped_field_is_in_no_column():
    """Not in `payload`, `old_payload` nor `changed_fields`; what is beside it stays."""
    row = values(UPDATE, "[{path: reporter.email, policy: drop}, {path: reporter, type: JSON}]")
    assert json.loads(row["payload"]) == {"title": "new", "reporter": {"name": "Ann"}}
    assert json.loads(row["old_payload"]) == {"title": "old", "reporter": {"name": "Ann"}}
    assert json.loads(row["reporter"]) == {"name": "Ann"}
    assert row["changed_fields"] == ["title"]
    assert "reporter_email" not in row
    assert SECRET not in str(row)


def test_what_is_below_a_dropped_field_goes_with_it():
    """A dropped map goes whole, and so do the paths below it."""
    row = values(UPDATE, "[{path: reporter, policy: drop}]")
    assert json.loads(row["payload"]) == {"title": "new"}
    assert row["changed_fields"] == ["title"]


def test_a_deletion_drops_too():
    """Where declared columns are the old value's."""
    event = firestore_message(document_event(None, {"a": {"string_value": SECRET}}))
    row = values(event, "[{path: a, policy: drop}]")
    assert (row["operation"], row["old_payload"], row["payload"]) == ("DELETE", "{}", None)


def test_a_manual_issue_drops_too():
    """With the paths of its inexact numbers."""
    body = b'{"a": 1e400, "b": {"c": 1e400, "d": [1e400]}}'
    kept = values(manual_message(body), "[]")
    assert kept["type_errors"] == ["a", "b.c", "b.d[0]"]
    row = values(manual_message(body), "[{path: a, policy: drop}, {path: b.d, policy: drop}]")
    assert json.loads(row["payload"]) == {"b": {"c": "1e400"}}
    assert row["type_errors"] == ["b.c"]


def test_a_mask_that_names_a_dropped_field_is_cleared_of_it():
    """Quoted names too; a path above it stays, since the rest of it is kept."""
    event = document_event(
        {"a": {"string_value": "x"}},
        {"a": {"string_value": "y"}},
        mask=("a", "`b.c`", "`b.c`.d", "reporter", "reporter.email"),
    )
    row = values(
        firestore_message(event),
        '[{path: "`b.c`", policy: drop}, {path: reporter.email, policy: drop}]',
    )
    assert row["changed_fields"] == ["a", "reporter"]


def test_a_flat_table_drops_from_its_payload():
    """From an event's and from a flat message's; one whose payload is no object is refused."""
    more = ", layout: flat"
    columns = "[{path: a, policy: drop}]"
    row = values(manual_message({"a": SECRET, "b": 1}), columns, more)
    assert json.loads(row["payload"]) == {"b": 1}

    def flat(payload):
        body = {
            "issue_id": "1",
            "source": "s",
            "created_at": format_micros(NOW),
            "payload": payload,
        }
        return Message(json.dumps(body).encode())

    row = values(flat(json.dumps({"a": SECRET, "b": 1})), columns, more)
    assert row == {"issue_id": "1", "source": "s", "created_at": format_micros(NOW),
                   "payload": '{"b":1}'}  # fmt: skip
    with pytest.raises(InvalidPayload):
        values(flat(SECRET), columns, more)
    assert values(flat(SECRET), "[]", more)["payload"] == SECRET


@given(fields, st.data())
def test_what_is_dropped_is_gone_and_all_else_is_there(document, data):
    """For any document and any of its first names."""
    event = decode_message(firestore_message(document_event(document)))
    gone = data.draw(st.sets(st.sampled_from(sorted(document)))) if document else set()
    table = parse_table("table: t", "")
    plan = Plan.of(dataclasses.replace(table, dropped=tuple((name,) for name in sorted(gone))))
    kept = plan.kept(event.fields)
    assert kept == {name: value for name, value in event.fields.items() if name not in gone}
    assert plan.kept_paths([field_path((name,)) for name in sorted(document)]) == [
        field_path((name,)) for name in sorted(document) if name not in gone
    ]
    assert all(parse_field_path(field_path((name,))) == (name,) for name in document)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (
            "columns: [{path: a, policy: drop}], raw: true",
            "t.yaml: $.raw: would keep the fields whose policy is drop (take one of the two)",
        ),
        (
            "columns: [{path: a, policy: drop}, {path: a.b}]",
            (
                "t.yaml: $.columns a.b: would always be NULL: the policy of a is drop (leave the "
                "column out, or keep the field)"
            ),
        ),
        (
            "columns: [{path: a, policy: hide}]",
            "t.yaml: $.columns[0].policy: 'hide' is neither keep nor drop",
        ),
        (
            "layout: flat, raw: true",
            "t.yaml: $.raw: the flat layout has fixed columns and no others",
        ),
    ],
)
def test_what_cannot_hold_is_refused_when_the_file_is_read(file, said):
    """Each with its place and what to do."""
    with pytest.raises(ProblemsFound) as refused:
        parse_table(f"{{table: t, {file}}}", "t.yaml")
    assert str(refused.value).replace("t.yaml:1: ", "t.yaml: ") == said


def test_raw_keeps_the_message_as_it_came():
    """Data and attributes, so that it can be published again as the same event."""
    for message in [*recorded_messages()[:20], UPDATE, manual_message({"a": 1})]:
        row = values(message, "[]", ", raw: true")
        assert from_raw(row["raw"]) == message


def test_a_row_that_raw_makes_too_large_is_refused():
    """The message counts beside the payload that was made from it."""
    message = manual_message({"a": "x" * (MAX_ROW_BYTES * 6 // 10)})
    assert values(message, "[]")["payload"]
    with pytest.raises(RowTooLarge, match="raw"):
        values(message, "[]", ", raw: true")


def people(*texts):
    return {"array_value": {"values": [person(name="Ann", password=text) for text in texts]}}


@pytest.mark.parametrize("layout", ["structured", "changelog", "flat"])
def test_a_dropped_field_is_dropped_in_arrays(layout):
    """Of each map in an array, whatever lies beside it, on both sides and in every layout."""
    array = people(SECRET, SECRET)
    array["array_value"]["values"] += [{"null_value": 0}, {"integer_value": 5}]
    event = document_event({"items": array}, {"items": people(SECRET + "-old")})
    columns = "[{path: items.password, policy: drop}]"
    row = values(firestore_message(event, ce_time=format_micros(NOW)), columns,
                 f", layout: {layout}")  # fmt: skip
    kept = {"items": [{"name": "Ann"}, {"name": "Ann"}, None, 5]}
    assert json.loads(row["data" if layout == "changelog" else "payload"]) == kept
    if layout != "flat":
        old = row["old_data" if layout == "changelog" else "old_payload"]
        assert json.loads(old) == {"items": [{"name": "Ann"}]}
    assert SECRET not in str(row)


@pytest.mark.parametrize("layout", ["structured", "changelog", "flat"])
def test_a_manual_issue_drops_in_arrays_of_arrays(layout):
    """As deep as a body goes; numbers stay as each layout has them."""
    body = f'{{"a": [[{{"b": "{SECRET}", "c": 1.50}}]], "b": 1}}'.encode()
    row = values(manual_message(body), "[{path: a.b, policy: drop}]", f", layout: {layout}")
    text = row["data" if layout == "changelog" else "payload"]
    assert text == f'{{"a":[[{{"c":{"1.50" if layout == "changelog" else "1.5"}}}]],"b":1}}'
    deep = b'{"a": ' + b"[" * 499 + b"]" * 499 + b"}"
    row = values(manual_message(deep), "[{path: a.b, policy: drop}]", f", layout: {layout}")
    assert row["data" if layout == "changelog" else "payload"] == deep.decode().replace(" ", "")


def test_the_given_document_is_not_touched():
    """Arrays and their maps are copied where something is dropped of them."""
    document = {"a": [{"b": 1, "c": [2]}]}
    plan = Plan.of(parse_table("{table: t, columns: [{path: a.b, policy: drop}]}", ""))
    assert plan.kept(document) == {"a": [{"c": [2]}]}
    assert document == {"a": [{"b": 1, "c": [2]}]}


@pytest.mark.parametrize(
    ("dropped", "gone", "kept"),
    [
        ("a.b", ["a.b", "a[0].b", "a[0][12].b.c", "a.b[3]"], ["a", "a[0]", "a[0].c", "a.`b.c`"]),
        ("`a b`", ["`a b`", "a b", "a b.SECRET", "a b[0].SECRET", "`a b`[1].c"], ["a", "a bc.d"]),
        ("x.`a b`", ["x.a b", "x.a b.c", "x[0].a b"], ["x", "a b", "x.a"]),
        ("`a-b.c`", ["a-b.c", "a-b.c.d", "`a-b.c`.d"], ["a-b", "`a-b`.c"]),
        ("`[0]`", ["`[0]`", "[0]", "[0].x"], ["a[0]"]),
        ("`a\\`b`", ["`a\\`b`", "`a\\`b`[0].c", "a`b"], ["ab"]),
    ],
)
def test_paths_are_dropped_however_they_are_written(dropped, gone, kept):
    """Through arrays, and as a sender without quotes writes them; what is well quoted is exact."""
    file = json.dumps({"table": "t", "columns": [{"path": dropped, "policy": "drop"}]})
    plan = Plan.of(parse_table(file, ""))
    assert plan.kept_paths([*gone, *kept]) == kept


ROW = {"event_id": "E", "created_at": NOW}
DROPS = "[{path: reporter.email, policy: drop}, {path: reporter, type: JSON}]"


def test_a_restored_row_drops_what_its_table_drops():
    """A letter can be older than the policy, or a stranger's; all else of it stays as it was."""
    document = f'{{"n": 1.0e5, "reporter": {{"name": "Ä", "email": "{SECRET}"}}}}'
    given = {
        **ROW,
        "payload": document,
        "old_payload": '{"n": 1.50}',
        "reporter": f'[{{"email": "{SECRET}", "name": "Ann"}}]',
        "changed_fields": ["n", "reporter.email", "reporter.name"],
        "type_errors": ["reporter[0].email.x", "n"],
    }
    job = shaper(DROPS)
    row = job.shape(decode_message(message_of_row("t", given)), NOW).values
    assert {name: value for name, value in row.items() if value} == {
        **ROW,
        "payload": '{"n":1.0e5,"reporter":{"name":"Ä"}}',
        "old_payload": '{"n": 1.50}',
        "reporter": '[{"name":"Ann"}]',
        "changed_fields": ["n", "reporter.name"],
        "type_errors": ["n"],
    }


@pytest.mark.parametrize(
    ("layout", "given"),
    [
        ("flat", {"payload": f'{{"a": {{"b": "{SECRET}", "c": 1}}}}'}),
        (
            "changelog",
            {
                "event_id": "E",
                "timestamp": NOW,
                "data": f'{{"a": {{"b": "{SECRET}", "c": 1}}}}',
                "old_data": f'{{"a": [{{"b": "{SECRET}"}}]}}',
            },
        ),
    ],
)
def test_a_restored_row_of_each_layout_drops(layout, given):
    """Documents stand in STRING columns there."""
    job = shaper("[{path: a.b, policy: drop}]", f", layout: {layout}")
    row = job.shape(decode_message(message_of_row("t", given)), NOW).values
    assert row["data" if layout == "changelog" else "payload"] == '{"a":{"c":1}}'
    assert row.get("old_data") == ('{"a":[{}]}' if layout == "changelog" else None)


_JUDGED = "whether it holds a field whose policy is"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (SECRET, f"$.values.payload: {_JUDGED}"),
        ('{"a": {"b": 1}, "a": 2}', "the key 'a' stands twice"),
        ('{"a": {"b": 1, "c": "\\ud800"}}', "surrogates"),
    ],
)
def test_a_restored_row_that_cannot_be_judged_is_refused(payload, reason):
    """Never a row that may hold what is dropped; without dropped fields it goes through."""
    event = decode_message(message_of_row("t", {"payload": payload}))
    assert shaper("[]", ", layout: flat").shape(event, NOW).values["payload"] == payload
    with pytest.raises(InvalidRow) as refused:
        shaper("[{path: a.b, policy: drop}]", ", layout: flat").shape(event, NOW)
    assert reason in str(refused.value)


@pytest.mark.parametrize("columns", ["[]", "[{path: a.b, policy: drop}]"])
@pytest.mark.parametrize("payload", ['{"a": {"b": 1}, "a": 2}', '{"a": {"c": "\\ud800"}}'])
def test_a_restored_row_that_no_json_column_takes_is_refused(columns, payload):
    """Whatever is dropped: BigQuery would refuse it, or keep one of two."""
    event = decode_message(message_of_row("t", {**ROW, "payload": payload}))
    with pytest.raises(InvalidRow, match=r"^the data are no row as JSON: \$\.values\.payload: "):
        shaper(columns).shape(event, NOW)
