"""An event: what a message says, whichever of the four forms it came in.

- A Firestore change: `ce-type` is `google.cloud.firestore.document.v1.` and `created`, `updated`,
  `deleted` or `written`, with or without `.withAuthContext`; data is a DocumentEventData.
- A manual issue: `ce-type` is `issues.manual.created`; data is a JSON object.
- A flat message, of the older publisher: no `ce-` attributes; data is a JSON object of the four
  strings `issue_id`, `source`, `created_at`, `payload`.
- A row that came back as a dead letter (`schemas.restored`): `dead_letter_data` is `row`.

Everything else raises, and becomes a dead letter: never a half-read row.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from schemas import firestore
from schemas.checked import frozen
from schemas.exact_json import NoJsonObject, kind_of, parse_object
from schemas.failure import DATA, DATA_ROW
from schemas.firestore import InvalidEventData, InvalidValue, Json
from schemas.message import (
    CE_SUBJECT,
    CE_TIME,
    CE_TYPE,
    CONTENT_TYPE,
    ISSUE_ID,
    MANUAL_TYPE,
    Message,
    issue_id_of_document,
    issue_id_of_manual,
)
from schemas.sides import read_sides
from schemas.times import MAX_MICROS, MIN_MICROS, parse_rfc3339

MANUAL_SOURCE = "manual-api"
FIRESTORE_SOURCE = "firestore-eventarc"
FLAT_KEYS = ("issue_id", "source", "created_at", "payload")

CREATE, UPDATE, DELETE, MANUAL = "CREATE", "UPDATE", "DELETE", "MANUAL"

_FIRESTORE_PREFIX = "google.cloud.firestore.document.v1."
_FIRESTORE_TYPES = {
    f"{_FIRESTORE_PREFIX}{kind}{suffix}": kind
    for kind in ("created", "updated", "deleted", "written")
    for suffix in ("", ".withAuthContext")
}
_DOCUMENT_NAME = re.compile(
    r"projects/[^/]+/databases/[^/]+/documents/((?:[^/]+/[^/]+/)*([^/]+)/([^/]+))", re.DOTALL
)


class Undecodable(Exception):
    """A message that is no event that this system knows; the class's name is the error's."""


class NoData(Undecodable):
    """Eventarc sends an event over its size limit without data; an empty message is alike."""


class UnsupportedType(Undecodable):
    """The event's type is not one of those above."""


class InvalidDocument(Undecodable):
    """The bytes are no whole Firestore document event."""


class InvalidJson(Undecodable):
    """The data are not the JSON object that this kind of message holds."""


class InvalidAttribute(Undecodable):
    """An attribute that the event needs is not what it must be."""


@frozen
class Event:
    """What a message says.

    Args:
        message: The message, which rides along.
        event_id: Who the event is (`Message.event_id`).
        issue_id: For people; eight digits, so nothing keys on it.
        issue_key: The document's full name, or a manual or flat issue's `event_id`.
        source: `manual-api`, `firestore-eventarc`, or what a flat message says.
        event_type: The CloudEvent's type; None for a flat message.
        operation: CREATE, UPDATE, DELETE, MANUAL; None for a flat message of another source.
        created_at: Microseconds since the epoch: `ce-time` (a flat message's `created_at`), else
            the document's update time, else the publish time; None when none of them is there.
        fields: The document's fields, or the manual body, as JSON; None in a DELETE.
        old_fields: The document's fields before; None when the event has no old side.
        document_name: Full name; None without a document, as the next three.
        document_path: Inside its database.
        document_id: Its last segment.
        collection: The innermost collection's id.
        update_time: Of the value, else of the old value; microseconds, or None.
        changed_fields: Leaf paths in Firestore's quoting; () unless UPDATE.
        inexact: Paths of numbers kept as strings, since BigQuery's JSON would round them.
        auth_type: From `withAuthContext` events.
        auth_id: From `withAuthContext` events.
        flat: The four strings of a flat message; None for the others.
    """

    message: Message
    event_id: str
    issue_id: str
    issue_key: str
    source: str
    event_type: str | None
    operation: str | None
    created_at: int | None
    fields: Mapping[str, Json] | None
    old_fields: Mapping[str, Json] | None = None
    document_name: str | None = None
    document_path: str | None = None
    document_id: str | None = None
    collection: str | None = None
    update_time: int | None = None
    changed_fields: tuple[str, ...] = ()
    inexact: tuple[str, ...] = ()
    auth_type: str | None = None
    auth_id: str | None = None
    flat: Mapping[str, str] | None = None

    def __reduce__(self) -> tuple[Callable[[Message], "Event | RestoredRow"], tuple[Message]]:
        """Pickles as its message, which says all: pickle's recursion ends before JSON's 500 levels.

        Beam pickles elements even where it need not, to sample their size.
        """
        return decode_message, (self.message,)


@dataclass(frozen=True, slots=True)
class RestoredRow:
    """A message whose data are a row, which was shaped once already."""

    message: Message


def decode_message(message: Message) -> Event | RestoredRow:
    """Reads a message as an event.

    Raises:
        Undecodable: One of its classes above, with a sentence that names the place.
    """
    attributes = message.lowered()
    if attributes.get(DATA) == DATA_ROW:
        return RestoredRow(message)
    type_ = attributes.get(CE_TYPE, "")
    kind = _FIRESTORE_TYPES.get(type_)
    if kind is not None:
        return _firestore(message, attributes, type_, kind)
    if type_ == MANUAL_TYPE:
        return _manual(message)
    if type_:
        raise UnsupportedType(
            f"{CE_TYPE} {type_[:200]!r} is neither a Firestore document event "
            f"({_FIRESTORE_PREFIX}created, updated, deleted or written) nor {MANUAL_TYPE}"
        )
    if not any(name.startswith("ce-") for name in attributes):
        return _flat(message)
    raise InvalidAttribute(f"the message has ce- attributes but no {CE_TYPE}")


def _firestore(message: Message, attributes: Mapping[str, str], type_: str, kind: str) -> Event:
    if not message.data:
        raise NoData(
            "a Firestore event without data: it was larger than Eventarc carries, or empty; "
            f"document by {CE_SUBJECT}: {attributes.get(CE_SUBJECT, '')[:500] or 'unknown'}"
        )
    try:
        data = firestore.parse_event_data(message.data, attributes.get(CONTENT_TYPE, ""))
    except InvalidEventData as error:
        raise InvalidDocument(str(error)) from error
    # A side without a name is absent: Google's test documents carry present but empty ones.
    value, old_value = data.value, data.old_value
    new_name, old_name = value.name, old_value.name
    operation = _operation(kind, new_name, old_name)
    current: Any = value if new_name else old_value
    name: str = new_name or old_name
    match = _DOCUMENT_NAME.fullmatch(name)
    if match is None:
        raise InvalidDocument(f"{name[:500]!r} is not a document's full name")
    if old_name and old_name != name:
        raise InvalidDocument(
            f"old_value is of another document: {old_name[:500]!r}, not {name[:500]!r}"
        )
    update_time = _update_time(current)
    if not old_name and kind in ("written", "updated") and _changed_since_created(current):
        raise InvalidDocument(
            "the document's update_time is later than its create_time, so it was there before, "
            "yet old_value is not in the event: the data were cut short"
        )
    try:
        sides = read_sides(data, has_new=bool(new_name), has_old=bool(old_name))
    except InvalidValue as error:
        raise InvalidDocument(str(error)) from error
    return Event(
        message=message,
        event_id=message.event_id,
        issue_id=issue_id_of_document(name),
        issue_key=name,
        source=FIRESTORE_SOURCE,
        event_type=type_,
        operation=operation,
        created_at=_created_at(message, update_time),
        fields=sides.new,
        old_fields=sides.old,
        document_name=name,
        document_path=match[1],
        document_id=match[3],
        collection=match[2],
        update_time=update_time,
        changed_fields=sides.changed if operation == UPDATE else (),
        auth_type=attributes.get("ce-authtype") or None,
        auth_id=attributes.get("ce-authid") or None,
    )


def _operation(kind: str, new: str, old: str) -> str:
    """The operation, where type and sides agree; `written` is told by its sides' names."""
    if not new and not old:
        raise NoData("a Firestore event in which neither value nor old_value names a document")
    if kind == "written":
        return DELETE if not new else CREATE if not old else UPDATE
    if kind == "deleted":
        if new:
            raise InvalidDocument("the event says deleted, yet carries the document's value")
        return DELETE
    if not new:
        raise InvalidDocument(f"the event says {kind}, yet carries no value, only old_value")
    return CREATE if kind == "created" else UPDATE


def _changed_since_created(document: Any) -> bool:
    """Whether the document is older than its last change.

    `update_time` "is initially set to the create_time" (google-events, data.proto). It tells a
    creation from an update that was cut off between its two sides, where the protobuf is whole.
    """
    created, updated = document.create_time, document.update_time
    if created == updated:  # so also where neither is there
        return False
    if not (document.HasField("create_time") and document.HasField("update_time")):
        return False
    return bool((updated.seconds, updated.nanos) > (created.seconds, created.nanos))


def _update_time(document: Any) -> int | None:
    stamp = document.update_time
    seconds, nanos = stamp.seconds, stamp.nanos
    if not seconds and not nanos and not document.HasField("update_time"):
        return None
    micros: int = seconds * 1_000_000 + nanos // 1_000
    if not (0 <= nanos < 1_000_000_000 and MIN_MICROS <= micros <= MAX_MICROS):
        raise InvalidDocument(
            f"update_time: {seconds} seconds and {nanos} nanos are outside the years 1 to 9999"
        )
    return micros


def _created_at(message: Message, update_time: int | None) -> int | None:
    text = message.attribute(CE_TIME)
    if text:
        try:
            return parse_rfc3339(text)
        except ValueError as error:
            raise InvalidAttribute(f"{CE_TIME}: {error}") from error
    return (message.publish_time or None) if update_time is None else update_time


def _manual(message: Message) -> Event:
    fields, inexact = _json_object(message.data)
    return Event(
        message=message,
        event_id=message.event_id,
        issue_id=message.attribute(ISSUE_ID) or issue_id_of_manual(message.event_id),
        issue_key=message.event_id,
        source=MANUAL_SOURCE,
        event_type=MANUAL_TYPE,
        operation=MANUAL,
        created_at=_created_at(message, None),
        fields=fields,
        inexact=tuple(inexact),
    )


def _flat(message: Message) -> Event:
    body, numbers = _json_object(message.data)
    if set(body) != set(FLAT_KEYS):
        missing = [key for key in FLAT_KEYS if key not in body]
        extra = sorted(key for key in body if key not in FLAT_KEYS)
        raise InvalidJson(
            "a message without ce- attributes is a flat one, a JSON object of "
            f"{', '.join(FLAT_KEYS)}; missing: {missing}, not known: {str(extra)[:300]}"
        )
    for key, value in body.items():
        if not isinstance(value, str) or key in numbers:
            kind = "a number" if key in numbers else kind_of(value)
            raise InvalidJson(f"$.{key}: a flat message's values are strings, not {kind}")
    fields: dict[str, Json] | None
    try:
        fields, inexact = _json_object(body["payload"].encode("utf-8"))
    except (InvalidJson, NoData):
        fields, inexact = (
            None,
            [],
        )  # the flat layout keeps the text; the structured one refuses it there
    try:
        created_at: int | None = parse_rfc3339(body["created_at"])
    except ValueError:
        created_at = None
    return Event(
        message=message,
        event_id=message.event_id,
        issue_id=body["issue_id"],
        issue_key=message.event_id,
        source=body["source"],
        event_type=None,
        operation=MANUAL if body["source"] == MANUAL_SOURCE else None,
        created_at=created_at,
        fields=fields,
        inexact=tuple(inexact),
        flat=body,
    )


def _json_object(data: bytes) -> tuple[dict[str, Json], list[str]]:
    if not data:
        raise NoData("the message is empty where a JSON object is expected")
    try:
        return parse_object(data)
    except NoJsonObject as error:
        raise InvalidJson(str(error)) from error
