"""The `structured` layout: fixed columns, the declared ones, and the whole document as JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.event import Event
from schemas.flatten import flatten, json_text
from schemas.shaping import Plan, check_partition, event_time, require_fields
from schemas.table import Column, Type

START = (
    Column("event_id", Type.STRING, description="Who the event is; a repeat carries the same."),
    Column(
        "issue_id", Type.STRING, description="For people: FS- or INC- and 8 digits, not unique."
    ),
    Column("issue_key", Type.STRING, description="The document's full name, or a manual event_id."),
    Column(
        "source", Type.STRING, description="manual-api, firestore-eventarc or firestore-import."
    ),
    Column("created_at", Type.TIMESTAMP, description="When it happened, by the event."),
    Column("update_time", Type.TIMESTAMP, description="The document's own; orders its events."),
    Column("event_type", Type.STRING, description="The CloudEvent's type."),
    Column("operation", Type.STRING, description="CREATE, UPDATE, DELETE, MANUAL or IMPORT."),
    Column("document_name", Type.STRING, description="The document's full name."),
    Column("document_path", Type.STRING, description="Its path inside the database."),
    Column("document_id", Type.STRING, description="Its last segment."),
    Column("collection", Type.STRING, description="The innermost collection's id."),
    Column(
        "changed_fields",
        Type.STRING,
        repeated=True,
        description="Leaf paths that an UPDATE changed, in Firestore's quoting.",
    ),
)
END = (
    Column(
        "type_errors",
        Type.STRING,
        repeated=True,
        description="Fields that did not fit their column, or numbers kept as text in payload.",
    ),
    Column("payload", Type.JSON, description="The document's fields, or the manual body, whole."),
    Column("old_payload", Type.JSON, description="The document's fields before the event."),
    Column("auth_type", Type.STRING, description="Who changed it: kind of principal."),
    Column("auth_id", Type.STRING, description="Who changed it."),
    Column("publish_time", Type.TIMESTAMP, description="When Pub/Sub took the message."),
    Column("ingest_time", Type.TIMESTAMP, description="When the job shaped the row."),
)

PARTITION = "created_at"
CLUSTERING = ("issue_key", "operation")


def columns(parameters: Sequence[Column], declared: Sequence[Column]) -> tuple[Column, ...]:
    """The table's columns, without `raw`."""
    return (*START, *parameters, *declared, *END)


def shape(event: Event, plan: Plan, parameters: Mapping[str, str], now: int) -> dict[str, Any]:
    """A value for each column, without `raw`.

    Args:
        event: What happened.
        plan: Of the table.
        parameters: Of the path pattern that matched.
        now: Microseconds since the epoch; becomes `ingest_time`.

    Raises:
        Unshapeable: One of its classes.
    """
    require_fields(event)
    created_at = event_time(event)
    check_partition(PARTITION, created_at, now)
    fields = None if event.fields is None else plan.kept(event.fields)
    old_fields = None if event.old_fields is None else plan.kept(event.old_fields)
    values = {
        "event_id": event.event_id,
        "issue_id": event.issue_id,
        "issue_key": event.issue_key,
        "source": event.source,
        "created_at": created_at,
        "update_time": event.update_time,
        "event_type": event.event_type,
        "operation": event.operation,
        "document_name": event.document_name,
        "document_path": event.document_path,
        "document_id": event.document_id,
        "collection": event.collection,
        "changed_fields": plan.kept_paths(event.changed_fields),
        "payload": None if fields is None else json_text(fields),
        "old_payload": None if old_fields is None else json_text(old_fields),
        "auth_type": event.auth_type,
        "auth_id": event.auth_id,
        "publish_time": event.message.publish_time or None,
        "ingest_time": now,
    }
    for name in plan.parameters:
        values[name] = parameters.get(name)
    errors = flatten((old_fields if fields is None else fields) or {}, plan.slots, values)
    if event.flat is not None and event.created_at is None:
        errors.append("created_at")
    values["type_errors"] = [*errors, *plan.kept_paths(event.inexact)]
    return values
