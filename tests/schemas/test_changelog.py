"""The changelog layout beside what the Firebase extension's own packages made of the same events.

The golden files (tests/data/changelog) are recorded by `make judge`; each difference that
docs/changelog-layout.md lists is found here, and no other.
"""

import base64
import itertools
import json
import math
import re
import struct
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import changelog
from schemas.apply import bigquery_schema
from schemas.changelog_json import body, json_text, number_text, sides
from schemas.changelog_views import changelog_views
from schemas.document_change import Document, DocumentChange, from_bytes
from schemas.event import decode_message
from schemas.firestore import DocumentEventData, Value
from schemas.firestore_values import GeoPoint, Reference, Timestamp, Vector
from schemas.json_text import JsonNumber
from schemas.message import CONTENT_TYPE, Message
from schemas.recorded import from_line
from schemas.routing import Router
from schemas.shaping import InvalidPayload, OutsidePartitionRange, Plan
from schemas.table import Column, Table, Type
from schemas.times import parse_rfc3339
from tests.strategies import (
    NAME,
    document_event,
    exact_fields,
    firestore_message,
    manual_message,
    recorded_messages,
)

GOLDEN = Path(__file__).parents[1] / "data" / "changelog"
DOCS = Path(__file__).parents[2] / "docs" / "changelog-layout.md"
NOW = parse_rfc3339("2026-11-26T00:00:00Z")


def table(name="issues", *collections, **more):
    return Table(
        f"{name}_raw_changelog", "changelog", changelog.COLUMNS, collections=collections, **more
    )


def tables():
    """Those of tests/judge/record.js: one for each collection, its parents' ids as parameters."""
    paths = {str(decode_message(message).document_path) for message, _ in golden()}
    found = {tuple(path.split("/")[::2]) for path in paths}
    made = []
    for names in sorted(found):
        parents = "".join(f"{name}/{{{name}Id}}/" for name in names[:-1])
        path = f"{parents}{names[-1]}/{{documentId}}"
        made.append(table("_".join(names), path, default=names == ("issues",)))
    return made


def read(name):
    return json.loads((GOLDEN / name).read_text("utf-8"))


def lines(name):
    """Of a file; U+2028, which `str.splitlines` takes for an end of line, stands in some."""
    return [line for line in (GOLDEN / name).read_text("utf-8").split("\n") if line]


def golden():
    """Each event with the row that the extension made of it."""
    messages = [*recorded_messages(), *map(from_line, lines("edge_events.jsonl"))]
    rows = [json.loads(line) for line in lines("rows.jsonl")]
    return list(zip(messages, rows, strict=True))


def shape(message, *given, now=NOW):
    """The table that takes a message, and its row."""
    event = decode_message(message)
    found, parameters = Router(given or [table("issues", "issues/{id}", default=True)]).route(event)
    return found, changelog.shape(event, Plan.of(found), parameters, now)


def data_of(message, *given):
    return shape(message, *given)[1]["data"]


# Beside the extension


def test_every_event_has_a_row_of_the_extension():
    """The golden file is of the recorded events, in their order; each row is known by its event."""
    pairs = golden()
    assert len(pairs) > 40
    for message, theirs in pairs:
        assert theirs["insertId"] == theirs["json"]["event_id"] == message.attribute("ce-id")


def test_the_event_id_is_ours_and_all_else_but_the_documents_is_theirs():
    """Time, names, operation and path parameters are equal; the event_id is the topic's."""
    given = tables()
    assert len(given) > 3
    for message, theirs in golden():
        found, row = shape(message, *given)
        expected = {
            **{name: theirs["json"].get(name) for name in row},
            "timestamp": parse_rfc3339(theirs["json"]["timestamp"]),
            "event_id": message.event_id,
            "data": row["data"],
            "old_data": row["old_data"],
        }
        assert row == expected
        assert found.name == theirs["table"]
        assert row["event_id"] != theirs["json"]["event_id"]


def test_the_documents_json_is_theirs_but_for_bytes_and_large_integers():
    """Byte for byte the extension's text, once what it loses is lost; where nothing is, at once."""
    lost = {}
    for message, theirs in golden():
        _, row = shape(message)
        change = from_bytes(message.data, message.attribute(CONTENT_TYPE))
        for name, document in (("data", change.new), ("old_data", change.old)):
            text = theirs["json"].get(name)
            if document is None or text is None:
                assert row[name] is text is None
                continue
            found = set()
            patched = lose(body(row[name]), json.loads(text), document.fields, (), found)
            assert json_text(patched) == text
            assert found or row[name] == text
            for kind, path in found:
                lost.setdefault(kind, set()).add((row["document_id"], *path))
    assert lost["integer"] == {
        *itertools.product(["every-type"], ["beyond_double", "max_integer", "min_integer"]),
        ("numbers", "minus_power"),
        *itertools.product(["edge-numbers"], ["integers"], [6, 7, 9, 10]),
    }
    assert lost["bytes"] == {
        *itertools.product(["every-type"], ["bytes", "empty_bytes"]),
        ("every-type", "array"),
        *itertools.product(["bytes"], ["of_1", "of_2", "of_3", "of_4", "of_255"]),
        *itertools.product(["edge-bytes"], ["alone", "empty", "first", "last", "next_to", "only"]),
        ("edge-bytes", "in_map", "bytes"),
        ("edge-bytes", "in_maps", 0, "bytes"),
    }
    assert lost.keys() == {"integer", "bytes"}


def lose(ours, theirs, exact, path, found):
    """Ours as the extension has it; notes what that loses, which nothing but two rules allows.

    Args:
        ours: Our JSON, numbers by their text.
        theirs: The extension's at the same place.
        exact: The document's value there.
        path: The place.
        found: Gets pairs of the rule, `integer` or `bytes`, and the place.
    """
    if isinstance(exact, int) and not isinstance(exact, bool):
        assert ours == str(exact)
        rounded = number_text(float(exact))
        if rounded != ours:
            assert abs(exact) > 2**53
            found.add(("integer", path))
        return JsonNumber(rounded)
    if isinstance(exact, dict):
        kept = {}
        for name in ours:
            if isinstance(exact[name], bytes):
                assert ours[name] == base64.b64encode(exact[name]).decode()
                assert name not in theirs
                found.add(("bytes", (*path, name)))
            else:
                kept[name] = lose(ours[name], theirs[name], exact[name], (*path, name), found)
        return kept
    if isinstance(exact, list) and any(isinstance(item, bytes) for item in exact):
        # Theirs loses neighbours too: what is left is some of what there was, in order.
        assert ours == [
            base64.b64encode(item).decode() if isinstance(item, bytes) else each
            for each, item in zip(ours, exact, strict=True)
        ]
        rest = iter(ours)
        assert all(any(json.loads(json_text(each)) == one for each in rest) for one in theirs)
        found.add(("bytes", path))
        return theirs
    if isinstance(exact, list):
        return [
            lose(*each, (*path, i), found)
            for i, each in enumerate(zip(ours, theirs, exact, strict=True))
        ]
    return ours


def test_bytes_in_an_array_cost_the_extension_their_neighbours():
    """What keeping bytes is for: the integer between bytes and text is gone in theirs."""
    (theirs,) = [row["json"]["data"] for _, row in golden() if row["insertId"] == "edge-1"]
    (ours,) = [
        shape(message)[1]["data"] for message, row in golden() if row["insertId"] == "edge-1"
    ]
    assert json.loads(theirs)["first"] == ["three"]
    assert json.loads(ours)["first"] == ["AQ==", 2, "three"]
    assert json.loads(theirs)["next_to"] == []
    assert json.loads(ours)["next_to"] == ["AQ==", "Ag==", "Aw==", 4]


def test_the_columns_are_theirs_and_nullable():
    """Names, types and order of the table with wildcard ids; four are REQUIRED in theirs."""
    theirs = read("tables.json")["issues_raw_changelog"]["schema"]["fields"]
    ours = [field.to_api_repr() for field in bigquery_schema(changelog.COLUMNS)]
    assert [(f["name"], f["type"]) for f in ours] == [(f["name"], f["type"]) for f in theirs]
    modes = {field["name"]: field["mode"] for field in theirs}
    required = {name for name, mode in modes.items() if mode == "REQUIRED"}
    assert required == {"timestamp", "event_id", "document_name", "operation"}
    assert {f["mode"] for f in ours} == {modes[n] for n in modes.keys() - required} == {"NULLABLE"}


def test_their_table_without_wildcard_ids_has_no_path_params():
    """The only column that is theirs by setting."""
    tables = read("tables.json")
    names = [f["name"] for f in tables["without_wildcards_raw_changelog"]["schema"]["fields"]]
    assert [*names, "path_params"] == [column.name for column in changelog.COLUMNS]


def test_ours_is_partitioned_and_clustered_where_theirs_is_so_by_setting():
    """Theirs is neither unless its installer asks; what ours always is can be had there."""
    tables = read("tables.json")
    assert "timePartitioning" not in tables["issues_raw_changelog"]
    assert tables["issues_raw_changelog"]["clustering"] is None
    by_day = tables["by_day_raw_changelog"]
    assert by_day["timePartitioning"] == {"type": "DAY", "field": changelog.PARTITION}
    assert by_day["clustering"]["fields"] == list(changelog.CLUSTERING)
    assert by_day["schema"] == tables["issues_raw_changelog"]["schema"]


def test_numbers_are_as_javascript_prints_them():
    """2,000 doubles over the whole range, most near where decimals give way to exponents."""
    pairs = read("numbers.json")
    assert len(pairs) == 2_000
    for bits, text in pairs:
        (number,) = struct.unpack(">d", bytes.fromhex(bits))
        assert number_text(number) == text


# The text, whatever the document


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_numbers_text_reads_back(number):
    """As the same double, apart from the sign of zero, in JSON's grammar."""
    text = number_text(number)
    assert float(text) == number
    assert math.isfinite(json.loads(text))


@given(exact_fields, exact_fields)
def test_any_document_is_json_by_the_table(new, old):
    """Each value of both sides, whatever the order of keys; compact, and escaped by one rule."""
    change = DocumentChange(Document(NAME, new), Document(NAME, old))
    _, row = shape(firestore_message(change.to_protobuf(), ce_time="2026-11-25T00:00:00Z"))
    for text, fields in ((row["data"], new), (row["old_data"], old)):
        assert is_json_of(body(text), fields)
        assert json_text(body(text)) == text


def is_json_of(found, exact):
    """Whether JSON is what the table of `schemas.changelog_json` says, written apart from it.

    Args:
        found: The JSON, numbers by their text.
        exact: The value.
    """
    if isinstance(exact, Vector):
        exact = {"_values": list(exact.numbers)}
    elif isinstance(exact, GeoPoint):
        exact = {"_latitude": exact.latitude, "_longitude": exact.longitude}
    elif isinstance(exact, Timestamp):
        exact = {"_seconds": exact.seconds, "_nanoseconds": exact.nanos}
    elif isinstance(exact, Reference):
        exact = exact.name.split("/documents/", 1)[1]
    elif isinstance(exact, bytes):
        exact = base64.b64encode(exact).decode()
    if isinstance(exact, dict):
        return found.keys() == exact.keys() and all(is_json_of(found[k], exact[k]) for k in exact)
    if isinstance(exact, list):
        return len(found) == len(exact) and all(map(is_json_of, found, exact))
    if isinstance(exact, float):
        return found is None if not math.isfinite(exact) else float(found) == exact
    if type(exact) is int:
        return type(found) is JsonNumber and found == str(exact)
    return type(found) is type(exact) and found == exact


def test_an_event_as_json_has_its_keys_in_order_of_names():
    """Values are the same; the extension never sees such an event."""
    change = DocumentChange(
        Document(NAME, {"b": 1, "a": {"z": b"\x00", "y": 2.0}, "10": 1, "9": 2})
    )
    message = firestore_message(change.to_json(), content_type="application/json")
    message = Message(message.data, dict(message.attributes), publish_time=NOW)
    assert data_of(message) == '{"9":2,"10":1,"a":{"y":2,"z":"AA=="},"b":1}'


def test_an_event_deeper_than_protobufs_parser_goes_is_whole():
    """250 levels, which is more than Firestore holds; keys in order of names."""
    fields = {"end": 1}
    for _ in range(200):
        fields = {"b": fields, "a": True}
    message = firestore_message(DocumentChange(Document(NAME, fields)).to_protobuf())
    text = data_of(Message(message.data, dict(message.attributes), publish_time=NOW))
    assert text == '{"a":true,"b":' * 200 + '{"end":1}' + "}" * 200


def test_a_key_that_comes_twice_has_the_last_value_at_the_first_place():
    """As protobuf and JavaScript have it."""
    entries = [("b", 1), ("a", 2), ("b", 3)]
    event = b"".join(
        DocumentChange(Document(NAME, {key: value})).to_protobuf() for key, value in entries
    )
    message = Message(firestore_message(event).data, firestore_message(event).attributes, "", NOW)
    assert data_of(message) == '{"b":3,"a":2}'


@pytest.mark.parametrize("space", ["", " ", "\t", "\n", "\r\n", "   "])
def test_an_event_as_json_may_begin_with_white_space(space):
    """What is JSON is told as decode tells it: by the content type, not by the first byte alone."""
    data = space + DocumentChange(Document(NAME, {"a": "x"})).to_json().decode()
    message = firestore_message(
        data.encode(), content_type="Application/JSON", ce_time="2026-11-25T00:00:00Z"
    )
    assert data_of(message) == '{"a":"x"}'


def test_a_side_without_a_name_is_not_read():
    """It is absent for decode, which does not judge its values: one here has no type."""
    event = document_event({"a": {"string_value": "x"}})
    event.old_value.fields["untyped"].SetInParent()
    message = firestore_message(event.SerializeToString(), ce_time="2026-11-25T00:00:00Z")
    assert sides(message) == ({"a": "x"}, {})
    assert shape(message)[1]["old_data"] is None


def field(number, content):
    """A length-delimited field of fewer than 128 bytes on the wire."""
    return bytes([number << 3 | 2, len(content)]) + content


def test_only_the_last_entry_of_a_key_is_read():
    """Protobuf keeps it alone, so that decode sees no other: the first here is without a type."""
    text = Value(string_value="x").SerializeToString()
    entries = field(2, field(1, b"a")) + field(2, field(1, b"a") + field(2, text))
    document = field(1, NAME.encode()) + entries
    assert DocumentEventData.FromString(field(1, document)).value.fields["a"].string_value == "x"
    message = firestore_message(field(1, document), ce_time="2026-11-25T00:00:00Z")
    assert data_of(message) == '{"a":"x"}'


def test_an_entry_that_protobufs_map_leaves_out_is_left_out():
    """One in which there is a field that no entry has; decode does not see it."""
    text = field(2, Value(string_value="x").SerializeToString())
    entries = field(1, field(1, b"b") + text) + field(1, field(1, b"odd") + text + field(12, b"?"))
    map_ = field(2, field(6, entries))
    document = field(1, NAME.encode()) + field(2, field(1, b"m") + map_)
    message = firestore_message(field(1, document), ce_time="2026-11-25T00:00:00Z")
    assert decode_message(message).fields == {"m": {"b": "x"}}
    assert data_of(message) == '{"m":{"b":"x"}}'


def test_a_large_event_of_repeats_costs_no_more_than_decode():
    """Of 1,500,000 entries of one key none but the last is made a Python object."""
    value = Value(null_value=0).SerializeToString()
    entries = field(2, b"") * 1_500_000 + field(2, field(2, value))
    document = document_event({"b": {"integer_value": 1}, "a": {"integer_value": 2}})
    old = DocumentEventData(old_value=document.value)
    length = len(field(1, NAME.encode())) + len(entries)
    new = b"\x0a" + varint(length) + field(1, NAME.encode()) + entries
    message = firestore_message(new + old.SerializeToString(), ce_time="2026-11-25T00:00:00Z")
    began = time.process_time()
    decode_message(message)
    decoding = time.process_time() - began
    began = time.process_time()
    assert sides(message) == ({"": None}, {"a": 2, "b": 1})
    assert time.process_time() - began < 3 * decoding


def varint(number):
    """A whole number as protobuf writes a length."""
    found = []
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def test_a_large_event_without_repeats_has_its_keys_in_order():
    """More than a mebibyte of it; the order is the bytes'."""
    event = b"".join(
        DocumentChange(Document(NAME, {key: "x" * 600_000})).to_protobuf() for key in "ba"
    )
    message = firestore_message(event, ce_time="2026-11-25T00:00:00Z")
    assert list(sides(message)[0]) == ["b", "a"]


def test_a_reference_that_names_no_document_is_kept_as_it_is():
    """Nothing is cut off that is no database's name."""
    message = firestore_message(document_event({"r": {"reference_value": "elsewhere"}}))
    assert sides(message)[0] == {"r": "elsewhere"}


# Path parameters


@pytest.mark.parametrize(
    ("collections", "path", "expected"),
    [
        (["users/{user}/issues/{issue}"], "users/u/issues/i", '{"user":"u"}'),
        (["users/{user}/issues"], "users/same/issues/same", '{"user":"same"}'),
        (["teams/blue/issues/{issue}"], "teams/blue/issues/i", "{}"),
        (["a/{x}/b", "a/1/b/{x}"], "a/1/b/2", "{}"),
        (["a/{x}/b", "a/1/b/{x}"], "a/2/b/1", '{"x":"2"}'),
        (["issues"], "users/u/issues/i", "{}"),
        (["users/{b}/issues/{a}/notes"], 'users/"\n/issues/ü/notes/n', '{"b":"\\"\\n","a":"ü"}'),
    ],
)
def test_path_params_are_the_parameters_above_the_document(collections, path, expected):
    """As JSON, in the pattern's order; the document's own id is `document_id`."""
    name = f"projects/p/databases/(default)/documents/{path}"
    event = firestore_message(document_event({}, name=name), ce_time="2026-11-25T00:00:00Z")
    _, row = shape(event, table("t", *collections, default=True))
    assert row["path_params"] == expected
    assert row["document_name"] == name


# Manual issues and flat messages


def test_a_manual_issue_is_a_row_of_its_own():
    """MANUAL; known by its event_id in the views' key; the body, as exact as it was written."""
    data = (
        b'{ "b": 1.10, "big": 18446744073709551617, "a": {"n": null, "e": 1E2}, "10": "\\u00fc" }'
    )
    message = manual_message(data, now=NOW, issue_id="INC-0000ABCD")
    found, row = shape(message)
    assert found.default
    assert row == {
        "timestamp": NOW,
        "event_id": message.event_id,
        "document_name": message.event_id,
        "operation": "MANUAL",
        "data": '{"b":1.10,"big":18446744073709551617,"a":{"n":null,"e":1E2},"10":"ü"}',
        "old_data": None,
        "document_id": "INC-0000ABCD",
        "path_params": None,
    }


def test_a_manual_issue_of_500_levels_is_kept():
    """As deep as the body of a manual issue may be."""
    data = b'{"a":' * 499 + b"{}" + b"}" * 499
    assert data_of(manual_message(data, now=NOW)) == data.decode()


def flat(payload, source="manual-api"):
    body_ = {"issue_id": "INC-1", "source": source, "created_at": "2026-11-25T00:00:00Z"}
    return Message(json.dumps(body_ | {"payload": payload}).encode(), {})


def test_a_flat_message_is_its_payload():
    """It names no document; only of a manual issue is known what happened."""
    message = flat('{"x": 1.50, "y": [true]}')
    _, row = shape(message)
    assert row["data"] == '{"x":1.50,"y":[true]}'
    assert (row["document_name"], row["document_id"]) == (message.event_id, "INC-1")
    assert (row["operation"], row["path_params"], row["old_data"]) == ("MANUAL", None, None)
    assert shape(flat("{}", "firestore-eventarc"))[1]["operation"] == "UNKNOWN"


@given(st.data())
def test_what_the_extensions_table_requires_is_never_null(data):
    """So that rows can go into a table of the extension as it stands."""
    message = data.draw(st.sampled_from([*recorded_messages(), flat("{}", "x"), flat("{}")]))
    _, row = shape(message)
    required = ("timestamp", "event_id", "document_name", "operation")
    assert all(row[name] is not None for name in required)


def test_a_flat_message_whose_payload_is_no_object_is_refused():
    """A reader of `data` counts on an object."""
    with pytest.raises(InvalidPayload, match="payload"):
        shape(flat("[1]"))


# The table's file


def test_a_dropped_field_is_in_neither_side():
    """The policy holds for data and old_data, at any depth, in a manual body too."""
    kept = table("t", default=True, dropped=(("secret",), ("a", "b")))
    fields = {
        "secret": {"bytes_value": b"x"},
        "a": {"map_value": {"fields": {"b": {"integer_value": 1}, "c": {"integer_value": 2}}}},
        "z": {"string_value": "z"},
    }
    event = document_event(fields, fields)
    _, row = shape(firestore_message(event, ce_time="2026-11-25T00:00:00Z"), kept)
    for side in (row["data"], row["old_data"]):
        assert json.loads(side) == {"a": {"c": 2}, "z": "z"}
    manual = manual_message({"secret": 1, "a": {"b": 1, "c": 2}}, now=NOW)
    assert data_of(manual, kept) == '{"a":{"c":2}}'


def test_a_time_that_bigquery_takes_into_no_partition_is_refused():
    """The table is partitioned by timestamp."""
    message = manual_message({}, now=parse_rfc3339("2021-01-01T00:00:00Z"))
    with pytest.raises(OutsidePartitionRange, match="timestamp 2021-01-01T00:00:00"):
        shape(message)


def test_microseconds_of_the_time_are_kept():
    """The extension hands the event's time on as text, which BigQuery keeps likewise."""
    rows = {row["insertId"]: shape(message)[1] for message, row in golden()}
    assert rows["edge-0"]["timestamp"] % 1_000_000 == 123_456


# The views, which tests/pipeline/test_changelog_in_bigquery.py runs


def test_the_views_name_declared_fields_by_any_key():
    """Keys that mean something in JSONPath, SQL or the text of a view are quoted, as are names."""
    declared = (
        Column("select", Type.STRING, path=("select",)),
        Column("odd", Type.INT64, path=("a.b", 'c"d', "e'f", "g\\h", "i\nj", "{days}")),
    )
    texts = changelog_views(table("t", declared=declared))
    assert list(texts) == ["raw_latest", "schema_changelog", "schema_latest"]
    for kind in ("schema_changelog", "schema_latest"):
        assert "  JSON_VALUE(data, '$.select') AS `select`,\n" in texts[kind]
        path = r"""$."a.b"."c\\"d"."e\'f"."g\\h"."i\nj"."\x7bdays}" """.strip()
        assert f"  SAFE_CAST(JSON_VALUE(data, '{path}') AS INT64) AS `odd`\n" in texts[kind]
        assert not re.search(r"\{(?!source|days)", texts[kind])


def test_without_declared_columns_the_typed_views_have_the_fixed_ones():
    """No comma is left over."""
    texts = changelog_views(table())
    for kind in ("schema_changelog", "schema_latest"):
        assert "  timestamp,\n  operation\nFROM" in texts[kind]


# The documentation


def test_the_documentation_names_every_column():
    """One line of its table for each, with the type, in order."""
    lines_ = re.findall(r"^\| `(\w+)` \| ([A-Z]+) \|", DOCS.read_text("utf-8"), re.MULTILINE)
    assert lines_ == [(column.name, column.type) for column in changelog.COLUMNS]
