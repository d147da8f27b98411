"""The proxy before Storage Write: each fault happens where it says, and only then it counts."""

import time
from concurrent import futures

import grpc
import pytest
from google.cloud.bigquery_storage_v1.types import (
    AppendRowsRequest,
    AppendRowsResponse,
    FinalizeWriteStreamResponse,
    StorageError,
)
from google.rpc import status_pb2

from local.fault import AFTER, APPEND, BEFORE, DURING, FINALIZE, Fault
from local.ports import wait_until
from local.write_faults import LATE_FIRST, OF_A_REFUSAL, WriteFaultProxy

SERVICE = "/google.cloud.bigquery.storage.v1.BigQueryWrite/"
SECONDS = 10


class Server(grpc.GenericRpcHandler):
    """Takes every append but those for the trace `bad`; keeps what it was asked, in order."""

    def __init__(self):
        self.asked = []

    def service(self, details):
        self.metadata = dict(details.invocation_metadata)
        if details.method.endswith("AppendRows"):
            return grpc.stream_stream_rpc_method_handler(self.append)
        return grpc.unary_unary_rpc_method_handler(self.finalize)

    def append(self, requests, context):
        for data in requests:
            trace = AppendRowsRequest.deserialize(data).trace_id
            self.asked.append(trace)
            answer = AppendRowsResponse(append_result={"offset": 0})
            if trace == "bad":
                rows = [{"index": 0, "message": "no"}, {"index": 2, "message": "no"}]
                answer = AppendRowsResponse(error=status_pb2.Status(code=3), row_errors=rows)
            yield AppendRowsResponse.serialize(answer)

    def finalize(self, request, context):
        self.asked.append("finalize")
        return FinalizeWriteStreamResponse.serialize(FinalizeWriteStreamResponse(row_count=7))


@pytest.fixture
def server():
    running = grpc.server(futures.ThreadPoolExecutor(8))
    handler = Server()
    running.add_generic_rpc_handlers((handler,))
    handler.address = f"127.0.0.1:{running.add_insecure_port('127.0.0.1:0')}"
    running.start()
    yield handler
    running.stop(0).wait(SECONDS)


@pytest.fixture
def proxy(server):
    with WriteFaultProxy(server.address) as running:
        yield running


@pytest.fixture
def channel(proxy):
    with grpc.insecure_channel(proxy.address) as opened:
        grpc.channel_ready_future(opened).result(SECONDS)
        yield opened


@pytest.fixture
def append(channel):
    """Appends requests of these traces on one call; returns the answers."""

    def send(*traces, timeout=SECONDS):
        method = channel.stream_stream(f"{SERVICE}AppendRows")
        requests = [AppendRowsRequest.serialize(AppendRowsRequest(trace_id=t)) for t in traces]
        metadata = [("x-goog-request-params", "write_stream=s")]
        answers = method(iter(requests), timeout=timeout, metadata=metadata)
        return [AppendRowsResponse.pb(AppendRowsResponse.deserialize(each)) for each in answers]

    return send


def code(call, *arguments, **options):
    with pytest.raises(grpc.RpcError) as error:
        call(*arguments, **options)
    return error.value.code()


def test_passes(append, server, proxy):
    """Without faults requests, answers and the routing header pass; nothing is counted."""
    answers = append("a", "bad")
    assert [each.HasField("append_result") for each in answers] == [True, False]
    assert server.asked == ["a", "bad"]
    assert server.metadata["x-goog-request-params"] == "write_stream=s"
    assert not proxy.hits


@pytest.mark.parametrize(("when", "asked"), [(BEFORE, []), (AFTER, ["a"])])
def test_a_call_that_ends(append, server, proxy, when, asked):
    """It ends with its code before the server has the request, or after it was carried out."""
    fault = Fault(APPEND, "code", when, grpc.StatusCode.ABORTED)
    proxy.plan([fault])
    assert code(append, "a") is grpc.StatusCode.ABORTED
    assert server.asked == asked
    assert proxy.hits == {f"append: ABORTED {when}": 1}


def test_a_lost_refusal_is_no_lost_write(append, proxy):
    """An answer that is lost after a refusal counts by itself."""
    proxy.plan([Fault(APPEND, "code", AFTER)])
    assert code(append, "bad") is grpc.StatusCode.UNAVAILABLE
    assert proxy.hits == {OF_A_REFUSAL: 1}


def test_a_refusal_in_an_answer(append, server, proxy):
    """The server never has the request, and the connection stays."""
    storage = StorageError.StorageErrorCode.SCHEMA_MISMATCH_EXTRA_FIELDS
    proxy.plan([Fault(APPEND, "refusal", BEFORE, grpc.StatusCode.INVALID_ARGUMENT, storage)])
    first, second = append("a", "b")
    assert (first.error.code, len(first.error.details)) == (3, 1)
    assert second.HasField("append_result")
    assert server.asked == ["b"]
    assert proxy.hits == {"append: SCHEMA_MISMATCH_EXTRA_FIELDS in an answer": 1}


@pytest.mark.parametrize(("what", "left"), [("unnamed", []), ("one named", [0])])
def test_a_refusal_that_names_less(append, proxy, what, left):
    """Rows are left out of the answer; on an answer that names none it is no fault."""
    proxy.plan([Fault(APPEND, what, DURING)] * 2)
    good, bad = append("a", "bad")
    assert good.HasField("append_result")
    assert [each.index for each in bad.row_errors] == left
    assert proxy.hits == {f"append: {what}": 1}


@pytest.mark.parametrize(("when", "asked"), [(BEFORE, []), (AFTER, ["a"])])
def test_silence(append, server, proxy, when, asked):
    """Nobody answers, whether the server had the request or not."""
    proxy.plan([Fault(APPEND, "silence", when)])
    assert code(append, "a", timeout=0.5) is grpc.StatusCode.DEADLINE_EXCEEDED
    assert server.asked == asked


def test_late(append, server, proxy):
    """A request arrives although its caller has gone, and after the caller's next one."""
    proxy.plan([Fault(APPEND, "late", DURING, seconds=0.5)])
    assert code(append, "late", timeout=0.3) is grpc.StatusCode.DEADLINE_EXCEEDED
    assert proxy.busy
    assert append("next")
    assert wait_until(lambda: not proxy.busy, deadline_in(SECONDS))
    assert server.asked == ["next", "late"]
    assert proxy.hits == {"append: late, by 0.5 s": 1, LATE_FIRST: 1}


def test_a_stream_that_is_finalized(append, server, proxy):
    """The proxy seals the stream by itself, and the request goes on to it."""
    proxy.plan([Fault(APPEND, "finalized", BEFORE)])
    append("a")
    assert server.asked == ["finalize", "a"]


def test_each_meets_calls_of_its_kind(append, channel, server, proxy):
    """A fault waits for a call of its kind; one that met none is not counted."""
    finalize = channel.unary_unary(f"{SERVICE}FinalizeWriteStream")
    proxy.plan([Fault(FINALIZE, "code", AFTER), Fault(APPEND, "end", AFTER)])
    assert code(finalize, b"", timeout=SECONDS) is grpc.StatusCode.UNAVAILABLE
    answer = FinalizeWriteStreamResponse.deserialize(finalize(b"", timeout=SECONDS))
    assert answer.row_count == 7
    assert proxy.waiting(APPEND) == 1
    assert proxy.hits == {"finalize: UNAVAILABLE after": 1}
    assert append("a") == []


def test_kill_and_reset(append, channel, server, proxy):
    """What kills and what resets is the owner's; the caller's answer is lost with it."""
    done = []
    proxy.kill = lambda: done.append("kill")
    proxy.reset = lambda: done.append("reset")
    proxy.plan([Fault(APPEND, "kill", BEFORE), Fault(APPEND, "reset", AFTER)])
    assert code(append, "a") is grpc.StatusCode.UNAVAILABLE
    assert code(append, "b", timeout=1) is grpc.StatusCode.DEADLINE_EXCEEDED
    assert done == ["kill", "reset"]
    assert server.asked == ["b"]


def deadline_in(seconds):
    return time.monotonic() + seconds
