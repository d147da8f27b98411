"""Recorded messages: one a line, written and read back as they are."""

import base64
import json

import pytest
from hypothesis import given

from schemas.message import Message
from schemas.recorded import from_line, to_line
from tests.strategies import DATA, messages, recorded_messages

JQ = "`jq -c 'if type == \"array\" then .[] else . end'` writes it so"


@given(messages)
def test_every_message_comes_back(message):
    """from_line(to_line(m)) is m, and a line is one line."""
    line = to_line(message)
    assert "\n" not in line
    assert from_line(line) == message


def test_a_line_is_pubsubs_json():
    """The line has the keys of `google.pubsub.v1.PubsubMessage` in protobuf's JSON mapping."""
    message = Message(b"\x00\xff", {"a": "ü"}, "12", 1_800_000_000_000_001)
    assert json.loads(to_line(message)) == {
        "data": "AP8=",
        "attributes": {"a": "ü"},
        "messageId": "12",
        "publishTime": "2027-01-15T08:00:00.000001Z",
    }
    assert json.loads(to_line(Message(b""))) == {"data": "", "attributes": {}}


def test_what_gcloud_prints_is_read():
    """Absent and null parts, an ordering key and a time with nanoseconds are fine."""
    line = '{"data": "eA==", "messageId": "5", "publishTime": "2027-01-15T08:00:00.123456789Z"}'
    assert from_line(line) == Message(b"x", {}, "5", 1_800_000_000_123_456)
    line = '{"data": null, "attributes": null, "orderingKey": "k", "publishTime": null}'
    assert from_line(line) == Message(b"")


def test_gclouds_envelope_is_read():
    """`pull` prints each message inside one, with the id by which it is acknowledged."""
    line = '{"ackId": "a", "deliveryAttempt": 2, "message": {"data": "eA==", "messageId": "5"}}'
    assert from_line(line) == Message(b"x", {}, "5")


def test_the_recording_is_read_and_written_back():
    """The events of tests/data are whole messages of the Firestore emulator's."""
    recorded = recorded_messages()
    assert len(recorded) >= 30
    assert [from_line(to_line(message)) for message in recorded] == recorded
    base64.b64decode(recorded[0].data, validate=True)
    poison = (DATA / "manual_and_poison.jsonl").read_text("utf-8").split("\n")
    assert all(from_line(line).message_id for line in poison if line)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "Expecting value"),
        ("{\n", f"in double quotes: JSON over several lines, where a message is one: {JQ}"),
        ("[\n", f"Expecting value: JSON over several lines, where a message is one: {JQ}"),
        ('{"data"', "Expecting ':'"),
        ("[{}]", f"a recorded message is one JSON object a line, not an array: {JQ}"),
        ('{"ackId": "a"}', "unknown key 'ackId'"),
        ('{"message": "x"}', "one JSON object a line"),
        ('{"message": {"ackId": "a", "message": {}}}', "unknown key 'ackId'"),
        ("5", "one JSON object a line"),
        ("null", "one JSON object a line"),
        ("[" * 100_000, "nested too deep"),
        ('{"date": "eA=="}', "unknown key 'date'"),
        ('{"data": "e"}', "data is not base64"),
        ('{"data": "e A=="}', "data is not base64"),
        ('{"data": "ü"}', "data is not base64"),
        ('{"data": 5}', "data is a string, not 5"),
        ('{"data": {}}', "data is a string, not {}"),
        ('{"attributes": []}', "attributes are a JSON object of strings"),
        ('{"attributes": {"a": 1}}', "attributes are a JSON object of strings"),
        ('{"attributes": {"a": null}}', "attributes are a JSON object of strings"),
        ('{"attributes": {"a": "\\ud800"}}', "attribute 'a' has half of a surrogate pair"),
        ('{"attributes": {"\\udfff": ""}}', "half of a surrogate pair"),
        ('{"messageId": 12}', "messageId is a string, not 12"),
        ('{"publishTime": 12}', "publishTime is a string, not 12"),
        ('{"publishTime": "yesterday"}', "is not an RFC 3339 time"),
    ],
)
def test_what_is_no_recorded_message_is_refused(line, reason):
    """Each refusal is a ValueError that says what is wrong; nothing is read in part."""
    with pytest.raises(ValueError) as caught:
        from_line(line)
    assert reason in str(caught.value)
