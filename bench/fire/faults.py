"""Every kind of fault that the native sink is put under."""

import grpc
from google.cloud.bigquery_storage_v1.types import StorageError

from local.fault import AFTER, APPEND, BEFORE, CREATE, DURING, FINALIZE, Fault

_Code = StorageError.StorageErrorCode

DEADLINE = 1.0
"""How long the sink waits for an answer here, in seconds; 30 in production."""

# Codes that say nothing about the request; `pipeline.outages.TRANSIENT` has the reasons.
_TRANSIENT = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
)

_QUICK_APPENDS = (
    *(Fault(APPEND, "code", when, code) for code in _TRANSIENT for when in (BEFORE, AFTER)),
    *(Fault(APPEND, "refusal", code=code) for code in _TRANSIENT),
    *(Fault(APPEND, what, when) for what in ("end", "reset") for when in (BEFORE, AFTER)),
    *(Fault(APPEND, "finalized", when) for when in (BEFORE, AFTER)),
    Fault(APPEND, "slow", DURING, seconds=DEADLINE / 3),
    Fault(APPEND, "unnamed", DURING),
    Fault(APPEND, "one named", DURING),
    Fault(APPEND, "code", BEFORE, grpc.StatusCode.NOT_FOUND, _Code.TABLE_NOT_FOUND),
    Fault(
        APPEND,
        "refusal",
        code=grpc.StatusCode.INVALID_ARGUMENT,
        storage=_Code.SCHEMA_MISMATCH_EXTRA_FIELDS,
    ),
)
SILENT_APPENDS = (
    Fault(APPEND, "silence", BEFORE),
    Fault(APPEND, "silence", AFTER),
    Fault(APPEND, "late", DURING, seconds=0.0),
    Fault(APPEND, "late", DURING, seconds=0.7),
)
"""Each costs the sink its whole deadline, and leaves it without knowledge of the outcome."""

OVERTAKEN = Fault(APPEND, "late", DURING, seconds=3.0)
"""Late enough for the sink to have left the stream, and written the rows to another."""

_KILLS = (
    Fault(APPEND, "kill", BEFORE),
    Fault(APPEND, "kill", AFTER),
    Fault(APPEND, "kill", DURING),
    Fault(APPEND, "kill", DURING, seconds=0.004),
)
_UNARY = tuple(
    Fault(call, what, when)
    for call in (CREATE, FINALIZE)
    for what in ("code", "reset")
    for when in (BEFORE, AFTER)
)
_SILENT_UNARY = tuple(
    Fault(call, "silence", when) for call in (CREATE, FINALIZE) for when in (BEFORE, AFTER)
)
_RARE_UNARY = (
    Fault(CREATE, "code", BEFORE, grpc.StatusCode.NOT_FOUND, _Code.TABLE_NOT_FOUND),
    Fault(FINALIZE, "code", AFTER, grpc.StatusCode.INTERNAL),
    Fault(FINALIZE, "kill", BEFORE),
    Fault(FINALIZE, "kill", AFTER),
)

ALL = (*_QUICK_APPENDS, *SILENT_APPENDS, OVERTAKEN, *_KILLS, *_UNARY, *_SILENT_UNARY, *_RARE_UNARY)
"""Each kind, once."""

# What costs seconds is drawn less often than what costs a moment.
WEIGHTED = (
    *_QUICK_APPENDS * 4,
    *SILENT_APPENDS * 4,
    *_KILLS * 2,
    *_UNARY * 5,
    *_SILENT_UNARY * 2,
    *_RARE_UNARY,
    OVERTAKEN,
)
"""To draw from: each kind as often as its cost allows."""
