"""Stand-ins for the services that the job's parts talk to: they keep what they were given."""

import json
import threading
from collections import deque

import grpc
from google.api_core import exceptions
from google.cloud.bigquery_storage_v1.types import (
    AppendRowsRequest,
    AppendRowsResponse,
    FinalizeWriteStreamResponse,
    RowError,
    StorageError,
    WriteStream,
)
from google.protobuf import any_pb2
from google.pubsub_v1.types import PullResponse
from google.rpc import status_pb2


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self, now=1_000.0):
        self.now = now

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += seconds


class RpcError(grpc.RpcError, grpc.Call):
    """What gRPC raises when a call ends with a code.

    Args:
        code: The gRPC code.
        details: Protobuf Anys of its status.
    """

    def __init__(self, code, message="", details=()):
        super().__init__(message)
        self._code = code
        self._message = message
        status = status_pb2.Status(code=code.value[0], message=message)
        status.details.extend(details)
        self._trailer = status.SerializeToString() if details else b""

    def code(self):
        return self._code

    def details(self):
        return self._message

    def trailing_metadata(self):
        return (("grpc-status-details-bin", self._trailer),) if self._trailer else ()

    def initial_metadata(self):
        return ()

    def is_active(self):
        return False

    def time_remaining(self):
        return None

    def cancel(self):
        return False

    def add_callback(self, callback):
        return False


def unavailable():
    return RpcError(grpc.StatusCode.UNAVAILABLE, "connection refused")


# Pub/Sub ----------------------------------------------------------------------------------------


class PullCall:
    """One pull: answered when the test says so, or cancelled."""

    def __init__(self, request, timeout):
        self.asked = request.max_messages
        self.timeout = timeout
        self._done = threading.Event()
        self._answer = None
        self.cancelled = False

    def answer(self, messages=()):
        """Delivers PubsubMessages, as `received`."""
        assert len(messages) <= self.asked, "a server never gives more than it was asked for"
        self._answer = PullResponse(received_messages=messages)
        self._done.set()

    def fail(self, error):
        self._answer = error
        self._done.set()

    def cancel(self):
        self.cancelled = True
        self._done.set()

    def result(self, timeout=None):
        assert self._done.wait(60), "the test never answered this pull"
        if self.cancelled:
            raise grpc.FutureCancelledError
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


class Subscriber:
    """A SubscriberClient: pulls are answered by the test, errors of the others are scripted."""

    def __init__(self):
        self.pulls = []
        self.acked = []
        self.acks = []
        self.extended = []
        self.ack_errors = deque()
        self.modify_errors = deque()
        self.away = None
        self._lock = threading.Lock()
        self.transport = self
        self.pull = self

    def future(self, request, timeout=None, metadata=()):
        assert timeout, "a pull without a deadline"
        assert metadata == [("x-goog-request-params", f"subscription={request.subscription}")]
        call = PullCall(request, timeout)
        with self._lock:
            self.pulls.append(call)
        return call

    def acknowledge(self, *, subscription, ack_ids, timeout, retry):
        self._called(timeout, retry)
        with self._lock:
            self.acks.append(list(ack_ids))
            if self.ack_errors:
                raise self.ack_errors.popleft()
            self.acked += ack_ids

    def modify_ack_deadline(self, *, subscription, ack_ids, ack_deadline_seconds, timeout, retry):
        self._called(timeout, retry)
        with self._lock:
            self.extended.append((list(ack_ids), ack_deadline_seconds))
            if self.modify_errors:
                raise self.modify_errors.popleft()

    def _called(self, timeout, retry):
        _bounded(timeout, retry)
        if self.away is not None:
            with self._lock:
                self.away.append(timeout)
            raise exceptions.ServiceUnavailable("connection refused")


def received(ack_id, data=b"{}", attributes=None, seconds=1_700_000_000, nanos=123_456_789):
    """One message as a pull delivers it."""
    return {
        "ack_id": ack_id,
        "message": {
            "data": data,
            "attributes": attributes or {},
            "message_id": f"id-{ack_id}",
            "publish_time": {"seconds": seconds, "nanos": nanos},
        },
    }


class Publisher:
    """A PublisherClient: a topic in memory that refuses what the test says.

    Args:
        refuses: Whether a message's data is refused as such (InvalidArgument for its request).
    """

    def __init__(self, refuses=lambda data: False):
        self.errors = deque()
        self.requests = []
        self.published = []
        self._refuses = refuses

    def publish(self, *, topic, messages, timeout, retry):
        _bounded(timeout, retry)
        self.requests.append((topic, len(messages)))
        if self.errors:
            raise self.errors.popleft()
        if any(self._refuses(message["data"]) for message in messages):
            raise exceptions.InvalidArgument("one of them will not do")
        self.published += [(message["data"], message["attributes"]) for message in messages]


# Storage Write ----------------------------------------------------------------------------------

_Code = StorageError.StorageErrorCode
_REQUEST_LIMIT = 10_000_000


class Stream:
    """A write stream: which table, how many rows, whether it takes more."""

    def __init__(self, table):
        self.table = table
        self.row_count = 0
        self.finalized = False


class StorageWrite:
    """A BigQueryWriteClient on tables in memory, strict where the service is.

    A row whose `payload` is no JSON is refused and named; one whose `auth_type` is `unnamed` has
    its request refused without being named.

    Args:
        encoder: Reads the rows of every table.

    Attributes:
        tables: Rows by the table's full name; a table that is not there is missing.
        lacks: Columns that the service does not know.
        names_at_once: How many bad rows of a request it names at the most; None for all.
        answers: What the service says to the next requests, in order, '' for yes: a callable that
            is given the stream's name and returns a response's error, or raises RpcError.
    """

    def __init__(self, encoder):
        self.tables = {}
        self.lacks = set()
        self.answers = deque()
        self.creates = deque()
        self.names_at_once = None
        self.transport = self
        self._encoder = encoder
        self._streams = {}
        self._made = 0
        self._lock = threading.RLock()

    def create_write_stream(self, *, parent, write_stream, timeout, retry):
        _bounded(timeout, retry)
        assert write_stream.type_ == WriteStream.Type.COMMITTED
        with self._lock:
            if self.creates and (error := self.creates.popleft()):
                raise error
            if parent not in self.tables:
                raise exceptions.NotFound("Requested entity was not found")
            self._made += 1
            name = f"{parent}/streams/s{self._made}"
            self._streams[name] = Stream(parent)
            return WriteStream(name=name)

    def finalize_write_stream(self, *, name, timeout, retry):
        _bounded(timeout, retry)
        with self._lock:
            stream = self._streams.get(name)
            if stream is None:
                raise exceptions.NotFound("Requested entity was not found")
            stream.finalized = True
            return FinalizeWriteStreamResponse(row_count=stream.row_count)

    def append_rows(self, requests, metadata):
        [(header, value)] = metadata
        assert header == "x-goog-request-params"
        return _AppendCall(self, requests, value.removeprefix("write_stream="))

    def forget_streams(self):
        """As a restarted service does."""
        with self._lock:
            self._streams.clear()

    def append(self, request, schema):
        """Applies one request; returns the response, or raises RpcError."""
        with self._lock:
            if self.answers and (answer := self.answers.popleft()):
                return answer(request.write_stream)
            stream = self._streams.get(request.write_stream)
            if stream is None:
                raise _ended(grpc.StatusCode.NOT_FOUND, _Code.STREAM_NOT_FOUND)
            if stream.table not in self.tables:
                raise _ended(grpc.StatusCode.NOT_FOUND, _Code.TABLE_NOT_FOUND)
            serialized = request.proto_rows.rows.serialized_rows
            decoded = [self._encoder.decode(data) for data in serialized]
            refused = self._refused(request, schema, stream)
            refused = refused or _refused_rows(decoded, self.names_at_once)
            if refused:
                return refused
            self.tables[stream.table] += decoded
            stream.row_count += len(decoded)
            return AppendRowsResponse(append_result={"offset": stream.row_count - len(decoded)})

    def _refused(self, request, schema, stream):
        """Why the stream does not take the request, whatever its rows; None when it does."""
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        if AppendRowsRequest.pb(request).ByteSize() > _REQUEST_LIMIT:
            return refusal(invalid, message="MessageSize is too large")
        if stream.finalized:
            return refusal(invalid, _Code.STREAM_FINALIZED)
        if request.offset < stream.row_count:
            return refusal(grpc.StatusCode.ALREADY_EXISTS, _Code.OFFSET_ALREADY_EXISTS)
        if request.offset > stream.row_count:
            return refusal(grpc.StatusCode.OUT_OF_RANGE, _Code.OFFSET_OUT_OF_RANGE)
        if self.lacks & {field.name for field in schema.field}:
            return refusal(invalid, _Code.SCHEMA_MISMATCH_EXTRA_FIELDS)
        return None


def _refused_rows(decoded, names_at_once):
    """Why rows are refused for their content: those that are no JSON are named."""
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    if named := [i for i, row in enumerate(decoded) if not _is_json(row["payload"])]:
        return refusal(invalid, rows=named[:names_at_once])
    if any(row["auth_type"] == "unnamed" for row in decoded):
        return refusal(invalid, message="something will not do")
    return None


class _AppendCall:
    """One AppendRows call: the first request brings the writer's schema, the others do without."""

    def __init__(self, service, requests, stream):
        self._service = service
        self._requests = requests
        self._stream = stream
        self._cancelled = False

    def __iter__(self):
        schema = None
        for request in self._requests:
            assert request.write_stream == self._stream, "routed elsewhere"
            if schema is None:
                schema = request.proto_rows.writer_schema.proto_descriptor
                assert schema.field, "the first request of a connection has no schema"
            answer = self._service.append(request, schema)
            if self._cancelled:
                raise RpcError(grpc.StatusCode.CANCELLED, "cancelled")
            yield answer

    def cancel(self):
        self._cancelled = True


def refusal(code, storage=None, *, message="", rows=()):
    """A response that refuses one request; the call goes on."""
    return AppendRowsResponse(
        error=status_pb2.Status(
            code=code.value[0], message=message or code.name, details=_details(storage)
        ),
        row_errors=[RowError(index=index, code=1, message=f"bad row {index}") for index in rows],
    )


def _ended(code, storage):
    return RpcError(code, code.name, _details(storage))


def _details(storage):
    if storage is None:
        return []
    detail = any_pb2.Any()
    detail.Pack(StorageError.pb(StorageError(code=storage, error_message=storage.name)))
    return [detail]


def _is_json(text):
    if text is None:
        return True
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _bounded(timeout, retry):
    assert timeout, "a call without a deadline"
    assert retry is None, "a call that retries by itself"
