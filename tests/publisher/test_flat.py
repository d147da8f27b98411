"""What `MESSAGE_FORMAT=flat` publishes: the four columns of Google's template, and our ids."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings

from publisher.flat import to_flat
from publisher.intake import Refused, Stamp, judge
from schemas.event import DELETE, FLAT_KEYS, InvalidJson, Undecodable, decode_message
from schemas.flat import COLUMNS, shape
from schemas.message import MAX_MESSAGE_BYTES, Message
from schemas.recorded import from_line
from schemas.shaping import Plan
from schemas.table import Type
from schemas.times import parse_rfc3339
from tests.strategies import (
    DATA,
    NOW,
    changes,
    document_event,
    firestore_message,
    manual_message,
    recorded_messages,
)

ROOT = Path(__file__).parents[2]
FIXED_WIDTH = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"


def other_messages():
    """Manual issues and what is no event, as recorded; those without a type are flat already."""
    lines = (DATA / "manual_and_poison.jsonl").read_text("utf-8").splitlines()
    return [one for one in map(from_line, lines) if one.attribute("ce-type")]


def columns(message):
    """The values of a flat message, which are exactly the template's columns."""
    values = json.loads(message.data)
    assert list(values) == [column.name for column in COLUMNS]
    assert all(column.type is Type.STRING for column in COLUMNS)
    assert all(type(value) is str for value in values.values())
    return values


def row_of_the_job(message, now=NOW):
    """What the job's own flat layout makes of a message."""
    return shape(decode_message(message), Plan(None, (), (), {}), {}, now)


def read_by_the_job(message):
    """The event, or what the job would say of the message as a dead letter."""
    try:
        return decode_message(message), ""
    except Undecodable as error:
        return None, f"{type(error).__name__}: {error}"


def refusal(message):
    with pytest.raises(Refused) as error:
        to_flat(message)
    return error.value.status, error.value.reason


class TestRecorded:
    @pytest.mark.parametrize("message", recorded_messages(), ids=lambda one: one.event_id[:8])
    def test_firestore(self, message):
        """Each recorded event is the row that the job's flat layout would make of it."""
        values, row = columns(to_flat(message)), row_of_the_job(message)
        assert json.loads(values.pop("payload")) == json.loads(row.pop("payload"))
        assert values == row

    def test_others(self):
        """Each other message is a flat one, or is refused with what the job would say of it."""
        kinds = {"flat": 0, "refused": 0}
        for message in other_messages():
            event, reason = read_by_the_job(message)
            if event is None:
                assert refusal(message) == (400, reason)
                kinds["refused"] += 1
                continue
            flat = to_flat(message)
            assert columns(flat)["issue_id"] == event.issue_id
            assert decode_message(flat).fields == event.fields
            kinds["flat"] += 1
        assert min(kinds.values()) >= 5, kinds

    @pytest.mark.parametrize(
        "message", [*recorded_messages(), manual_message({"a": 1})], ids=lambda one: one.event_id
    )
    def test_round_trip(self, message):
        """The job reads what was written: the same event_id, the same document or body."""
        flat, event = to_flat(message), decode_message(message)
        read = decode_message(flat)
        assert (read.event_id, read.issue_id) == (event.event_id, event.issue_id)
        assert (read.source, read.created_at) == (event.source, event.created_at)
        expected = event.old_fields if event.operation == DELETE else event.fields
        assert (read.fields, read.inexact) == (expected or {}, event.inexact)
        assert flat.dedup_id == message.dedup_id


class TestValues:
    def test_manual(self):
        """A manual issue's payload is its body as it came, every digit of it."""
        body = b'{"issue": "T\\u00e4st",\n "n": 1.10, "big": 12345678901234567890123}'
        stamp = Stamp(new_id=lambda: "one", now=lambda: 1_795_514_400_000_001)
        (message,) = judge([], body, stamp).messages
        flat = to_flat(message)
        assert columns(flat) == {
            "issue_id": message.attributes["issue_id"],
            "source": "manual-api",
            "created_at": "2026-11-24T10:00:00.000001Z",
            "payload": body.decode(),
        }
        assert flat.attributes == {
            name: message.attributes[name] for name in ("event_id", "dedup_id", "issue_id")
        }

    def test_firestore(self):
        """A document's payload is its fields, typed values as docs/values.md has them."""
        message = firestore_message(
            document_event({"title": {"string_value": "Ünï"}, "n": {"integer_value": 2**53 + 1}}),
            ce_time="2026-11-24T10:00:00.123456789+01:00",
        )
        flat = to_flat(message)
        values = columns(flat)
        assert values["created_at"] == "2026-11-24T09:00:00.123456Z"
        assert values["source"] == "firestore-eventarc"
        assert values["issue_id"].startswith("FS-")
        assert values["payload"] in (
            '{"title":"Ünï","n":9007199254740993}',
            '{"n":9007199254740993,"title":"Ünï"}',
        )
        assert flat.attributes == {"event_id": message.event_id, "dedup_id": message.event_id}

    @settings(max_examples=30)
    @given(change=changes())
    def test_any_change(self, change):
        """Any change is the row of the job's layout, or is refused as the job would refuse it."""
        message = firestore_message(change.to_event_data(), ce_time="2026-11-24T10:00:00Z")
        event, reason = read_by_the_job(message)
        if event is None:
            assert refusal(message) == (400, reason)
            return
        values, row = columns(to_flat(message)), row_of_the_job(message)
        assert json.loads(values.pop("payload")) == json.loads(row.pop("payload"))
        assert values == row
        assert decode_message(to_flat(message)).event_id == message.event_id

    def test_no_time(self):
        """An event that says nothing of its time has that of its publishing."""
        body = b'{"a": 1}'
        message = Message(body, {"ce-type": "issues.manual.created", "ce-id": "1"})
        values = columns(to_flat(message, lambda: 1_795_514_400_000_000))
        assert values["created_at"] == "2026-11-24T10:00:00.000000Z"

    @pytest.mark.parametrize(
        "time", ["0001-01-01T00:00:00Z", "2026-11-24T10:00:00.5Z", "9999-12-31T23:59:59.9999999Z"]
    )
    def test_times_sort_as_text(self, time):
        """Times are of one width, in UTC with six decimals, since they are sorted as text."""
        values = columns(to_flat(manual_message({"a": 1}, ce_time=time)))
        assert re.fullmatch(FIXED_WIDTH, values["created_at"])
        assert parse_rfc3339(values["created_at"]) == parse_rfc3339(time)


class TestRefused:
    @pytest.mark.parametrize(
        ("message", "reason"),
        [
            (firestore_message(b""), "NoData: a Firestore event without data"),
            (firestore_message(b"\x0a\xff"), "InvalidDocument: "),
            (firestore_message(b"\x0a\x02", "a.b.c"), "UnsupportedType: ce-type 'a.b.c'"),
            (manual_message("text"), "InvalidJson: the data are a string"),
            (Message(b'{"a": "\\ud800"}', manual_message({}).attributes), "InvalidJson: a: half"),
        ],
    )
    def test_unreadable(self, message, reason):
        """What the job could not read is refused with the name and reason that it would give."""
        status, told = refusal(message)
        assert (status, told.startswith(reason)) == (400, True), told

    def test_too_large(self):
        """A body that grows beyond Pub/Sub's limit as text inside of JSON is 413."""
        body = b'{"a": "' + rb"\\" * 3_000_000 + b'"}'
        (message,) = judge([], body, Stamp()).messages
        assert len(body) < MAX_MESSAGE_BYTES
        assert to_flat(Message(body[:-2_000_000] + b'"}', message.attributes))
        status, told = refusal(message)
        assert status == 413
        assert re.fullmatch(r"message: 12000\d\d\d bytes, Pub/Sub takes 10000000", told)


def test_what_the_job_takes_it_for():
    """A flat message has no ce- attribute and no content type: the job would read an event."""
    message = manual_message({"a": 1})
    assert decode_message(to_flat(message)).flat is not None
    with pytest.raises(InvalidJson, match="flat"):
        decode_message(Message(message.data, to_flat(message).attributes))
    assert set(FLAT_KEYS) == {column.name for column in COLUMNS}


def test_loaded_only_where_it_is_asked_for():
    """The usual format starts without the decoder of Firestore's protobuf."""
    script = "import sys, importlib; importlib.import_module(sys.argv[1]); print(*sys.modules)"

    def loaded(module):
        done = subprocess.run(
            [sys.executable, "-c", script, module],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        return {"google.events", "schemas.event", "schemas.firestore"} & set(done.stdout.split())

    assert loaded("publisher.app") == set()
    assert len(loaded("publisher.flat")) == 3  # the check can fail


def test_page_names_the_columns():
    """The table that docs/flat.md tells to create has the template's columns."""
    page = (ROOT / "docs/flat.md").read_text("utf-8")
    assert ",".join(f"{column.name}:{column.type}" for column in COLUMNS) in page
