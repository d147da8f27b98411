"""The `changelog` layout: the `*_raw_changelog` of the extension firestore-bigquery-export.

For the same event the same columns, types and JSON text (`schemas.changelog_json`), so that queries
and views written for the extension go on; `docs/changelog-layout.md` lists what differs.

A manual issue, which the extension does not know, is a row of its own: `operation` MANUAL,
`document_name` the `event_id`, by which the views tell issues apart, `document_id` the `issue_id`,
`data` the body, with every number as it was written, and no `path_params`. A flat message is the
same, with its own `issue_id` and payload; where its source is not `manual-api`, nothing says what
happened, and `operation`, which the extension's tables require, is UNKNOWN.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from schemas.changelog_json import body, json_text, sides
from schemas.event import DELETE, Event
from schemas.routing import Pattern, parse_collection
from schemas.shaping import Plan, check_partition, event_time, require_fields
from schemas.table import Column, Type

COLUMNS = (
    Column("timestamp", Type.TIMESTAMP, description="When it happened, by the event."),
    Column("event_id", Type.STRING, description="Who the event is; a repeat carries the same."),
    Column(
        "document_name", Type.STRING, description="The document's full name, or a manual event_id."
    ),
    Column("operation", Type.STRING, description="CREATE, UPDATE, DELETE, MANUAL; else UNKNOWN."),
    Column("data", Type.STRING, description="The fields as JSON; NULL in a DELETE."),
    Column("old_data", Type.STRING, description="The fields before as JSON; NULL in a CREATE."),
    Column("document_id", Type.STRING, description="The document's id, or a manual issue_id."),
    Column(
        "path_params",
        Type.STRING,
        description="JSON of the path pattern's parameters but the document's own.",
    ),
)
"""In the order of the extension's table; `latest` views have an order of their own."""

UNKNOWN = "UNKNOWN"

PARTITION = "timestamp"
CLUSTERING = ("document_name",)


def columns(parameters: Sequence[Column], declared: Sequence[Column]) -> tuple[Column, ...]:  # noqa: ARG001
    """The eight columns; what the file declares is in the typed views."""
    return COLUMNS


def shape(event: Event, plan: Plan, parameters: Mapping[str, str], now: int) -> dict[str, Any]:
    """A value for each column, without `raw`.

    Args:
        event: What happened.
        plan: Of the table.
        parameters: Of the path pattern that matched.
        now: Microseconds since the epoch.

    Raises:
        Unshapeable: One of its classes.
    """
    require_fields(event)
    timestamp = event_time(event)
    check_partition(PARTITION, timestamp, now)
    values: dict[str, Any] = {
        "timestamp": timestamp,
        "event_id": event.event_id,
        "document_name": event.issue_key,
        "operation": event.operation or UNKNOWN,
        "data": None,
        "old_data": None,
        "document_id": event.document_id or event.issue_id,
        "path_params": None,
    }
    if event.document_name is None:
        text = event.message.data if event.flat is None else event.flat["payload"]
        values["data"] = json_text(plan.kept(body(text)))
        return values
    new, old = sides(event.message)
    if event.operation != DELETE:
        values["data"] = json_text(plan.kept(new))
    if event.old_fields is not None:
        values["old_data"] = json_text(plan.kept(old))
    values["path_params"] = json_text(_parents(event, plan.table.collections, parameters))
    return values


def _parents(
    event: Event, collections: tuple[str, ...], parameters: Mapping[str, str]
) -> dict[str, str]:
    """The parameters without the document's own, which the extension has no name for."""
    given = dict(parameters)
    segments = str(event.document_path).split("/")
    ids = segments[1::2]
    for pattern in _patterns(collections) if given else ():
        if pattern.collections == tuple(segments[::2]) and pattern.match(ids):
            given.pop(pattern.parameters[-1], None)
            break
    return given


@functools.cache
def _patterns(collections: tuple[str, ...]) -> tuple[Pattern, ...]:
    """In the order in which `schemas.routing` tries them."""
    found = [pattern for text in collections if (pattern := parse_collection(text)) is not None]
    return tuple(sorted(found, key=lambda pattern: [id_ is None for id_ in pattern.documents]))
