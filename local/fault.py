"""One fault of a call of BigQuery's Storage Write, and what a caller hears of it."""

from dataclasses import dataclass
from typing import Any

import grpc
from google.cloud.bigquery_storage_v1.types import AppendRowsResponse, StorageError
from google.protobuf import any_pb2
from google.rpc import status_pb2

APPEND, CREATE, FINALIZE = "append", "create", "finalize"
"""The calls."""

BEFORE, DURING, AFTER = "before", "during", "after"
"""When it happens: before the server has the call, nobody knows, after it was carried out."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Args:
        call: `append`, `create` or `finalize`.
        what: `code` (the call ends with it), `refusal` (a response says it; the connection
            stays), `end` (the call ends as if all were well), `reset` (of every connection),
            `silence` (no answer, until the caller gives up), `slow`, `late` (the request arrives
            only after the caller has given it up), `finalized` (the stream, behind the caller's
            back), `kill` (the server, which starts again on its data), `unnamed` (a refusal names
            none of its rows), `one named` (it names the first alone).
        when: `before` the server has the call, `after` it was carried out; `during`: nobody
            knows.
        code: Of `code` and `refusal`.
        storage: The StorageError code of both; 0 for none.
        seconds: Of `slow`: how long; of `late`: how long after the caller gave up.
    """

    call: str
    what: str
    when: str = BEFORE
    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    storage: int = 0
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """What the ledger calls it."""
        what = self.what
        if what in ("code", "refusal"):
            what = StorageError.StorageErrorCode(self.storage).name if self.storage else ""
            what = f"{what or self.code.name}{' in an answer' if self.what == 'refusal' else ''}"
        if self.what in ("refusal", "slow", "unnamed", "one named"):
            return f"{self.call}: {what}"
        if self.what == "late":
            return f"{self.call}: late, by {self.seconds} s"
        return f"{self.call}: {what} {self.when}"


def _status(fault: Fault) -> Any:
    status = status_pb2.Status(code=fault.code.value[0], message=f"a fault: {fault.name}")
    if fault.storage:
        detail = any_pb2.Any()
        detail.Pack(StorageError.pb(StorageError(code=fault.storage)))
        status.details.append(detail)
    return status


def trailer(fault: Fault) -> tuple[tuple[str, bytes], ...]:
    """The metadata that end a call with it: the StorageError code, if it has one."""
    if not fault.storage:
        return ()
    return (("grpc-status-details-bin", _status(fault).SerializeToString()),)


def refusal(fault: Fault) -> bytes:
    """The serialized response that says it, while the call goes on."""
    serialized: bytes = AppendRowsResponse.serialize(AppendRowsResponse(error=_status(fault)))
    return serialized
