"""The `flat` layout: the four STRING columns of the older contract.

It has no id, so no views that drop repeats, and is at least once after a kill.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.event import FLAT_KEYS, Event
from schemas.flatten import json_text
from schemas.shaping import Plan, event_time, require_fields
from schemas.table import Column, Type
from schemas.times import format_micros

COLUMNS = (
    Column("issue_id", Type.STRING, description="For people; a document has one, not unique."),
    Column(
        "source", Type.STRING, description="manual-api, firestore-eventarc or firestore-import."
    ),
    Column(
        "created_at", Type.STRING, description="RFC 3339 in UTC with six decimals; sorts as text."
    ),
    Column("payload", Type.STRING, description="The fields as JSON text."),
)


def columns(parameters: Sequence[Column], declared: Sequence[Column]) -> tuple[Column, ...]:  # noqa: ARG001
    """The four columns, whatever the file declares."""
    return COLUMNS


def shape(event: Event, plan: Plan, parameters: Mapping[str, str], now: int) -> dict[str, Any]:  # noqa: ARG001
    """A value for each column: a flat message as it came, an event as the older publisher had it.

    Raises:
        Unshapeable: One of its classes.
    """
    if event.flat is not None and not plan.dropped:
        return {key: event.flat[key] for key in FLAT_KEYS}
    require_fields(event)
    fields = event.old_fields if event.fields is None else event.fields
    payload = json_text(plan.kept(fields or {}))
    if event.flat is not None:
        return {**{key: event.flat[key] for key in FLAT_KEYS}, "payload": payload}
    return {
        "issue_id": event.issue_id,
        "source": event.source,
        "created_at": format_micros(event_time(event)),
        "payload": payload,
    }
