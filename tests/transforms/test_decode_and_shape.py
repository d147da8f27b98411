"""DecodeEvents and ShapeRows in a pipeline: both outputs exactly, and what is counted."""

import dataclasses
import logging
import pickle

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to

from schemas.encode import Encoder
from schemas.event import RestoredRow, decode_message
from schemas.failure import Failure, dead_letter
from schemas.message import Message
from schemas.restored import message_of_row
from schemas.row import Row, Shaper
from schemas.table_file import parse_tables, shipped
from schemas.times import format_micros, now_micros
from tests.strategies import document_event, firestore_message, manual_message, recorded_messages
from transforms.attempt import FAILED
from transforms.decode import EVENTS, DecodeEvents
from transforms.shape import ROWS, ShapeRows, _Shape

NOW = now_micros()
TABLES = parse_tables(
    [
        ("1", "{table: main, default: true, columns: [{path: n, type: INT64}]}"),
        ("2", "{table: flat, layout: flat, collections: [teams]}"),
    ]
)
MANUAL = manual_message({"n": 1}, NOW)
CREATED = firestore_message(
    document_event({"n": {"string_value": "no number"}}), ce_time=format_micros(NOW)
)
TEAM = firestore_message(
    document_event({"a": {"null_value": 0}}, name="projects/p/databases/d/documents/teams/x"),
    ce_time=format_micros(NOW),
)
BAD_JSON = manual_message(b"{", NOW, event_id="bad")
OTHER_TYPE = Message(b"\x00", {"ce-type": "other", "event_id": "other"})
NO_DATA = firestore_message(b"", ce_subject="documents/issues/1")
OLD = manual_message({"old": True}, 0)
ROW = message_of_row("main", {"event_id": "E", "n": 5, "created_at": NOW})
BAD_ROW = Message(b"[]", {"dead_letter_data": "row"})


def counters(pipeline):
    """The counters of a pipeline that ran, by namespace and name; zeros left out."""
    return {
        (c.key.metric.namespace, c.key.metric.name): c.committed
        for c in pipeline.result.metrics().query()["counters"]
        if c.committed
    }


def reason_of(message):
    try:
        decode_message(message)
    except Exception as error:  # noqa: BLE001 - any: its text is what is wanted
        return str(error)
    raise AssertionError("the message is an event")


def without_ingest_time(row):
    """A row as the test can foresee it: its ingest time is checked, then left out."""
    values = dict(row.values)
    if "ingest_time" in values:
        assert NOW <= values.pop("ingest_time") <= now_micros()
    return Row(row.table, values, row.message)


def shaped(message):
    return without_ingest_time(Shaper(TABLES).shape(decode_message(message), now_micros()))


def expected_row(message):
    return Shaper(shipped()).shape(decode_message(message), NOW)


def encode_shipped(row):
    """The bytes that go into the shipped table, but for the ingest time."""
    return Encoder(shipped()[0]).encode({**row.values, "ingest_time": NOW})


def explode(*_):
    raise ZeroDivisionError("nobody foresaw this")


class ExplodingShaper:
    """Stands in for a Shaper with a fault of the program's own."""

    def __init__(self, tables, unmatched):
        self._real = Shaper(tables, unmatched)

    def shape(self, event, now):
        return explode() if event.event_id == "boom" else self._real.shape(event, now)


def decode_or_explode(message):
    return explode() if message.event_id == "boom" else decode_message(message)


def test_decode_events_parts_events_from_failures():
    """Each message is in one of the two outputs, whole; failures are named and counted."""
    good = [MANUAL, CREATED, OLD, ROW]
    bad = [BAD_JSON, OTHER_TYPE, NO_DATA]
    with beam.Pipeline(runner=FnApiRunner()) as p:
        outputs = p | beam.Create(good + bad, reshuffle=False) | DecodeEvents()
        assert_that(
            outputs[EVENTS],
            equal_to([*map(decode_message, [MANUAL, CREATED, OLD]), RestoredRow(ROW)]),
            label="events",
        )
        assert_that(
            outputs[FAILED],
            equal_to(
                [
                    Failure(BAD_JSON, "decode", "InvalidJson", reason_of(BAD_JSON)),
                    Failure(OTHER_TYPE, "decode", "UnsupportedType", reason_of(OTHER_TYPE)),
                    Failure(NO_DATA, "decode", "NoData", reason_of(NO_DATA)),
                ]
            ),
            label="failed",
        )
    assert counters(p) == {("decode", "good"): 4, ("decode", "failed"): 3}


def test_shape_rows_parts_rows_from_failures():
    """Rows of both layouts and a restored one; what no row can hold keeps its message."""
    good = [MANUAL, CREATED, TEAM]
    with beam.Pipeline(runner=FnApiRunner()) as p:
        events = [decode_message(m) for m in [*good, ROW, OLD, BAD_ROW]]
        outputs = p | beam.Create(events, reshuffle=False) | ShapeRows(TABLES)
        restored = {c.name: [] if c.repeated else None for c in TABLES[0].columns}
        restored |= {"event_id": "E", "n": 5, "created_at": NOW}
        del restored["ingest_time"]
        assert_that(
            outputs[ROWS]
            | beam.Map(
                lambda row: row if row.message == ROW else without_ingest_time(row)
            )
            | "Restored" >> beam.Map(
                lambda row: Row(row.table, {k: v for k, v in row.values.items()
                                            if k != "ingest_time"}, row.message)
            ),
            equal_to([*map(shaped, good), Row("main", restored, ROW)]),
            label="rows",
        )  # fmt: skip
        assert_that(
            outputs[FAILED],
            equal_to(
                [
                    Failure(
                        OLD,
                        "shape",
                        "OutsidePartitionRange",
                        "created_at 1970-01-01T00:00:00.000000Z is more than 1824 days back or "
                        "366 ahead, where BigQuery takes no streamed rows",
                    ),
                    Failure(
                        BAD_ROW,
                        "shape",
                        "InvalidRow",
                        "the data are no row as JSON: a row letter is an object of `table` and "
                        "`values`",
                    ),
                ]
            ),
            label="failed",
        )
    assert counters(p) == {
        ("shape", "good"): 4,
        ("shape", "failed"): 2,
        ("shape", "type_errors"): 1,
    }


def test_rows_with_type_errors_are_counted_not_fields():
    """A row with three is one; a flat row has none to count."""
    ill = manual_message({"n": "x", "m": 0}, NOW)
    worse = manual_message(b'{"n": 1.5, "x": 1e400, "y": 1e400}', NOW)
    with beam.Pipeline(runner=FnApiRunner()) as p:
        events = [decode_message(m) for m in (ill, worse, MANUAL, TEAM)]
        outputs = p | beam.Create(events, reshuffle=False) | ShapeRows(TABLES)
        assert_that(
            outputs[ROWS] | beam.Map(lambda row: row.values.get("type_errors")),
            equal_to([["n"], ["n", "x", "y"], [], None]),
        )
    assert counters(p) == {("shape", "good"): 4, ("shape", "type_errors"): 2}


@pytest.mark.parametrize("stage", ["decode", "shape"])
def test_an_unforeseen_exception_is_a_failure_with_the_original_bytes(stage, monkeypatch, caplog):
    """A fault of the program's own ends no job: dead letter, log with traceback, count.

    The messages around it go through.
    """
    boom = dataclasses.replace(CREATED, attributes={**CREATED.attributes, "event_id": "boom"})
    monkeypatch.setattr("transforms.decode.decode_message", decode_or_explode)
    if stage == "shape":
        monkeypatch.setattr("transforms.decode.decode_message", decode_message)
        monkeypatch.setattr("transforms.shape.Shaper", ExplodingShaper)
    with caplog.at_level(logging.ERROR), beam.Pipeline(runner=FnApiRunner()) as p:
        decoded = p | beam.Create([MANUAL, boom, TEAM], reshuffle=False) | DecodeEvents()
        rows = decoded[EVENTS] | ShapeRows(TABLES)
        failed = (decoded if stage == "decode" else rows)[FAILED]
        others = (rows if stage == "decode" else decoded)[FAILED]
        expected = Failure(boom, stage, "UnexpectedError", "ZeroDivisionError: nobody foresaw this")
        assert_that(
            rows[ROWS] | beam.Map(without_ingest_time),
            equal_to([shaped(MANUAL), shaped(TEAM)]),
            label="rows",
        )
        assert_that(failed, equal_to([expected]), label="failed")
        assert_that(others, equal_to([]), label="others")
        assert_that(
            failed | beam.Map(lambda failure: dead_letter(failure, time=NOW, job="j").data),
            equal_to([CREATED.data]),
            label="bytes",
        )
    found = counters(p)
    assert found[stage, "unexpected_errors"] == found[stage, "failed"] == 1
    assert found["shape", "good"] == 2
    logged = [r for r in caplog.records if r.name == "transforms.attempt"]
    assert [r.getMessage() for r in logged] == [f"{stage} failed on event boom"]
    assert logged[0].exc_info[0] is ZeroDivisionError


def test_every_recorded_event_goes_through_both_steps():
    """The emulator's own events, from bytes to encoded rows, none lost and none failed."""
    times = {"ce-time": format_micros(NOW)}
    messages = [
        dataclasses.replace(m, attributes={**m.attributes, **times}) for m in recorded_messages()
    ]
    with beam.Pipeline(runner=FnApiRunner()) as p:
        decoded = p | beam.Create(messages, reshuffle=False) | DecodeEvents()
        rows = decoded[EVENTS] | ShapeRows(shipped())
        assert_that(decoded[FAILED], equal_to([]), label="decode failed")
        assert_that(rows[FAILED], equal_to([]), label="shape failed")
        assert_that(
            rows[ROWS] | beam.Map(lambda row: row.message.event_id),
            equal_to([message.event_id for message in messages]),
            label="rows",
        )
        assert_that(
            rows[ROWS] | "Encode" >> beam.Map(encode_shipped),
            equal_to([encode_shipped(expected_row(message)) for message in messages]),
            label="encoded",
        )
    assert counters(p)["shape", "good"] == len(messages)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_the_deepest_json_goes_through_inside_a_runner(opening, closing):
    """500 levels, also where the runner's own frames have used a part of Python's stack."""
    deepest = manual_message(f'{{"a":{opening * 499}0{closing * 499}}}'.encode(), NOW)
    deeper = manual_message(f'{{"a":{opening * 500}0{closing * 500}}}'.encode(), NOW, ce_id="8")
    with beam.Pipeline(runner=FnApiRunner()) as p:
        decoded = p | beam.Create([deepest, deeper], reshuffle=False) | DecodeEvents()
        rows = decoded[EVENTS] | ShapeRows(TABLES)
        assert_that(
            rows[ROWS] | beam.Map(lambda row: row.values["payload"]),
            equal_to([deepest.data.decode()]),
            label="rows",
        )
        assert_that(
            decoded[FAILED],
            equal_to([Failure(deeper, "decode", "InvalidJson", reason_of(deeper))]),
            label="failed",
        )


def test_the_shaping_function_pickles_with_its_tables_alone():
    """What travels to a worker is small, and shapes there as here."""
    copy = pickle.loads(pickle.dumps(_Shape(TABLES)))
    assert copy.__reduce__() == (_Shape, (TABLES, "default_table"))
    assert without_ingest_time(copy(decode_message(MANUAL))) == shaped(MANUAL)
