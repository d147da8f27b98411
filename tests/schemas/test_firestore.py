"""Firestore's values as JSON, and the bytes of a document event."""

import base64
import json
import math

import google.events.cloud.datastore_v1 as datastore_events
import orjson
import pytest
from google.protobuf import json_format
from hypothesis import given

from schemas.firestore import (
    DocumentEventData,
    InvalidEventData,
    InvalidValue,
    Value,
    fields_to_json,
    parse_event_data,
)
from tests.strategies import document_event, fields, is_same, recorded_messages, vector


def value(**kwargs):
    return Value(**kwargs)


def stamp(seconds, nanos=0):
    return value(timestamp_value={"seconds": seconds, "nanos": nanos})


def array(*items):
    return value(array_value={"values": items})


def mapping(**items):
    return value(map_value={"fields": items})


CASES = [
    ("null", value(null_value=0), None),
    ("true", value(boolean_value=True), True),
    ("false", value(boolean_value=False), False),
    ("zero", value(integer_value=0), 0),
    ("integer beyond a double", value(integer_value=2**53 + 1), 2**53 + 1),
    ("greatest integer", value(integer_value=2**63 - 1), 9_223_372_036_854_775_807),
    ("least integer", value(integer_value=-(2**63)), -9_223_372_036_854_775_808),
    ("double", value(double_value=0.1), 0.1),
    ("whole double stays a double", value(double_value=3.0), 3.0),
    ("double zero", value(double_value=0.0), 0.0),
    ("negative zero", value(double_value=-0.0), -0.0),
    ("smallest double", value(double_value=5e-324), 5e-324),
    ("largest double", value(double_value=1.7976931348623157e308), 1.7976931348623157e308),
    ("NaN", value(double_value=math.nan), "NaN"),
    ("infinity", value(double_value=math.inf), "Infinity"),
    ("negative infinity", value(double_value=-math.inf), "-Infinity"),
    ("epoch", stamp(0), "1970-01-01T00:00:00Z"),
    ("nanoseconds", stamp(1_709_168_523, 123_456_789), "2024-02-29T01:02:03.123456789Z"),
    ("before 1970", stamp(-1, 500_000_000), "1969-12-31T23:59:59.5Z"),
    ("first time", stamp(-62_135_596_800), "0001-01-01T00:00:00Z"),
    ("last time", stamp(253_402_300_799, 999_999_999), "9999-12-31T23:59:59.999999999Z"),
    ("string", value(string_value="Zürich 東京 🚒"), "Zürich 東京 🚒"),
    ("empty string", value(string_value=""), ""),
    ("control characters", value(string_value="\x00\n\u2028"), "\x00\n\u2028"),
    ("bytes", value(bytes_value=b"\x00\xff\xfe"), "AP/+"),
    ("empty bytes", value(bytes_value=b""), ""),
    ("reference", value(reference_value="projects/p/databases/d/documents/a/b"),
     "projects/p/databases/d/documents/a/b"),
    ("geo point", value(geo_point_value={"latitude": 47.5, "longitude": -8.25}),
     {"latitude": 47.5, "longitude": -8.25}),
    ("geo point of zeros", value(geo_point_value={}), {"latitude": 0.0, "longitude": 0.0}),
    ("geo point of no numbers",
     value(geo_point_value={"latitude": math.nan, "longitude": -math.inf}),
     {"latitude": "NaN", "longitude": "-Infinity"}),
    ("geo point of one number", value(geo_point_value={"latitude": math.inf, "longitude": -0.0}),
     {"latitude": "Infinity", "longitude": -0.0}),
    ("empty array", array(), []),
    ("array", array(value(null_value=0), value(integer_value=1), array(), mapping()),
     [None, 1, [], {}]),
    ("empty map", mapping(), {}),
    ("nested", mapping(a=array(mapping(b=mapping(c=value(double_value=math.nan))))),
     {"a": [{"b": {"c": "NaN"}}]}),
    ("vector", vector(1.0, -0.5, 0.0), [1.0, -0.5, 0.0]),
    ("empty vector", vector(), []),
    ("vector in an array", array(vector(2.0)), [[2.0]]),
    ("a map that only looks like a vector",
     mapping(__type__=value(string_value="__vector__"), value=value(integer_value=1)),
     {"__type__": "__vector__", "value": 1}),
    ("a map with a key more than a vector",
     mapping(__type__=value(string_value="__vector__"), value=array(), more=array()),
     {"__type__": "__vector__", "value": [], "more": []}),
]  # fmt: skip


@pytest.mark.parametrize(("given", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_each_type_reads_as_the_table_says(given, expected):
    """Each row of the module's table, and the values at the edge of each, by type and sign."""
    assert is_same(fields_to_json({"f": given}), {"f": expected})
    # The same through bytes, and as text that reads back as the same value.
    event = document_event({"f": given})
    again = parse_event_data(event.SerializeToString(), "application/protobuf")
    assert is_same(fields_to_json(again.value.fields), {"f": expected})
    assert is_same(orjson.loads(orjson.dumps(expected)), expected)


def test_fields_keep_their_names():
    """Odd keys are keys like others, at any depth."""
    odd = ["a.b", "with space", "`", "\\", "[0]", "", "0", "ключ", "🔑", "__type__", "\x00"]
    inner = mapping(**{name: value(integer_value=i) for i, name in enumerate(odd)})
    expected = {name: i for i, name in enumerate(odd)}
    assert fields_to_json({"m": inner, "a.b": value(null_value=0)}) == {"m": expected, "a.b": None}


@given(fields)
def test_any_document_is_valid_json_and_raw_base64_and_json_bodies_agree(document):
    """Whichever way the bytes come, the event is the same; its JSON text reads back equal."""
    event = document_event(document, document)
    raw = event.SerializeToString()
    whole = parse_event_data(raw, "application/protobuf")
    assert whole.SerializeToString(deterministic=True) == event.SerializeToString(
        deterministic=True
    )
    expected = fields_to_json(document)
    in_json = json_format.MessageToJson(event).encode()
    for data, content_type in (
        (base64.b64encode(raw), "application/protobuf"),
        (raw, ""),
        (in_json, "application/json"),
        (in_json, "application/json; charset=utf-8"),
        (in_json, ""),
    ):
        read = parse_event_data(data, content_type)
        assert is_same(fields_to_json(read.value.fields), expected)
        assert is_same(fields_to_json(read.old_value.fields), expected)
    assert is_same(json.loads(orjson.dumps(expected)), expected)


@pytest.mark.parametrize("kind", ["value", "old_value", "update_mask"])
def test_whichever_field_comes_first_the_content_is_told(kind):
    """Each of the three tag bytes begins an event, raw as in base64."""
    event = DocumentEventData()
    getattr(event, kind).SetInParent()
    raw = event.SerializeToString()
    assert parse_event_data(raw, "") == event
    assert parse_event_data(base64.b64encode(raw), "") == event


def test_a_value_without_a_type_is_refused_with_its_path():
    """A kind of value that this version does not know is never left out in silence."""
    unknown = Value.FromString(b"\xaa\x01\x03abc")  # field 21, a string: of the future
    document = {"a b": mapping(list=array(value(null_value=0), mapping(x=unknown)))}
    with pytest.raises(InvalidValue) as caught:
        fields_to_json(document)
    assert str(caught.value) == "`a b`.list[1].x: a value without a type that this version knows"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (stamp(2**62), "4611686018427387904 seconds since 1970 lie outside the years 1 to 9999"),
        (stamp(-62_135_596_801), "-62135596801 seconds since 1970 lie outside the years 1 to 9999"),
        (stamp(0, -5), "-5 nanos are not within a second"),
    ],
)
def test_a_time_that_is_none_is_refused_with_its_path(bad, reason):
    """A timestamp out of range names its field; an index is told from a field's name."""
    with pytest.raises(InvalidValue) as caught:
        fields_to_json({"[0]": array(bad)})
    assert str(caught.value) == f"`[0]`[0]: timestamp_value: {reason}"


@pytest.mark.parametrize(
    ("data", "content_type", "reason"),
    [
        (b"", "", "there are no data, so no DocumentEventData"),
        (b"", "application/json", "there are no data"),
        (b"\xff\xfe", "", "begins with byte 0xff: neither a protobuf DocumentEventData"),
        (b"just text", "", "neither a protobuf"),
        (b"CgA", "", "neither a protobuf"),  # base64 without its padding
        (b"CgA=CgA=", "", "neither a protobuf"),
        (b"\x0a\x05abc", "", "no whole protobuf"),
        (base64.b64encode(b"\x0a\x05abc"), "", "no whole protobuf"),
        (b"\x0a\x03\x0a\x01\xff", "", "no whole protobuf"),  # a name that is no UTF-8
        (b"\x0a\x00\x20\x05", "", "data has field number 4"),
        (b"\x0a\x02\x28\x05", "", "value has field number 5"),
        (b"\x12\x02\x20\x05", "", "old_value has field number 4"),
        (b"\x1a\x02\x10\x05", "", "update_mask has field number 2"),
        (b"{}", "application/protobuf; x=\xc3", ""),
        (b"\x0a\x00", "application/json", "no JSON DocumentEventData"),
        (b"[]", "application/json", "no object"),
        (b"null", "application/json", "no object"),
        (b'"text"', "application/json", "no object"),
        (b'{"value": 5}', "application/json", "no JSON DocumentEventData"),
        (b'{"values": {}}', "application/json", 'no field named "values"'),
        (b'{"value": {"name": "a", "name": "b"}}', "", "the key 'name' stands twice"),
        (b'{"value": {"fields": {"x": {"bytesValue": "!!"}}}}', "", "'!!' is not base64"),
        (b'{"value": {"fields": {"x": {"bytesValue": "AAAAA"}}}}', "", "is not base64"),
        (b'{"value": {"fields": {"x": {"bytes_value": "e e="}}}}', "", "is not base64"),
        (b'{"value": {"fields": {"x": {"stringValue": "\\ud800"}}}}', "", "surrogates not allowed"),
        (b'{"value": {"\\ud800": 1}}', "", "surrogates not allowed"),
        (b'{"\\udfff": {}}', "", "surrogates not allowed"),
        (b'{"updateMask": "\\ud800"}', "", "surrogates not allowed"),
        (b'{"value": {"fields": {"\\ud800": {"stringValue": ""}}}}', "", "surrogate"),
        (b'{"value": {"fields": {"x": {"integerValue": "9223372036854775808"}}}}', "", "range"),
        (b'{"value": {"fields": {"x": {"doubleValue": 1e400}}}}', "", "too large"),
        (b'{"value": {"fields": {"x": {"timestampValue": "now"}}}}', "", "timestamp"),
        (b'{"value": {"fields": {"x": {"a": 1, "b": 2}}}}', "", "no field named"),
        (b"\xff{}", "application/json", "utf-8"),
        (b'{"value"', "application/json", "no JSON DocumentEventData"),
        (b"{" * 100_000, "", "no JSON DocumentEventData"),
        (b'{"value":' * 100_000, "", "no JSON DocumentEventData"),
        (b"[" * 100_000, "application/json", "no JSON DocumentEventData"),
    ],
)
def test_bytes_of_anything_else_are_refused(data, content_type, reason):
    """What is neither of the three forms, or another type's, says so and where."""
    if not reason:
        assert parse_event_data(data, content_type) == DocumentEventData()
        return
    with pytest.raises(InvalidEventData) as caught:
        parse_event_data(data, content_type)
    assert reason in str(caught.value)


def test_a_field_named_as_a_kind_of_value_is_a_field():
    """`bytesValue` as a document's field is not taken for base64."""
    data = (
        b'{"value": {"fields": {"bytesValue": {"stringValue": "!!"}, "b": {"bytesValue": "_w"}}}}'
    )
    read = parse_event_data(data, "application/json")
    assert fields_to_json(read.value.fields) == {"bytesValue": "!!", "b": "/w=="}


def entity(version=0, **properties):
    event = datastore_events.EntityEventData.pb()()
    event.value.entity.key.partition_id.project_id = "demo-project"
    event.value.entity.key.path.add(kind="Issue", name="one")
    event.value.version = version
    for name, text in properties.items():
        event.value.entity.properties[name].string_value = text
    return event.SerializeToString()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (entity(title="x"), "no whole protobuf"),  # a Value's bytes are no UTF-8, so no name
        (entity(version=5), "value has field number 4, which no DocumentEventData has"),
    ],
)
def test_a_datastore_entity_is_refused(data, reason):
    """google.events.cloud.datastore.v1.EntityEventData fails by its bytes or by a field.

    One without either parses, its entity taken for the name, which no document has:
    schemas.event refuses that.
    """
    with pytest.raises(InvalidEventData) as caught:
        parse_event_data(data, "application/protobuf")
    assert reason in str(caught.value)
    bare = parse_event_data(entity(), "application/protobuf").value
    assert (bare.name[:1], dict(bare.fields)) == ("\n", {})


def test_every_recorded_event_reads_as_protobufs_own_json_says():
    """On the emulator's own events the codec agrees with protobuf's JSON, type by type."""
    checked = 0
    for message in recorded_messages():
        event = parse_event_data(message.data, message.attribute("content-type"))
        for side, name in ((event.value, "value"), (event.old_value, "oldValue")):
            theirs = json.loads(json_format.MessageToJson(event)).get(name, {}).get("fields", {})
            assert is_same(fields_to_json(side.fields), {k: plain(v) for k, v in theirs.items()})
            checked += len(theirs)
    assert checked > 150


def plain(typed):
    """Protobuf's JSON of a Value by the module's table, written independently of it."""
    ((kind, content),) = typed.items()
    if kind == "integerValue":
        return int(content)
    if kind == "doubleValue":
        return content if isinstance(content, str) else float(content)
    if kind == "timestampValue":
        whole, _, fraction = content[:-1].partition(".")
        fraction = fraction.rstrip("0")
        return f"{whole}.{fraction}Z" if fraction else f"{whole}Z"
    if kind == "geoPointValue":
        return {k: float(content.get(k, 0)) for k in ("latitude", "longitude")}
    if kind == "arrayValue":
        return [plain(item) for item in content.get("values", [])]
    if kind == "mapValue":
        inner = content.get("fields", {})
        if inner.get("__type__") == {"stringValue": "__vector__"}:
            return plain(inner["value"])
        return {k: plain(v) for k, v in inner.items()}
    return content
