"""What a refusal of Storage Write means for the rows that were sent, told apart by StorageError.

| meaning | the service says | then |
|---|---|---|
| `Late` | the table is missing, or a field is extra: it may be new | wait, while BigQuery has it |
| `StreamEnded` | the stream is gone, finalized or elsewhere | settle what it holds, open another |
| `BatchRefused` | the request is invalid, and no row is named | halve it until the row is found |
| any other | an outage, or what ends the job | `pipeline.outages` |

https://cloud.google.com/bigquery/docs/reference/storage/rpc/google.cloud.bigquery.storage.v1 has
the codes (StorageError).
"""

from collections.abc import Iterable
from typing import Any

import grpc
from google.api_core import exceptions
from google.cloud.bigquery_storage_v1.types import StorageError
from google.protobuf import any_pb2

_Code = StorageError.StorageErrorCode
_LATE = {
    _Code.TABLE_NOT_FOUND: "the table is new to Storage Write",
    _Code.SCHEMA_MISMATCH_EXTRA_FIELDS: "a column is new to Storage Write",
}
_STREAM_ENDED = {
    _Code.STREAM_NOT_FOUND,
    _Code.STREAM_FINALIZED,
    _Code.INVALID_STREAM_STATE,
    _Code.OFFSET_OUT_OF_RANGE,
    _Code.STREAM_ALREADY_COMMITTED,
}
_ENDED = (
    exceptions.NotFound,  # the stream, since a missing table has a code of its own
    exceptions.OutOfRange,
    exceptions.FailedPrecondition,
)
REFUSALS = (exceptions.InvalidArgument, *_ENDED)
"""Errors that end a call and say something about the request; `of_call` tells what."""

_STATUS = {code.value[0]: code for code in grpc.StatusCode}


class Late(Exception):
    """The service does not know a table or column yet that BigQuery has."""


class StreamEnded(Exception):
    """The stream takes no more rows; whether it has the last ones is not known."""


class BatchRefused(Exception):
    """The service refused the request without naming a row."""


def table_is_late(error: exceptions.NotFound) -> Late:
    """What NOT_FOUND means where a stream is made: there the table alone can be missing."""
    return Late(f"{_LATE[_Code.TABLE_NOT_FOUND]}: {error.message}")


def of_call(error: exceptions.GoogleAPICallError) -> Exception:
    """What one of `REFUSALS` means, by the StorageError among its details."""
    return _told_apart(_storage_code(error.details), error)


def of_response(status: Any) -> Exception | None:
    """What the `error` of a response means; None where it says that its offset is written.

    Args:
        status: A `google.rpc.Status`.
    """
    code = _storage_code(status.details)
    error = exceptions.from_grpc_status(_STATUS[status.code], status.message)
    if code == _Code.OFFSET_ALREADY_EXISTS or isinstance(error, exceptions.AlreadyExists):
        return None
    return _told_apart(code, error)


def _told_apart(code: int, error: Exception) -> Exception:
    if code in _LATE:
        return Late(f"{_LATE[code]}: {error}")
    if code in _STREAM_ENDED or isinstance(error, _ENDED):
        return StreamEnded(str(error))
    if isinstance(error, exceptions.InvalidArgument):
        return BatchRefused(str(error))
    return error


def _storage_code(details: Iterable[Any]) -> int:
    """The StorageError code among a status's details; 0 when there is none."""
    for detail in details:
        error = StorageError.pb()()
        if isinstance(detail, any_pb2.Any) and detail.Unpack(error):
            return int(error.code)
    return 0
