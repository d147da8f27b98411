"""Whether a stream takes a request, judged before its rows are read.

Codes and words are those that the integration tests of Google's Java client expect of the
service.
"""

from typing import Any

import grpc
from bqemulator.streaming.write_stream import WriteStreamState, WriteStreamType

from local.bigquery_emulator.refusals import Code, Refused


def check_size(size: int, limit: int, entity: str) -> None:
    """Refuses a request of more than `limit` bytes."""
    if size > limit:
        raise Refused(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"MessageSize is too large. Max allow: {limit} Actual: {size}",
            entity=entity,
        )


def admit(stream: Any, offset: int | None) -> None:
    """Refuses an append that the stream can't take at that offset, before its rows are read."""
    if stream.state is not WriteStreamState.OPEN:
        raise Refused(
            grpc.StatusCode.INVALID_ARGUMENT,
            "Stream has been finalized and cannot be appended.",
            entity=stream.name,
            storage=Code.STREAM_FINALIZED,
        )
    if offset is None:
        return
    if stream.stream_type is WriteStreamType.DEFAULT:
        raise Refused(
            grpc.StatusCode.INVALID_ARGUMENT,
            "Default stream cannot be appended with an offset.",
            entity=stream.name,
            storage=Code.INVALID_STREAM_TYPE,
        )
    check_offset(stream, offset, stream.next_offset, stream.next_offset)


def check_offset(stream: Any, offset: int, first: int, last: int) -> None:
    """Refuses an offset that is not within first..last."""
    if offset < first:
        raise Refused(
            grpc.StatusCode.ALREADY_EXISTS,
            f"The offset is within stream, expected offset {first}, received {offset}",
            entity=stream.name,
            storage=Code.OFFSET_ALREADY_EXISTS,
        )
    if offset > last:
        raise Refused(
            grpc.StatusCode.OUT_OF_RANGE,
            f"The offset is beyond stream, expected offset {last}, received {offset}",
            entity=stream.name,
            storage=Code.OFFSET_OUT_OF_RANGE,
        )
