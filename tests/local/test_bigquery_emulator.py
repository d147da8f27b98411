"""Each mend of the BigQuery stand-in, proved on a started process by Google's own clients."""

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import psutil
import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import types
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from local.bigquery_emulator.__main__ import wrong_version
from schemas import live
from schemas.times import MAX_MICROS, MIN_MICROS

ROOT = Path(__file__).parents[2]
PROJECT = "demo-project"
DATASET = f"{PROJECT}.ds"
DEADLINE = 20
READY_SECONDS = 30

Code = types.StorageError.StorageErrorCode
Kind = types.WriteStream.Type
INVALID, NOT_FOUND, EXISTS, BEYOND = 3, 5, 6, 11  # google.rpc.Code

STRING, INT64, INT32, MESSAGE = 9, 3, 5, 11  # FieldDescriptorProto.Type
ROW = {"id": INT64, "payload": STRING, "seen": INT64}
COLUMNS = [
    bigquery.SchemaField("id", "INT64", mode="REQUIRED"),
    bigquery.SchemaField("payload", "JSON"),
    bigquery.SchemaField("seen", "TIMESTAMP"),
]


# The process and its clients


def free_port():
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A started stand-in; `kill` and `start` again keep its ports and data."""

    def __init__(self, folder: Path, late: float = 0.0) -> None:
        self.late = late
        self.data = folder / "data"
        self.home = folder / "home"
        self.home.mkdir()
        self.output, self.log = folder / "stdout", folder / "stderr"
        self.rest, self.grpc = free_port(), free_port()
        self.process = None

    def command(self, rest, grpc):
        flags = ["--project", PROJECT, "--rest-port", str(rest), "--grpc-port", str(grpc)]
        flags += ["--late", str(self.late)] if self.late else []
        start = [sys.executable, "-m", "local.bigquery_emulator", "start", *flags]
        return [*start, "--persistent", "--data-dir", str(self.data)]

    def start(self):
        """Starts it and waits until both ports answer."""
        began = time.monotonic()
        with self.output.open("ab") as output, self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(self.rest, self.grpc),
                cwd=ROOT,
                env=os.environ | {"HOME": str(self.home)},
                stdout=output,
                stderr=log,
            )
        for port in (self.rest, self.grpc):
            while True:
                with closing(socket.socket()) as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert self.process.poll() is None, self.log.read_text()
                assert time.monotonic() < began + READY_SECONDS, "not ready in time"
                time.sleep(0.02)

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        try:
            return self.process.wait(timeout=DEADLINE)
        finally:
            self.process.kill()


class Stand:
    """Google's clients on one server."""

    def __init__(self, server: Server) -> None:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv(live.BIGQUERY_EMULATOR_HOST, f"http://127.0.0.1:{server.rest}")
            environment.setenv(live.BIGQUERY_STORAGE_EMULATOR_HOST, f"127.0.0.1:{server.grpc}")
            self.rest = live.bigquery_client(PROJECT)
            self.write = live.bigquery_write_client()
        self.rest.create_dataset(DATASET, exists_ok=True, timeout=DEADLINE, retry=None)

    def table(self, name, columns=COLUMNS):
        table = bigquery.Table(f"{DATASET}.{name}", schema=columns)
        return self.rest.create_table(table, timeout=DEADLINE, retry=None)

    def sql(self, text):
        job = self.rest.query(text, retry=None, job_retry=None, timeout=DEADLINE)
        return [tuple(row) for row in job.result(retry=None, timeout=DEADLINE)]

    def count(self, table):
        return self.sql(f"SELECT COUNT(*) FROM ds.{table}")[0][0]

    def stream(self, table, kind=Kind.COMMITTED):
        stream = types.WriteStream(type_=kind)
        return self.write.create_write_stream(
            parent=parent(table), write_stream=stream, timeout=DEADLINE, retry=None
        ).name

    def finalize(self, stream):
        answer = self.write.finalize_write_stream(name=stream, timeout=DEADLINE, retry=None)
        return answer.row_count

    def flush(self, stream, offset):
        request = types.FlushRowsRequest(write_stream=stream, offset=offset)
        return self.write.flush_rows(request, timeout=DEADLINE, retry=None).offset

    def commit(self, table, stream):
        request = types.BatchCommitWriteStreamsRequest(parent=parent(table), write_streams=[stream])
        self.write.batch_commit_write_streams(request, timeout=DEADLINE, retry=None)

    def append(self, request):
        """One request on a call of its own."""
        with Call(self.write) as call:
            return call.send(request)


class Call:
    """An AppendRows call, opened by its first request: Google's client waits for the answer."""

    def __init__(self, write):
        self._write = write
        self._requests = queue.SimpleQueue()
        self._answers = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._requests.put(None)

    def send(self, request):
        self._requests.put(request)
        if self._answers is None:
            requests = iter(self._requests.get, None)
            self._answers = self._write.append_rows(requests, timeout=DEADLINE, retry=None)
        return next(self._answers)


def parent(table):
    return f"projects/{PROJECT}/datasets/ds/tables/{table}"


def default(table):
    return f"{parent(table)}/streams/_default"


def request_of(stream, rows, fields=ROW, *, offset=None, schema=True):
    """A request of rows given as dicts, or as serialized bytes."""
    descriptor = descriptor_of(fields)
    message = message_of(descriptor)
    data = types.AppendRowsRequest.ProtoData(
        rows=types.ProtoRows(
            serialized_rows=[
                row if isinstance(row, bytes) else message(**row).SerializeToString()
                for row in rows
            ]
        )
    )
    if schema:
        data.writer_schema = types.ProtoSchema(proto_descriptor=descriptor)
    request = types.AppendRowsRequest(write_stream=stream, proto_rows=data)
    if offset is not None:
        request.offset = offset
    return request


def descriptor_of(fields):
    """A message of optional fields; {} as a type is a repeated message of those fields."""
    descriptor = descriptor_pb2.DescriptorProto(name="Row")
    for number, (name, kind) in enumerate(fields.items(), 1):
        if isinstance(kind, dict):
            inner = descriptor.nested_type.add()
            inner.CopyFrom(descriptor_of(kind))
            inner.name = f"{name.title()}Message"
            descriptor.field.add(
                name=name, number=number, type=MESSAGE, label=3, type_name=inner.name
            )
        else:
            descriptor.field.add(name=name, number=number, type=kind, label=1)
    return descriptor


def message_of(descriptor):
    file = descriptor_pb2.FileDescriptorProto(name="row.proto", syntax="proto2")
    file.message_type.add().CopyFrom(descriptor)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Row"))


def rows_of(start, end):
    return [
        {"id": i, "payload": f'{{"n": {i}}}', "seen": 1_700_000_000_000_000}
        for i in range(start, end)
    ]


def slow_query(size):
    """Counts none of size * size pairs."""
    numbers = f"UNNEST(GENERATE_ARRAY(1, {size}))"
    return f"SELECT COUNT(*) FROM {numbers} a CROSS JOIN {numbers} b WHERE MOD(a * b, 7) = 8"


def storage_errors(details):
    return [
        types.StorageError.deserialize(detail.value)
        for detail in details
        if detail.type_url.endswith("google.cloud.bigquery.storage.v1.StorageError")
    ]


def refusal_of(response):
    """The gRPC code and the StorageError codes of a refused request."""
    return response.error.code, [error.code for error in storage_errors(response.error.details)]


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("bigquery"))
    server.start()
    yield server
    server.end()


@pytest.fixture(scope="session")
def stand(server):
    return Stand(server)


@pytest.fixture
def own_server(tmp_path) -> Iterator[Server]:
    """A server that a test may kill."""
    server = Server(tmp_path)
    server.start()
    yield server
    if server.process.poll() is None:
        server.end(signal.SIGKILL)


# The process


def test_another_version_is_refused():
    """The mends fit one version of bqemulator, and another is refused in a sentence."""
    assert wrong_version("1.4.0") == ""
    assert "bqemulator 1.5.0 is installed" in wrong_version("1.5.0")


def test_start_needs_no_network_and_says_one_line(server, stand):
    """Nothing is installed into the user's home, and standard error has the ready line alone."""
    assert stand.sql("SELECT ST_X(ST_GEOGPOINT(1, 2))") == [(1.0,)]
    assert list(server.home.iterdir()) == []
    assert server.output.read_text() == ""
    ready = server.log.read_text().splitlines()[0]
    assert f"http://127.0.0.1:{server.rest}" in ready
    assert f"127.0.0.1:{server.grpc}" in ready


def test_what_keeps_it_from_starting_is_one_sentence(server):
    """A taken port and a data folder in use end it with exit code 1 and no traceback."""
    taken = server.command(0, server.grpc), f"port {server.grpc} on 127.0.0.1 is taken\n"
    used = server.command(0, 0), f"The data in {server.data} can't be opened"
    for command, sentence in (taken, used):
        ended = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=READY_SECONDS, check=False
        )
        assert ended.returncode == 1
        assert ended.stderr.startswith(sentence)
        assert "Traceback" not in ended.stderr


def test_acked_rows_outlive_a_kill(own_server):
    """What was acked before SIGKILL is there when the server is ready again, in seconds."""
    stand = Stand(own_server)
    stand.table("killed")
    committed = stand.stream("killed")
    acked = set()

    def write(stream, start):
        with Call(stand.write) as call:
            for first in range(start, start + 1_000_000, 100):
                offset = None if stream.endswith("_default") else first - start
                call.send(request_of(stream, rows_of(first, first + 100), offset=offset))
                acked.update(range(first, first + 100))

    with ThreadPoolExecutor() as pool:
        writers = [
            pool.submit(write, committed, 0),
            pool.submit(write, default("killed"), 1_000_000),
        ]
        deadline = time.monotonic() + DEADLINE
        while len(acked) < 5_000 and time.monotonic() < deadline:
            time.sleep(0.01)
        own_server.end(signal.SIGKILL)
        for writer in writers:
            assert isinstance(writer.exception(timeout=DEADLINE), exceptions.GoogleAPICallError)
    assert min(acked) == 0
    assert max(acked) > 1_000_000

    own_server.start()
    stand = Stand(own_server)
    stored = [row[0] for row in stand.sql("SELECT id FROM ds.killed")]
    assert len(stored) == len(set(stored))
    assert acked <= set(stored)
    for call in (stand.write.get_write_stream, stand.write.finalize_write_stream):
        with pytest.raises(exceptions.NotFound) as error:
            call(name=committed, timeout=DEADLINE, retry=None)
        assert [e.code for e in storage_errors(error.value.details)] == [Code.STREAM_NOT_FOUND]


def test_a_table_half_made_by_a_kill_is_taken_back(own_server):
    """A table without its catalog row, or a row without its table, can be made anew."""
    stand = Stand(own_server)
    for name in ("bare", "ghost", "whole"):
        stand.table(name)
    own_server.end(signal.SIGKILL)
    with duckdb.connect(str(own_server.data / "bqemulator.duckdb")) as database:
        database.execute("DELETE FROM _bqemulator_catalog.tables WHERE table_id = 'bare'")
        database.execute(f'DROP TABLE "{PROJECT}__ds".ghost')

    own_server.start()
    stand = Stand(own_server)
    assert [table.table_id for table in stand.rest.list_tables(DATASET)] == ["whole"]
    for name in ("bare", "ghost"):
        stand.table(name)
        stand.append(request_of(default(name), rows_of(0, 3)))
        assert stand.count(name) == 3


def test_no_history_and_no_jobs_on_disk(own_server):
    """Appends copy no table, finished queries are not written, and time travel is refused."""
    stand = Stand(own_server)
    stand.table("plain")
    for start in range(0, 50, 10):
        stand.append(request_of(default("plain"), rows_of(start, start + 10)))
    assert stand.count("plain") == 50
    with pytest.raises(exceptions.GoogleAPICallError, match="keeps no history"):
        stand.sql("SELECT * FROM ds.plain FOR SYSTEM_TIME AS OF CURRENT_TIMESTAMP()")

    assert own_server.end() == 0
    with duckdb.connect(str(own_server.data / "bqemulator.duckdb")) as database:
        tables = "SELECT schema_name, table_name FROM duckdb_tables() WHERE NOT internal"
        copies = [row for row in database.execute(tables).fetchall() if "snapshots" in row[0]]
        jobs = database.execute("SELECT * FROM _bqemulator_catalog.jobs").fetchall()
    assert copies == []
    assert jobs == []


def test_sigterm_ends_it_while_calls_are_open(own_server):
    """Neither an open append call nor a query of minutes keeps the server up."""
    stand = Stand(own_server)
    stand.table("open")
    with Call(stand.write) as call, ThreadPoolExecutor() as pool:
        assert not call.send(request_of(default("open"), rows_of(0, 1))).error.code
        query = pool.submit(stand.sql, slow_query(300_000))
        busy = psutil.Process(own_server.process.pid)
        deadline = time.monotonic() + DEADLINE
        while busy.cpu_percent(0.1) < 90:
            assert time.monotonic() < deadline, "the query does not run"
        assert own_server.end() == 0
        assert query.exception(timeout=DEADLINE) is not None


# Queries and tables


def test_a_query_during_appends_never_hangs(stand):
    """Two writers and two readers at once: every call answers, every count is exact."""
    stand.table("busy")
    stop = threading.Event()

    def write(stream):
        with Call(stand.write) as call:
            for start in range(0, 10_000, 250):
                offset = start
                answer = call.send(request_of(stream, rows_of(start, start + 250), offset=offset))
                assert answer.append_result.offset == start

    def read():
        counts = []
        while not stop.is_set():
            counts.append(stand.count("busy"))
        return counts

    with ThreadPoolExecutor() as pool:
        readers = [pool.submit(read) for _ in range(2)]
        writers = [pool.submit(write, stand.stream("busy")) for _ in range(2)]
        try:
            for writer in writers:
                writer.result(timeout=DEADLINE)
        finally:
            stop.set()
        for reader in readers:
            counts = reader.result(timeout=DEADLINE)
            assert counts == sorted(counts)
            assert all(count % 250 == 0 for count in counts)
            assert len(counts) > 3
    assert stand.count("busy") == 20_000


def test_a_slow_query_stops_nothing_else(stand):
    """Appends and calls are answered while a query of seconds is running."""
    stand.table("quick")
    answered = 0
    with ThreadPoolExecutor() as pool:
        query = pool.submit(stand.sql, slow_query(9_000))
        while not query.done():
            stand.append(request_of(stand.stream("quick"), rows_of(0, 1)))
            answered += 1
        assert query.result() == [(0,)]
    assert answered > 5


def test_results_of_old_queries_are_let_go(stand):
    """The latest 64 results are kept; an older one is gone, not kept for ever."""
    first = stand.rest.query("SELECT 1", retry=None, job_retry=None, timeout=DEADLINE)
    assert [tuple(row) for row in first.result(retry=None, timeout=DEADLINE)] == [(1,)]
    path = f"/projects/{PROJECT}/queries/{first.job_id}"

    def results():
        return stand.rest._connection.api_request("GET", path, timeout=DEADLINE)["totalRows"]

    assert results() == "1"
    for number in range(64):
        stand.sql(f"SELECT {number}")
    with pytest.raises(exceptions.NotFound):
        results()


def test_num_rows_is_counted_when_asked(stand):
    """`numRows` follows appends and DML alike."""
    stand.table("counted")
    stand.append(request_of(default("counted"), rows_of(0, 5)))
    stand.sql("DELETE FROM ds.counted WHERE id < 2")
    assert stand.rest.get_table(f"{DATASET}.counted", timeout=DEADLINE, retry=None).num_rows == 3


def test_a_views_sql_comes_back(stand):
    """As it was given, so that whoever compares finds it unchanged."""
    view = bigquery.Table(f"{DATASET}.asked")
    view.view_query = "SELECT 1 AS one  -- as it is"
    stand.rest.create_table(view, timeout=DEADLINE, retry=None)
    live_view = stand.rest.get_table(f"{DATASET}.asked", timeout=DEADLINE, retry=None)
    assert (live_view.table_type, live_view.view_query) == ("VIEW", view.view_query)


def test_an_apostrophe_in_a_jsonpath_is_a_key(stand):
    """In plain queries, and so in views and table functions."""
    document = r"""PARSE_JSON('{"it\'s": "x"}')"""
    assert stand.sql(rf"""SELECT JSON_VALUE({document}, '$."it\'s"')""") == [("x",)]


def test_a_column_added_under_an_open_call_is_written(stand):
    """tables.patch adds the column for real, and the open call may send it from then on."""
    table = stand.table("widened")
    stream = stand.stream("widened")
    with Call(stand.write) as call:
        assert not call.send(request_of(stream, rows_of(0, 1), offset=0)).error.code
        table.schema = [*table.schema, bigquery.SchemaField("extra", "STRING")]
        stand.rest.update_table(table, ["schema"], timeout=DEADLINE, retry=None)
        old = request_of(stream, rows_of(1, 2), offset=1, schema=False)
        assert not call.send(old).error.code
        # The writer's order of fields is not the table's.
        wide = {"extra": STRING, **ROW}
        new = request_of(stream, [{"id": 2, "extra": "seen"}], wide, offset=2)
        assert not call.send(new).error.code
    rows = stand.sql("SELECT id, extra FROM ds.widened ORDER BY id")
    assert rows == [(0, None), (1, None), (2, "seen")]


def test_a_patch_with_null_clears_the_clustering(stand):
    """As the service has it; a patch that does not name the clustering leaves it alone."""
    table = bigquery.Table(f"{DATASET}.clustered", schema=COLUMNS)
    table.clustering_fields = ["id"]
    table = stand.rest.create_table(table, timeout=DEADLINE, retry=None)

    def clustering():
        found = stand.rest.get_table(f"{DATASET}.clustered", timeout=DEADLINE, retry=None)
        return found.clustering_fields

    table.description = "patched"
    stand.rest.update_table(table, ["description"], timeout=DEADLINE, retry=None)
    assert clustering() == ["id"]
    table.clustering_fields = None
    stand.rest.update_table(table, ["clustering_fields"], timeout=DEADLINE, retry=None)
    assert clustering() is None


# Rows


@pytest.mark.parametrize("kind", [Kind.COMMITTED, Kind.BUFFERED, Kind.PENDING])
def test_bad_rows_are_named_and_the_offsets_kept(stand, kind):
    """A refused batch stores nothing, names each bad row, and leaves its offsets to the retry."""
    name = f"bad_{kind.name.lower()}"
    stand.table(name)
    stream = stand.stream(name, kind)
    batch = rows_of(0, 6)
    batch[1]["payload"] = "{"
    batch[3]["seen"] = MAX_MICROS + 1
    del batch[4]["id"]
    batch[5] = b"\xff"
    with Call(stand.write) as call:
        refused = call.send(request_of(stream, batch, offset=0))
        assert refused.error.code == INVALID
        assert [error.index for error in refused.row_errors] == [1, 3, 4, 5]
        assert "out of range" in refused.row_errors[1].message
        good = request_of(stream, rows_of(0, 6), offset=0)
        assert call.send(good).append_result.offset == 0
        assert refusal_of(call.send(good)) == (EXISTS, [Code.OFFSET_ALREADY_EXISTS])
    if kind is Kind.BUFFERED:
        stand.flush(stream, 5)
    assert stand.finalize(stream) == 6
    if kind is Kind.PENDING:
        assert stand.count(name) == 0
        stand.commit(name, stream)
    assert stand.sql(f"SELECT id FROM ds.{name} ORDER BY id") == [(i,) for i in range(6)]


def test_the_range_of_times_is_the_services(stand):
    """The first and last TIMESTAMP and DATE are stored; one beyond is a refused row."""
    columns = [bigquery.SchemaField("seen", "TIMESTAMP"), bigquery.SchemaField("day", "DATE")]
    stand.table("times", columns)
    fields = {"seen": INT64, "day": INT32}
    first, last = -719_162, 2_932_896
    good = [{"seen": MIN_MICROS, "day": first}, {"seen": MAX_MICROS, "day": last}]
    bad = [
        {"seen": MIN_MICROS - 1},
        {"day": first - 1},
        {"seen": MAX_MICROS + 1},
        {"day": last + 1},
    ]
    refused = stand.append(request_of(default("times"), [*bad, *good], fields))
    assert [error.index for error in refused.row_errors] == [0, 1, 2, 3]
    assert not stand.append(request_of(default("times"), good, fields)).error.code
    first_day, last_day = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    assert stand.sql("SELECT * FROM ds.times ORDER BY day") == [
        (first_day, first_day.date()),
        (last_day, last_day.date()),
    ]


def test_records_are_stored_with_their_fields(stand):
    """A repeated RECORD arrives with its fields, those not sent NULL."""
    inner = [bigquery.SchemaField("name", "STRING"), bigquery.SchemaField("size", "INT64")]
    columns = [bigquery.SchemaField("parts", "RECORD", mode="REPEATED", fields=inner)]
    stand.table("records", columns)
    rows = [{"parts": [{"name": "a", "size": 0}, {"name": "b"}]}, {}]
    fields = {"parts": {"name": STRING, "size": INT64}}
    assert not stand.append(request_of(default("records"), rows, fields)).error.code
    stored = [row[0] for row in stand.sql("SELECT parts FROM ds.records")]
    assert stored == [[{"name": "a", "size": 0}, {"name": "b", "size": None}], []]


def test_names_match_in_any_case(stand):
    """The writer's field names are the table's columns in any case."""
    stand.table("cased")
    row = [{"ID": 7, "Payload": "{}"}]
    answer = stand.append(request_of(default("cased"), row, {"ID": INT64, "Payload": STRING}))
    assert not answer.error.code
    assert stand.sql("SELECT id, seen FROM ds.cased") == [(7, None)]


# Streams


def test_a_field_that_the_table_lacks_is_refused(stand):
    """SCHEMA_MISMATCH_EXTRA_FIELDS in the response; the call goes on and nothing is stored."""
    stand.table("narrow")
    stream = stand.stream("narrow")
    with Call(stand.write) as call:
        wide = request_of(stream, [{"id": 1, "more": "x"}], {**ROW, "more": STRING}, offset=0)
        refused = call.send(wide)
        assert refusal_of(refused) == (INVALID, [Code.SCHEMA_MISMATCH_EXTRA_FIELDS])
        assert "extra fields: 'more'" in refused.error.message
        assert storage_errors(refused.error.details)[0].entity == stream
        good = request_of(stream, rows_of(0, 1), offset=0)
        assert call.send(good).append_result.offset == 0
    assert stand.count("narrow") == 1


def test_later_requests_need_no_stream_name_and_no_schema(stand):
    """As Java's client sends them: both in the first request of the connection only."""
    stand.table("brief")
    stream = stand.stream("brief")
    with Call(stand.write) as call:
        call.send(request_of(stream, rows_of(0, 2), offset=0))
        answer = call.send(request_of("", rows_of(2, 4), offset=2, schema=False))
        assert answer.append_result.offset == 2
    assert stand.count("brief") == 4


def test_a_schema_is_kept_though_its_request_was_refused(stand):
    """After an answer of ALREADY_EXISTS the connection goes on without the schema."""
    stand.table("again")
    stream = stand.stream("again")
    stand.append(request_of(stream, rows_of(0, 2), offset=0))
    with Call(stand.write) as call:
        again = call.send(request_of(stream, rows_of(0, 2), offset=0))
        assert refusal_of(again) == (EXISTS, [Code.OFFSET_ALREADY_EXISTS])
        answer = call.send(request_of(stream, rows_of(2, 4), offset=2, schema=False))
        assert answer.append_result.offset == 2
    assert stand.count("again") == 4


def test_each_refused_append_has_its_storage_error(stand):
    """Offsets and finalized streams are told apart by StorageError; the call goes on."""
    stand.table("refused")
    stream = stand.stream("refused")
    with Call(stand.write) as call:
        call.send(request_of(stream, rows_of(0, 4), offset=0))
        again = call.send(request_of(stream, rows_of(0, 4), offset=0))
        assert refusal_of(again) == (EXISTS, [Code.OFFSET_ALREADY_EXISTS])
        beyond = call.send(request_of(stream, rows_of(9, 10), offset=9))
        assert refusal_of(beyond) == (BEYOND, [Code.OFFSET_OUT_OF_RANGE])
        assert stand.finalize(stream) == 4
        late = call.send(request_of(stream, rows_of(4, 5), offset=4))
        assert refusal_of(late) == (INVALID, [Code.STREAM_FINALIZED])
        assert storage_errors(late.error.details)[0].entity == stream
    assert stand.finalize(stream) == 4
    assert stand.count("refused") == 4


def test_the_default_stream_has_no_offsets(stand):
    """It answers without an offset, and refuses a request with one."""
    stand.table("offsets")
    answer = stand.append(request_of(default("offsets"), rows_of(0, 1)))
    assert "offset" not in answer.append_result
    refused = stand.append(request_of(default("offsets"), rows_of(0, 1), offset=1))
    assert refusal_of(refused) == (INVALID, [Code.INVALID_STREAM_TYPE])


@pytest.mark.parametrize(
    ("table", "call", "expected"),
    [
        ("absent", lambda s, _: s.stream("absent"), Code.TABLE_NOT_FOUND),
        ("absent", lambda s, n: s.append(request_of(n, rows_of(0, 1))), Code.TABLE_NOT_FOUND),
        ("absent", lambda s, n: s.write.get_write_stream(name=n), Code.TABLE_NOT_FOUND),
        ("here", lambda s, n: s.append(request_of(n, rows_of(0, 1))), Code.STREAM_NOT_FOUND),
        ("here", lambda s, n: s.write.get_write_stream(name=n), Code.STREAM_NOT_FOUND),
        ("here", lambda s, n: s.finalize(n), Code.STREAM_NOT_FOUND),
        ("here", lambda s, n: s.flush(n, 0), Code.STREAM_NOT_FOUND),
    ],
    ids=["create", "append", "get", "append-stream", "get-stream", "finalize", "flush"],
)
def test_what_is_not_there_is_named_in_the_trailer(stand, table, call, expected):
    """A call on a missing table or stream ends NOT_FOUND with the StorageError that tells which."""
    stand.rest.create_table(
        bigquery.Table(f"{DATASET}.here", schema=COLUMNS),
        exists_ok=True,
        timeout=DEADLINE,
        retry=None,
    )
    name = default(table) if table == "absent" else f"{parent(table)}/streams/0123456789abcdef"
    with pytest.raises(exceptions.NotFound) as error:
        call(stand, name)
    assert [e.code for e in storage_errors(error.value.details)] == [expected]


# What Storage Write does not know yet


LATE = 1.5


@pytest.fixture(scope="module")
def late_stand(tmp_path_factory) -> Iterator[Stand]:
    """A server to whose Storage Write tables and columns come late."""
    server = Server(tmp_path_factory.mktemp("late"), late=LATE)
    server.start()
    try:
        yield Stand(server)
    finally:
        server.end()


def once_known(attempt):
    """Tries until it is no longer refused; the answer, and how long it took from the first try."""
    began = time.monotonic()
    refused = []
    while True:
        try:
            answer = attempt()
            code, errors = refusal_of(answer)
        except exceptions.NotFound as error:
            code, errors = NOT_FOUND, [each.code for each in storage_errors(error.details)]
        if not code:
            return answer, time.monotonic() - began, refused
        if [(code, errors)] != refused[-1:]:
            refused.append((code, errors))
        assert time.monotonic() < began + DEADLINE, refused
        time.sleep(0.05)


def test_a_table_just_made_is_not_found_for_a_while(late_stand):
    """REST has it; Storage Write says TABLE_NOT_FOUND from the first call on, then takes rows.

    To make it once more in vain (`exists_ok`) does not begin the time again.
    """
    made = late_stand.table("young")
    assert late_stand.count("young") == 0
    with pytest.raises(exceptions.NotFound) as error:
        late_stand.stream("young")
    assert [each.code for each in storage_errors(error.value.details)] == [Code.TABLE_NOT_FOUND]
    _, seconds, refused = once_known(
        lambda: late_stand.append(request_of(default("young"), rows_of(0, 1)))
    )
    assert refused == [(NOT_FOUND, [Code.TABLE_NOT_FOUND])]
    assert LATE - 0.7 < seconds < LATE + 5
    late_stand.rest.create_table(made, exists_ok=True, timeout=DEADLINE, retry=None)
    late_stand.append(request_of(late_stand.stream("young"), rows_of(1, 2), offset=0))
    assert late_stand.count("young") == 2


def test_a_column_just_added_is_an_extra_field_for_a_while(late_stand):
    """On old and new calls alike; rows without it go in meanwhile, and offsets are kept."""
    table = late_stand.table("grown")
    once_known(lambda: late_stand.append(request_of(default("grown"), rows_of(0, 1))))
    stream = late_stand.stream("grown")
    with Call(late_stand.write) as call:
        call.send(request_of(stream, rows_of(1, 2), offset=0))
        table.schema = [*table.schema, bigquery.SchemaField("more", "STRING")]
        late_stand.rest.update_table(table, ["schema"], timeout=DEADLINE, retry=None)
        wide = {**ROW, "more": STRING}
        assert call.send(request_of(stream, rows_of(2, 3), offset=1)).append_result.offset == 1
        on_new_call = late_stand.append(request_of(stream, [{"id": 4}], wide, offset=2))
        assert refusal_of(on_new_call) == (INVALID, [Code.SCHEMA_MISMATCH_EXTRA_FIELDS])
        assert call.send(request_of(stream, rows_of(3, 4), offset=2)).append_result.offset == 2
        new = request_of(stream, [{"id": 4, "more": "x"}], wide, offset=3)
        answer, seconds, refused = once_known(lambda: call.send(new))
    assert refused == [(INVALID, [Code.SCHEMA_MISMATCH_EXTRA_FIELDS])]
    assert answer.append_result.offset == 3
    assert LATE - 0.7 < seconds < LATE + 5
    rows = late_stand.sql("SELECT id, more FROM ds.grown ORDER BY id")
    assert rows == [(0, None), (1, None), (2, None), (3, None), (4, "x")]


def test_finalize_waits_for_the_append_under_way(stand):
    """`row_count` is what the stream has in the table, and nothing is added after it."""
    stand.table("sealed")
    total = 0

    def write(stream, running):
        with Call(stand.write) as call:
            for start in range(0, 1_000_000, 500):
                answer = call.send(request_of(stream, rows_of(start, start + 500), offset=start))
                if answer.error.code:
                    return refusal_of(answer)
                running.set()
        return None

    for _ in range(5):
        stream, running = stand.stream("sealed"), threading.Event()
        with ThreadPoolExecutor() as pool:
            writer = pool.submit(write, stream, running)
            assert running.wait(DEADLINE)
            total += stand.finalize(stream)
            assert writer.result(timeout=DEADLINE) == (INVALID, [Code.STREAM_FINALIZED])
        assert stand.count("sealed") == total


def test_flush_shows_rows_up_to_and_with_its_offset(stand):
    """FlushRows(2) shows three rows; the same again ALREADY_EXISTS, after the end OUT_OF_RANGE."""
    stand.table("flushed")
    stream = stand.stream("flushed", Kind.BUFFERED)
    stand.append(request_of(stream, rows_of(0, 5), offset=0))
    assert stand.count("flushed") == 0
    assert stand.flush(stream, 2) == 2
    assert stand.count("flushed") == 3
    with pytest.raises(exceptions.AlreadyExists) as error:
        stand.flush(stream, 2)
    assert [e.code for e in storage_errors(error.value.details)] == [Code.OFFSET_ALREADY_EXISTS]
    with pytest.raises(exceptions.OutOfRange) as error:
        stand.flush(stream, 5)
    assert [e.code for e in storage_errors(error.value.details)] == [Code.OFFSET_OUT_OF_RANGE]
    assert stand.flush(stream, 4) == 4
    assert stand.finalize(stream) == 5
    with pytest.raises(exceptions.InvalidArgument) as error:
        stand.flush(stream, 4)
    assert [e.code for e in storage_errors(error.value.details)] == [Code.STREAM_FINALIZED]
    assert stand.sql("SELECT id FROM ds.flushed ORDER BY id") == [(i,) for i in range(5)]


def test_many_open_calls_do_not_block_each_other(stand):
    """Eighty open append calls, each answered, and room for other calls beside them."""
    stand.table("many")
    calls = [Call(stand.write) for _ in range(80)]
    try:
        for number, call in enumerate(calls):
            stream = stand.stream("many")
            answer = call.send(request_of(stream, rows_of(number, number + 1), offset=0))
            assert not answer.error.code
        assert stand.count("many") == 80
        # The first is still open: nobody waited for its deadline to free a thread.
        assert calls[0].send(request_of("", rows_of(80, 81), offset=1)).append_result.offset == 1
    finally:
        for call in calls:
            call.__exit__()


def test_get_write_stream_describes_the_stream(stand):
    """Its type and the table's schema as it is now."""
    stand.table("described")
    name = stand.stream("described", Kind.PENDING)
    stream = stand.write.get_write_stream(
        types.GetWriteStreamRequest(name=name, view=types.WriteStreamView.FULL),
        timeout=DEADLINE,
        retry=None,
    )
    assert (stream.name, stream.type_) == (name, Kind.PENDING)
    assert [field.name for field in stream.table_schema.fields] == ["id", "payload", "seen"]
