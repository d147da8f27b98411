"""The job on the real emulators: what it reads becomes a row or a dead letter, exactly once."""

import base64
import json
import re
import signal
import uuid
from pathlib import Path

import pytest

from local import load
from schemas import live
from schemas.apply import apply
from schemas.failure import ATTEMPT, ERROR, REASON, STAGE
from schemas.firestore import DocumentEventData
from schemas.message import (
    CE_ID,
    CE_SOURCE,
    CE_TIME,
    CE_TYPE,
    CONTENT_TYPE,
    DEDUP_ID,
    MANUAL_TYPE,
    MAX_MESSAGE_BYTES,
    Message,
)
from schemas.recorded import from_line
from schemas.table_file import parse_tables
from schemas.times import format_micros, now_micros

# The emulator hands a message to a pull that was cancelled, and again ten seconds later.
AFTER_A_RUN = ("--stop_when_idle", "12")
SAY_ACKNOWLEDGED = """
import sys, pipeline.pull
def acknowledge(self, batch, original=pipeline.pull.Puller.acknowledge):
    original(self, batch)
    print("acknowledged", len(batch), file=sys.stderr, flush=True)
pipeline.pull.Puller.acknowledge = acknowledge
"""
FIRESTORE = "google.cloud.firestore.document.v1.written"


def manual(data, id_, **attributes):
    """A manual issue as the publisher would put it on the topic."""
    given = {
        CE_ID: id_,
        CE_SOURCE: "//test/manual",
        CE_TYPE: MANUAL_TYPE,
        CE_TIME: format_micros(now_micros()),
    }
    return Message(
        data, given | {name.replace("_", "-"): value for name, value in attributes.items()}
    )


def test_everything_is_written_once_and_the_job_ends_when_idle(job):
    """`--stop_when_idle` exits 0 once all is written and acknowledged; a second run has nothing."""
    messages = list(load.changes(300, job.subscription))
    load.publish(live.publisher_client(), topic(job), messages)
    assert job.run() == 0
    assert sorted(row["event_id"] for row in job.rows(*messages)) == sorted(
        message.event_id for message in messages
    )
    left = live.subscriber_client().pull(
        subscription=job.subscription, max_messages=10, return_immediately=True, timeout=20
    )
    assert not left.received_messages


def test_twenty_tables_at_once(job, tmp_path):
    """The native sink writes to as many tables as there are; each event goes to its own, once."""
    dataset = f"twenty_{uuid.uuid4().hex[:12]}"
    names = [f"table_{n:02}" for n in range(20)]
    given = [
        (str(tmp_path / name), f"table: {name}\ncollections: [{name}]\n" + default)
        for name, default in zip(names, ["default: true\n", *[""] * 19], strict=True)
    ]
    for path, text in given:
        Path(path).write_text(text)
    client = live.bigquery_client(job.project)
    apply(client, dataset, parse_tables(given), 20)
    published = {
        name: [in_collection(name, n, job.subscription) for n in range(5)] for name in names
    }
    for n in range(5):  # in turn, so that every bundle has rows of every table
        job.publish(*(messages[n] for messages in published.values()))
    flags = [flag for path, _ in given for flag in ("--schema", path)]
    assert job.run("--output_dataset", dataset, *flags) == 0
    query = " UNION ALL ".join(
        f"SELECT '{name}' AS name, event_id FROM {dataset}.{name}" for name in names
    )
    result = client.query(query, timeout=20, retry=None, job_retry=None)
    rows = [tuple(row) for row in result.result(timeout=20, retry=None, job_retry=None)]
    assert sorted(rows) == sorted(
        (name, message.event_id) for name, messages in published.items() for message in messages
    )


def in_collection(name, number, run):
    """A change of a document of that collection."""
    message = load.change(number, f"{run}-{name}")
    event = DocumentEventData.FromString(message.data)
    for side in (event.value, event.old_value):
        side.name = side.name.replace("/issues/", f"/{name}/")
    return Message(event.SerializeToString(deterministic=True), message.attributes)


def topic(job):
    return f"projects/{job.project}/topics/issues-topic"


def test_an_event_sent_three_times_is_one_row(job):
    """A redelivery carries the same event_id, within a run and in the next one."""
    message = load.change(1, job.subscription)
    job.publish(message, message)
    assert job.run() == 0
    job.publish(message)
    assert job.run(*AFTER_A_RUN) == 0
    assert job.rows(message) == [{"event_id": message.event_id}]


def test_a_kill_between_append_and_acknowledgement_doubles_nothing(job, until):
    """The rows are there, the messages come again, and the warmed cache drops them."""
    messages = list(load.changes(50, job.subscription))
    load.publish(live.publisher_client(), topic(job), messages)
    kill_at_ack = (
        "import os, signal, pipeline.pull\n"
        "pipeline.pull.Puller.acknowledge = lambda *_: os.kill(os.getpid(), signal.SIGKILL)"
    )
    child = job.start(before=kill_at_ack)
    assert child.wait(60) == -signal.SIGKILL
    written = job.rows(*messages)
    assert written, "the kill was to come after an append"

    again = job.start(before=SAY_ACKNOWLEDGED)

    def acknowledged():
        counts = re.findall(r"acknowledged (\d+)", again.log.read_text())
        return sum(map(int, counts)) == len(messages)

    # Leases of twenty seconds, and the emulator's pulls of the killed process, run out first.
    assert until(acknowledged, 80), again.log.read_text()
    again.send_signal(signal.SIGTERM)
    assert again.wait(30) == 0
    assert sorted(row["event_id"] for row in job.rows(*messages)) == sorted(
        message.event_id for message in messages
    )
    dropped = re.search(r"deduplicate\.dropped (\d+)", again.log.read_text())
    assert dropped
    assert int(dropped[1]) == len(written)


def test_sigterm_drains(job, until):
    """Told to stop under load, it exits 0, and what it acknowledged is written, once."""
    messages = list(load.changes(3_000, job.subscription))
    load.publish(live.publisher_client(), topic(job), messages)
    child = job.start()
    assert until(lambda: job.rows(*messages[:100]))
    child.send_signal(signal.SIGTERM)
    assert child.wait(30) == 0, child.log.read_text()
    assert "done: everything read is written and acknowledged" in child.log.read_text()
    drained = {row["event_id"] for row in job.rows(*messages)}
    left = set()

    def all_there():
        left.update(message.event_id for message in pull(job))
        return drained | left == {message.event_id for message in messages}

    assert until(all_there, 40)
    assert not drained & left


def pull(job):
    found = live.subscriber_client().pull(
        subscription=job.subscription,
        max_messages=1_000,
        return_immediately=True,
        timeout=20,
        retry=None,
    )
    return [Message(b"", dict(item.message.attributes)) for item in found.received_messages]


def cases():
    """Bad input, each with the stage and the error that its dead letter must name."""
    recorded = load.change(7).data
    firestore = {CE_TYPE: FIRESTORE, CE_SOURCE: "//test", CONTENT_TYPE: "application/protobuf"}
    return {
        "bytes that are no protobuf": (Message(b"\xff\xfe\x00", firestore), "InvalidDocument"),
        "a truncated protobuf": (Message(recorded[:-3], firestore), "InvalidDocument"),
        "truncated base64": (
            Message(base64.b64encode(recorded)[:-3], firestore),
            "InvalidDocument",
        ),
        "an event without data": (Message(b"", firestore), "NoData"),
        "another type of event": (
            Message(b"{}", firestore | {CE_TYPE: "com.example.ordered"}),
            "UnsupportedType",
        ),
        "JSON that is a list": (manual(b'[{"issue": 1}]', "list"), "InvalidJson"),
        "an empty manual body": (manual(b"", "empty"), "NoData"),
        "invalid UTF-8": (manual(b'{"issue": "\xc3("}', "utf8"), "InvalidJson"),
        "no type": (Message(b"{}", {CE_ID: "x", CE_SOURCE: "//test"}), "InvalidAttribute"),
        "no attributes, no flat message": (Message(b'{"issue": "x"}', {}), "InvalidJson"),
        "a time that is none": (manual(b"{}", "time", ce_time="yesterday"), "InvalidAttribute"),
        "an attribute that is too long": (
            manual(b"[]", "long", ce_subject="x" * 2_000),
            "InvalidJson",
        ),
        "an attribute that Pub/Sub reserves": (
            manual(b"[]", "goog", **{"googclient-x": "y"}),
            "InvalidJson",
        ),
        "a day that BigQuery takes no rows for": (
            manual(b"{}", "old", ce_time="2001-01-01T00:00:00Z"),
            "OutsidePartitionRange",
        ),
    }


def test_bad_input_becomes_dead_letters_and_the_next_event_goes_through(job):
    """Each with the original bytes and attributes, the named error and a reason."""
    bad = {
        name: (
            Message(message.data, dict(message.attributes) | {CE_ID: f"{job.subscription}-{name}"}),
            error,
        )
        if CE_SOURCE in message.attributes
        else (message, error)
        for name, (message, error) in cases().items()
    }
    good = load.change(1, job.subscription)
    job.publish(*(message for message, _ in bad.values()), good)
    assert job.run() == 0
    assert job.rows(good) == [{"event_id": good.event_id}]
    for name, (message, error) in bad.items():
        (letter,) = job.letters(message)
        assert letter.data == message.data, name
        assert letter.attribute(ERROR) == error, name
        assert letter.attribute(STAGE) == (
            "shape" if error == "OutsidePartitionRange" else "decode"
        )
        assert letter.attribute(REASON), name
        kept = {
            key: value
            for key, value in message.attributes.items()
            if len(value) <= 1_024 and not key.startswith("goog")
        }
        assert kept.items() <= letter.attributes.items(), name
        assert job.rows(message) == [], name


def test_a_dead_letter_published_again_is_the_next_attempt(job):
    """Replaying a letter by hand needs no change to it: its dedup_id is the next attempt's."""
    message = manual(b"not JSON", f"{job.subscription}-replay")
    job.publish(message)
    assert job.run() == 0
    (first,) = job.letters(message)
    job.publish(first, first)
    # Both of the first run's pulls may be handed it, one after the other.
    assert job.run("--stop_when_idle", "25") == 0
    _, second = job.letters(message)
    assert (first.attribute(ATTEMPT), second.attribute(ATTEMPT)) == ("1", "2")
    assert (first.attribute(DEDUP_ID), second.attribute(DEDUP_ID)) == (
        f"{message.event_id}:1",
        f"{message.event_id}:2",
    )
    assert second.data == message.data


def test_a_letter_that_pubsub_cannot_take_is_parked(job):
    """It is a file of one recorded message, and the next event goes through."""
    data = b"\xff" * (MAX_MESSAGE_BYTES - 200)
    message = manual(data, f"{job.subscription}-large")
    good = load.change(2, job.subscription)
    job.publish(message, good)
    assert job.run() == 0
    (file,) = job.parked
    parked = from_line(file.read_text())
    assert parked.data == data
    assert parked.event_id == message.event_id
    assert parked.attribute(ERROR) == "InvalidJson"
    assert job.letters(message) == []
    assert job.rows(good) == [{"event_id": good.event_id}]


def test_a_document_of_nine_megabytes_is_a_row(job):
    """Flow control and the append take the largest message that the publisher lets through."""
    text = "ü" * 4_400_000
    message = manual(json.dumps({"notes": text}, ensure_ascii=False).encode(), job.subscription)
    job.publish(message)
    assert job.run() == 0
    (row,) = job.rows(message, columns="LENGTH(JSON_VALUE(payload, '$.notes')) AS length")
    assert row["length"] == len(text)


def test_a_row_larger_than_storage_write_takes_is_a_dead_letter(job):
    """Its text stands in a column and in payload."""
    message = manual(json.dumps({"title": "x" * 6_000_000}).encode(), job.subscription)
    job.publish(message)
    assert job.run() == 0
    (letter,) = job.letters(message)
    assert letter.attribute(ERROR) == "RowTooLarge"
    assert letter.data == message.data


def test_bigquery_away_is_waited_out(job, stack, until):
    """The job goes on, says what it waits for, and every row is there once afterwards."""
    child = job.start()
    assert until(lambda: "event ids known" in child.log.read_text())
    first = load.change(1, job.subscription)
    job.publish(first)
    assert until(lambda: job.rows(first))
    stack.kill_bigquery()
    messages = list(load.changes(40, f"{job.subscription}-out"))
    job.publish(*messages)
    assert until(lambda: "waiting for BigQuery" in child.log.read_text())
    stack.start_bigquery()
    assert until(lambda: len(job.rows(*messages)) >= 40, 60)
    child.send_signal(signal.SIGTERM)
    assert child.wait(30) == 0, child.log.read_text()
    assert len(job.rows(*messages)) == 40
    assert len(job.rows(first)) == 1


def test_pubsub_away_is_waited_out(job, stack, until):
    """The job goes on and every row is there once afterwards."""
    child = job.start(pubsub=stack.pubsub_proxy.address)
    assert until(lambda: "event ids known" in child.log.read_text())
    first = load.change(1, job.subscription)
    job.publish(first)
    assert until(lambda: job.rows(first))
    stack.pubsub_proxy.refuse()
    messages = list(load.changes(40, f"{job.subscription}-out"))
    job.publish(*messages)
    assert until(lambda: "waiting for Pub/Sub" in child.log.read_text())
    stack.pubsub_proxy.resume()
    assert until(lambda: len(job.rows(*messages)) >= 40, 60)
    child.send_signal(signal.SIGTERM)
    assert child.wait(30) == 0, child.log.read_text()
    assert len(job.rows(first, *messages)) == 41


def test_stopping_during_an_outage_acknowledges_nothing(job, stack, until):
    """SIGTERM ends the wait; the messages come again and become rows once BigQuery is back."""
    child = job.start()
    assert until(lambda: "event ids known" in child.log.read_text())
    stack.kill_bigquery()
    message = load.change(1, job.subscription)
    try:
        job.publish(message)
        assert until(lambda: "waiting for BigQuery" in child.log.read_text())
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 1
        assert "comes again" in child.log.read_text()
    finally:
        stack.start_bigquery()
    again = job.start()
    assert until(lambda: job.rows(message), 60)
    again.send_signal(signal.SIGTERM)
    assert again.wait(30) == 0
    assert len(job.rows(message)) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--input_subscription", "not-there"], "not-there: is not there"),
        (["--dead_letter_topic", "not-there"], "not-there: is not there"),
        (["--dead_letter_topic", "issues-topic"], "is the topic that the job reads"),
        (["--output_dataset", "not_there"], "issues_stream: is not there"),
    ],
)
def test_what_would_lose_data_is_refused(job, capsys, arguments, said):
    """Exit code 2 and a sentence, before anything is read."""
    assert job.run(*arguments) == 2
    assert said in capsys.readouterr().err
