"""The sink's contract on a real server, and faults that only a network and a process have."""

import itertools
import signal
import threading
from dataclasses import replace

import pytest

from pipeline.append_stream import TableWriter
from pipeline.lookups import Lookups
from schemas import live
from schemas.apply import bigquery_table
from tests.contract.sink import DESCRIPTOR, TABLE, Faults, SinkContract, rows

PROJECT = "demo-project"
DEADLINE = 20
_numbers = itertools.count()


class EmulatorStage:
    """The BigQuery stand-in with one table in a dataset of its own."""

    deadline = 2.0

    def __init__(self, bigquery):
        self.bigquery = bigquery
        self.client = live.bigquery_client(PROJECT)
        self.faults = Faults(live.bigquery_write_client())
        self._dataset = f"ds_{next(_numbers)}"
        self._lookups = Lookups(self.client, f"{PROJECT}.{self._dataset}", TABLE)
        self.client.create_dataset(self._dataset, timeout=DEADLINE, retry=None)
        self._create(TABLE)

    def _create(self, table):
        self.client.create_table(
            bigquery_table(table, f"{PROJECT}.{self._dataset}"), timeout=DEADLINE, retry=None
        )

    def writer(self, *, ids=True):
        return TableWriter(
            self.faults,
            f"projects/{PROJECT}/datasets/{self._dataset}/tables/{TABLE.name}",
            DESCRIPTOR,
            lag=self._lookups.check_present,
            written=self._lookups.written if ids else None,
        )

    def ids(self):
        query = f"SELECT event_id FROM `{self._dataset}.{TABLE.name}`"
        job = self.client.query(query, timeout=DEADLINE, retry=None, job_retry=None)
        return [each[0] for each in job.result(timeout=DEADLINE, retry=None, job_retry=None)]

    def finalize(self, stream):
        self.faults._client.finalize_write_stream(name=stream, timeout=DEADLINE, retry=None)

    def restart(self):
        self.bigquery.end(signal.SIGKILL)
        self.bigquery.start()

    def drop_table(self):
        name = f"{self._dataset}.{TABLE.name}"
        self.client.delete_table(name, timeout=DEADLINE, retry=None)

    def drop_column(self):
        self.drop_table()
        self._create(replace(TABLE, columns=[c for c in TABLE.columns if c.name != "n"]))


@pytest.fixture
def stage(bigquery):
    return EmulatorStage(bigquery)


class TestSinkOnTheEmulator(SinkContract):
    """The contract, on the real server.

    Of its three restarts, which take seconds here, one: `test_killed_while_rows_come` below has
    streams that are gone between two requests.
    """

    test_a_stream_that_is_gone = None
    test_gone_without_ids = None


def test_unreachable_for_a_while(stage, until):
    """A cut connection and refused new ones are waited out; every row is there once."""
    writer = stage.writer()
    assert writer.append(rows("a")) == []
    stage.bigquery.proxy.refuse()
    waits = []
    writer.on_repeat = lambda: waits.append(1)
    refused = []
    thread = threading.Thread(target=lambda: refused.append(writer.append(rows("b", "c"))))
    thread.start()
    try:
        until(lambda: len(waits) >= 3)
    finally:
        stage.bigquery.proxy.resume()
    thread.join(DEADLINE)
    assert refused == [[]]
    assert sorted(stage.ids()) == ["a", "b", "c"]


def test_killed_while_rows_come(stage, until):
    """The server is killed among many appends and started again: every row is there once."""
    writer = stage.writer()
    names = [f"{n:03}" for n in range(300)]
    done = []

    def append():
        parts = (names[start : start + 5] for start in range(0, len(names), 5))
        done.extend(writer.append(rows(*part)) for part in parts)

    thread = threading.Thread(target=append)
    thread.start()
    until(lambda: len(done) >= 10)
    stage.restart()
    thread.join(DEADLINE * 2)
    assert done == [[]] * 60
    assert sorted(stage.ids()) == names


def test_written_asks_by_id_and_partition(stage):
    """Which rows a table holds is asked by `event_id` within the partitions of the rows."""
    writer = stage.writer()
    writer.append(rows("a", "b"))
    asked = []
    query = stage.client.query

    def recording(text, **options):
        asked.append(text)
        return query(text, **options)

    stage.client.query = recording
    assert stage._lookups.written(rows("b", "c")) == {"b"}
    assert asked[0].endswith(
        "WHERE event_id IN UNNEST(@ids) AND created_at BETWEEN @first AND @last"
    )
