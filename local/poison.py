"""Messages that no row can be made of, put straight onto the topic: each must be a dead letter."""

import base64
from dataclasses import dataclass

from schemas.message import (
    CE_ID,
    CE_SOURCE,
    CE_SPECVERSION,
    CE_TIME,
    CE_TYPE,
    CONTENT_TYPE,
    MANUAL_TYPE,
    Message,
)
from schemas.times import format_micros

_SOURCE = "//sample.local/poison"
_WRITTEN = "google.cloud.firestore.document.v1.written"
_DATASTORE = "google.cloud.datastore.entity.v1.written"


@dataclass(frozen=True, slots=True)
class Poison:
    """One such message.

    Args:
        message: As it is published.
        what: What is wrong with it.
        stage: Where it must fail.
        error: The named type that its letter must carry.
    """

    message: Message
    what: str
    stage: str
    error: str


def poison(now: int) -> tuple[Poison, ...]:
    """The messages; their content is the same on every run, but for their time and ids.

    Args:
        now: Microseconds since the epoch; part of the ids, so that a second run against the same
            tables is not taken for a repeat of the first.
    """
    # A whole event's bytes, cut short inside the document's name.
    cut = b"\x0a\x64\x0a\x50projects/demo-project/databases/(default)/documents/issues/cut"
    cases: tuple[tuple[str, bytes, dict[str, str], str, str], ...] = (
        (
            "bytes that are no protobuf",
            b"\xff\xfe\xfd not protobuf \x00",
            _event(_WRITTEN, "application/protobuf"),
            "decode",
            "InvalidDocument",
        ),
        (
            "a protobuf that ends too early",
            cut,
            _event(_WRITTEN, "application/protobuf"),
            "decode",
            "InvalidDocument",
        ),
        (
            "base64 that ends too early",
            base64.b64encode(cut)[:-3],
            _event(_WRITTEN, "application/protobuf"),
            "decode",
            "InvalidDocument",
        ),
        (
            "a Firestore event without data",
            b"",
            _event(_WRITTEN, "application/protobuf"),
            "decode",
            "NoData",
        ),
        (
            "another event type",
            b"{}",
            _event("com.example.ordered", "application/json"),
            "decode",
            "UnsupportedType",
        ),
        (
            "a Datastore entity's event",
            b"\x0a\x00",
            _event(_DATASTORE, "application/protobuf"),
            "decode",
            "UnsupportedType",
        ),
        (
            "a manual issue that is a list",
            b'[{"issue": "in a list"}]',
            _event(MANUAL_TYPE, "application/json"),
            "decode",
            "InvalidJson",
        ),
        (
            "a manual issue without a body",
            b"",
            _event(MANUAL_TYPE, "application/json"),
            "decode",
            "NoData",
        ),
        (
            "a manual issue in invalid UTF-8",
            b'{"issue": "\xc3\x28"}',
            _event(MANUAL_TYPE, "application/json"),
            "decode",
            "InvalidJson",
        ),
        (
            "a manual issue that is not JSON to its end",
            b'{"issue": "Test", "priority"',
            _event(MANUAL_TYPE, "application/json"),
            "decode",
            "InvalidJson",
        ),
        ("no attributes, and no JSON", b"just text", {}, "decode", "InvalidJson"),
        (
            "CloudEvents attributes without a type",
            b"{}",
            {CE_SPECVERSION: "1.0", CE_SOURCE: _SOURCE},
            "decode",
            "InvalidAttribute",
        ),
        (
            "a time that is none",
            b'{"issue": "Test"}',
            {**_event(MANUAL_TYPE, "application/json"), CE_TIME: "yesterday"},
            "decode",
            "InvalidAttribute",
        ),
        (
            "a time for which BigQuery has no partition",
            b'{"issue": "Test"}',
            {**_event(MANUAL_TYPE, "application/json"), CE_TIME: "2001-01-01T00:00:00Z"},
            "shape",
            "OutsidePartitionRange",
        ),
    )
    time = format_micros(now)
    return tuple(
        Poison(Message(data, _named(attributes, number, time)), what, stage, error)
        for number, (what, data, attributes, stage, error) in enumerate(cases)
    )


def _event(type_: str, content_type: str) -> dict[str, str]:
    return {
        CE_SPECVERSION: "1.0",
        CE_SOURCE: _SOURCE,
        CE_TYPE: type_,
        CONTENT_TYPE: content_type,
    }


def _named(attributes: dict[str, str], number: int, time: str) -> dict[str, str]:
    """The attributes with an id and, where none is given, a time; a bare message stays bare."""
    if not attributes:
        return {}
    return {CE_TIME: time, CE_ID: f"poison-{number}-{time}", **attributes}
