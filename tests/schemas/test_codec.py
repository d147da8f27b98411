"""The codec's way back: exact Python values and whole changes, there and back, in every form."""

import base64
import json
import math
from datetime import UTC, datetime
from pathlib import PurePath

import pytest
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import event_data
from schemas.document_change import Document, DocumentChange, from_bytes, from_event_data
from schemas.event_data import MAX_LEVELS
from schemas.firestore import (
    DocumentEventData,
    InvalidEventData,
    InvalidValue,
    Value,
    fields_to_json,
    parse_event_data,
)
from schemas.firestore_values import (
    GeoPoint,
    Reference,
    Timestamp,
    Vector,
    from_value,
    to_value,
)
from tests.strategies import (
    NAME,
    changes,
    document_event,
    exact_fields,
    exact_values,
    fields,
    is_same,
    json_model,
    recorded_messages,
    vector,
)

PROTOBUF, JSON = "application/protobuf", "application/json"

# One value of each kind, and those at the edges of each, with the JSON that a table holds.
EVERYTHING = {
    "null": (None, None),
    "true": (True, True),
    "false": (False, False),
    "zero": (0, 0),
    "one": (1, 1),
    "beyond a double": (2**53 + 1, 9_007_199_254_740_993),
    "greatest": (2**63 - 1, 9_223_372_036_854_775_807),
    "least": (-(2**63), -9_223_372_036_854_775_808),
    "double zero": (0.0, 0.0),
    "negative zero": (-0.0, -0.0),
    "whole double": (1.0, 1.0),
    "smallest double": (5e-324, 5e-324),
    "NaN": (math.nan, "NaN"),
    "infinities": ([math.inf, -math.inf], ["Infinity", "-Infinity"]),
    "empty": ("", ""),
    "text": ("Zürich 東京 🚒\x00", "Zürich 東京 🚒\x00"),
    "no bytes": (b"", ""),
    "bytes": (b"\x00\xff\xfe", "AP/+"),
    "epoch": (Timestamp(0), "1970-01-01T00:00:00Z"),
    "nanoseconds": (Timestamp(1_709_168_523, 123_456_789), "2024-02-29T01:02:03.123456789Z"),
    "before 1970": (Timestamp(-1, 999_999_999), "1969-12-31T23:59:59.999999999Z"),
    "first": (Timestamp(-62_135_596_800), "0001-01-01T00:00:00Z"),
    "last": (Timestamp(253_402_300_799, 999_999_999), "9999-12-31T23:59:59.999999999Z"),
    "reference": (Reference("projects/p/databases/d/documents/a/b"),
                  "projects/p/databases/d/documents/a/b"),
    "empty reference": (Reference(""), ""),
    "null island": (GeoPoint(0.0, 0.0), {"latitude": 0.0, "longitude": 0.0}),
    "ends of the earth": (GeoPoint(-90.0, 180.0), {"latitude": -90.0, "longitude": 180.0}),
    "no items": ([], []),
    "items": ([None, 0, 0.0, False, "", b"", {}, Vector(())],
              [None, 0, 0.0, False, "", "", {}, []]),
    "no members": ({}, {}),
    "odd keys": ({"a.b": 1, "a/b": 2, "`": 3, '"': 4, "0": 5, "": 6, "\\": 7, "🔑": 8},
                 {"a.b": 1, "a/b": 2, "`": 3, '"': 4, "0": 5, "": 6, "\\": 7, "🔑": 8}),
    "map in array in map": ({"a": [{"b": [{}]}]}, {"a": [{"b": [{}]}]}),
    "vector": (Vector((1.0, -0.0, math.nan)), [1.0, -0.0, "NaN"]),
    "no vector": (Vector(()), []),
    "vectors": ([Vector((1.0,)), {"v": Vector((2.0,))}], [[1.0], {"v": [2.0]}]),
    "kind of a vector": ({"__type__": "__vector__", "value": [1]},
                         [1]),
}  # fmt: skip
EXACT = {name: exact for name, (exact, _) in EVERYTHING.items()}
WHOLE = DocumentChange(
    Document(NAME, EXACT, Timestamp(1_800_000_000, 1), Timestamp(1_800_000_001, 999_999_999)),
    Document(NAME, {"was": EXACT}, Timestamp(1_800_000_000, 1), Timestamp(1_800_000_000, 1)),
    ("a.b", "`x y`"),
)


def forms(change):
    """The change's bytes in each form that a message can have, with their content types."""
    raw, in_json = change.to_protobuf(), change.to_json()
    return [
        (raw, PROTOBUF),
        (raw, ""),
        (base64.b64encode(raw), PROTOBUF),
        (in_json, JSON),
        (in_json, ""),
    ]


# Values


@pytest.mark.parametrize("name", EVERYTHING)
def test_each_kind_of_value_comes_back_as_it_was(name):
    """By type and sign, through a Value and its bytes; and is the table's JSON."""
    exact, in_json = EVERYTHING[name]
    value = to_value(exact)
    assert is_same(from_value(value), exact)
    assert is_same(from_value(Value.FromString(value.SerializeToString())), exact)
    assert is_same(fields_to_json({"x": value}), {"x": in_json})


@pytest.mark.parametrize(
    ("exact", "value"),
    [
        (None, Value(null_value=0)),
        (False, Value(boolean_value=False)),
        (0, Value(integer_value=0)),
        (0.0, Value(double_value=0.0)),
        ("", Value(string_value="")),
        (b"", Value(bytes_value=b"")),
        (Timestamp(0), Value(timestamp_value={})),
        (Timestamp(-5, 7), Value(timestamp_value={"seconds": -5, "nanos": 7})),
        (Reference("r"), Value(reference_value="r")),
        (GeoPoint(0.0, 0.0), Value(geo_point_value={})),
        (GeoPoint(1.5, -2.0), Value(geo_point_value={"latitude": 1.5, "longitude": -2.0})),
        ([], Value(array_value={})),
        ({}, Value(map_value={})),
        ({"a": [1]}, Value(map_value={"fields": {"a": Value(array_value={
            "values": [Value(integer_value=1)]})}})),
        (Vector((1.0, 2.0)), vector(1.0, 2.0)),
        (Vector(()), vector()),
    ],
)  # fmt: skip
def test_each_kind_of_value_is_the_protobuf_of_its_kind(exact, value):
    """Which field of a Value each Python type is: a fault on both ways would hide in a round."""
    assert to_value(exact) == value
    assert is_same(from_value(value), exact)


@given(exact_values)
def test_any_value_comes_back_as_it_was(exact):
    """decode(encode(x)) = x, at any depth."""
    assert is_same(from_value(to_value(exact)), exact)


@given(exact_fields)
def test_json_is_what_the_table_says(exact):
    """`fields_to_json` agrees with a model of the table, and so does its text."""
    change = DocumentChange(Document(NAME, exact))
    found = fields_to_json(parse_event_data(change.to_protobuf(), PROTOBUF).value.fields)
    assert is_same(found, json_model(exact))
    assert is_same(json.loads(json.dumps(found)), json_model(exact))


@given(fields)
def test_whatever_a_sender_wrote_is_read_and_written_as_it_was(document):
    """Protobuf first: the same bytes again, but for arrays in arrays, which Firestore refuses."""
    event = document_event(document, document, mask=("a",))
    change = from_event_data(event)
    if any(map(has_nested_array, document.values())):
        with pytest.raises(InvalidValue, match="an array directly in an array"):
            change.to_protobuf()
    else:
        assert change.to_protobuf() == event.SerializeToString(deterministic=True)


def has_nested_array(value):
    items = list(value.array_value.values)
    inner = [*items, *value.map_value.fields.values()]
    return any(item.HasField("array_value") for item in items) or any(map(has_nested_array, inner))


# Whole events


def test_a_change_of_everything_comes_back_in_every_form():
    """Both sides, their times and the mask, exactly, from protobuf, base64 and JSON."""
    for data, content_type in forms(WHOLE):
        assert is_same(from_bytes(data, content_type), WHOLE)


@given(changes())
def test_any_change_comes_back_in_every_form(change):
    """decode(encode(x)) = x for the protobuf, its base64, and the JSON CloudEvent's body."""
    for data, content_type in forms(change):
        assert is_same(from_bytes(data, content_type), change)


@given(changes())
def test_the_json_body_is_protobufs_own(change):
    """It says what google.protobuf's own writer says, and its reader reads the same event."""
    event = change.to_event_data()
    ours = json.loads(change.to_json())
    assert is_same(ours, json.loads(json_format.MessageToJson(event)))
    theirs = json_format.ParseDict(ours, DocumentEventData())
    assert is_same(from_event_data(theirs), change)


@pytest.mark.parametrize(
    "change",
    [
        DocumentChange(Document(NAME)),
        DocumentChange(None, Document(NAME)),
        DocumentChange(Document(NAME, {"a": None}), None, ("a",)),
        DocumentChange(Document(NAME, {}, Timestamp(0), None), Document(NAME)),
    ],
)
def test_what_is_absent_stays_absent(change):
    """A missing side, no fields, no times; the epoch is a time."""
    for data, content_type in forms(change):
        assert from_bytes(data, content_type) == change


def test_present_and_empty_sides_are_absent():
    """Google's test documents carry old_value and update_mask, present and empty."""
    event = document_event({"a": {"integer_value": 1}})
    event.old_value.SetInParent()
    event.update_mask.SetInParent()
    change = from_event_data(event)
    assert (change.old, change.mask) == (None, ())
    assert change.new.fields == {"a": 1}


def test_the_same_change_is_the_same_bytes():
    """In whatever order its maps were made, so that an import's event is known when it repeats."""
    names = [f"n{i}" for i in range(50)]
    there, back = dict.fromkeys(names, 1), dict.fromkeys(reversed(names), 1)
    there["m"], back["m"] = dict(there), dict(back)
    one, other = (DocumentChange(Document(NAME, each)) for each in (there, back))
    assert one.to_protobuf() == other.to_protobuf()
    assert one.to_json() == other.to_json()
    fields = json.loads(one.to_json())["value"]["fields"]
    assert [*fields] == ["m", *sorted(names)]
    assert [*fields["m"]["mapValue"]["fields"]] == sorted(names)


def test_every_recorded_event_is_read_and_written_as_it_was():
    """The emulator's own events: the same bytes again, but for the empty mask that it sends."""
    for message in recorded_messages():
        event = DocumentEventData.FromString(base64.b64decode(message.data))
        event.ClearField("update_mask")
        change = from_bytes(message.data, message.attribute("content-type"))
        assert change.to_protobuf() == event.SerializeToString(deterministic=True)


# Depth


def nested(levels, kinds):
    """A value with so many maps and arrays inside each other, of the kinds in turn."""
    value = 0
    for level in range(levels):
        value = {"a": value} if kinds[level % len(kinds)] == "map" else [value]
    return value


@pytest.mark.parametrize("kinds", [("map",), ("map", "array")], ids="-".join)
@pytest.mark.parametrize("levels", [20, 32, 33, 48, 49, 100, 200, MAX_LEVELS - 1])
def test_any_depth_comes_back_in_every_form(levels, kinds):
    """Firestore's own 20, on both sides of where protobuf's parsers end, and to our own limit."""
    exact = nested(levels, kinds)
    change = DocumentChange(Document(NAME, {"x": exact}), Document(NAME, {"x": exact, "y": 1}))
    for data, content_type in forms(change):
        assert from_bytes(data, content_type) == change
    event = parse_event_data(change.to_protobuf(), PROTOBUF)
    assert fields_to_json(event.value.fields) == {"x": exact}


def test_a_level_more_is_refused_in_every_form():
    """Named, wherever it comes from: a Python value, protobuf, its base64, JSON."""
    exact = nested(MAX_LEVELS, ("map",))
    with pytest.raises(InvalidValue, match="nested more than 250 levels deep; Firestore holds 20"):
        DocumentChange(Document(NAME, {"x": exact})).to_protobuf()
    event = document_event({})
    value = event.value.fields["x"]
    for _ in range(MAX_LEVELS):
        value = value.map_value.fields["a"]
    value.integer_value = 0
    with pytest.raises(InvalidValue, match=r"^new\.fields: x\.a\.a\.a.*nested more than 250"):
        from_event_data(event)
    raw = event.SerializeToString()
    in_json = json.dumps(event_data.write_json(event)).encode()
    for data in (raw, base64.b64encode(raw), in_json):
        with pytest.raises(InvalidEventData, match="nested more than 250 levels deep"):
            parse_event_data(data, "")


@pytest.mark.parametrize("levels", [MAX_LEVELS - 3, MAX_LEVELS - 2])
def test_a_vector_is_two_levels(levels):
    """As the map and the array that it is stored in; what is written can be read."""
    exact = nested(levels, ("map",))
    place = exact
    for _ in range(levels - 1):
        place = place["a"]
    place["a"] = Vector((1.0,))
    change = DocumentChange(Document(NAME, {"x": exact}))
    if levels == MAX_LEVELS - 3:
        assert from_bytes(change.to_protobuf(), PROTOBUF) == change
    else:
        with pytest.raises(InvalidValue, match="nested more than 250 levels deep"):
            change.to_protobuf()


@given(changes())
def test_reading_by_levels_is_parsing(change):
    """The reader of what is too deep for protobuf's parser agrees with it on all else."""
    raw = change.to_protobuf()
    assert event_data._by_levels(raw).SerializeToString(deterministic=True) == raw


DEEP = DocumentChange(Document(NAME, {"x": nested(60, ("map",)), "y": "ü"})).to_protobuf()


def test_a_deep_event_cut_short_anywhere_is_refused():
    """Every prefix: no part of it is read."""
    assert from_bytes(DEEP, PROTOBUF)
    whole = [length for length in range(1, len(DEEP)) if is_read(DEEP[:length])]
    assert whole == []


def is_read(data):
    try:
        event_data.read_protobuf(data)
    except DecodeError as error:
        assert "type 'google.events.cloud.firestore.v1.DocumentEventData'" in str(error)  # noqa: PT017
        return False
    return True


@pytest.mark.parametrize(
    "leaf",
    [
        b"\x10\x00\x10\x00",  # an integer twice
        b"\x32\x00\x32\x00",  # a map twice, which the parser would merge
        b"\x32\x02\x18\x05",  # a map with a field that maps have not
        b"\x8a\x01\x01\xff",  # a string that is no UTF-8
        b"\x32\x03\x0a\x01\xff",  # a map whose entry is none
    ],
)
def test_a_deep_event_that_is_not_written_plainly_is_refused(leaf):
    """Reading by levels would lose or merge a part; so it is not read at all."""
    assert is_read(with_leaf(b"\x10\x00"))
    assert not is_read(with_leaf(leaf))


def with_leaf(value):
    """A protobuf event whose value, under 60 maps, has these bytes."""
    for _ in range(60):
        value = member(6, member(1, member(1, b"a") + member(2, value)))
    return member(1, member(1, NAME.encode()) + member(2, member(1, b"x") + member(2, value)))


def member(number, content):
    length = len(content)
    sizes = bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])
    return bytes([number << 3 | 2]) + sizes + content


# Refusals


@pytest.mark.parametrize(
    ("exact", "reason"),
    [
        (2**63, "$: the integer 9223372036854775808 is beyond 64 bits; "),
        (-(2**63) - 1, "$: the integer -9223372036854775809 is beyond 64 bits; "),
        ({"a": [1 << 9_999]}, "a[0]: the integer of 10000 bits is beyond 64 bits; "),
        ([[]], "[0]: an array directly in an array, which Firestore refuses; put a map between"),
        ({"a b": [{}, [1]]}, "`a b`[1]: an array directly in an array"),
        ({1: 2}, "$: the key 1: a int, where a str is expected"),
        ({"a": {None: 2}}, "a: the key None: a NoneType, where a str is expected"),
        ({"a": {"\ud800": 2}}, "a: the key '\\ud800': half of a surrogate pair at character 0"),
        ({"a": "x\udfff"}, "a: half of a surrogate pair at character 1, which UTF-8 lacks"),
        (Reference("\ud800"), "$: a reference's name: half of a surrogate pair at character 0"),
        (Reference(5), "$: a reference's name: a int, where a str is expected"),
        ((1, 2), "$: a tuple is none of the types that are written: None, bool, int, float, str"),
        ({"a": {1, 2}}, "a: a set is none of the types that are written"),
        (datetime(2027, 1, 1, tzinfo=UTC), "$: a datetime.datetime is none of the types"),
        (PurePath("x"), "$: a pathlib.PurePosixPath is none of the types"),
        (bytearray(b"x"), "$: a bytearray is none of the types"),
        (GeoPoint(90.5, 0.0), "$: the latitude 90.5 is no float from -90 to 90"),
        (GeoPoint(0.0, -181.0), "$: the longitude -181.0 is no float from -180 to 180"),
        (GeoPoint(math.nan, 0.0), "$: the latitude nan is no float"),
        (GeoPoint(1, 0.0), "$: the latitude 1 is no float"),
        (Timestamp(253_402_300_800), "$: 253402300800 seconds since 1970 lie outside the years"),
        (Timestamp(-62_135_596_801), "$: -62135596801 seconds since 1970 lie outside the years"),
        (Timestamp(10**400), "seconds since 1970 lie outside the years 1 to 9999"),
        (Timestamp(0, 10**9), "$: 1000000000 nanos are not within a second"),
        (Timestamp(0, -1), "$: -1 nanos are not within a second"),
        (Timestamp(0.5), "$: Timestamp(seconds=0.5, nanos=0) is no Timestamp of two ints"),
        (Vector([1.0]), "$: a vector's numbers are a tuple of floats, nothing else"),
        ({"v": Vector((1.0, 2))}, "v: a vector's numbers are a tuple of floats"),
        ({"m": {"__type__": "__vector__", "value": [1.0]}},
         "m: a map that would be read as a vector; write Vector((...))"),
    ],
)  # fmt: skip
def test_what_firestore_cannot_hold_is_refused_with_its_path(exact, reason):
    """Never rounded, nested or guessed; the reason says where and why."""
    with pytest.raises(InvalidValue) as caught:
        to_value(exact)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 700


def test_a_value_that_holds_itself_is_refused():
    """As one that is too deep."""
    loop = {}
    loop["a"] = {"b": loop}
    with pytest.raises(InvalidValue, match="nested more than 250 levels deep"):
        to_value(loop)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (DocumentChange(None), "a change has a document: both new and old are None"),
        (DocumentChange(Document("")), "new.name: empty, so that the side would be read as absent"),
        (DocumentChange(Document("a\ud800")), "new.name: half of a surrogate pair at character 1"),
        (DocumentChange(Document("a"), Document("b")), "old is of another document: 'b', not 'a'"),
        (DocumentChange(None, Document("a", {"x": [[]]})), "old.fields: x[0]: an array directly"),
        (DocumentChange(Document("a", {}, Timestamp(0, -1))), "new.create_time: -1 nanos are not"),
        (DocumentChange(Document("a", {}, None, 5)), "new.update_time: 5 is no Timestamp"),
        (DocumentChange(Document("a"), None, ("x", 5)), "mask[1]: a int, where a str is expected"),
    ],
)
def test_what_is_no_change_is_refused_with_its_side(change, reason):
    """Nothing is written that would be read as something else."""
    for encode in (change.to_event_data, change.to_protobuf, change.to_json):
        with pytest.raises(InvalidValue) as caught:
            encode()
        assert str(caught.value).startswith(reason)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (Value(), "new.fields: x.y[0]: a value without a type that this version knows"),
        (Value(timestamp_value={"nanos": -5}), "new.fields: x.y[0]: -5 nanos are not within a"),
        (Value(timestamp_value={"seconds": 2**62}), "new.fields: x.y[0]: 4611686018427387904 sec"),
    ],
)
def test_what_has_no_meaning_is_not_read(value, reason):
    """As `fields_to_json` refuses it, with side and path."""
    event = document_event({})
    event.value.fields["x"].map_value.fields["y"].array_value.values.append(value)
    with pytest.raises(InvalidValue) as caught:
        from_event_data(event)
    assert str(caught.value).startswith(reason)


def test_a_documents_own_time_that_is_none_is_not_read():
    """With its side and name."""
    event = document_event(None, {}, updated=(0, -1))
    with pytest.raises(InvalidValue, match=r"^old\.update_time: -1 nanos are not within a second"):
        from_event_data(event)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"x": None}, "x: a value is an object of its type and content, such as"),
        ({"x": "text"}, "not 'text'"),
        ({"x": ["a"]}, "x: a value is an object"),
        ({"x": {"mapValue": {"fields": {"y z": {"integerValue": "a"}}}}}, "x.`y z`: "),
        ({"x": {"arrayValue": {"values": [{"nullValue": None}, None]}}}, "x[1]: a value is"),
        ({"x": {"arrayValue": {"values": {}}}}, "x: "),
        ({"x": {"mapValue": {"fields": []}}}, "x: "),
        ({"x": {"mapValue": {"fields": {}, "more": 1}}}, 'no field named "more"'),
        ({"x": {"mapValue": {}, "arrayValue": {}}}, "should not have multiple"),
        ({"x": {"mapValue": 5}}, "x: "),
    ],
)
def test_json_that_is_no_value_is_refused_with_its_path(body, reason):
    """Where protobuf's own reader tells the type alone, here the path comes first."""
    data = json.dumps({"value": {"name": NAME, "fields": body}}).encode()
    with pytest.raises(InvalidEventData) as caught:
        from_bytes(data, JSON)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("body", "read"),
    [
        ({"mapValue": {}}, {}),
        ({"mapValue": {"fields": None}}, {}),
        ({"map_value": {"fields": {"a": {"integer_value": 5}}}}, {"a": 5}),
        ({"arrayValue": {}}, []),
        ({"arrayValue": {"values": None}}, []),
        ({"array_value": {"values": [{"nullValue": "NULL_VALUE"}]}}, [None]),
        ({"integerValue": 5}, 5),
        ({"doubleValue": "-Infinity"}, -math.inf),
        ({"doubleValue": 1}, 1.0),
        ({"bytesValue": "_w"}, b"\xff"),
        ({"timestampValue": "2027-01-01T01:00:00.000000001+01:00"}, Timestamp(1_798_761_600, 1)),
    ],
)
def test_json_is_read_as_liberally_as_protobuf_does(body, read):
    """Both spellings of names, missing and null members, numbers or their text."""
    data = json.dumps({"value": {"name": NAME, "fields": {"x": body}}}).encode()
    assert is_same(from_bytes(data, JSON).new.fields, {"x": read})
    assert json_format.Parse(data, DocumentEventData()) == parse_event_data(data, JSON)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"oldValue": {}, "old_value": {}}, "oldValue and old_value are the same field"),
        ({"updateMask": {}, "update_mask": {}}, "updateMask and update_mask are the same field"),
        ({"value": {"createTime": None, "create_time": None}}, "createTime and create_time are"),
        ({"old_value": {"updateTime": None, "update_time": None}}, "updateTime and update_time"),
        ({"updateMask": {"fieldPaths": [], "field_paths": []}}, "fieldPaths and field_paths are"),
    ],
)
def test_json_that_says_a_thing_twice_is_refused(body, reason):
    """In both spellings of a name, which protobuf's own reader would merge."""
    data = json.dumps(body).encode()
    assert json_format.Parse(data, DocumentEventData()) is not None
    with pytest.raises(InvalidEventData, match=reason):
        parse_event_data(data, JSON)


def test_json_fields_in_both_spellings_are_two_fields():
    """A document may have `oldValue` beside `old_value`."""
    change = DocumentChange(Document(NAME, {"oldValue": 1, "old_value": {"createTime": 2}}))
    assert from_bytes(change.to_json(), JSON) == change


junk = st.sampled_from([None, 5, "x", [5], {"a": 5}, {"nullValue": 5, "stringValue": "x"}])
kinds = st.recursive(
    st.sampled_from([
        {}, {"nullValue": None}, {"integerValue": "7"}, {"integer_value": 7}, {"doubleValue": 1},
        {"stringValue": "x"}, {"stringValue": 5}, {"geoPointValue": {"latitude": 1}},
        {"mapValue": None}, {"arrayValue": {"values": None}}, {"timestampValue": "yesterday"},
    ]) | junk,
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from(["a", "fields"]), inner, max_size=2).map(
            lambda found: {"mapValue": {"fields": found}}),
        st.lists(inner, max_size=2).map(lambda found: {"array_value": {"values": found}}),
        inner.map(lambda found: {"mapValue": found}),
        inner.map(lambda found: {"map_value": {"fields": found, "more": 1}}),
    ),
    max_leaves=4,
)  # fmt: skip


@settings(max_examples=200)
@given(
    st.sampled_from(["value", "oldValue", "old_value"]),
    st.dictionaries(st.sampled_from(["a", "b"]), kinds, max_size=2) | junk,
)
def test_any_json_is_judged_as_protobuf_judges_it(side, body):
    """What its own reader refuses is refused by name, what it takes is read alike.

    But for text and lists where an object of a type stands, which it takes when they are empty.
    """
    data = json.dumps({side: {"name": NAME, "fields": body}}).encode()
    try:
        expected = json_format.Parse(data, DocumentEventData())
    except json_format.ParseError:
        with pytest.raises(InvalidEventData):
            parse_event_data(data, JSON)
    else:
        assert parse_event_data(data, JSON) == expected
