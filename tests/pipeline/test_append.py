"""WriteRows of the native sink, run as a step: batches by bytes, failures out, several tables."""

from collections import defaultdict
from functools import partial

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipeline import append, resident
from pipeline.append import AppendRows
from pipeline.append_stream import MAX_REQUEST_BYTES, Refused, TableWriter
from schemas import live
from schemas.encode import Encoder
from schemas.failure import Failure
from schemas.message import Message
from schemas.problem import Problem, ProblemsFound
from schemas.row import Row
from schemas.table import Column, Table, Type
from schemas.table_file import parse_tables
from tests.pipeline.fakes import StorageWrite

DATASET = "demo-project.ds"
TABLES = parse_tables(
    [
        ("a", "table: a\nlayout: structured\ndefault: true"),
        ("b", "table: b\nlayout: structured\ncollections: [bs]"),
        ("f", "table: f\nlayout: flat\ncollections: [fs]"),
    ]
)
CHANGELOG = Table(
    "c",
    "changelog",
    (Column("timestamp", Type.TIMESTAMP), Column("event_id", Type.STRING)),
    partition="timestamp",
)
STRUCTURED = [column.name for column in TABLES[0].columns]
NOW = 1_795_514_400_000_000


def row(table, name, **values):
    blank = {column.name: [] if column.repeated else None for column in TABLES[0].columns}
    message = Message(b"original of " + name.encode(), {"event_id": name})
    return Row(table, blank | {"event_id": name, "created_at": NOW} | values, message)


def flat_row(name):
    values = {"issue_id": name, "source": "s", "created_at": "2026", "payload": "{}"}
    return Row("f", values, Message(name.encode()))


class Writer:
    """A TableWriter that keeps its requests, and refuses rows whose data have a word."""

    def __init__(self):
        self.requests = []
        self.on_repeat = self.on_open = None

    def close(self):
        pass

    def append(self, rows):
        self.requests.append(list(rows))
        return [
            Refused(i, "RowRefused", f"no: {each.event_id}")
            for i, each in enumerate(rows)
            if b"bad" in each.data
        ]


@pytest.fixture
def writers(monkeypatch):
    made = defaultdict(Writer)
    monkeypatch.setattr(append, "table_writer", lambda dataset, table, _: made[dataset, table.name])
    return made


def run(rows, tables=TABLES):
    """Runs the step on rows in one bundle; returns its failures and its counters."""
    failures = given("failures")
    failures.clear()
    given("rows")[:] = rows
    pipeline = beam.Pipeline(runner=FnApiRunner())
    out = pipeline | beam.Create(["rows"], reshuffle=False) | beam.FlatMap(given)
    out = out | AppendRows(tables, DATASET)
    out["failed"] | beam.Map(partial(keep, "failures"))
    result = pipeline.run()
    result.wait_until_finish()
    counters = result.metrics().query()["counters"]
    return failures, {
        (each.key.metric.namespace, each.key.metric.name): each.committed for each in counters
    }


def given(name):
    """A list of the process: large elements take half a minute through `beam.Create`."""
    return resident.resident((name,), list)


def keep(name, element):
    given(name).append(element)


def test_one_request_a_bundle(writers):
    """A bundle's rows go out in one request, encoded, known by id and partition, in order."""
    failures, counters = run([row("a", "1"), row("a", "2")])
    [request] = writers[DATASET, "a"].requests
    assert [(each.event_id, each.partition) for each in request] == [("1", NOW), ("2", NOW)]
    assert Encoder(TABLES[0]).decode(request[0].data)["event_id"] == "1"
    assert failures == []
    assert counters["write", "rows"] == 2


def test_rows_are_sent_while_others_come(writers, monkeypatch):
    """Every so many rows a request goes out, in order; the last one with what is left."""
    monkeypatch.setattr(append, "_ROWS_A_REQUEST", 4)
    failures, counters = run(
        [row("a", str(n), source="bad" if n == 5 else "good") for n in range(10)]
    )
    requests = writers[DATASET, "a"].requests
    assert [[each.event_id for each in request] for request in requests] == [
        ["0", "1", "2", "3"],
        ["4", "5", "6", "7"],
        ["8", "9"],
    ]
    assert [failure.message.data for failure in failures] == [b"original of 5"]
    assert (counters["write", "rows"], counters["write", "failed"]) == (9, 1)


def test_several_tables(writers):
    """Each table gets its own rows; a flat one's have neither id nor partition."""
    run([row("a", "1"), row("b", "2"), flat_row("3"), row("a", "4")])
    sent = {
        table: [[each.event_id for each in request] for request in writer.requests]
        for (_, table), writer in writers.items()
    }
    assert sent == {"a": [["1", "4"]], "b": [["2"]], "f": [[""]]}
    [[flat]] = writers[DATASET, "f"].requests
    assert flat.partition == 0


def test_the_partition_is_the_table_s(writers):
    """A row is known by its table's partitioning column, whatever that is called."""
    values = {"timestamp": NOW + 7, "event_id": "5"}
    run([Row("c", values, Message(b"")), row("a", "1")], [*TABLES, CHANGELOG])
    [[encoded]] = writers[DATASET, "c"].requests
    assert (encoded.event_id, encoded.partition) == ("5", NOW + 7)
    [[encoded]] = writers[DATASET, "a"].requests
    assert (encoded.event_id, encoded.partition) == ("1", NOW)


def test_refused_rows_come_out(writers):
    """A refused row is a Failure with the message that it came from; the others are counted."""
    rows = [row("a", "1"), row("a", "2", source="bad"), row("b", "3", source="bad")]
    failures, counters = run(rows)
    assert sorted(failures, key=lambda failure: failure.reason) == [
        Failure(rows[1].message, "write", "RowRefused", "no: 2"),
        Failure(rows[2].message, "write", "RowRefused", "no: 3"),
    ]
    assert (counters["write", "rows"], counters["write", "failed"]) == (1, 2)


def test_a_request_stays_under_the_limit(writers):
    """Rows beyond the request limit go into further requests; none is left out, none is split."""
    rows = [row("a", f"{n:02}", payload='"' + "x" * 900_000 + '"') for n in range(30)]
    rows[11] = row("a", "11", payload='"' + "x" * 9_800_000 + '"', source="bad")
    failures, counters = run(rows)
    requests = writers[DATASET, "a"].requests
    assert [each.event_id for request in requests for each in request] == [
        f"{n:02}" for n in range(30)
    ]
    for request in requests:
        assert sum(len(each.data) + append._ROW_OVERHEAD for each in request) <= MAX_REQUEST_BYTES
    assert [len(request) for request in requests] == [11, 1, 11, 7]
    # The index that was refused is that of the request; the message is the right one all the same.
    assert [failure.message for failure in failures] == [rows[11].message]
    assert counters["write", "rows"] == 29


@pytest.mark.parametrize("over", [0, 1])
def test_a_row_beyond_the_limit_is_never_sent(writers, over):
    """Alone beyond what a request takes it is a Failure at once: sent, it might be for ever."""
    limit = MAX_REQUEST_BYTES - append._REQUEST_OVERHEAD
    encoder = Encoder(TABLES[0])
    rest = len(encoder.encode(row("a", "2", payload="x" * 9_000_000).values)) - 9_000_000
    size = limit + over - append._ROW_OVERHEAD
    large = row("a", "2", payload="x" * (size - rest))
    assert len(encoder.encode(large.values)) == size
    failures, counters = run([row("a", "1"), large, row("a", "3")])
    requests = [[each.event_id for each in one] for one in writers[DATASET, "a"].requests]
    if not over:
        assert (requests, failures) == ([["1"], ["2"], ["3"]], [])
        return
    assert requests == [["1", "3"]]
    reason = f"the row takes {limit + 1} bytes of a request, which takes {limit}"
    assert failures == [Failure(large.message, "write", "RowTooLarge", reason)]
    assert (counters["write", "rows"], counters["write", "failed"]) == (2, 1)


def test_rows_and_names_fit_a_request():
    """What a request adds to its rows fits into what the batching leaves for it."""
    assert MAX_REQUEST_BYTES < 10_000_000
    widest = max(Encoder(table).descriptor.ByteSize() for table in TABLES)
    assert widest + 3 * 1_100 < append._REQUEST_OVERHEAD  # project, dataset and table names


def test_the_writer_is_the_process_s_own(monkeypatch):
    """Bundles and stretches share one writer a table, on Google's clients, until `close_all`."""
    service = StorageWrite(Encoder(TABLES[0]))
    service.tables["projects/demo-project/datasets/ds/tables/a"] = []
    monkeypatch.setattr(live, "bigquery_client", lambda project: None)
    monkeypatch.setattr(live, "bigquery_write_client", lambda: service)
    for name in ("1", "2"):
        _, counters = run([row("a", name)])
        assert counters.get(("write", "streams"), 0) == (1 if name == "1" else 0)
    assert len(service._streams) == 1
    resident.close_all()
    assert all(stream.finalized for stream in service._streams.values())
    run([row("a", "3")])
    assert len(service._streams) == 2
    [written] = service.tables.values()
    assert [each["event_id"] for each in written] == ["1", "2", "3"]


def test_a_flat_table_is_written_without_lookups(monkeypatch):
    """Only a table with ids is asked which rows it holds."""
    monkeypatch.setattr(live, "bigquery_client", lambda project: None)
    monkeypatch.setattr(live, "bigquery_write_client", lambda: None)
    opened = {
        table.name: append.table_writer(DATASET, table, Encoder(table).descriptor)
        for table in TABLES
    }
    assert {name: bool(writer._written) for name, writer in opened.items()} == {
        "a": True,
        "b": True,
        "f": False,
    }
    assert all(isinstance(writer, TableWriter) for writer in opened.values())


def test_what_ends_the_job_is_kept(writers):
    """A problem that ends the bundle is there to be told as it is, not as the engine's text."""
    problem = Problem("table a", "is not there")

    def fail(rows):
        raise ProblemsFound([problem])

    writers[DATASET, "a"].append = fail
    with pytest.raises(Exception, match="is not there"):
        run([row("a", "1")])
    assert isinstance(resident.raised, ProblemsFound)
    assert resident.raised.problems == (problem,)
