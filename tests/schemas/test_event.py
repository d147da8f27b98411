"""Messages as events: which operation, which document, when; and what is no event."""

import base64
import dataclasses
import json
import pickle

import google.events.cloud.datastore_v1 as datastore_events
import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.event import (
    FLAT_KEYS,
    Event,
    InvalidAttribute,
    InvalidDocument,
    InvalidJson,
    NoData,
    RestoredRow,
    Undecodable,
    UnsupportedType,
    decode_message,
)
from schemas.firestore import DocumentEventData, fields_to_json
from schemas.json_text import MAX_JSON_DEPTH
from schemas.message import (
    Message,
    event_id_of,
    event_id_of_data,
    issue_id_of_document,
    issue_id_of_manual,
)
from tests.strategies import (
    NAME,
    NOW,
    WRITTEN,
    document_event,
    fields,
    firestore_message,
    is_same,
    manual_message,
    recorded_messages,
    text,
)

PREFIX = "google.cloud.firestore.document.v1."
UPDATED = 1_800_000_000_123_456
A = {"a": {"integer_value": 1}}
B = {"a": {"integer_value": 2}}


def refusal(message):
    with pytest.raises(Undecodable) as caught:
        decode_message(message)
    return type(caught.value), str(caught.value)


# Firestore events


def test_an_update_has_every_part():
    """All the parts of an event, exactly, from a message with auth context and a time."""
    message = dataclasses.replace(
        firestore_message(
            document_event(B, A),
            f"{PREFIX}updated.withAuthContext",
            ce_time="2027-01-15T08:00:01Z",
            ce_authtype="user",
            ce_authid="ada@example.com",
        ),
        publish_time=5,
    )
    assert decode_message(message) == Event(
        message=message,
        event_id=event_id_of("//test", "1"),
        issue_id=issue_id_of_document(NAME),
        issue_key=NAME,
        source="firestore-eventarc",
        event_type=f"{PREFIX}updated.withAuthContext",
        operation="UPDATE",
        created_at=1_800_000_001_000_000,
        fields={"a": 2},
        old_fields={"a": 1},
        document_name=NAME,
        document_path="issues/one",
        document_id="one",
        collection="issues",
        update_time=UPDATED,
        changed_fields=("a",),
        auth_type="user",
        auth_id="ada@example.com",
    )


@pytest.mark.parametrize("suffix", ["", ".withAuthContext"])
@pytest.mark.parametrize(
    ("kind", "new", "old", "operation"),
    [
        ("written", A, None, "CREATE"),
        ("written", A, B, "UPDATE"),
        ("written", None, B, "DELETE"),
        ("created", A, None, "CREATE"),
        ("created", A, B, "CREATE"),
        ("updated", A, B, "UPDATE"),
        ("updated", A, None, "UPDATE"),
        ("deleted", None, B, "DELETE"),
    ],
)
def test_type_and_sides_tell_the_operation(kind, new, old, operation, suffix):
    """`written` is told by its sides; the others by their type, where the sides agree."""
    event = decode_message(firestore_message(document_event(new, old), PREFIX + kind + suffix))
    assert event.operation == operation
    assert event.fields == (None if operation == "DELETE" else {"a": 1})
    assert event.old_fields == (None if old is None else {"a": 2})
    assert event.changed_fields == (("a",) if operation == "UPDATE" and old else ())
    assert (event.auth_type, event.auth_id) == (None, None)


@pytest.mark.parametrize(
    ("kind", "new", "old", "error", "reason"),
    [
        ("created", None, B, InvalidDocument, "says created, yet carries no value"),
        ("updated", None, B, InvalidDocument, "says updated, yet carries no value"),
        ("deleted", A, B, InvalidDocument, "says deleted, yet carries the document's value"),
        ("deleted", A, None, InvalidDocument, "says deleted, yet carries the document's value"),
        ("written", None, None, NoData, "neither value nor old_value names a document"),
        ("deleted", None, None, NoData, "neither value nor old_value names a document"),
    ],
)
def test_sides_that_belie_the_type_are_refused(kind, new, old, error, reason):
    """An event that contradicts itself is a dead letter, not a guess."""
    event = document_event(new, old)
    event.update_mask.SetInParent()  # so that the data are not empty
    found, said = refusal(firestore_message(event, PREFIX + kind))
    assert found is error
    assert reason in said


def test_sides_without_a_name_are_absent():
    """Google's test documents carry old_value and update_mask, present and empty."""
    event = document_event(A)
    event.old_value.SetInParent()
    event.update_mask.SetInParent()
    read = decode_message(firestore_message(event))
    assert (read.operation, read.old_fields, read.changed_fields) == ("CREATE", None, ())
    event = document_event(None, B)
    event.value.SetInParent()
    assert decode_message(firestore_message(event)).operation == "DELETE"


def test_a_document_without_fields_is_an_empty_object():
    """No fields are {} where the document is there, None where it is not."""
    created = decode_message(firestore_message(document_event({})))
    assert (created.fields, created.old_fields) == ({}, None)
    deleted = decode_message(firestore_message(document_event(None, {})))
    assert (deleted.fields, deleted.old_fields) == (None, {})


@pytest.mark.parametrize(
    ("mask", "expected"),
    [((), ("a", "b.c")), (("a", "`x y`.z"), ("a", "`x y`.z"))],
)
def test_changed_fields_are_the_mask_or_the_difference(mask, expected):
    """The emulator's mask is empty, production's is not; a mask is taken as it is."""
    inner = {"map_value": {"fields": {"c": {"string_value": "x"}, "d": {"null_value": 0}}}}
    other = {"map_value": {"fields": {"c": {"string_value": "y"}, "d": {"null_value": 0}}}}
    event = document_event({**A, "b": inner}, {**B, "b": other}, mask=mask)
    assert decode_message(firestore_message(event)).changed_fields == expected


@pytest.mark.parametrize("mask", [(), ("a",)])
def test_only_an_update_has_changed_fields(mask):
    """A mask on a creation or a deletion says nothing."""
    for new, old in ((A, None), (None, B)):
        event = decode_message(firestore_message(document_event(new, old, mask=mask)))
        assert event.changed_fields == ()


@pytest.mark.parametrize(
    ("name", "path", "id_", "collection"),
    [
        (NAME, "issues/one", "one", "issues"),
        (
            "projects/p/databases/(default)/documents/issues/1/comments/2",
            "issues/1/comments/2",
            "2",
            "comments",
        ),
        ("projects/p/databases/other-db/documents/a/b/c/d/e/f", "a/b/c/d/e/f", "f", "e"),
        (
            "projects/p/databases/(default)/documents/issues/ünï 東京\n🚒",
            "issues/ünï 東京\n🚒",
            "ünï 東京\n🚒",
            "issues",
        ),
        ("projects/p/databases/d/documents/documents/documents", *["documents/documents"][:1],
         "documents", "documents"),
    ],
)  # fmt: skip
def test_names_come_from_the_protobuf(name, path, id_, collection):
    """Subcollections, named databases and odd ids; attributes, which may differ, do not count."""
    message = firestore_message(
        document_event(A, name=name),
        ce_subject="documents/wrong/1",
        ce_document="wrong/1",
        ce_database="wrong",
    )
    event = decode_message(message)
    assert event.document_name == event.issue_key == name
    assert event.issue_id == issue_id_of_document(name)
    assert (event.document_path, event.document_id, event.collection) == (path, id_, collection)


@pytest.mark.parametrize(
    "name",
    [
        "issues/one",
        "projects/p/databases/d/documents",
        "projects/p/databases/d/documents/",
        "projects/p/databases/d/documents/issues",
        "projects/p/databases/d/documents/issues/1/comments",
        "projects/p/databases/d/documents/issues//comments/1",
        "projects//databases/d/documents/issues/1",
        "projects/p/databases/d/documents/issues/1/",
        "x/projects/p/databases/d/documents/issues/1",
    ],
)
def test_what_is_no_documents_name_is_refused(name):
    """A collection's name, or part of one, names no document."""
    found, said = refusal(firestore_message(document_event(A, name=name)))
    assert found is InvalidDocument
    assert said == f"{name!r} is not a document's full name"


def test_two_documents_in_one_event_are_refused():
    """Both sides are of the same document."""
    event = document_event(A, B)
    event.old_value.name = NAME + "2"
    found, said = refusal(firestore_message(event))
    assert found is InvalidDocument
    assert said == f"old_value is of another document: {NAME + '2'!r}, not {NAME!r}"


@pytest.mark.parametrize(
    ("ce_time", "updated", "published", "expected"),
    [
        ("2026-01-01T00:00:00.5Z", (10, 0), 5, 1_767_225_600_500_000),
        ("", (1_800_000_000, 123_456_789), 5, UPDATED),
        ("", None, 5, 5),
        ("", None, 0, None),
        ("1970-01-01T00:00:00Z", (10, 0), 5, 0),
        ("", (0, 0), 5, 0),
    ],
)
def test_created_at_is_the_first_time_there_is(ce_time, updated, published, expected):
    """`ce-time`, else the document's update time (nanoseconds cut), else the publish time."""
    event = document_event(A)
    if updated is None:
        event.value.ClearField("update_time")
    else:
        event.value.update_time.seconds, event.value.update_time.nanos = updated
    attributes = {"ce_time": ce_time} if ce_time else {}
    message = firestore_message(event, f"{PREFIX}created", **attributes)
    message = dataclasses.replace(message, publish_time=published)
    assert decode_message(message).created_at == expected


def test_a_deletion_has_the_old_values_update_time():
    """`update_time` orders a document's events, so a deletion has one too."""
    event = decode_message(firestore_message(document_event(None, B)))
    assert event.update_time == event.created_at == UPDATED


@pytest.mark.parametrize("text", ["yesterday", "2026-01-01", "2026-01-01T00:00:00", "1767225600"])
def test_a_bad_time_is_named(text):
    """A `ce-time` that is none is no reason to guess one."""
    for message in (
        firestore_message(document_event(A), ce_time=text),
        manual_message({}, ce_time=text),
    ):
        found, reason = refusal(message)
        assert found is InvalidAttribute
        assert reason.startswith(f"ce-time: {text!r} is not an RFC 3339 time")


@pytest.mark.parametrize(
    ("seconds", "nanos"), [(2**62, 0), (-(2**62), 0), (253_402_300_800, 0), (0, -1), (0, 10**9)]
)
def test_an_update_time_that_bigquery_cannot_hold_is_refused(seconds, nanos):
    """A document's own time out of range is a dead letter, not a row that no sink can write."""
    event = document_event(A, updated=(seconds, nanos))
    found, reason = refusal(firestore_message(event))
    assert found is InvalidDocument
    assert reason.startswith(f"update_time: {seconds} seconds and {nanos} nanos are outside")


@pytest.mark.parametrize("content_type", ["application/protobuf", "application/json", ""])
def test_an_event_without_data_says_so(content_type):
    """Eventarc drops the data of what is too large; the letter names the document by subject."""
    message = firestore_message(b"", content_type=content_type, ce_subject="documents/issues/one")
    found, reason = refusal(message)
    assert found is NoData
    assert reason.endswith("document by ce-subject: documents/issues/one")
    found, reason = refusal(firestore_message(b"", content_type=content_type))
    assert reason.endswith("document by ce-subject: unknown")


@given(fields, fields)
def test_raw_base64_and_json_bodies_are_the_same_event(new, old):
    """The form of the body leaves no trace in the event."""
    event = document_event(new, old)
    raw = event.SerializeToString()
    forms = [
        firestore_message(raw, content_type="application/protobuf"),
        firestore_message(base64.b64encode(raw), content_type="application/protobuf"),
        firestore_message(
            json_format.MessageToJson(event).encode(), content_type="application/json"
        ),
    ]
    first, *others = (dataclasses.replace(decode_message(m), message=Message(b"")) for m in forms)
    assert first.changed_fields == tuple(sorted(first.changed_fields))
    for other in others:
        assert is_same(dict(other.fields), dict(first.fields))
        assert is_same(dict(other.old_fields), dict(first.old_fields))
        same = {"fields": None, "old_fields": None}
        assert dataclasses.replace(other, **same) == dataclasses.replace(first, **same)


def test_every_recorded_event_is_decoded():
    """The emulator's own events: operations, names and both sides, as their protobuf says."""
    operations = []
    for message in recorded_messages():
        event = decode_message(message)
        raw = DocumentEventData.FromString(base64.b64decode(message.data))
        assert event.document_name == (raw.value.name or raw.old_value.name)
        assert event.collection in ("issues", "comments", "reactions", "teams", "members")
        if event.operation != "DELETE":
            assert is_same(event.fields, fields_to_json(raw.value.fields))
        if event.operation != "CREATE":
            assert is_same(event.old_fields, fields_to_json(raw.old_value.fields))
        assert bool(event.changed_fields) == (event.operation == "UPDATE")
        operations.append(event.operation)
    assert set(operations) == {"CREATE", "UPDATE", "DELETE"}


def ends(raw):
    """Where the event's own fields end, so that the bytes before parse as an event of their own.

    Returns:
        The end of the first side, where another follows, or None; and the end of the last side,
        after which the emulator sends an empty mask of two bytes.
    """
    whole = DocumentEventData.FromString(raw)
    positions = [0]
    for side in (whole.value, whole.old_value):
        if side.name:
            only = DocumentEventData()
            only.value.CopyFrom(side)
            positions.append(positions[-1] + only.ByteSize())
    assert raw[positions[-1] :] == b"\x1a\x00"
    return (positions[1] if len(positions) == 3 else None), positions[-1]


@pytest.mark.parametrize("in_base64", [False, True])
def test_an_event_cut_short_anywhere_is_refused(in_base64):
    """Every prefix of every recorded event: a dead letter, or the row of the whole event.

    A prefix of a protobuf parses where it ends between two of the outermost fields, and nowhere
    else, since each of these says how long it is. An update cut after its new side would read as
    a creation: its update_time, later than its create_time, gives it away. Without the empty mask
    at its end an event says the same as with it.
    """
    updates = 0
    for message in recorded_messages():
        if len(message.data) > 10_000:
            continue  # one of 140 KB is of the same making
        raw = base64.b64decode(message.data)
        data = message.data if in_base64 else raw
        whole = decode_message(dataclasses.replace(message, data=data))
        after_new, before_mask = ends(raw)
        for length in range(len(data)):
            cut = dataclasses.replace(message, data=data[:length])
            # Base64 says a whole number of bytes by whole groups of four characters only.
            position = length if not in_base64 else length // 4 * 3 if length % 4 == 0 else None
            if position == before_mask:
                assert dataclasses.replace(decode_message(cut), message=whole.message) == (
                    dataclasses.replace(whole, event_id=cut.event_id, issue_key=whole.issue_key)
                )
                continue
            found, reason = refusal(cut)
            assert found is (NoData if length == 0 else InvalidDocument)
            assert ("cut short" in reason) == (position is not None and position == after_new)
            updates += "cut short" in reason
    assert updates > 0


def test_what_a_cut_event_cannot_be_told_by():
    """The one loss that no reader can see: a mask cut off after both sides, exactly between.

    Nothing is half read then: both sides are whole, and the changed fields are their difference.
    """
    event = document_event(B, A, mask=("a",))
    raw = event.SerializeToString()
    event.ClearField("update_mask")
    assert raw.startswith(event.SerializeToString())
    cut = decode_message(firestore_message(event))
    whole = decode_message(firestore_message(raw))
    empty = Message(b"")
    assert dataclasses.replace(cut, message=empty) == dataclasses.replace(whole, message=empty)


def test_written_and_updated_events_are_judged_by_their_times():
    """A creation by its type needs no second witness, nor does a document without times."""
    event = document_event(A)
    event.value.create_time.seconds -= 1
    assert refusal(firestore_message(event))[0] is InvalidDocument
    assert decode_message(firestore_message(event, f"{PREFIX}created")).operation == "CREATE"
    # An update without its old side was cut, too: Eventarc sends one with every update.
    assert refusal(firestore_message(event, f"{PREFIX}updated"))[0] is InvalidDocument
    event.value.ClearField("create_time")
    assert decode_message(firestore_message(event)).operation == "CREATE"


@pytest.mark.parametrize("properties", [{}, {"title": "x"}])
@pytest.mark.parametrize("version", [0, 7])
def test_a_datastore_entity_under_a_firestore_type_is_refused(version, properties):
    """Another service's bytes, which may parse in part, are never a document."""
    event = datastore_events.EntityEventData.pb()()
    event.value.entity.key.path.add(kind="Issue", name="one")
    event.value.version = version
    for name, content in properties.items():
        event.value.entity.properties[name].string_value = content
    assert refusal(firestore_message(event))[0] is InvalidDocument


@settings(max_examples=200)
@given(st.binary(min_size=1, max_size=80), st.sampled_from(["", "application/json"]))
def test_arbitrary_bytes_are_refused_by_name(data, content_type):
    """No bytes bring an exception that is not one of the named ones, nor a row of their own."""
    found, _ = refusal(firestore_message(data, content_type=content_type))
    assert found in (InvalidDocument, NoData)
    for start in (b"\x0a", b"\x12", b"\x1a", b"{"):
        assert issubclass(refusal(firestore_message(start + data))[0], Undecodable)


@settings(max_examples=200)
@given(fields, st.data())
def test_a_changed_byte_is_no_crash(document, data):
    """One byte of an event replaced: an event or a named refusal, never anything else."""
    raw = bytearray(document_event(document, document).SerializeToString())
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] = data.draw(st.integers(0, 255))
    try:
        event = decode_message(firestore_message(bytes(raw)))
    except Undecodable:
        return
    assert event.operation in ("CREATE", "UPDATE", "DELETE")


def test_an_event_pickles_as_its_message():
    """Any event, of any depth, is the same on another worker, for its message is."""
    deep = manual_message(nested(MAX_JSON_DEPTH, b"[", b"]"))
    for message in (deep, flat(), firestore_message(document_event(A, B)), *recorded_messages()):
        event = decode_message(message)
        assert pickle.loads(pickle.dumps(event)) == event
        assert len(pickle.dumps(event)) < len(pickle.dumps(message)) + 100


# Types


@pytest.mark.parametrize(
    "type_",
    [
        "com.example.ordered",
        "google.cloud.datastore.entity.v1.written",
        "google.cloud.firestore.document.v1.writtenX",
        "google.cloud.firestore.document.v1.moved",
        "GOOGLE.CLOUD.FIRESTORE.DOCUMENT.V1.WRITTEN",
        "issues.manual.deleted",
        "x" * 1_000,
    ],
)
def test_another_type_is_refused_by_name(type_):
    """A type that is none of ours is never read as one that it resembles."""
    found, reason = refusal(firestore_message(document_event(A), type_))
    assert found is UnsupportedType
    assert repr(type_[:200]) in reason


@pytest.mark.parametrize("name", ["ce-id", "CE-Source", "ce-anything"])
def test_ce_attributes_without_a_type_are_refused(name):
    """A CloudEvent without its type is no flat message."""
    found, reason = refusal(Message(b"{}", {name: "1"}))
    assert found is InvalidAttribute
    assert reason == "the message has ce- attributes but no ce-type"


def test_names_of_attributes_count_in_any_case():
    """`CE-Type` is `ce-type`."""
    message = Message(document_event(A).SerializeToString(), {"CE-Type": WRITTEN, "Ce-Id": "1"})
    assert decode_message(message).operation == "CREATE"


def test_a_restored_row_is_not_read_here():
    """A letter whose data are a row goes on as one, whatever else it carries."""
    message = Message(b"{}", {"dead_letter_data": "row", "ce-type": WRITTEN})
    assert decode_message(message) == RestoredRow(message)


# Manual issues


def test_a_manual_issue_has_every_part():
    """All the parts of a manual event, exactly."""
    message = manual_message({"issue": "Test", "priority": "P1"}, issue_id="INC-12345678")
    event_id = event_id_of("//test/manual", "7")
    assert decode_message(message) == Event(
        message=message,
        event_id=event_id,
        issue_id="INC-12345678",
        issue_key=event_id,
        source="manual-api",
        event_type="issues.manual.created",
        operation="MANUAL",
        created_at=NOW,
        fields={"issue": "Test", "priority": "P1"},
    )


def test_a_manual_issue_without_an_id_gets_the_one_it_would_have():
    """The publisher sets `issue_id`; a stranger's message gets the same by the same rule."""
    event = decode_message(manual_message({"a": 1}))
    assert event.issue_id == issue_id_of_manual(event_id_of("//test/manual", "7"))


def test_a_manual_issue_without_a_time_has_the_publish_time():
    """Nothing else says when it was."""
    message = Message(b"{}", {"ce-type": "issues.manual.created"}, publish_time=NOW)
    assert decode_message(message).created_at == NOW
    assert decode_message(dataclasses.replace(message, publish_time=0)).created_at is None


EXACT = [
    ("0", 0),
    ("-0", -0.0),
    ("1", 1),
    ("9223372036854775807", 2**63 - 1),
    ("-9223372036854775808", -(2**63)),
    ("18446744073709551615", 2**64 - 1),
    ("0.1", 0.1),
    ("1.0", 1.0),
    ("-0.0", -0.0),
    ("1e2", 100.0),
    ("1E+2", 100.0),
    ("1.50e-7", 1.5e-7),
    ("100.000", 100.0),
    ("1e308", 1e308),
    ("5e-324", 5e-324),
    ("9007199254740993.0", "9007199254740993.0"),
    ("0.30000000000000004", 0.30000000000000004),
    ("123456789012345680000.0", 123456789012345680000.0),
    ("0e5", 0.0),
    ("0.000", 0.0),
]
INEXACT = [
    "18446744073709551616",
    "-9223372036854775809",
    "1" * 30,
    "-" + "1" * 30,
    "9007199254740993.0",
    "0.1000000000000000055511151231257827",
    "1e309",
    "-1e400",
    "1e-400",
    "3.141592653589793238462643",
    "1" * 5_000,
    "1e" + "9" * 5_000,
    "0e" + "9" * 5_000,
    "1e-" + "9" * 5_000,
    "0." + "0" * 5_000 + "1",
]


@pytest.mark.parametrize(("text", "expected"), [c for c in EXACT if not isinstance(c[1], str)])
def test_a_number_that_json_keeps_is_a_number(text, expected):
    """Integers within INT64 or UINT64 and exact doubles, by type and sign."""
    event = decode_message(manual_message(f'{{"n": {text}, "l": [{text}]}}'.encode()))
    assert is_same(event.fields, {"n": expected, "l": [expected]})
    assert event.inexact == ()


@pytest.mark.parametrize("text", INEXACT, ids=lambda text: text[:30])
def test_a_number_that_json_would_round_is_kept_as_text(text):
    """BigQuery's JSON would refuse or round it: its own text stays, and its path is named."""
    body = f'{{"n": {text}, "a b": {{"l": [0, {{"[1]": {text}}}]}}, "s": "{text}"}}'
    event = decode_message(manual_message(body.encode()))
    assert event.fields == {"n": text, "a b": {"l": [0, {"[1]": text}]}, "s": text}
    assert event.inexact == ("n", "`a b`.l[1].`[1]`")


@given(
    st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**64 - 1))
)
def test_what_python_writes_it_reads(number):
    """The shortest text of a double is exact, so is every 64-bit integer."""
    event = decode_message(manual_message({"n": number}))
    assert is_same(event.fields["n"], number)
    assert event.inexact == ()


@given(st.decimals(allow_nan=False, allow_infinity=False, places=None))
def test_no_number_is_changed_in_silence(number):
    """A decimal is either exactly the number that stands there, or kept as its text and named."""
    text = format(number, "e").lower()
    body = f'{{"n": {text}}}'.encode()
    json.loads(body)
    event = decode_message(manual_message(body))
    found = event.fields["n"]
    if isinstance(found, str):
        assert (found, event.inexact) == (text, ("n",))
    else:
        # repr is the shortest text that reads back as the double: what BigQuery would show.
        from decimal import Decimal

        assert Decimal(repr(found)) == number
        assert event.inexact == ()


def nested(depth, opening, closing):
    return b'{"a":' + opening * (depth - 1) + b"0" + closing * (depth - 1) + b"}"


@pytest.mark.parametrize(("opening", "closing"), [(b'{"a":', b"}"), (b"[", b"]")])
def test_500_levels_are_kept_and_501_refused(opening, closing):
    """BigQuery's own limit, the outermost object counted; deeper is told, whatever the depth."""
    deepest = nested(MAX_JSON_DEPTH, opening, closing)
    event = decode_message(manual_message(deepest))
    assert json.dumps(event.fields, separators=(",", ":")).encode() == deepest
    for depth in (MAX_JSON_DEPTH + 1, 990, 5_000, 200_000):
        found, reason = refusal(manual_message(nested(depth, opening, closing)))
        assert (found, reason) == (InvalidJson, "nested more than 500 levels deep")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[]", "the data are a list, where a JSON object is expected"),
        (b'[{"issue": 1}]', "the data are a list, where a JSON object is expected"),
        (b'"text"', "the data are a string, where a JSON object is expected"),
        (b"5", "the data are a number, where a JSON object is expected"),
        (b"true", "the data are a boolean, where a JSON object is expected"),
        (b"null", "the data are null, where a JSON object is expected"),
        (b'{"a": NaN}', "the data are no JSON object: NaN is not JSON"),
        (b'{"a": -Infinity}', "the data are no JSON object: -Infinity is not JSON"),
        (b'{"a": 1, "b": {"c": 1, "d": 2, "c": 3}}',
         "the data are no JSON object: the key 'c' stands twice in one object"),
        (b'{"a": "\\ud800"}', "a: half of a surrogate pair at character 0"),
        (b'{"a": ["x\\udfff"]}', "a[0]: half of a surrogate pair at character 1"),
        (b'{"\\ud800": 1}', "$: a key with half of a surrogate pair at character 0"),
        (b'{"a": {"b\\ud800": 1}}', "a: a key with half of a surrogate pair at character 1"),
        (b'{"a": "\xff"}', "the data are not UTF-8: byte 0xff at offset 7"),
        (b'{"a": "\xc3("}', "the data are not UTF-8: byte 0xc3 at offset 7"),
        (b'{"a": "\xed\xa0\x80"}', "the data are not UTF-8: byte 0xed at offset 7"),
        (b"\xef\xbb\xbf{}", "the data are no JSON object: "),
        (b'{"a": 1', "the data are no JSON object: "),
        (b'{"a": 01}', "the data are no JSON object: "),
        (b'{"a": .5}', "the data are no JSON object: "),
        (b'{"a": "\n"}', "the data are no JSON object: "),
        (b"{'a': 1}", "the data are no JSON object: "),
        (b"{} {}", "the data are no JSON object: "),
        (b"a=1&b=2", "the data are no JSON object: "),
    ],
)  # fmt: skip
def test_what_is_no_json_object_is_refused(body, reason):
    """RFC 8259's objects and no others; the reason names the place."""
    found, said = refusal(manual_message(body))
    assert found is InvalidJson
    assert said.startswith(reason)


def test_many_keys_of_which_one_comes_twice_are_refused_in_time():
    """The second of two equal keys is found in linear time: input chooses how many there are."""
    body = "{" + ",".join(f'"k{i}":1' for i in range(200_000)) + ',"k199999":2}'
    assert "'k199999' stands twice" in refusal(manual_message(body.encode()))[1]


def test_an_empty_manual_message_has_no_data():
    """Nothing is not {}: the first is a dead letter, the second an issue of no fields."""
    assert refusal(manual_message(b"")) == (
        NoData,
        "the message is empty where a JSON object is expected",
    )
    assert decode_message(manual_message(b"{}")).fields == {}


@given(
    st.dictionaries(
        text,
        st.recursive(
            st.none() | st.booleans() | text,
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
            max_leaves=6,
        ),
        max_size=4,
    )
)
def test_a_manual_body_comes_through_whole(body):
    """Keys, order, nesting, empty strings, false and null are what they were."""
    event = decode_message(manual_message(body))
    assert json.dumps(event.fields) == json.dumps(body)


@given(st.binary(max_size=60))
def test_arbitrary_manual_bytes_are_an_object_or_a_named_refusal(data):
    """Whatever the bytes: an object, or one of the two refusals."""
    try:
        event = decode_message(manual_message(data))
    except (InvalidJson, NoData):
        return
    assert isinstance(event.fields, dict)


# Flat messages

FLAT = {
    "issue_id": "INC-000F1A7",
    "source": "manual-api",
    "created_at": "2027-01-15T08:00:00.000000Z",
    "payload": '{"issue": "x", "n": 1}',
}


def flat(attributes=None, **changes):
    body = {key: value for key, value in (FLAT | changes).items() if value is not ...}
    return Message(json.dumps(body).encode(), attributes or {})


@pytest.mark.parametrize("attributes", [{}, {"event_id": "E", "issue_id": "other", "x": "y"}])
def test_a_flat_message_has_every_part(attributes):
    """All the parts of a flat event, exactly; ids are still in the attributes, if at all."""
    message = flat(attributes)
    event_id = attributes.get("event_id") or event_id_of_data(message.data)
    assert decode_message(message) == Event(
        message=message,
        event_id=event_id,
        issue_id="INC-000F1A7",
        issue_key=event_id,
        source="manual-api",
        event_type=None,
        operation="MANUAL",
        created_at=NOW,
        fields={"issue": "x", "n": 1},
        flat=FLAT,
    )


def test_a_flat_message_of_another_source_has_no_operation():
    """Only a manual issue's operation is known."""
    event = decode_message(flat(source="firestore-eventarc"))
    assert (event.source, event.operation) == ("firestore-eventarc", None)


@pytest.mark.parametrize("payload", ["", "text", "[]", '{"a": NaN}', '{"a": 1, "a": 2}'])
def test_a_payload_that_is_no_object_is_kept_as_text(payload):
    """The flat layout takes any text; what the structured one needs is not there."""
    event = decode_message(flat(payload=payload))
    assert event.fields is None
    assert event.flat["payload"] == payload


def test_a_flat_messages_inexact_numbers_are_named():
    """The payload is read as exactly as a manual body."""
    event = decode_message(flat(payload='{"a": {"n": 1e400}}'))
    assert (event.fields, event.inexact) == ({"a": {"n": "1e400"}}, ("a.n",))


@pytest.mark.parametrize("text", ["", "yesterday", "2027-01-15"])
def test_a_flat_time_that_is_none_is_kept_as_text(text):
    """The flat layout's column is a STRING."""
    event = decode_message(flat(created_at=text))
    assert (event.created_at, event.flat["created_at"]) == (None, text)


@pytest.mark.parametrize("key", FLAT_KEYS)
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (..., "missing: "),
        (5, "strings, not a number"),
        (1e400, "the data are no JSON object: Infinity"),
        (10**400, "strings, not a number"),
        (None, "strings, not null"),
        ({}, "strings, not an object"),
        ([], "strings, not a list"),
        (True, "strings, not a boolean"),
    ],
)
def test_a_flat_message_has_four_strings(key, value, reason):
    """A key that is missing, or no string, is named."""
    found, said = refusal(flat(**{key: value}))
    assert found is InvalidJson
    assert reason in said
    if value is ...:
        assert f"missing: ['{key}'], not known: []" in said
    elif value != 1e400:
        assert said.startswith(f"$.{key}: ")


def test_a_flat_message_has_no_fifth_key():
    """A stranger's JSON is not taken for an issue."""
    assert "missing: [], not known: ['zz']" in refusal(flat(zz="x"))[1]
    found, said = refusal(Message(b'{"a": 1}'))
    assert found is InvalidJson
    assert "missing: ['issue_id', 'source', 'created_at', 'payload'], not known: ['a']" in said


@pytest.mark.parametrize(
    ("data", "error"),
    [(b"", NoData), (b"just text", InvalidJson), (b"[]", InvalidJson), (b"\xff", InvalidJson)],
)
def test_a_strangers_bytes_are_refused(data, error):
    """A message without attributes that is no flat one."""
    assert refusal(Message(data))[0] is error
