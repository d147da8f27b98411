"""Recorded messages: one a line, in the JSON mapping of `google.pubsub.v1.PubsubMessage`.

`{"data": base64, "attributes": {...}, "messageId": "...", "publishTime": RFC 3339}`, or that as
the `message` of an envelope with its `ackId`: what `gcloud pubsub subscriptions pull --format=json`
prints as an array, and `jq -c '.[]'` one a line. So a recording can be made, read and edited with
standard tools.
"""

import base64
import binascii
import json
from typing import Any

from schemas.message import Message
from schemas.times import format_micros, parse_rfc3339

_UNPACK = "`jq -c 'if type == \"array\" then .[] else . end'` writes it so"
# https://cloud.google.com/pubsub/docs/reference/rpc/google.pubsub.v1#receivedmessage
_ENVELOPE = {"ackId", "message", "deliveryAttempt"}


def to_line(message: Message) -> str:
    """One message as one line of JSON, without its newline."""
    record: dict[str, Any] = {
        "data": base64.b64encode(message.data).decode(),
        "attributes": dict(message.attributes),
    }
    if message.message_id:
        record["messageId"] = message.message_id
    if message.publish_time:
        record["publishTime"] = format_micros(message.publish_time)
    return json.dumps(record, ensure_ascii=False)


def from_line(line: str) -> Message:
    """Reads a line back.

    Raises:
        ValueError: The line is not such a record; the sentence says what is wrong.
    """
    record = _json(line)
    if isinstance(record, dict) and "message" in record and set(record) <= _ENVELOPE:
        record = record["message"]
    if not isinstance(record, dict):
        more = f", not an array: {_UNPACK}" if isinstance(record, list) else ""
        raise ValueError(f"a recorded message is one JSON object a line{more}")  # noqa: TRY004
    if unknown := set(record) - {"data", "attributes", "messageId", "publishTime", "orderingKey"}:
        raise ValueError(f"unknown key {min(unknown)!r} in a recorded message")
    attributes = record.get("attributes")
    attributes = {} if attributes is None else attributes
    if not isinstance(attributes, dict) or not all(
        isinstance(value, str) for value in attributes.values()
    ):
        raise ValueError("attributes are a JSON object of strings")
    for name, value in attributes.items():
        if not (_is_unicode(name) and _is_unicode(value)):
            raise ValueError(f"attribute {name[:64]!r} has half of a surrogate pair")
    try:
        data = base64.b64decode(_text(record, "data"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"data is not base64: {error}") from error
    publish_time = _text(record, "publishTime")
    return Message(
        data=data,
        attributes=attributes,
        message_id=_text(record, "messageId"),
        publish_time=parse_rfc3339(publish_time) if publish_time else 0,
    )


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        if line.strip() not in ("[", "{"):
            raise
        what = "JSON over several lines, where a message is one"
        raise ValueError(f"{error.msg}: {what}: {_UNPACK}") from error
    except RecursionError as error:
        raise ValueError("nested too deep for a recorded message") from error


def _text(record: dict[str, Any], key: str) -> str:
    value = record.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{key} is a string, not {value!r}")  # noqa: TRY004 - see from_line
    return value


def _is_unicode(text: str) -> bool:
    """Whether protobuf can carry the text; JSON can write halves of surrogate pairs."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
