"""Inputs that other systems tripped over, each a case of its own, from a message to its row.

What a form or a type means is proved in test_firestore, test_codec and test_event; here each stands
as it would arrive, and what is asserted is the row: the text of `payload`, the typed columns, the
names. Where no row may come of it, the refusal.
"""

import base64
import json
import math

import google.events.cloud.datastore_v1 as datastore_events
import pytest

from schemas.document_change import Document, DocumentChange
from schemas.encode import Encoder
from schemas.event import InvalidDocument, NoData, Undecodable, UnsupportedType, decode_message
from schemas.event_data import MAX_LEVELS
from schemas.firestore_values import GeoPoint, Reference, Timestamp, Vector
from schemas.message import (
    CE_ID,
    CE_SOURCE,
    CE_TIME,
    CE_TYPE,
    MAX_MESSAGE_BYTES,
    Message,
    event_id_of,
    issue_id_of_document,
    serialized_size,
)
from schemas.row import Shaper
from schemas.table_file import parse_table
from schemas.times import MAX_MICROS, MIN_MICROS, format_micros
from tests.strategies import NAME, NOW, WRITTEN, is_same

PREFIX = "google.cloud.firestore.document.v1."
MADE = Timestamp(NOW // 1_000_000)
TABLE = parse_table(
    """
table: t
default: true
columns:
  - {path: s}
  - {path: i, type: INT64}
  - {path: d, type: FLOAT64}
  - {path: b, type: BOOL}
  - {path: y, type: BYTES}
  - {path: t, type: TIMESTAMP}
  - {path: j, type: JSON}
  - {path: ss, mode: REPEATED}
  - {path: dd, type: FLOAT64, mode: REPEATED}
  - {path: tt, type: TIMESTAMP, mode: REPEATED}
  - {path: a.b}
  - {path: "`a.b`", name: dotted}
""",
    "t.yaml",
)
SHAPER, ENCODER = Shaper((TABLE,)), Encoder(TABLE)
DECLARED = tuple(column.name for column in TABLE.declared)


def change(fields, old=None, name=NAME):
    """A creation, or an update of a document that had the old fields."""
    before = None if old is None else Document(name, old, MADE, MADE)
    return DocumentChange(Document(name, fields, MADE, MADE), before)


def message(data, type_=WRITTEN, **attributes):
    """A message as Eventarc's would be, with no content type."""
    if isinstance(data, DocumentChange):
        data = data.to_protobuf()
    given = {CE_ID: "1", CE_SOURCE: "//test", CE_TYPE: type_, CE_TIME: format_micros(NOW)}
    return Message(data, given | {name.replace("_", "-"): v for name, v in attributes.items()})


def row(given):
    """The row of a message, or of a change, which can be written as it is."""
    given = given if isinstance(given, Message) else message(given)
    values = SHAPER.shape(decode_message(given), NOW).values
    assert is_same(ENCODER.decode(ENCODER.encode(values)), dict(values))
    return values


def refusal(given):
    with pytest.raises(Undecodable) as caught:
        decode_message(given)
    return type(caught.value), str(caught.value)


# What is no document event


def entity_event(**properties):
    event = datastore_events.EntityEventData.pb()()
    for side in (event.value, event.old_value):
        side.entity.key.partition_id.project_id = "demo-project"
        side.entity.key.path.add(kind="Issue", name="one")
        side.update_time.seconds = side.create_time.seconds = NOW // 1_000_000
        for name, content in properties.items():
            side.entity.properties[name].string_value = content
    return event.SerializeToString()


def test_a_datastore_entity_event_by_its_type():
    """Firestore in Datastore mode sends a type of its own."""
    found, reason = refusal(
        message(entity_event(title="x"), "google.cloud.datastore.entity.v1.written")
    )
    assert found is UnsupportedType
    assert "google.cloud.datastore.entity.v1.written" in reason


@pytest.mark.parametrize("encode", [bytes, base64.b64encode])
@pytest.mark.parametrize(
    "properties", [{}, {"t": "x"}, {"title": "x" * 200}, {"a": "", "b": "ü"}], ids=str
)
def test_a_datastore_entity_event_by_its_bytes(properties, encode):
    """Such bytes under a Firestore type, some of which parse, into the wrong fields: no row."""
    assert refusal(message(encode(entity_event(**properties))))[0] is InvalidDocument


def test_an_event_over_10_mb_comes_without_data():
    """Eventarc leaves the data out; the letter names the document, by every kind of event."""
    for kind in ("created", "updated", "deleted", "written"):
        for suffix in ("", ".withAuthContext"):
            given = message(
                b"", f"{PREFIX}{kind}{suffix}", ce_subject="documents/issues/one", ce_dataschema="x"
            )
            found, reason = refusal(given)
            assert found is NoData
            assert reason.startswith("a Firestore event without data: it was larger than Eventarc")
            assert reason.endswith("; document by ce-subject: documents/issues/one")


# How it comes


def forms(given):
    raw = given.to_protobuf()
    return {"raw": raw, "base64": base64.b64encode(raw), "json": given.to_json()}


@pytest.mark.parametrize(
    "content_type",
    [None, "", "application/protobuf", "application/octet-stream", "text/plain", "?"],
)
@pytest.mark.parametrize("form", ["raw", "base64", "json"])
def test_an_event_without_a_datacontenttype_or_with_another(form, content_type):
    """The content tells its form: the row is the same as under the right type."""
    given = change({"s": "x"}, {"s": "y"})
    attributes = {} if content_type is None else {"content_type": content_type}
    right = {"raw": "application/protobuf", "base64": "", "json": "application/json"}[form]
    values = row(message(forms(given)[form], **attributes))
    assert values == row(message(forms(given)[form], content_type=right))
    assert (values["operation"], values["s"], values["changed_fields"]) == ("UPDATE", "x", ["s"])


@pytest.mark.parametrize("data", [b"CgA", b"CgA=\n", b" CgA=", b"C g A =", b"CgA-"])
def test_base64_that_is_not_plain_is_refused(data):
    """Without padding, with white space or of the other alphabet: nobody sends it, no guess."""
    assert refusal(message(data))[0] is InvalidDocument


def test_projects_projects_in_the_source():
    """The emulator's `ce-source` says `projects/projects/P`: ids are over it, names are not."""
    source = "//firestore.googleapis.com/projects/projects/demo-project/databases/(default)"
    values = row(message(change({"s": "x"}), ce_source=source))
    assert values["event_id"] == event_id_of(source, "1")
    assert (values["document_name"], values["issue_key"]) == (NAME, NAME)


# Values that are taken for absence


def test_zeros_are_values():
    """0, false, "", no bytes, 1970: in `payload` and in their columns, none of them NULL."""
    values = row(change({"s": "", "i": 0, "d": 0.0, "b": False, "y": b"", "t": Timestamp(0)}))
    assert values["payload"] == '{"b":false,"d":0.0,"i":0,"s":"","t":"1970-01-01T00:00:00Z","y":""}'
    expected = {"s": "", "i": 0, "d": 0.0, "b": False, "y": b"", "t": 0}
    assert is_same({name: values[name] for name in expected}, expected)
    assert values["type_errors"] == []


def test_minus_zero_keeps_its_sign():
    """In `payload`, alone and in an array, and in a FLOAT64 column."""
    values = row(change({"d": -0.0, "dd": [-0.0, 0.0]}))
    assert values["payload"] == '{"d":-0.0,"dd":[-0.0,0.0]}'
    assert math.copysign(1, values["d"]) == -1
    assert [math.copysign(1, number) for number in values["dd"]] == [-1, 1]


def test_geo_point_of_zeros():
    """GeoPoint(0, 0) is four bytes of protobuf without a number in them."""
    values = row(change({"j": GeoPoint(0.0, 0.0), "x": [GeoPoint(-0.0, 0.0)]}))
    assert values["payload"] == (
        '{"j":{"latitude":0.0,"longitude":0.0},"x":[{"latitude":-0.0,"longitude":0.0}]}'
    )
    assert values["j"] == '{"latitude":0.0,"longitude":0.0}'


def test_null_is_a_value_in_payload_and_null_in_a_column():
    """A null field is no error; absence differs from it in `payload` alone."""
    values = row(change(dict.fromkeys(["s", "i", "ss"])))
    assert values["payload"] == '{"i":null,"s":null,"ss":null}'
    assert (values["s"], values["i"], values["ss"], values["type_errors"]) == (None, None, [], [])


def test_nulls_in_arrays():
    """They stay in `payload`, at their places; a REPEATED column has none, as BigQuery asks."""
    values = row(change({"ss": [None, "a", None], "dd": [None], "x": [None, {"y": None}]}))
    assert values["payload"] == '{"dd":[null],"ss":[null,"a",null],"x":[null,{"y":null}]}'
    assert (values["ss"], values["dd"], values["type_errors"]) == (["a"], [], [])


def test_empty_maps_and_arrays():
    """Are themselves, not absence."""
    values = row(change({"j": {}, "ss": [], "x": [{}, {"y": []}]}))
    assert values["payload"] == '{"j":{},"ss":[],"x":[{},{"y":[]}]}'
    assert (values["j"], values["ss"]) == ("{}", [])


# Numbers


def test_nan_and_infinities_inside_arrays():
    """Words in `payload`, which stays JSON; numbers again in a FLOAT64 column."""
    numbers = [math.nan, math.inf, -math.inf, 1.0]
    values = row(change({"dd": numbers, "d": math.nan, "x": [{"y": [math.inf]}]}))
    assert values["payload"] == (
        '{"d":"NaN","dd":["NaN","Infinity","-Infinity",1.0],"x":[{"y":["Infinity"]}]}'
    )
    assert is_same(values["dd"], numbers)
    assert math.isnan(values["d"])
    assert values["type_errors"] == []


@pytest.mark.parametrize("number", [2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)])
def test_integers_beyond_2_to_the_53rd(number):
    """All 64 bits, in `payload`, in an array, and in an INT64 column; no FLOAT64 takes them."""
    values = row(change({"i": number, "d": number, "x": [number]}))
    assert values["payload"] == f'{{"d":{number},"i":{number},"x":[{number}]}}'
    assert values["i"] == number
    exact = number == -(2**63)
    assert (values["d"], values["type_errors"]) == ((float(number), []) if exact else (None, ["d"]))


# Times

TIMES = [
    (Timestamp(1_709_168_523, 123_456_789), "2024-02-29T01:02:03.123456789Z",
     1_709_168_523_123_456),
    (Timestamp(0, 1), "1970-01-01T00:00:00.000000001Z", 0),
    (Timestamp(-1, 999_999_999), "1969-12-31T23:59:59.999999999Z", -1),
    (Timestamp(-1, 1), "1969-12-31T23:59:59.000000001Z", -1_000_000),
    (Timestamp(-14_182_940), "1969-07-20T20:17:40Z", -14_182_940_000_000),
    (Timestamp(-62_135_596_800), "0001-01-01T00:00:00Z", MIN_MICROS),
    (Timestamp(253_402_300_799, 999_999_999), "9999-12-31T23:59:59.999999999Z", MAX_MICROS),
]  # fmt: skip


@pytest.mark.parametrize(("time", "text", "micros"), TIMES, ids=[t[1] for t in TIMES])
def test_times_of_every_age_and_to_the_nanosecond(time, text, micros):
    """`payload` keeps nanoseconds; a TIMESTAMP column the microsecond that is begun."""
    values = row(change({"t": time, "tt": [time], "s": time}))
    assert values["payload"] == f'{{"s":"{text}","t":"{text}","tt":["{text}"]}}'
    assert (values["t"], values["tt"], values["s"]) == (micros, [micros], text)
    assert values["type_errors"] == []


# Types that JSON lacks


def test_references_to_other_databases():
    """The full name, whatever project and database it is of."""
    other = "projects/other-project/databases/archive/documents/users/ada/issues/1"
    values = row(change({"s": Reference(other), "x": [{"y": Reference(other)}]}))
    assert values["payload"] == f'{{"s":"{other}","x":[{{"y":"{other}"}}]}}'
    assert values["s"] == other


def test_vectors():
    """An array of numbers, also in a column; one that changes is one field, not two."""
    values = row(change({"dd": Vector((1.0, -0.5))}, {"dd": Vector((1.0, 0.5))}))
    assert values["payload"] == '{"dd":[1.0,-0.5]}'
    assert (values["dd"], values["changed_fields"]) == ([1.0, -0.5], ["dd"])
    assert row(change({"j": Vector(())}))["j"] == "[]"


def test_bytes():
    """Base64 in `payload`; themselves in a BYTES column, not UTF-8 as they are."""
    values = row(change({"y": b"\xff\x00\xfb\xf0", "x": [b"\xff"]}))
    assert values["payload"] == '{"x":["/w=="],"y":"/wD78A=="}'
    assert values["y"] == b"\xff\x00\xfb\xf0"


# Names of fields

ODD = ["a.b", "a/b", "/", "'", '"', "`", "\\", "0", "9lives", "a b", "[0]", "é", "🔑", "$", "-",
       "a\nb"]  # fmt: skip
SIMPLE = ["SELECT", "_PARTITIONTIME", "x" * 1_500]


@pytest.mark.parametrize("name", ODD + SIMPLE, ids=lambda name: ascii(name[:20]))
def test_odd_names_of_fields(name):
    """Dots, slashes, quotes, leading digits: kept at any depth, quoted in `changed_fields`."""
    fields = {name: {name: [{name: 1}]}}
    values = row(change(fields, {name: {name: 0}}))
    assert json.loads(values["payload"]) == fields
    assert json.loads(values["old_payload"]) == {name: {name: 0}}
    quoted = "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
    if name in SIMPLE:
        quoted = name
    assert values["changed_fields"] == [f"{quoted}.{quoted}"]


def test_names_that_collide_after_flattening():
    """`a_b`, `a.b` as a name and `b` in `a`: three fields in `payload`, each column by its path."""
    values = row(change({"a": {"b": "path"}, "a.b": "dotted", "a_b": "joined"}))
    assert values["payload"] == '{"a":{"b":"path"},"a.b":"dotted","a_b":"joined"}'
    assert (values["a_b"], values["dotted"]) == ("path", "dotted")
    alone = row(change({"a_b": "joined"}))
    assert (alone["a_b"], alone["dotted"], alone["type_errors"]) == (None, None, [])


def test_fields_named_as_columns_of_the_table():
    """A document's `event_id`, `operation` or `payload` is no column's."""
    fields = {"event_id": "x", "operation": "DELETE", "payload": {"payload": 1}, "created_at": 5}
    values = row(change(fields))
    assert json.loads(values["payload"]) == fields
    assert (values["event_id"], values["operation"]) == (event_id_of("//test", "1"), "CREATE")
    assert values["created_at"] == NOW


def test_reserved_names():
    """`__key__`, and `__type__` where it makes no vector, are fields like others."""
    fields = {"__key__": 1, "j": {"__type__": "__vector__", "value": "none"}}
    assert json.loads(row(change(fields))["payload"]) == fields


# Size


@pytest.mark.parametrize("form", ["raw", "base64", "json"])
@pytest.mark.parametrize("levels", [20, 200, MAX_LEVELS - 1])
@pytest.mark.parametrize("kind", ["maps", "maps and arrays"])
def test_levels_of_depth(levels, kind, form):
    """Firestore's own 20, and 200: kept whole, new and old, and the leaf that differs named."""
    new, old = (nested(levels, leaf, arrays=kind != "maps") for leaf in (1, 2))
    values = row(message(forms(change({"j": new, "s": "x"}, {"j": old, "s": "x"}))[form]))
    assert values["payload"] == json.dumps({"j": new, "s": "x"}, separators=(",", ":"))
    assert values["old_payload"] == json.dumps({"j": old, "s": "x"}, separators=(",", ":"))
    assert values["j"] == json.dumps(new, separators=(",", ":"))
    assert values["changed_fields"] == ["j" + (".a" if kind != "maps" else ".a" * levels)]


@pytest.mark.parametrize("form", ["raw", "base64", "json"])
def test_more_levels_than_are_kept(form):
    """A dead letter that says so, never a document that ends somewhere."""
    kept = forms(change({"j": nested(MAX_LEVELS - 1, 1)}))[form]
    assert row(message(kept))
    event = change({"j": {}}).to_event_data()
    value = event.value.fields["j"]
    for _ in range(MAX_LEVELS):
        value = value.map_value.fields["a"]
    value.boolean_value = True
    raw = event.SerializeToString()
    deep = '{"mapValue":{"fields":{"a":' * MAX_LEVELS + '{"nullValue":null}' + "}}}" * MAX_LEVELS
    data = {
        "raw": raw,
        "base64": base64.b64encode(raw),
        "json": b'{"value":{"name":"%b","fields":{"j":%b}}}' % (NAME.encode(), deep.encode()),
    }[form]
    found, reason = refusal(message(data))
    assert found is InvalidDocument
    assert f"nested more than {MAX_LEVELS} levels deep" in reason


def nested(levels, leaf, *, arrays=False):
    """So many levels; with arrays the innermost is a map and every second one an array."""
    value = leaf
    for level in range(levels):
        is_array = arrays and (levels - 1 - level) % 2 == 1
        value = [value] if is_array else {"a": value}
    return value


def test_20_000_fields():
    """All of them, in order of their names, new and old; each that changed is named."""
    fields = {f"f{i:05}": i for i in range(20_000)}
    old = fields | {"f00000": -1, "f19999": "was"}
    values = row(change(fields, old))
    assert values["payload"] == json.dumps(fields, separators=(",", ":"))
    assert json.loads(values["old_payload"]) == old
    assert values["changed_fields"] == ["f00000", "f19999"]
    every = row(change(fields, {}))["changed_fields"]
    assert every == list(fields)


def test_an_event_as_large_as_a_message():
    """A document of Firestore's 1 MiB on both sides, escaped: one row; all that it holds."""
    text = '"' * 1_000_000
    values = row(change({"s": text, "x": 1}, {"s": text, "x": 2}))
    assert values["s"] == text
    assert json.loads(values["payload"]) == {"s": text, "x": 1}
    assert values["changed_fields"] == ["x"]


# Names of documents

IDS = ["a b", "ü", "東京🚒", "a.b", "...", "%2F", "a%20b", "'", '"', "`", "\\", "#?&=+", "{x}", "*",
       "a\nb", "\x01", " ", "~", "-1", "0", "documents", "(default)", "x" * 1_400,
       "東" * 466 + "xx", "🚒" * 350]  # fmt: skip


@pytest.mark.parametrize("id_", IDS, ids=lambda id_: ascii(id_[:12]))
def test_odd_and_long_document_ids(id_):
    """Every id that Firestore takes, to 1,400 bytes, is itself in each of the names.

    The subject of such an event is too long for an attribute, or percent-encoded: not needed.
    """
    assert len(id_.encode()) <= 1_400
    name = f"projects/demo-project/databases/(default)/documents/issues/{id_}"
    given = message(change({"s": "x"}, name=name))
    values = row(given)
    assert (values["document_name"], values["issue_key"]) == (name, name)
    assert (values["document_path"], values["document_id"]) == (f"issues/{id_}", id_)
    assert (values["collection"], values["issue_id"]) == ("issues", issue_id_of_document(name))
    assert serialized_size(given.data, given.attributes) < MAX_MESSAGE_BYTES


@pytest.mark.parametrize("database", ["(default)", "named-db", "a" * 63])
@pytest.mark.parametrize("depth", [1, 2, 100])
def test_named_databases_and_subcollections(database, depth):
    """A subcollection a hundred deep, Firestore's limit, in any database: names by the protobuf."""
    path = "/".join(f"c{i}/d{i}" for i in range(depth))
    name = f"projects/demo-project/databases/{database}/documents/{path}"
    values = row(message(change({}, name=name), ce_database="wrong", ce_document="wrong/1"))
    assert (values["document_name"], values["document_path"]) == (name, path)
    assert (values["collection"], values["document_id"]) == (f"c{depth - 1}", f"d{depth - 1}")


# Sides

NEW, OLD = Document(NAME, {"s": "new"}, MADE, MADE), Document(NAME, {"s": "old"}, MADE, MADE)


@pytest.mark.parametrize("form", ["raw", "base64", "json"])
@pytest.mark.parametrize(
    ("kind", "new", "old", "expected"),
    [
        ("created", NEW, None, ("CREATE", "new", '{"s":"new"}', None, [])),
        ("written", NEW, None, ("CREATE", "new", '{"s":"new"}', None, [])),
        ("updated", NEW, OLD, ("UPDATE", "new", '{"s":"new"}', '{"s":"old"}', ["s"])),
        ("written", NEW, OLD, ("UPDATE", "new", '{"s":"new"}', '{"s":"old"}', ["s"])),
        ("updated", NEW, None, ("UPDATE", "new", '{"s":"new"}', None, [])),
        ("deleted", None, OLD, ("DELETE", "old", None, '{"s":"old"}', [])),
        ("written", None, OLD, ("DELETE", "old", None, '{"s":"old"}', [])),
    ],
)
def test_each_operation_with_its_missing_side(kind, new, old, expected, form):
    """The missing side is NULL, not {}; a deletion's columns are what was deleted."""
    values = row(message(forms(DocumentChange(new, old))[form], PREFIX + kind))
    names = ("operation", "s", "payload", "old_payload", "changed_fields")
    assert tuple(values[name] for name in names) == expected


@pytest.mark.parametrize("form", ["raw", "json"])
@pytest.mark.parametrize(
    ("kind", "new", "old"), [("created", None, OLD), ("updated", None, OLD), ("deleted", NEW, OLD)]
)
def test_a_side_that_belies_the_type(kind, new, old, form):
    """A creation without its document, a deletion with one: a dead letter."""
    given = message(forms(DocumentChange(new, old))[form], PREFIX + kind)
    assert refusal(given)[0] is InvalidDocument


# Together


def test_everything_at_once():
    """All of it in one document, on both sides, in every form: the same row."""
    fields = {
        "s": "", "i": 2**53 + 1, "d": -0.0, "b": False, "y": b"\xff", "t": TIMES[0][0],
        "j": nested(200, None), "ss": [None, ""], "dd": [math.nan, math.inf], "tt": [TIMES[5][0]],
        "a": {"b": "path"}, "a.b": "dotted", "a_b": "joined",
    } | {name: GeoPoint(0.0, 0.0) for name in ODD if name != "a.b"}  # fmt: skip
    rows = [row(message(data)) for data in forms(change(fields, fields | {"i": 0})).values()]
    assert is_same(rows[0], rows[1])
    assert is_same(rows[0], rows[2])
    assert rows[0]["changed_fields"] == ["i"]
    assert is_same(
        {name: rows[0][name] for name in DECLARED},
        {
            "s": "", "i": 2**53 + 1, "d": -0.0, "b": False, "y": b"\xff", "t": TIMES[0][2],
            "j": json.dumps(nested(200, None), separators=(",", ":")), "ss": [""],
            "dd": [math.nan, math.inf], "tt": [MIN_MICROS], "a_b": "path", "dotted": "dotted",
        },
    )  # fmt: skip
