"""Rows that BigQuery refuses all the same: given to the sink without ShapeRows before it.

In the job nothing of the kind reaches a sink (`test_bad_content`). This is what stands behind it.
"""

import json

import pytest

from schemas.apply import bigquery_table
from schemas.event import RestoredRow, decode_message
from schemas.failure import DATA, DATA_ROW, ERROR, REASON, STAGE
from schemas.message import DEDUP_ID, EVENT_ID, Message
from schemas.raw import to_raw
from schemas.row import Row, Shaper
from schemas.table import RAW, Column, Table, Type
from schemas.table_file import parse_table
from schemas.times import now_micros
from tests.strategies import manual_message

GOOD, BAD = 100, 50
NO_JSON = "{not JSON"

FLAT = "table: plain\ndefault: true\nlayout: flat"


def message_of(number, now):
    return manual_message({"n": number}, now, ce_id=f"n-{number}")


@pytest.mark.parametrize("sink", ["native"], indirect=True)
def test_one_of_a_batch(bench):
    """The native sink parts it by what the service names: it is a letter, the others are rows."""
    tables = bench.tables("table: t\ndefault: true\ncolumns: [{path: n, type: INT64}]")
    now = now_micros()
    shaper = Shaper(tables)
    rows = [shaper.shape(decode_message(message_of(n, now)), now) for n in range(GOOD)]
    bad = rows[BAD]
    rows[BAD] = Row(bad.table, bad.values | {"payload": NO_JSON}, bad.message)
    assert bench.write(rows) == 1
    [letter] = bench.letters()
    assert letter.data == bad.message.data
    assert bad.message.attributes.items() <= letter.attributes.items()
    assert (letter.attributes[STAGE], letter.attributes[ERROR]) == ("write", "RowRefused")
    assert "payload" in letter.attributes[REASON]
    wanted = {row.message.event_id for row in rows} - {bad.message.event_id}
    assert {row["event_id"] for row in bench.rows("t")} == wanted


def flat_row(number, payload):
    values = {
        "issue_id": f"I-{number}",
        "source": "manual-api",
        "created_at": "2026-11-24T10:00:00.000000Z",
        "payload": payload,
    }
    return Row("plain", values, Message(json.dumps(values).encode()))


def json_payload(bench, table):
    """Makes the table with `payload` as JSON, so that it refuses what the STRING column takes."""
    columns = [
        Column(column.name, Type.JSON if column.name == "payload" else column.type)
        for column in table.columns
    ]
    made = bigquery_table(
        Table(table.name, table.layout, tuple(columns)), f"demo-project.{bench.dataset}"
    )
    bench.client.create_dataset(bench.dataset, exists_ok=True, timeout=20, retry=None)
    bench.client.create_table(made, timeout=20, retry=None)


def test_a_row_without_an_id(bench):
    """The others are rows. Beam's sink gives it back as a row, which its letter brings again."""
    table = parse_table(FLAT, "plain.yaml")
    bench.declare(FLAT)
    json_payload(bench, table)
    rows = [flat_row(n, NO_JSON if n == BAD else "{}") for n in range(GOOD)]
    assert bench.write(rows) == 1
    [letter] = bench.letters()
    assert (letter.attributes[STAGE], letter.attributes[ERROR]) == ("write", "RowRefused")
    assert "payload" in letter.attributes[REASON]
    found = [row["issue_id"] for row in bench.rows("plain", order="issue_id")]
    assert found == sorted(f"I-{n}" for n in range(GOOD) if n != BAD)
    if not bench.java:
        assert letter.data == rows[BAD].message.data
        assert DATA not in letter.attributes
        return
    assert letter.attributes[DATA] == DATA_ROW
    again = decode_message(letter)
    assert isinstance(again, RestoredRow)
    assert Shaper([table]).shape(again, now_micros()) == Row("plain", rows[BAD].values, letter)


KEPT = Table(
    "kept",
    "structured",
    (
        Column("event_id", Type.STRING),
        Column("labels", Type.STRING, repeated=True),
        Column("n", Type.INT64),
        Column("ok", Type.BOOL),
        Column("x", Type.FLOAT64),
        Column("payload", Type.JSON),
        RAW,
    ),
    default=True,
    raw=True,
)
"""Without a TIMESTAMP: see the canary below."""


def kept_row(number, now, payload):
    message = message_of(number, now)
    values = {
        "event_id": message.event_id,
        "labels": ["a", "ü"],
        "n": -(2**63),
        "ok": True,
        "x": 0.5,
        "payload": payload,
        "raw": to_raw(message),
    }
    return Row("kept", values, message)


def test_a_row_with_its_message(bench):
    """Of a table with `raw` the letter is the message: bytes, attributes and all, on both sinks."""
    bench.create(KEPT)
    now = now_micros()
    rows = [kept_row(n, now, NO_JSON if n == BAD else "{}") for n in range(GOOD)]
    assert bench.write(rows, [KEPT]) == 1
    [letter] = bench.letters()
    bad = rows[BAD].message
    assert letter.data == bad.data
    assert bad.attributes.items() <= letter.attributes.items()
    assert DATA not in letter.attributes
    assert letter.attributes[EVENT_ID] == bad.event_id
    assert letter.attributes[DEDUP_ID] == f"{bad.event_id}:1"
    wanted = {row.message.event_id for row in rows} - {bad.event_id}
    assert {row["event_id"] for row in bench.rows("kept")} == wanted


MENDED = """Beam gives a refused row with a TIMESTAMP back now (beam#40110 is mended).
Take this canary out, and what names the fault: the guarantees' page, the alert, and the comments of
pipeline/storage_write.py; let the tests above run on the shipped table, on both sinks."""


@pytest.mark.parametrize("sink", ["storage_write"], indirect=True)
def test_canary_a_refused_row_with_a_timestamp_ends_the_bundle(bench):
    """CANARY of the pinned Beam's fault beam#40110: it fails on the day that Beam has mended it.

    Beam's sink prints the row's time with a space and reads it with a T. A runner that retries
    bundles does so without end: nothing is lost, and nothing goes on.
    """
    tables = bench.tables("table: t\ndefault: true")
    now = now_micros()
    row = Shaper(tables).shape(decode_message(message_of(0, now)), now)
    try:
        bench.write([Row(row.table, row.values | {"payload": NO_JSON}, row.message)])
    except RuntimeError as error:
        assert "java.time.format.DateTimeParseException" in str(error), "another fault"  # noqa: PT017
    else:
        pytest.fail(MENDED)
    assert bench.rows("t") == []
    assert list(bench.letters()) == []
