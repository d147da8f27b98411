"""The native sink: the contract on a service in memory, and what only that one can be told."""

import logging

import grpc
import pytest
from google.api_core import exceptions
from google.cloud.bigquery_storage_v1.types import AppendRowsResponse, StorageError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import append_stream, connection
from pipeline.append_stream import TableWriter
from pipeline.connection import Connection
from schemas.encode import Encoder
from schemas.problem import Problem, ProblemsFound
from tests.contract.sink import DESCRIPTOR, TABLE, Faults, SinkContract, bad_row, row, rows
from tests.pipeline.fakes import RpcError, StorageWrite, refusal

FULL = "projects/demo-project/datasets/ds/tables/t"
Code = StorageError.StorageErrorCode


class MemoryStage:
    """A BigQuery of one table in memory."""

    deadline = 0.5

    def __init__(self):
        self.service = StorageWrite(Encoder(TABLE))
        self.service.tables[FULL] = []
        self.faults = Faults(self.service)
        self.lookups = 0

    def writer(self, *, ids=True):
        written = self._written if ids else None
        return TableWriter(self.faults, FULL, DESCRIPTOR, lag=self._lag, written=written)

    def ids(self):
        return [each["event_id"] for each in self.service.tables.get(FULL, ())]

    def finalize(self, stream):
        self.service.finalize_write_stream(name=stream, timeout=1, retry=None)

    def restart(self):
        self.service.forget_streams()

    def drop_table(self):
        del self.service.tables[FULL]

    def drop_column(self):
        self.service.lacks.add("n")

    def _lag(self):
        self.lookups += 1
        if FULL not in self.service.tables:
            raise ProblemsFound([Problem("table t", "is not there")])
        if self.service.lacks:
            missing = sorted(self.service.lacks)
            raise ProblemsFound([Problem("table t", f"has no column {missing[0]}")])

    def _written(self, asked):
        return {each.event_id for each in asked} & set(self.ids())


@pytest.fixture
def stage(no_waiting):
    return MemoryStage()


class TestSinkInMemory(SinkContract):
    """The contract, on the service in memory."""


def unnamed(name):
    """A row for which the service refuses the request without saying which row it was."""
    return row(name, auth_type="unnamed")


def test_a_bad_row_that_nobody_names(stage):
    """Refused rows are found by halving when the service names none; all others go in."""
    names = [f"{n}" for n in range(17)]
    given = [unnamed(name) if name in ("0", "9", "16") else row(name) for name in names]
    refused = stage.writer().append(given)
    assert [(each.index, each.error, each.reason) for each in refused] == [
        (n, "RowRefused", "400 something will not do") for n in (0, 9, 16)
    ]
    assert sorted(stage.ids()) == sorted(set(names) - {"0", "9", "16"})


def test_a_table_that_does_not_fit_is_no_fault_of_the_rows(stage):
    """A refusal without a row's name first asks for the table: where that is wrong, the job ends.

    Else one changed column would make a dead letter of every row.
    """
    stage.service.lacks.add("title")
    with pytest.raises(ProblemsFound, match="has no column title"):
        stage.writer().append([unnamed(f"{n}") for n in range(500)])
    assert stage.lookups == 1
    assert stage.ids() == []


def test_row_errors_without_an_error(stage, monkeypatch):
    """Where a row is named, none of the request is written, whatever else the answer says."""
    answers = [[0], []]

    def exchange(connection, request, deadline):
        answer = AppendRowsResponse.pb()()
        for index in answers.pop(0):
            answer.row_errors.add(index=index, message="bad")
        return answer

    monkeypatch.setattr(Connection, "exchange", exchange)
    refused = stage.writer().append(rows("a", "b"))
    assert [(each.index, each.reason) for each in refused] == [(0, "bad")]
    assert answers == []


def test_the_schema_is_sent_until_it_was_taken(stage, monkeypatch):
    """A connection whose first request was refused, its offset being written, gets it again."""
    with_schema = []
    exchange = Connection.exchange

    def recording(connection, request, deadline):
        with_schema.append("writer_schema" in request.proto_rows)
        return exchange(connection, request, deadline)

    monkeypatch.setattr(Connection, "exchange", recording)
    writer = stage.writer()
    stage.faults.appends.append("after")
    for name in "abc":
        assert writer.append(rows(name)) == []
    assert with_schema == [True, True, True, False]
    assert stage.ids() == ["a", "b", "c"]


def test_bad_rows_of_both_kinds(stage):
    """Named and unnamed ones in one batch are told by their places among the rows given."""
    given = [row("a"), unnamed("x"), bad_row("y"), row("b"), unnamed("z"), row("c")]
    assert [each.index for each in stage.writer().append(given)] == [1, 2, 4]
    assert sorted(stage.ids()) == ["a", "b", "c"]


def test_bad_rows_that_are_named_one_by_one(stage):
    """Each refusal may name some of the bad rows only: places are those among the rows given."""
    stage.service.names_at_once = 1
    given = [bad_row("x"), row("a"), bad_row("y"), row("b"), bad_row("z")]
    refused = stage.writer().append(given)
    assert [each.index for each in refused] == [0, 2, 4]
    assert sorted(stage.ids()) == ["a", "b"]


def test_an_offset_that_is_taken_by_others(stage):
    """ALREADY_EXISTS for rows that were never sent before does not pass for their being there."""
    stage.service.answers.append(
        lambda stream: refusal(grpc.StatusCode.ALREADY_EXISTS, Code.OFFSET_ALREADY_EXISTS)
    )
    assert stage.writer().append(rows("a", "b")) == []
    assert sorted(stage.ids()) == ["a", "b"]
    assert len(stage.faults.streams) == 2


@pytest.mark.parametrize("code", [Code.TABLE_NOT_FOUND, Code.SCHEMA_MISMATCH_EXTRA_FIELDS])
@pytest.mark.parametrize("ends_call", [True, False])
def test_late(stage, code, ends_call, no_waiting):
    """A table or column that BigQuery has and Storage Write does not know yet is waited for."""
    error = (
        RpcError(
            grpc.StatusCode.NOT_FOUND,
            "late",
            refusal(grpc.StatusCode.NOT_FOUND, code).error.details,
        )
        if ends_call
        else None
    )

    def late(stream):
        if error:
            raise error
        return refusal(grpc.StatusCode.INVALID_ARGUMENT, code)

    stage.service.answers.extend([late] * 7)
    assert stage.writer().append([row("a"), bad_row("x")]) != []
    assert stage.ids() == ["a"]
    assert (stage.lookups, len(no_waiting.waits)) == (7, 7)
    assert len(stage.faults.streams) == 1


def test_a_table_too_late_for_a_stream(stage):
    """A stream that cannot be made yet, since the table is new, is waited for."""
    stage.service.creates.extend([exceptions.NotFound("new")] * 3)
    assert stage.writer().append(rows("a")) == []
    assert (stage.ids(), stage.lookups) == (["a"], 3)


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
    ],
)
@pytest.mark.parametrize("ends_call", [True, False])
def test_transient(stage, code, ends_call):
    """What says nothing about the rows is sent again, whether it ends the call or not."""

    def answer(stream):
        if ends_call:
            raise RpcError(code, "come again")
        return refusal(code)

    stage.service.answers.extend([answer, answer, "", answer])
    writer = stage.writer()
    assert writer.append(rows("a", "b")) == writer.append(rows("c")) == []
    assert sorted(stage.ids()) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, "grant the job's account roles/bigquery.dataEditor"),
        (grpc.StatusCode.UNAUTHENTICATED, "grant the job's account roles/bigquery.dataEditor"),
        (grpc.StatusCode.UNIMPLEMENTED, ""),
    ],
)
@pytest.mark.parametrize("ends_call", [True, False])
def test_denied(stage, code, remedy, ends_call, no_waiting):
    """What waiting cannot mend is a problem that names the table and what to do."""

    def answer(stream):
        if ends_call:
            raise RpcError(code, "no")
        return refusal(code)

    stage.service.answers.append(answer)
    with pytest.raises(ProblemsFound) as found:
        stage.writer().append(rows("a"))
    [problem] = found.value.problems
    assert problem.where == FULL
    assert problem.what.startswith("BigQuery refuses the rows: ")
    assert problem.remedy.startswith(remedy)
    assert bool(problem.remedy) == bool(remedy)
    assert (stage.ids(), no_waiting.waits) == ([], [])


@pytest.mark.parametrize(
    "code",
    [
        Code.STREAM_NOT_FOUND,
        Code.STREAM_FINALIZED,
        Code.INVALID_STREAM_STATE,
        Code.OFFSET_OUT_OF_RANGE,
        Code.STREAM_ALREADY_COMMITTED,
    ],
)
def test_a_stream_that_ended(stage, code):
    """Each way in which a stream can end leads to a new stream, with no row lost or twice."""
    stage.service.answers.extend(
        ["", lambda stream: refusal(grpc.StatusCode.INVALID_ARGUMENT, code)]
    )
    writer = stage.writer()
    assert writer.append(rows("a")) == writer.append(rows("b", "c")) == []
    assert sorted(stage.ids()) == ["a", "b", "c"]
    assert len(stage.faults.streams) == 2


def test_waits_and_streams_are_counted(stage):
    """Each wait and each new stream is counted by who writes."""
    counted = []
    writer = stage.writer()
    writer.on_repeat = lambda: counted.append("wait")
    writer.on_open = lambda: counted.append("stream")
    stage.faults.appends.extend(["before", "before"])
    stage.faults.finalizes.append(exceptions.ServiceUnavailable("away"))
    writer.append(rows("a"))
    stage.faults.appends.extend(["before"] * 5)
    writer.append(rows("b"))
    assert counted == ["stream", "wait", "wait", *["wait"] * 5, "wait", "stream"]


def test_a_long_outage_makes_few_streams(stage):
    """A stream is left once the service answers again, not once every five tries of an outage."""
    stage.faults.appends.extend(["before"] * 5)
    stage.faults.finalizes.extend([exceptions.ServiceUnavailable("away")] * 100)
    assert stage.writer().append(rows("a")) == []
    assert (stage.ids(), len(stage.faults.streams)) == (["a"], 2)


def test_closing_without_a_connection(stage, caplog):
    """When BigQuery is away at the end, the stream is left open and the log says so."""
    writer = stage.writer()
    writer.append(rows("a"))
    stage.faults.finalizes.append(exceptions.ServiceUnavailable("away"))
    with caplog.at_level(logging.INFO):
        writer.close()
    assert f"left write stream {stage.faults.streams[0]} open" in caplog.text


def test_no_answer_in_time(no_waiting):
    """A connection that gives no answer is given up with a deadline of our own."""
    stage = MemoryStage()
    stage.faults.appends.append("silence")
    stream = stage.faults.create_write_stream(
        parent=FULL,
        write_stream=append_stream.WriteStream(type_="COMMITTED"),
        timeout=1,
        retry=None,
    )
    opened = connection.Connection(stage.faults, stream.name)
    with pytest.raises(exceptions.DeadlineExceeded):
        opened.exchange(append_stream.AppendRowsRequest(write_stream=stream.name), 0.05)
    opened.close()


FAULTS = st.sampled_from(
    ["", "", "before", "after", "after", "finalize", "forget", "late", "unavailable", "internal"]
)
UNARY = st.sampled_from(["", "", "after", "away"])
ROWS = st.lists(st.sampled_from(["good", "good", "good", "bad", "unnamed"]), max_size=6)


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    batches=st.lists(ROWS, min_size=1, max_size=4),
    appends=st.lists(FAULTS, max_size=25),
    creates=st.lists(UNARY, max_size=6),
    finalizes=st.lists(UNARY, max_size=6),
)
def test_each_row_once_or_refused(no_waiting, batches, appends, creates, finalizes):
    """Whatever is lost on the way: good rows are there exactly once, bad ones are told apart."""
    stage = MemoryStage()

    def fault(kind):
        if kind == "finalize":
            return lambda: stage.faults.streams and stage.finalize_last()
        if kind == "forget":
            return stage.restart
        if kind in ("late", "unavailable", "internal"):
            return lambda: stage.service.answers.append(ANSWERS[kind])
        return kind

    def finalize_last():
        if stage.faults.streams[-1] in stage.service._streams:
            stage.finalize(stage.faults.streams[-1])

    stage.finalize_last = finalize_last
    away = exceptions.ServiceUnavailable("away")
    stage.faults.appends.extend(map(fault, appends))
    stage.faults.creates.extend(away if kind == "away" else kind for kind in creates)
    stage.faults.finalizes.extend(away if kind == "away" else kind for kind in finalizes)
    writer = stage.writer()
    make = {"good": row, "bad": bad_row, "unnamed": unnamed}
    good = []
    for number, kinds in enumerate(batches):
        names = [f"{number}.{n}" for n in range(len(kinds))]
        refused = writer.append([make[kind](name) for kind, name in zip(kinds, names, strict=True)])
        assert [each.index for each in refused] == [
            n for n, kind in enumerate(kinds) if kind != "good"
        ]
        good += [name for kind, name in zip(kinds, names, strict=True) if kind == "good"]
        assert sorted(stage.ids()) == sorted(good)


ANSWERS = {
    "late": lambda stream: refusal(
        grpc.StatusCode.INVALID_ARGUMENT, Code.SCHEMA_MISMATCH_EXTRA_FIELDS
    ),
    "unavailable": lambda stream: refusal(grpc.StatusCode.UNAVAILABLE),
    "internal": lambda stream: refusal(grpc.StatusCode.INTERNAL),
}
