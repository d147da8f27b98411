"""What is proposed for recorded messages: types that every value fits, names that are free."""

import json
from pathlib import Path

import pytest

from schemas import infer as inferring
from schemas.event import RestoredRow, Undecodable, decode_message
from schemas.event_data import DocumentEventData
from schemas.firestore_values import GeoPoint, Reference, Timestamp, Vector, write_fields
from schemas.infer import infer
from schemas.message import CE_ID, CE_SOURCE, CE_TYPE, CONTENT_TYPE, MANUAL_TYPE, Message
from schemas.observed import Observed
from schemas.proposed import to_json, to_yaml
from schemas.recorded import from_line, to_line
from schemas.row import Shaper
from schemas.shaping import Unshapeable
from schemas.table_file import parse_table, parse_tables, shipped

DATA = Path(__file__).parents[1] / "data"
NOW = 1_795_000_000_000_000
WRITTEN = "google.cloud.firestore.document.v1.written"
ROOT = "projects/p/databases/(default)/documents"


def document(path, fields, old=None):
    """The recorded message of a document's change; without fields it is deleted."""
    data = DocumentEventData()
    for side, values in ((data.value, fields), (data.old_value, old)):
        if values is not None:
            side.name = f"{ROOT}/{path}"
            side.update_time.seconds = NOW // 1_000_000
            write_fields(side.fields, values)
    return line(data.SerializeToString(), WRITTEN, "application/protobuf")


def manual(body):
    return line(body if isinstance(body, bytes) else json.dumps(body).encode(), MANUAL_TYPE)


def line(data, type_, content="application/json"):
    attributes = {CE_ID: "1", CE_SOURCE: "//s", CE_TYPE: type_, CONTENT_TYPE: content}
    return to_line(Message(data, attributes, publish_time=NOW))


def proposals(*lines, **more):
    return infer([(f"f:{i}", each) for i, each in enumerate(lines, start=1)], **more)[0]


def columns(*values, **more):
    """What is proposed for a collection whose documents have these fields."""
    (proposal,) = proposals(*(document("c/1", fields) for fields in values), **more)
    return {
        ".".join(c.column.path): f"{c.column.type}{'[]' if c.column.repeated else ''}"
        for c in proposal.columns
    }


def type_of(*values):
    """The column of one field that had these values."""
    return columns(*({"x": value} for value in values)).get("x")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([True, None], "BOOL"),
        ([1, -(2**63), 2**63 - 1], "INT64"),
        ([0.5, float("nan")], "FLOAT64"),
        ([1, 0.5, 2**53], "FLOAT64"),
        ([2**53 + 1, 2.0], "INT64"),
        ([2**53 + 1, 0.5], "JSON"),
        (["a", ""], "STRING"),
        ([b"a"], "BYTES"),
        ([Timestamp(0), Timestamp(-1, 5)], "TIMESTAMP"),
        ([Reference(f"{ROOT}/a/b")], "STRING"),
        (["a", Reference(f"{ROOT}/a/b"), Timestamp(0)], "STRING"),
        (["YQ==", b"a"], "JSON"),
        (["1", 1], "JSON"),
        ([True, 1], "JSON"),
        ([["a"], [], None, ["b", None]], "STRING[]"),
        ([[1, 0.5]], "FLOAT64[]"),
        ([["a", 1]], "JSON"),
        ([[{"a": 1}]], "JSON"),
        ([[]], "JSON"),
        ([Vector((1.0, 0.5))], "FLOAT64[]"),
        ([["a"], "a"], "JSON"),
        ([{}], "JSON"),
        ([{"a": 1}, "a"], "JSON"),
        ([GeoPoint(1.0, 2.0), {"latitude": 1.0}], "JSON"),
        ([None], None),
    ],
)
def test_the_type_is_one_that_every_value_fits(values, expected):
    """By the protobuf's kinds; several kinds share JSON, unless one type holds them exactly."""
    assert type_of(*values) == expected


def test_maps_become_the_columns_of_their_leaves():
    """Down to a number of levels, then JSON; a geo point is two numbers."""
    fields = {"m": {"a": 1, "n": {"b": "x", "deep": {"c": 1}}}, "at": GeoPoint(1.5, 2.0)}
    expected = {"m.a": "INT64", "m.n.b": "STRING", "m.n.deep": "JSON",
                "at.latitude": "FLOAT64", "at.longitude": "FLOAT64"}  # fmt: skip
    assert columns(fields) == expected
    assert columns(fields, levels=1) == {"m": "JSON", "at": "JSON"}
    assert columns(fields, levels=4)["m.n.deep.c"] == "INT64"


@pytest.mark.parametrize("break_", ["\n", "\r", "\x85", "\u2028", "\u2029", "\r\n"])
def test_names_that_hold_the_end_of_a_line_stay_on_one(break_):
    """Comments and values: the file has the lines that it has for other names, and is right."""

    def text(name):
        fields = {name: 1, f"{name}2": None, "m": {name: "x"}}
        return to_yaml(proposals(document(f"c{name}/1", fields), document(f"c{name}/1/d/1", {})))

    odd = text(f"a{break_}b")
    assert len(odd.splitlines()) == len(text("a b").splitlines())
    tables = parse_tables([("t.yaml", odd)], shipped())[1:]
    assert [table.collections for table in tables] == [(f"ca{break_}b",), ("d",)]
    assert [c.path for c in tables[0].declared] == [(f"a{break_}b",), ("m", f"a{break_}b")]


def test_maps_that_are_keyed_by_data_are_json():
    """More than a hundred keys, or most of them in less than one map in ten."""
    assert columns({"m": {f"k{i}": 1 for i in range(100)}})["m.k0"] == "INT64"
    assert columns({"m": {f"k{i}": 1 for i in range(101)}}) == {"m": "JSON"}
    assert columns(*({"m": {f"user{i}": 1}} for i in range(11))) == {"m": "JSON"}
    assert columns(*({"m": {"a": 1, "b": 1, f"user{i}": 1}} for i in range(2))).keys() == {
        "m.a", "m.b", "m.user0", "m.user1",
    }  # fmt: skip


def test_every_name_is_one_that_bigquery_takes():
    """The path joined where that is a free name, the shorter path first; else one like it."""
    fields = {"a_b": 1, "a": {"b": 1, "c": 1}, "A_C": 1, "event_id": 1, "raw": 1, "_PARTITION": 1,
              "0": 1, "a b": 1, "é": 1, "🔑": 1, "x" * 301: 1, "": 1}  # fmt: skip
    (proposal,) = proposals(document("c/1", fields))
    names = {".".join(each.column.path): each.column.name for each in proposal.columns}
    assert names == {
        "a_b": "a_b",
        "A_C": "A_C",
        "a b": "a_b_2",
        "a.b": "a_b_3",
        "a.c": "a_c_2",
        "event_id": "event_id_2",
        "raw": "raw_2",
        "_PARTITION": "f__PARTITION",
        "0": "f_0",
        "é": "field_2",
        "🔑": "field_3",
        "x" * 301: "x" * 290,
        "": "field",
    }
    text = to_yaml([proposal])
    assert parse_table(text, "").declared == tuple(each.column for each in proposal.columns)


def test_a_deleted_document_shows_what_it_was():
    """As in a row, where a DELETE's columns are of the old value."""
    gone = document("c/1", None, {"x": 1})
    changed = document("c/1", {"x": 2}, {"x": "before"})
    (proposal,) = proposals(gone, changed)
    assert [(c.column.name, c.column.type.value) for c in proposal.columns] == [("x", "INT64")]
    assert proposal.events == 2


def test_each_collection_has_its_table_and_what_has_no_document_another():
    """The one without documents is the default table; names of tables are free ones."""
    lines = [
        document("issues/1", {"a": 1}),
        document("teams/t/issues/2", {"b": 1}),
        document("issues_latest/1", {"a": 1}),
        document("Ünder-way/1", {"a": 1}),
        manual({"c": "x"}),
    ]
    found = proposals(*lines)
    assert [(p.table, p.collection, p.default, p.events, p.shapes) for p in found] == [
        ("issues", "issues", False, 2, ("issues/{}", "teams/{}/issues/{}")),
        ("issues_latest_2", "issues_latest", False, 1, ("issues_latest/{}",)),
        ("_nder_way", "Ünder-way", False, 1, ("Ünder-way/{}",)),
        ("manual_issues", None, True, 1, ()),
    ]
    (only,) = proposals(*lines, collections=["issues"])
    assert (only.table, only.default) == ("issues", True)
    tables = parse_tables([("t.yaml", to_yaml(found))], shipped())
    assert [table.name for table in tables] == [p.table for p in found]


def test_a_collection_that_no_file_can_name_is_told():
    """Braces stand for parameters."""
    found, unread = infer([("f:1", document("{c}/1", {"a": 1}))])
    assert found == ()
    assert list(unread.counts.items()) == [("NoName", 1)]


def test_what_cannot_be_read_is_counted_not_fatal():
    """By its error, with the first of each and where it stands."""
    lines = [
        ("f:1", "no json"),
        ("f:2", line(b"\xff", WRITTEN)),
        ("f:3", "\n"),
        ("f:4", manual(b"[]")),
        ("f:5", manual(b"{")),
        ("f:6", manual({"a": 1})),
        ("f:7", to_line(Message(b"{}", {"dead_letter_data": "row"}))),
        ("f:8", to_line(Message(json.dumps({"issue_id": "i", "source": "s", "created_at": "",
                                            "payload": "[]"}).encode(), {}))),
    ]  # fmt: skip
    found, unread = infer(lines)
    assert [proposal.events for proposal in found] == [1]
    assert unread.counts == {"NoEvent": 3, "InvalidDocument": 1, "InvalidJson": 2}
    assert unread.first["InvalidJson"][0] == "f:4"
    assert unread.first["NoEvent"][0] == "f:1"


def test_the_proposal_says_what_was_seen():
    """The text of a table file, with counts and the share of nulls behind each type."""
    text = to_yaml(
        proposals(
            document("c/1", {"a": 1, "l": ["x", None], "n": None, "`": "t"}),
            document("c/2", {"a": None, "l": []}),
            document("c/3", {"a": 0.5}),
            manual({"m": {"x": "1"}}),
        )
    )
    assert (
        text
        == """\
# 3 events at 'c/{}'.
table: c
collections: [c]
columns:
  - path: '`\\``'
    name: field
    type: STRING  # string 1; missing 2: 67% null
  - path: a
    type: FLOAT64  # integer 1; null 1; double 1: 33% null
  - path: l
    type: STRING  # array 2; elements: string 1, null 1; missing 1: 33% null
    mode: REPEATED
# Never anything but null, so without a type: n
---
# 1 event without a document.
table: manual_issues
default: true  # takes what no other table does, manual issues among it
columns:
  - path: m.x
    type: STRING  # string 1: 0% null
"""
    )


def test_the_proposal_as_json():
    """The same as values, and the file's text."""
    (told,) = to_json(proposals(document("c/1", {"a": 1}), document("c/2", {})))
    file = told.pop("file")
    assert parse_table(file, "").name == "c"
    assert told == {
        "table": "c",
        "collection": "c",
        "default": False,
        "events": 2,
        "paths": ["c/{}"],
        "columns": [
            {"path": "a", "name": "a", "type": "INT64", "mode": "NULLABLE", "kinds": {"integer": 1},
             "items": {}, "missing": 1, "null_share": 0.5},
        ],
        "only_null": [],
        "left_out": [],
    }  # fmt: skip


def test_what_bigquery_has_no_room_for_stays_in_payload(monkeypatch):
    """The fields that are there most often become columns."""
    room = len(inferring._FIXED) + 1
    monkeypatch.setattr(inferring, "MAX_COLUMNS", room)
    found = proposals(document("c/1", {"a": 1, "b": 1}), document("c/2", {"b": 1}))
    assert [column.column.name for column in found[0].columns] == ["b"]
    assert found[0].left_out == (("a",),)
    assert to_yaml(found).endswith("# In `payload` only, since BigQuery has no more columns: a\n")


def test_numbers_beyond_64_bits_are_seen():
    """Python reads them; no numeric column takes them."""
    seen = Observed()
    seen.see({"x": 2**64}, 1)
    assert seen.below["x"].column_type()[0] == "JSON"


SAMPLES = [
    [DATA / "firestore_events.jsonl"],
    [DATA / "manual_and_poison.jsonl"],
    [DATA / "firestore_events.jsonl", DATA / "manual_and_poison.jsonl"],
]


@pytest.mark.parametrize("files", SAMPLES, ids=["documents", "manual", "both"])
def test_the_recorded_sample_fits_what_is_proposed_for_it(files):
    """It passes, declares the columns that were inferred, and every value fits its column."""
    lines = [each for file in files for each in file.read_text("utf-8").split("\n")]
    found, unread = infer(("f", each) for each in lines)
    tables = {t.name: t for t in parse_tables([("t.yaml", to_yaml(found))], shipped())}
    for proposal in found:
        assert tables[proposal.table].declared == tuple(c.column for c in proposal.columns)
    shaper = Shaper(tuple(tables.values()))
    rows, refused, undecodable = 0, 0, 0
    for each in filter(None, lines):
        try:
            event = decode_message(from_line(each))
        except Undecodable:
            undecodable += 1
            continue
        assert not isinstance(event, RestoredRow)
        try:
            row = shaper.shape(event, NOW)
        except Unshapeable:
            refused += 1
            continue
        rows += 1
        flat_time = {"created_at"} if event.flat and event.created_at is None else set()
        assert set(row.values["type_errors"]) == set(event.inexact) | flat_time
    assert undecodable == unread.counts.total()
    assert rows + refused + undecodable == len(list(filter(None, lines)))
    assert rows > refused
    assert sum(proposal.events for proposal in found) == rows + refused
