"""Refusals in Storage Write's own form: a status with a StorageError in its details.

Google's reference of `google.cloud.bigquery.storage.v1` names the codes; the words and the gRPC
codes are those that the integration tests of Google's Java client expect of the service.
"""

from collections.abc import Iterable
from typing import Any

import grpc
from google.cloud.bigquery_storage_v1 import types
from google.protobuf import any_pb2
from google.rpc import status_pb2

Code = types.StorageError.StorageErrorCode


class Refused(Exception):
    """A request that is answered with an error; nothing of it was stored.

    Args:
        code: The gRPC code.
        message: What is wrong, without the entity.
        entity: The resource name of the stream or table at fault.
        storage: The StorageError's code; None where the service gives none.
        row_errors: The rows at fault, as (index in the request, message).
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        *,
        entity: str,
        storage: Any = None,
        row_errors: Iterable[tuple[int, str]] = (),
    ) -> None:
        text = f"{message} Entity: {entity}"
        super().__init__(text)
        self.status = status_pb2.Status(code=code.value[0], message=text)
        self._code = code
        self._row_errors = tuple(row_errors)
        if storage is not None:
            error = types.StorageError(code=storage, entity=entity, error_message=text)
            detail = any_pb2.Any()
            detail.Pack(types.StorageError.pb(error))
            self.status.details.append(detail)

    def response(self, stream: str) -> bytes:
        """The serialized AppendRowsResponse that refuses one request; the call goes on."""
        fields = types.RowError.RowErrorCode.FIELDS_ERROR
        answer = types.AppendRowsResponse(
            error=self.status,
            write_stream=stream,
            row_errors=[
                types.RowError(index=index, code=fields, message=message)
                for index, message in self._row_errors
            ],
        )
        serialized: bytes = types.AppendRowsResponse.serialize(answer)
        return serialized

    def end(self, context: Any) -> None:
        """Ends the call with this status, its details in the `grpc-status-details-bin` trailer."""
        context.set_code(self._code)
        context.set_details(self.status.message)
        context.set_trailing_metadata(
            (("grpc-status-details-bin", self.status.SerializeToString()),)
        )


def not_found(entity: str, storage: Any) -> Refused:
    """The service's answer for a stream or table that is not there."""
    return Refused(
        grpc.StatusCode.NOT_FOUND,
        "Requested entity was not found.",
        entity=entity,
        storage=storage,
    )
