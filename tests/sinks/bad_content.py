"""Everything for whose content BigQuery would refuse a row, and what becomes of it instead.

A table of cases. The limits are BigQuery's own:
JSON, https://cloud.google.com/bigquery/docs/json-data#limitations and its page on PARSE_JSON;
types and ranges, https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types;
a row's size, https://cloud.google.com/bigquery/quotas#write-api-limits;
partitions, https://cloud.google.com/bigquery/docs/partitioned-tables.
"""

import json
from dataclasses import dataclass
from typing import Any

from schemas.failure import DATA, DATA_ROW
from schemas.message import CE_TIME, EVENT_ID, Message
from schemas.row import MAX_ROW_BYTES
from schemas.shaping import DAY, PARTITION_DAYS_AHEAD, PARTITION_DAYS_BACK
from schemas.times import format_micros
from tests.strategies import document_event, firestore_message, manual_message

TABLE = """
table: strict
default: true
layout: structured
columns:
  - {path: i, type: INT64}
  - {path: f, type: FLOAT64}
  - {path: t, type: TIMESTAMP}
  - {path: b, type: BYTES}
  - {path: s, type: STRING}
  - {path: j, type: JSON}
  - {path: many, type: INT64, mode: REPEATED}
"""


@dataclass(frozen=True)
class Bad:
    """A message that no row may come of.

    Args:
        name: What is wrong with it.
        message: The message.
        stage: Where it fails.
        error: What its dead letter is to say.
    """

    name: str
    message: Message
    stage: str
    error: str


@dataclass(frozen=True)
class Unfit:
    """A body of which one value fits no column; it is a row all the same.

    Args:
        name: What is wrong with it.
        body: JSON text.
        type_errors: As the row is to have them.
        payload: As the row is to have it, read.
    """

    name: str
    body: str
    type_errors: list[str]
    payload: Any


def bad(now):
    """The cases; `now` in microseconds since the epoch."""
    return [*_manual(now), *_firestore(now), *_times(now), *_sizes(now), *_flat(now), *_rows(now)]


def _manual(now):
    bodies = {
        "no JSON text": b'{"i": }',
        "text after the JSON": b'{"i": 1} x',
        "no object": b"[1]",
        "nothing": b"",
        "NaN, which is no JSON": b'{"f": NaN}',
        "Infinity, which is no JSON": b'{"j": {"f": -Infinity}}',
        "501 levels": b'{"j":' + b"[" * 500 + b"]" * 500 + b"}",
        "10,000 levels": b'{"j":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        "half of a surrogate pair": b'{"s": "\\ud83d"}',
        "half of a surrogate pair in a key": b'{"\\ud83d": 1}',
        "no UTF-8": b'{"s": "\xff"}',
        "UTF-8 of a surrogate": b'{"s": "\xed\xa0\xbd"}',
        "a key twice": b'{"i": 1, "i": 2}',
    }
    for name, body in bodies.items():
        error = "NoData" if not body else "InvalidJson"
        yield Bad(f"manual: {name}", manual_message(body, now, ce_id=name), "decode", error)


def _firestore(now):
    whole = document_event({"s": {"string_value": "text"}}).SerializeToString()
    deep = document_event({})
    value = deep.value.fields["j"]
    for _ in range(260):
        value = value.map_value.fields["m"]
    value.integer_value = 1
    cases = {
        "truncated": (whole[:-3], "InvalidDocument"),
        "no UTF-8": (whole.replace(b"text", b"t\xffxt"), "InvalidDocument"),
        "too deep": (deep.SerializeToString(), "InvalidDocument"),
        "a time after the year 9999": (
            document_event({"t": {"timestamp_value": {"seconds": 10**12}}}).SerializeToString(),
            "InvalidDocument",
        ),
        "a value of no type": (document_event({"s": {}}).SerializeToString(), "InvalidDocument"),
    }
    for name, (data, error) in cases.items():
        attributes = {"ce_time": format_micros(now), "content_type": "application/protobuf"}
        yield Bad(
            f"Firestore: {name}", firestore_message(data, ce_id=name, **attributes), "decode", error
        )


def _times(now):
    for name, days in (
        ("too long ago", -PARTITION_DAYS_BACK - 1),
        ("too far ahead", PARTITION_DAYS_AHEAD + 1),
    ):
        message = manual_message({}, now + days * DAY, ce_id=name)
        yield Bad(name, message, "shape", "OutsidePartitionRange")
    message = manual_message({}, now, ce_id="no time")
    del message.attributes[CE_TIME]
    yield Bad("no time", message, "shape", "NoTime")


def _sizes(now):
    body = {"s": "x" * (MAX_ROW_BYTES // 2)}  # in its column and in payload
    message = manual_message(body, now, ce_id="too large")
    yield Bad("too large", message, "shape", "RowTooLarge")
    points = document_event(
        {"j": {"array_value": {"values": [{"geo_point_value": {}}] * 320_000}}}
    ).SerializeToString()
    message = firestore_message(points, ce_id="grown too large", ce_time=format_micros(now))
    yield Bad("grown too large as JSON", message, "shape", "RowTooLarge")


def _flat(now):
    payloads = {
        "no JSON": "{",
        "no object": "[]",
        "NaN": '{"f": NaN}',
        "501 levels": '{"j":' + "[" * 500 + "]" * 500 + "}",
        "half of a surrogate pair": '{"s": "\\ud83d"}',
    }
    for name, payload in payloads.items():
        yield Bad(f"flat: {name}", _flat_message(payload, now), "shape", "InvalidPayload")
    halved = json.dumps(_flat_body("{}", now) | {"issue_id": "\ud83d"}).encode()
    yield Bad("flat: half of a surrogate pair", Message(halved), "decode", "InvalidJson")


def _flat_message(payload, now):
    return Message(json.dumps(_flat_body(payload, now)).encode())


def _flat_body(payload, now):
    return {
        "issue_id": "I",
        "source": "manual-api",
        "created_at": format_micros(now),
        "payload": payload,
    }


def _rows(now):
    """Rows as letters: from a sink that gave them back, or by a stranger's hand."""
    values = {
        "an unknown column": {"x": 1},
        "an integer above 64 bits": {"i": 2**63},
        "an integer as text": {"i": "1"},
        "a float as text": {"f": "0.1"},
        "a time after the year 9999": {"t": 253_402_300_800_000_000},
        "a time before the year 1": {"t": -62_135_596_800_000_001},
        "no base64": {"b": "?"},
        "a list for one value": {"s": ["a"]},
        "one value for a list": {"many": 1},
        "null in a list": {"many": [None]},
        "no JSON text": {"j": "{not"},
        "NaN in JSON": {"j": "NaN"},
        "JSON of 501 levels": {"j": "[" * 501 + "]" * 501},
        "JSON of 900 levels": {"payload": '{"a":' * 900 + "1" + "}" * 900},
        "JSON of 10,000 levels": {"j": "[" * 10_000 + "]" * 10_000},
        "a number beyond a double in JSON": {"j": '{"a": [1e400]}'},
        "a number that a double would round in JSON": {"j": "12345678901234567890.5"},
        "an integer above 64 bits in JSON": {"payload": '{"a": 18446744073709551616}'},
        "half of a surrogate pair in JSON": {"j": '["\\ud83d"]'},
        "half of a surrogate pair in a key of JSON": {"j": '{"\\ud83d": 1}'},
        "half of a surrogate pair": {"s": "\ud83d"},
        "no time": {"created_at": None},
        "a time too long ago": {"created_at": now - (PARTITION_DAYS_BACK + 1) * DAY},
        "no id": {"event_id": None},
        "too large": {"s": "x" * MAX_ROW_BYTES},
    }
    errors = {"a time too long ago": "OutsidePartitionRange", "too large": "RowTooLarge"}
    for name, given in values.items():
        row = {"table": "strict", "values": {"event_id": name, "created_at": now, **given}}
        message = Message(json.dumps(row).encode(), {DATA: DATA_ROW, EVENT_ID: f"row: {name}"})
        yield Bad(f"row: {name}", message, "shape", errors.get(name, "InvalidRow"))


def unfit():
    """The cases of values that fit no column."""
    return [
        Unfit("an integer above INT64", '{"i": 9223372036854775808}', ["i"], {"i": 2**63}),
        Unfit("an integer below INT64", '{"i": -9223372036854775809}', ["i", "i"],
              {"i": "-9223372036854775809"}),
        Unfit("a fraction", '{"i": 0.5}', ["i"], {"i": 0.5}),
        Unfit("an integer that no double holds", '{"f": 9007199254740993}', ["f"],
              {"f": 2**53 + 1}),
        Unfit("a number beyond a double", '{"f": 1e400}', ["f", "f"], {"f": "1e400"}),
        Unfit("a number that a double rounds", '{"j": {"n": 0.12345678901234567890}}', ["j.n"],
              {"j": {"n": "0.12345678901234567890"}}),
        Unfit("an integer above UINT64", '{"j": [18446744073709551616]}', ["j[0]"],
              {"j": ["18446744073709551616"]}),
        Unfit("a time after the year 9999", '{"t": "9999-12-31T23:59:59.9-01:00"}', ["t"],
              {"t": "9999-12-31T23:59:59.9-01:00"}),
        Unfit("a time before the year 1", '{"t": "0000-12-31T23:59:59Z"}', ["t"],
              {"t": "0000-12-31T23:59:59Z"}),
        Unfit("no time", '{"t": "soon"}', ["t"], {"t": "soon"}),
        Unfit("no base64", '{"b": "a?"}', ["b"], {"b": "a?"}),
        Unfit("a number as text", '{"s": 5}', ["s"], {"s": 5}),
        Unfit("one of a list", '{"many": [1, null, "2"]}', ["many[2]"], {"many": [1, None, "2"]}),
        Unfit("no list", '{"many": 1}', ["many"], {"many": 1}),
    ]  # fmt: skip
