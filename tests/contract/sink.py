"""What every sink of one table must do: each row exactly once or refused, whatever happens.

A subclass has a fixture `stage`, a BigQuery with one table, fresh for each test:

- `stage.writer()` opens a `TableWriter` on the table as it is declared (`TABLE`).
- `stage.ids()` reads the table's `event_id`s back, every row one.
- `stage.faults` is the `Faults` that stand between the writer and BigQuery.
- `stage.finalize(stream)` ends a write stream behind the writer's back; `stage.restart()` makes
  BigQuery forget every stream and connection, and keep every row.
- `stage.deadline` is how many seconds a healthy answer takes at the most.
- `stage.drop_table()`, `stage.drop_column()` take away what the writer needs.
"""

import threading
from collections import deque

import grpc
import pytest
from google.api_core.exceptions import from_grpc_error

from pipeline import append_stream, resident
from pipeline.append_stream import Encoded
from pipeline.outages import StoppedWaiting
from schemas.encode import Encoder
from schemas.problem import ProblemsFound
from schemas.table_file import parse_table
from schemas.times import now_micros
from tests.pipeline.fakes import RpcError, unavailable

TABLE = parse_table(
    "table: t\nlayout: structured\ndefault: true\ncolumns: [{path: n, type: INT64}]", "t.yaml"
)
NOW = now_micros()
_ENCODER = Encoder(TABLE)
DESCRIPTOR = _ENCODER.descriptor


def row(name, **values):
    """A row that BigQuery takes, known by its `event_id`."""
    return Encoded(_ENCODER.encode({"event_id": name, "created_at": NOW, **values}), name, NOW)


def bad_row(name):
    """A row that BigQuery refuses and names: its payload is no JSON."""
    return row(name, payload="{not JSON")


def rows(*names):
    return [row(name) for name in names]


class Faults:
    """A BigQueryWriteClient between a writer and a real one, which loses what it is told to.

    Args:
        client: The real one.

    Attributes:
        appends: What happens to the next requests, in order, '' for nothing: `before` (lost on
            the way there), `after` (the answer is lost), `silence` (lost, and nobody says so),
            `late` (arrives, and nobody says so), or a callable that is called before it arrives and
            returns one of these or None.
        creates: Exceptions or '' for the next streams to be made; `after` makes it all the same.
        finalizes: The same for the next streams to be finalized.
        streams: Every stream that was made.
        sent: How many requests reached the real client.
    """

    def __init__(self, client):
        self._client = client
        self.appends = deque()
        self.creates = deque()
        self.finalizes = deque()
        self.streams = []
        self.sent = 0
        self.transport = self

    def create_write_stream(self, **request):
        fault = self.creates.popleft() if self.creates else ""
        if isinstance(fault, Exception):
            raise fault
        stream = self._client.create_write_stream(**request)
        self.streams.append(stream.name)
        if fault:
            raise from_grpc_error(unavailable())
        return stream

    def finalize_write_stream(self, **request):
        fault = self.finalizes.popleft() if self.finalizes else ""
        if isinstance(fault, Exception):
            raise fault
        answer = self._client.finalize_write_stream(**request)
        if fault:
            raise from_grpc_error(unavailable())
        return answer

    def append_rows(self, requests, metadata):
        return _FaultyCall(self, self._client, requests, metadata)

    def next_fault(self):
        return self.appends.popleft() if self.appends else ""


class _FaultyCall:
    """One AppendRows call; a fault ends it, as a broken connection does."""

    def __init__(self, faults, client, requests, metadata):
        self._faults = faults
        self._fault = ""
        self._cancelled = threading.Event()
        self._call = client.transport.append_rows(self._pass(requests), metadata=metadata)

    def _pass(self, requests):
        for request in requests:
            self._fault = self._faults.next_fault()
            if callable(self._fault):
                self._fault = self._fault() or ""
            if self._fault in ("before", "silence"):
                return
            self._faults.sent += 1
            yield request

    def __iter__(self):
        for answer in self._call:
            if self._fault:
                break
            yield answer
        if self._fault in ("silence", "late"):
            assert self._cancelled.wait(60), "nobody gave up waiting"
            raise RpcError(grpc.StatusCode.CANCELLED, "cancelled")
        if self._fault:
            raise unavailable()

    def cancel(self):
        self._cancelled.set()
        self._call.cancel()


class SinkContract:
    """One suite for all; see the module's docstring."""

    @pytest.fixture(autouse=True)
    def short_deadline(self, stage, monkeypatch):
        """A service that does not answer is given up soon."""
        monkeypatch.setattr(append_stream, "_DEADLINE", stage.deadline)

    def test_appends(self, stage):
        """Every row is there once, over several requests of one stream."""
        writer = stage.writer()
        assert writer.append(rows("a", "b")) == []
        assert writer.append(rows("c")) == []
        assert sorted(stage.ids()) == ["a", "b", "c"]
        assert len(stage.faults.streams) == 1

    def test_nothing(self, stage):
        """To append nothing asks nothing of BigQuery."""
        assert stage.writer().append([]) == []
        assert stage.faults.streams == []

    def test_a_bad_row(self, stage):
        """A refused row is told by its place and a reason; all others are in the table."""
        given = [row("a"), bad_row("bad-1"), row("b"), bad_row("bad-2"), row("c")]
        refused = stage.writer().append(given)
        assert [(each.index, each.error) for each in refused] == [
            (1, "RowRefused"),
            (3, "RowRefused"),
        ]
        assert all(each.reason for each in refused)
        assert sorted(stage.ids()) == ["a", "b", "c"]

    def test_bad_rows_only(self, stage):
        """When every row is refused the table stays as it is, and the next rows go in."""
        writer = stage.writer()
        assert [each.index for each in writer.append([bad_row("x"), bad_row("y")])] == [0, 1]
        assert writer.append(rows("a")) == []
        assert stage.ids() == ["a"]

    def test_lost_before(self, stage):
        """A request that never arrived is sent again, at the same offset of the same stream."""
        writer = stage.writer()
        stage.faults.appends.extend(["", "before"])
        assert writer.append(rows("a")) == writer.append(rows("b", "c")) == []
        assert sorted(stage.ids()) == ["a", "b", "c"]
        assert len(stage.faults.streams) == 1

    def test_lost_after(self, stage):
        """Rows whose answer was lost are sent again and are not twice; the stream goes on."""
        writer = stage.writer()
        stage.faults.appends.extend(["after", "after", "", "after"])
        assert writer.append(rows("a", "b")) == writer.append(rows("c")) == []
        assert writer.append(rows("d")) == []
        assert sorted(stage.ids()) == ["a", "b", "c", "d"]
        assert len(stage.faults.streams) == 1

    def test_lost_after_a_refusal(self, stage):
        """A refusal whose answer was lost is asked for again, and the good rows go in once."""
        writer = stage.writer()
        stage.faults.appends.extend(["after", "", "after"])
        assert [each.index for each in writer.append([row("a"), bad_row("x"), row("b")])] == [1]
        assert sorted(stage.ids()) == ["a", "b"]

    def test_silence(self, stage):
        """No answer in time is given up and sent again; what arrived meanwhile is not twice."""
        writer = stage.writer()
        stage.faults.appends.extend(["silence", "late"])
        assert writer.append(rows("a", "b")) == []
        assert sorted(stage.ids()) == ["a", "b"]

    def test_a_stream_that_answers_no_more(self, stage):
        """After five tries the stream is left; what it holds by its count is not written again."""
        writer = stage.writer()
        assert writer.append(rows("a")) == []
        stage.faults.appends.extend(["before"] * 5)
        assert writer.append(rows("b")) == []
        stage.faults.appends.extend(["after"] + ["before"] * 4)
        assert writer.append(rows("c", "d")) == []
        assert writer.append(rows("e")) == []
        assert sorted(stage.ids()) == ["a", "b", "c", "d", "e"]
        assert len(stage.faults.streams) == 3

    def test_a_stream_that_was_finalized(self, stage):
        """A stream that takes no more rows is replaced; nothing is lost and nothing is twice."""
        writer = stage.writer()
        assert writer.append(rows("a")) == []
        stage.finalize(stage.faults.streams[0])
        assert writer.append(rows("b", "c")) == []
        stage.faults.appends.extend(["after", lambda: stage.finalize(stage.faults.streams[1])])
        assert writer.append(rows("d")) == []
        assert sorted(stage.ids()) == ["a", "b", "c", "d"]

    def test_finalizing_is_repeated(self, stage):
        """The count of a stream that is left is asked for until it is known."""
        writer = stage.writer()
        stage.faults.appends.extend(["after"] + ["before"] * 4)
        stage.faults.finalizes.extend([from_grpc_error(unavailable()), "after"])
        assert writer.append(rows("a", "b")) == []
        assert writer.append(rows("c")) == []
        assert sorted(stage.ids()) == ["a", "b", "c"]

    def test_creating_is_repeated(self, stage):
        """A stream that could not be made, or whose name was lost, is made again."""
        stage.faults.creates.extend([from_grpc_error(unavailable()), "after"])
        assert stage.writer().append(rows("a")) == []
        assert stage.ids() == ["a"]

    def test_a_stream_that_is_gone(self, stage):
        """BigQuery forgets the stream between two requests: the next rows go to a new one."""
        writer = stage.writer()
        assert writer.append(rows("a")) == []
        stage.restart()
        assert writer.append(rows("b", "c")) == []
        assert sorted(stage.ids()) == ["a", "b", "c"]

    def test_a_stream_that_is_gone_with_the_answer(self, stage):
        """The rows arrived, the answer and then the stream were lost: the table tells by id."""
        writer = stage.writer()
        assert writer.append(rows("a")) == []
        stage.faults.appends.extend(["after", stage.restart])
        assert writer.append(rows("b", "c")) == []
        assert writer.append(rows("d")) == []
        assert sorted(stage.ids()) == ["a", "b", "c", "d"]

    def test_gone_without_ids(self, stage, caplog):
        """A table without ids cannot tell: its rows are written again, and the log says so."""
        writer = stage.writer(ids=False)
        stage.faults.appends.extend(["after", stage.restart])
        assert writer.append(rows("a", "b")) == []
        assert sorted(stage.ids()) == ["a", "a", "b", "b"]
        assert "2 rows of " in caplog.text
        assert "may be written twice" in caplog.text

    def test_a_missing_table(self, stage):
        """A table that is not there is a problem that names it, not a wait without end."""
        stage.drop_table()
        with pytest.raises(ProblemsFound) as found:
            stage.writer().append(rows("a"))
        assert [problem.what for problem in found.value.problems] == ["is not there"]

    def test_a_missing_column(self, stage):
        """A column that is not there is a problem that names it; nothing is written."""
        stage.drop_column()
        with pytest.raises(ProblemsFound) as found:
            stage.writer().append(rows("a"))
        assert [problem.what for problem in found.value.problems] == ["has no column n"]
        assert stage.ids() == []

    def test_told_to_stop_during_an_outage(self, stage):
        """The wait ends when the process is to stop, and the caller is told that it did."""
        stage.faults.appends.append(stop_and_lose)
        with pytest.raises(StoppedWaiting):
            stage.writer().append(rows("a"))
        assert stage.ids() == []

    def test_after_an_append_that_was_broken_off(self, stage):
        """The next rows are not taken for those of an append that ended without an outcome."""
        writer = stage.writer()
        stage.faults.appends.extend(["after", stop_and_lose])
        with pytest.raises(StoppedWaiting):
            writer.append(rows("a"))
        resident.stopping.clear()
        assert writer.append(rows("b")) == []
        assert sorted(stage.ids()) == ["a", "b"]

    def test_close(self, stage):
        """A closed writer has finalized its stream, and can be opened again."""
        writer = stage.writer()
        assert writer.append(rows("a")) == []
        writer.close()
        assert writer.append(rows("b")) == []
        writer.close()
        assert len(stage.faults.streams) == 2
        assert sorted(stage.ids()) == ["a", "b"]

    def test_a_large_request(self, stage):
        """The most that a request may carry goes through in one."""
        given = [row(f"{n}", auth_id="x" * 994_000) for n in range(10)]
        size = sum(len(each.data) for each in given)
        assert append_stream.MAX_REQUEST_BYTES - 20_000 < size < append_stream.MAX_REQUEST_BYTES
        assert stage.writer().append(given) == []
        assert sorted(stage.ids()) == sorted(str(n) for n in range(10))
        assert stage.faults.sent == 1


def stop_and_lose():
    """Tells the process to stop while a request is lost."""
    resident.stop()
    return "before"
