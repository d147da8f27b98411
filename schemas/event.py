"""An event: what a message says, whichever of the four forms it came in.

- A Firestore change: `ce-type` is `google.cloud.firestore.document.v1.` and `created`, `updated`,
  `deleted` or `written`, with or without `.withAuthContext`; data is a DocumentEventData.
- A manual issue: `ce-type` is `issues.manual.created`; data is a JSON object.
- A flat message, of the older publisher: no `ce-` attributes; data is a JSON object of the four
  strings `issue_id`, `source`, `created_at`, `payload`.

- A row that came back as a dead letter (`schemas.restored`): `dead_letter_data` is `row`.

Everything else raises, and becomes a dead letter: never a half-read row.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas import firestore
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
from schemas.times import parse_rfc3339

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
# https://cloud.google.com/bigquery/quotas: JSON can be nested at most 500 levels deep.
MAX_JSON_DEPTH = 500


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


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class RestoredRow:
    """A message whose data are a row, which was shaped once already."""

    message: Message


def decode_message(message: Message) -> Event | RestoredRow:
    """Reads a message as an event.

    Raises:
        Undecodable: One of its classes above, with a sentence that names the place.
    """
    if message.attribute(DATA) == DATA_ROW:
        return RestoredRow(message)
    type_ = message.attribute(CE_TYPE)
    kind = _FIRESTORE_TYPES.get(type_)
    if kind is not None:
        return _firestore(message, type_, kind)
    if type_ == MANUAL_TYPE:
        return _manual(message)
    if type_:
        raise UnsupportedType(
            f"{CE_TYPE} {type_[:200]!r} is neither a Firestore document event "
            f"({_FIRESTORE_PREFIX}created, updated, deleted or written) nor {MANUAL_TYPE}"
        )
    if not any(name.lower().startswith("ce-") for name in message.attributes):
        return _flat(message)
    raise InvalidAttribute(f"the message has ce- attributes but no {CE_TYPE}")


def _firestore(message: Message, type_: str, kind: str) -> Event:
    if not message.data:
        raise NoData(
            "a Firestore event without data: it was larger than Eventarc carries, or empty; "
            f"document by {CE_SUBJECT}: {message.attribute(CE_SUBJECT)[:500] or 'unknown'}"
        )
    try:
        data = firestore.parse_event_data(message.data, message.attribute(CONTENT_TYPE))
    except InvalidEventData as error:
        raise InvalidDocument(str(error)) from error
    # A side without a name is absent: Google's test documents carry present but empty ones.
    new = data.value if data.value.name else None
    old = data.old_value if data.old_value.name else None
    operation = _operation(kind, new, old)
    current: Any = old if new is None else new
    name: str = current.name
    match = _DOCUMENT_NAME.fullmatch(name)
    if match is None:
        raise InvalidDocument(f"{name[:500]!r} is not a document's full name")
    if old is not None and new is not None and old.name != name:
        raise InvalidDocument(
            f"old_value is of another document: {old.name[:500]!r}, not {name[:500]!r}"
        )
    update_time = _micros(current, "update_time")
    try:
        fields = None if operation == DELETE else firestore.fields_to_json(current.fields)
        old_fields = None if old is None else firestore.fields_to_json(old.fields)
    except InvalidValue as error:
        raise InvalidDocument(str(error)) from error
    changed: list[str] = []
    if operation == UPDATE:
        changed = list(data.update_mask.field_paths)
        if not changed and old is not None:
            changed = firestore.changed_paths(old.fields, current.fields)
    return Event(
        message=message,
        event_id=message.event_id,
        issue_id=issue_id_of_document(name),
        issue_key=name,
        source=FIRESTORE_SOURCE,
        event_type=type_,
        operation=operation,
        created_at=_created_at(message, update_time),
        fields=fields,
        old_fields=old_fields,
        document_name=name,
        document_path=match[1],
        document_id=match[3],
        collection=match[2],
        update_time=update_time,
        changed_fields=tuple(changed),
        auth_type=message.attribute("ce-authtype") or None,
        auth_id=message.attribute("ce-authid") or None,
    )


def _operation(kind: str, new: Any, old: Any) -> str:
    """The operation, where type and sides agree; `written` is told by its sides."""
    if new is None and old is None:
        raise NoData("a Firestore event in which neither value nor old_value names a document")
    if kind == "written":
        return DELETE if new is None else CREATE if old is None else UPDATE
    if kind == "deleted":
        if new is not None:
            raise InvalidDocument("the event says deleted, yet carries the document's value")
        return DELETE
    if new is None:
        raise InvalidDocument(f"the event says {kind}, yet carries no value, only old_value")
    return CREATE if kind == "created" else UPDATE


def _micros(document: Any, name: str) -> int | None:
    if not document.HasField(name):
        return None
    stamp = getattr(document, name)
    return int(stamp.seconds * 1_000_000 + stamp.nanos // 1_000)


def _created_at(message: Message, update_time: int | None) -> int | None:
    text = message.attribute(CE_TIME)
    if text:
        try:
            return parse_rfc3339(text)
        except ValueError as error:
            raise InvalidAttribute(f"{CE_TIME}: {error}") from error
    return update_time or message.publish_time or None


def _manual(message: Message) -> Event:
    inexact: list[str] = []
    fields = _json_object(message.data, inexact)
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
    body = _json_object(message.data, [])
    if set(body) != set(FLAT_KEYS):
        missing = [key for key in FLAT_KEYS if key not in body]
        extra = sorted(key for key in body if key not in FLAT_KEYS)
        raise InvalidJson(
            "a message without ce- attributes is a flat one, a JSON object of "
            f"{', '.join(FLAT_KEYS)}; missing: {missing}, not known: {str(extra)[:300]}"
        )
    for key, value in body.items():
        if not isinstance(value, str):
            raise InvalidJson(f"$.{key}: a flat message's values are strings, not {_kind(value)}")
    inexact: list[str] = []
    try:
        fields = _json_object(body["payload"].encode("utf-8"), inexact)
    except InvalidJson:
        fields = None  # the flat layout keeps the text; the structured one refuses it there
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


def _json_object(data: bytes, inexact: list[str]) -> dict[str, Json]:
    """Parses a JSON object exactly (RFC 8259); paths of numbers kept as text go to `inexact`."""
    if not data:
        raise NoData("the message is empty where a JSON object is expected")
    try:
        parsed = json.loads(
            data.decode("utf-8"),
            parse_int=_Number,
            parse_float=_Number,
            parse_constant=_refuse_constant,
            object_pairs_hook=_object,
        )
        if not isinstance(parsed, dict):
            raise InvalidJson(f"the data are {_kind(parsed)}, where a JSON object is expected")
        return {name: _plain(value, (name,), inexact) for name, value in parsed.items()}
    except UnicodeDecodeError as error:
        raise InvalidJson(
            f"the data are not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}"
        ) from error
    except RecursionError as error:
        raise InvalidJson(f"nested more than {MAX_JSON_DEPTH} levels deep") from error
    except ValueError as error:
        raise InvalidJson(f"the data are no JSON object: {error}") from error


class _Number(str):
    """A number's literal text, kept apart from strings until its value is known to be exact."""

    __slots__ = ()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:200]!r} stands twice in one object")
    return found


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def _plain(value: Any, path: tuple[str, ...], inexact: list[str]) -> Json:
    if isinstance(value, _Number):
        return _number(value, path, inexact)
    if isinstance(value, str):
        _check_text(value, path)
        return value
    if len(path) > MAX_JSON_DEPTH:
        raise InvalidJson(f"nested more than {MAX_JSON_DEPTH} levels deep")
    if isinstance(value, dict):
        _check_text("".join(value), path)
        return {name: _plain(item, (*path, name), inexact) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, (*path, f"[{i}]"), inexact) for i, item in enumerate(value)]
    return value


def _check_text(text: str, path: tuple[str, ...]) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidJson(
            f"{firestore.field_path(path)}: half of a surrogate pair at character {error.start}"
        ) from error


def _number(text: _Number, path: tuple[str, ...], inexact: list[str]) -> Json:
    """A number as BigQuery's JSON keeps it, or its text where that would round or refuse it.

    BigQuery: an integer within INT64 or UINT64, or a number that goes through FLOAT64 and back
    (its page on PARSE_JSON, wide_number_mode 'exact').
    """
    if "." not in text and "e" not in text and "E" not in text:
        number = int(text) if len(text) <= 20 else None
        if number is not None and -(2**63) <= number < 2**64:
            return number or (-0.0 if text.startswith("-") else 0)
    else:
        double = float(text)
        if abs(double) < float("inf") and _same_number(text, repr(double)):
            return double
    inexact.append(firestore.field_path(path))
    return str(text)


def _same_number(left: str, right: str) -> bool:
    return _scientific(left) == _scientific(right)


def _scientific(text: str) -> tuple[bool, str, int]:
    """Sign, significant digits and the exponent of the last one; linear in the text's length."""
    mantissa, _, exponent = text.lower().partition("e")
    whole, _, fraction = mantissa.lstrip("+-").partition(".")
    digits = (whole + fraction).lstrip("0")
    stripped = digits.rstrip("0")
    power = int(exponent or 0) - len(fraction) + len(digits) - len(stripped)
    return text.startswith("-"), stripped, power if stripped else 0


def _kind(value: Any) -> str:
    if isinstance(value, _Number):
        return "a number"
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return kinds.get(type(value), "null")
