"""A table's file changes while events flow: no event is lost, doubled or refused for it.

One history for all: the job runs with the first files, the source changes, the files get columns
and are applied, the job is restarted with them. Events of three collections are published all the
while, and Storage Write learns of tables and columns late, as the service does.
"""

import signal
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass, field

import pytest

from local import load
from local.ports import Ports
from local.resources import TOPIC, subscription_path, topic_path
from schemas import live
from schemas.apply import apply
from schemas.firestore import DocumentEventData
from schemas.message import (
    CE_ID,
    CE_SOURCE,
    CE_SPECVERSION,
    CE_TIME,
    CE_TYPE,
    CONTENT_TYPE,
    DEDUP_ID,
    EVENT_ID,
    Message,
    event_id_of,
)
from schemas.table_file import parse_tables
from schemas.times import format_micros, now_micros
from tests.integration.conftest import ROOT, Job

DATASET = "evolving"
DOCUMENTS = "projects/demo-project/databases/(default)/documents"
LATE = 2.0  # seconds for which Storage Write refuses what is new
EVERY = 0.1  # seconds from event to event of one collection
DEADLINE = 20

FIRST = {
    "grown": "default: true\ncolumns:\n  - {path: n, type: INT64}\n",
    "renamed": "collections: [renamed]\ncolumns:\n  - path: priority\n",
    "retyped": "collections: [retyped]\ncolumns:\n  - {path: estimate, type: INT64}\n",
}
SECOND = {
    "grown": FIRST["grown"] + "  - path: team\n",
    # The old column stays declared: old documents, and the old values of changed ones, have it.
    "renamed": FIRST["renamed"] + "  - path: severity\n",
    # So does this one; BigQuery changes no column's type.
    "retyped": FIRST["retyped"] + "  - {path: estimate, name: estimate_text, type: STRING}\n",
}


def change(collection, number, run, *, changed):
    """The creation of a document, as the source writes it before or after its own change."""
    event = DocumentEventData()
    event.value.name = f"{DOCUMENTS}/{collection}/{number}"
    event.value.create_time.seconds = event.value.update_time.seconds = 1_760_000_000 + number
    fields = event.value.fields
    fields["n"].integer_value = number
    if collection == "grown":
        fields["team"].string_value = f"team {number}"
    elif collection == "renamed":
        fields["severity" if changed else "priority"].string_value = f"P{number}"
    elif changed:
        fields["estimate"].string_value = f"{number} days"
    else:
        fields["estimate"].integer_value = number
    id_ = f"{run}-{collection}-{number}"
    event_id = event_id_of(load.SOURCE, id_)
    attributes = {
        CE_SPECVERSION: "1.0",
        CE_ID: id_,
        CE_SOURCE: load.SOURCE,
        CE_TYPE: "google.cloud.firestore.document.v1.created",
        CE_TIME: format_micros(now_micros()),
        CONTENT_TYPE: "application/protobuf",
        EVENT_ID: event_id,
        DEDUP_ID: event_id,
    }
    return Message(event.SerializeToString(deterministic=True), attributes)


class Source(threading.Thread):
    """Publishes an event of each collection in turn until it is stopped.

    Attributes:
        published: By collection and number, what Pub/Sub has.
        changed: Set when the source is to write the new form; the numbers of that form.
    """

    def __init__(self, project, run):
        super().__init__(daemon=True)
        self.published = {name: {} for name in FIRST}
        self.changed = threading.Event()
        self.changed_from = None
        self.error = None
        self._topic = topic_path(project, TOPIC)
        self._run = run
        self._ended = threading.Event()

    def run(self):
        try:
            self._publish()
        except Exception as error:
            self.error = error
            raise

    def _publish(self):
        client = live.publisher_client()
        number = 0
        while not self._ended.wait(EVERY):
            changed = self.changed.is_set()
            if changed and self.changed_from is None:
                self.changed_from = number
            messages = {
                name: change(name, number, self._run, changed=changed) for name in self.published
            }
            load.publish(client, self._topic, messages.values())
            for name, message in messages.items():
                self.published[name][number] = message
            number += 1

    def stop(self):
        self._ended.set()
        self.join(DEADLINE)
        assert self.error is None
        assert not self.is_alive()

    def messages(self):
        return [message for each in self.published.values() for message in each.values()]


@dataclass
class History:
    """What was published, what the tables and the dead letters have, and what the jobs said.

    Args:
        source: What was published.
        rows: Every row, by table, in the order of `n`, as it was at the end.
        before: Numbers of the rows that the first job had written, by table.
        letters: Dead letters of these events.
        logs: Of the first and the second job.
    """

    source: Source
    rows: dict = field(default_factory=dict)
    before: dict = field(default_factory=dict)
    letters: list = field(default_factory=list)
    logs: list = field(default_factory=list)

    def split(self, table):
        """The rows of the first job in the old form, in the new form, and of the second job."""
        rows = [(int(row["n"]), row) for row in self.rows[table]]
        changed = self.source.changed_from
        first = [each for each in rows if each[0] in self.before[table]]
        parts = (
            [(n, row) for n, row in first if n < changed],
            [(n, row) for n, row in first if n >= changed],
            [each for each in rows if each[0] not in self.before[table]],
        )
        assert all(parts), [len(part) for part in parts]
        return parts


def wait_for(condition, what, seconds=40.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what()}"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def late_bigquery(stack, tmp_path_factory):
    """A BigQuery of this module's own, late; the environment is aimed at it."""
    folder = tmp_path_factory.mktemp("late")
    ports = Ports()
    rest, grpc = ports.take(0), ports.take(0)
    command = [sys.executable, "-m", "local.bigquery_emulator", "start", "--project"]
    command += [stack.addresses.project, "--rest-port", str(rest), "--grpc-port", str(grpc)]
    command += ["--persistent", "--data-dir", str(folder / "data"), "--late", str(LATE)]
    log = folder / "log"
    with log.open("wb") as output:
        child = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(live.BIGQUERY_EMULATOR_HOST, f"http://127.0.0.1:{rest}")
        patch.setenv(live.BIGQUERY_STORAGE_EMULATOR_HOST, f"127.0.0.1:{grpc}")
        try:
            wait_for(lambda: b"ready after" in log.read_bytes(), log.read_text)
            yield live.bigquery_client(stack.addresses.project)
        finally:
            child.terminate()
            try:
                child.wait(DEADLINE)
            finally:
                child.kill()


@pytest.fixture(scope="module")
def history(stack, late_bigquery, tmp_path_factory):
    """The whole history; what it started is ended."""
    run = uuid.uuid4().hex[:12]
    project = stack.addresses.project
    subscriber = live.subscriber_client()
    name = subscription_path(project, f"evolving-{run}")
    subscriber.create_subscription(
        name=name,
        topic=topic_path(project, TOPIC),
        ack_deadline_seconds=10,
        timeout=DEADLINE,
        retry=None,
    )
    job = Job(stack, tmp_path_factory.mktemp("evolution"), name)
    source = Source(project, run)
    try:
        yield evolve(late_bigquery, job, source)
    finally:
        source.stop()
        for child in job.children:
            if child.poll() is None:
                child.kill()
                child.wait(10)
        subscriber.delete_subscription(subscription=name, timeout=DEADLINE, retry=None)


def evolve(client, job, source):
    """First files, events, a change of the source, second files, a restart, the end."""
    told = History(source)
    arguments = files(job.folder, client, FIRST)
    source.start()
    first = job.start(*arguments)
    wait_for(lambda: least(client) >= 5, first.log.read_text)
    source.changed.set()
    strange = "SELECT 1 FROM evolving.retyped WHERE ARRAY_LENGTH(type_errors) > 0"
    wait_for(lambda: len(ask(client, strange)) >= 5, first.log.read_text)

    arguments = files(job.folder, client, SECOND)
    end(first, told)
    told.before = {
        table: {
            int(row["n"])
            for row in ask(client, f"SELECT JSON_VALUE(payload, '$.n') AS n FROM evolving.{table}")
        }
        for table in FIRST
    }
    second = job.start(*arguments)
    wait_for(lambda: least(client, "WHERE NOT new_column IS NULL") >= 5, second.log.read_text)
    source.stop()
    count = len(source.messages())
    wait_for(lambda: sum(counts(client)) >= count, second.log.read_text)
    end(second, told)
    for table in FIRST:
        query = f"SELECT *, JSON_VALUE(payload, '$.n') AS number FROM evolving.{table}"
        rows = ask(client, query)
        told.rows[table] = sorted(
            (row | {"n": row["number"]} for row in rows), key=lambda row: int(row["n"])
        )
    told.letters = job.letters(*source.messages())
    return told


def files(folder, client, texts):
    """Writes and applies table files; the job's flags for them."""
    flags, given = [], []
    for name, text in texts.items():
        path = folder / f"{name}.yaml"
        path.write_text(f"table: {name}\nlayout: structured\n{text}")
        flags += ["--schema", str(path)]
        given.append((str(path), path.read_text()))
    apply(client, DATASET, parse_tables(given), DEADLINE)
    return ("--output_dataset", DATASET, *flags)


def end(child, told):
    child.send_signal(signal.SIGTERM)
    assert child.wait(40) == 0, child.log.read_text()
    told.logs.append(child.log.read_text())


NEW = {"grown": "team", "renamed": "severity", "retyped": "estimate_text"}


def counts(client, where=""):
    """How many rows each table has."""
    queries = (
        f"SELECT COUNT(*) AS n FROM evolving.{table} {where.replace('new_column', column)}"
        for table, column in NEW.items()
    )
    return [ask(client, query)[0]["n"] for query in queries]


def least(client, where=""):
    return min(counts(client, where))


def ask(client, query):
    job = client.query(query, timeout=DEADLINE, retry=None, job_retry=None)
    return [dict(row) for row in job.result(timeout=DEADLINE, retry=None, job_retry=None)]


def test_every_event_is_a_row_once(history):
    """None is lost, none doubled, none among the dead letters, over the change and the restart."""
    for table, published in history.source.published.items():
        assert [row["event_id"] for row in history.rows[table]] == [
            message.event_id for _, message in sorted(published.items())
        ]
    assert history.letters == []


def test_lateness_is_waited_out(history):
    """Storage Write refused the new tables, then the new columns: each job waited and went on."""
    first, second = history.logs
    assert "waiting for BigQuery for 0 s: the table is new to Storage Write" in first
    assert "waiting for BigQuery for 0 s: a column is new to Storage Write" in second
    for log in history.logs:
        assert "BigQuery is back after" in log
        assert "done: everything read is written and acknowledged" in log
        assert "write.failed" not in log


def test_an_added_column(history):
    """Old rows are NULL in it, though their documents had the field; new ones are filled."""
    old, between, new = history.split("grown")
    assert [row["team"] for _, row in old + between] == [None] * len(old + between)
    assert [row["team"] for _, row in new] == [f"team {n}" for n, _ in new]


def test_a_renamed_field(history):
    """The file gets a column of the new name beside the old one; together they are the field.

    Rows between the change of the source and that of the file have it in `payload`.
    """
    old, between, new = history.split("renamed")
    assert [(row["priority"], row["severity"]) for _, row in old] == [
        (f"P{n}", None) for n, _ in old
    ]
    assert {(row["priority"], row["severity"]) for _, row in between} == {(None, None)}
    assert [row["payload"]["severity"] for _, row in between] == [f"P{n}" for n, _ in between]
    changed = history.source.changed_from
    assert [(row["priority"], row["severity"]) for _, row in new] == [
        (None, f"P{n}") if n >= changed else (f"P{n}", None) for n, _ in new
    ]


def test_a_field_whose_type_changes(history):
    """NULL, named, counted and kept in `payload`; then a column of the new type beside it."""
    old, between, new = history.split("retyped")
    assert [(row["estimate"], row["type_errors"]) for _, row in old] == [(n, []) for n, _ in old]
    assert all(row["estimate"] is None for _, row in between)
    assert all(row["type_errors"] == ["estimate"] for _, row in between)
    assert [row["payload"]["estimate"] for _, row in between] == [f"{n} days" for n, _ in between]
    assert f"shape.type_errors {len(between)}\n" in history.logs[0]
    changed = history.source.changed_from
    assert [(row["estimate"], row["estimate_text"]) for _, row in new] == [
        (None, f"{n} days") if n >= changed else (n, None) for n, _ in new
    ]
    # One of the two columns always does not fit: until the old one is taken out of the file.
    assert all(row["type_errors"] == ["estimate"] for _, row in new)
    assert f"shape.type_errors {len(new)}\n" in history.logs[1]
